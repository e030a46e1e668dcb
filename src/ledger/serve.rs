//! Listening, and ending without losing a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::guard::Guard;
use super::metrics::Metrics;
use super::nats::{NatsState, Publisher};
use super::pages::log::Streams;
use super::pages::session::Sessions;
use super::store::{Store, StoreError};
use super::{Ledger, Settings, Shared, api, connections};

/// How often the tokens are read again.
const REFRESH: Duration = Duration::from_secs(2);
/// How often it is looked for events that another process wrote.
const LOOK: Duration = Duration::from_secs(1);
/// How long publishing may take at the end.
const LAST_EVENTS: Duration = Duration::from_secs(5);

/// How long connections to the database may take to be given back at the end.
const CLOSE: Duration = Duration::from_secs(2);

/// Why the service did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address cannot be listened on.
    #[error("could not listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Anybody could reach it, and do anything.
    #[error(
        "refused to listen on {0} without tokens; nothing was started: make one with `ffe-ledger token create NAME --scope SCOPE`, or listen on 127.0.0.1"
    )]
    Open(SocketAddr),
    /// Signals cannot be received.
    #[error("could not wait for signals")]
    Signals(#[source] std::io::Error),
    /// Nothing can be kept secret.
    #[error("the kernel gave no random bits; nothing was started")]
    Random(#[source] std::io::Error),
    /// A defect of ours.
    #[error("could not go on listening")]
    Accept(#[source] tokio::task::JoinError),
}

/// Serves until SIGTERM or SIGINT, then ends what is under way.
pub(super) async fn serve(database: &str, connections: u32, settings: Settings) -> Result<(), ServeError> {
    let store = Store::open(database, connections).await?;
    let (end, ending) = watch::channel(false);
    let address = settings.listen;
    let (grace, idle) = (settings.grace, settings.idle_timeout);
    let guard = Guard::new(!address.ip().is_loopback(), settings.rate_limit);
    let tokens = store.tokens().await?;
    if !address.ip().is_loopback() && tokens.iter().all(|token| token.revoked_at.is_some()) {
        return Err(ServeError::Open(address));
    }
    guard.know(&tokens);
    let (nats, metrics) = (NatsState::default(), Metrics::default());
    let sessions = Sessions::new().map_err(ServeError::Random)?;
    let started = Instant::now();
    let ledger = Arc::new(Ledger {
        store,
        settings,
        started,
        guard,
        sessions,
        streams: Streams::default(),
        metrics,
        nats,
        ending,
    });
    let listener =
        TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })?;
    let bound = listener.local_addr().unwrap_or(address);
    let mut term = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    tracing::info!(address = %bound, version = env!("CARGO_PKG_VERSION"), "listening on http://{bound}");
    let mut stopped = ledger.ending.clone();
    let wait = async move {
        // An error means that the sender is gone, which is an end as well.
        drop(stopped.wait_for(|ending| *ending).await);
    };
    tokio::spawn(refresh_tokens(Arc::clone(&ledger)));
    tokio::spawn(sequence_events(Arc::clone(&ledger)));
    let publisher = start_publisher(&ledger);
    let router = api::router(Arc::clone(&ledger));
    let mut server = tokio::spawn(connections::serve(listener, router, wait, idle));
    tokio::select! {
        ended = &mut server => return ended.map_err(ServeError::Accept),
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("ending: requests that are under way have {} s", grace.as_secs());
    // Nobody listens only when the server has ended already.
    let _ = end.send(true);
    if timeout(grace, &mut server).await.is_err() {
        tracing::warn!("requests were still under way after {} s, and were cut off", grace.as_secs());
        server.abort();
    }
    end_publisher(publisher).await;
    // What was cut off may wait for a lock in the database, which ends with its connection.
    if timeout(CLOSE, ledger.store.close()).await.is_err() {
        tracing::warn!("connections to the database were still in use, and were cut off");
    }
    tracing::info!("ended");
    Ok(())
}

/// Starts publishing, where NATS is configured; what is returned tells it to end.
fn start_publisher(ledger: &Shared) -> Option<(watch::Sender<bool>, JoinHandle<()>)> {
    let address = ledger.settings.nats.clone()?;
    let (stop, stopping) = watch::channel(false);
    let publisher = Publisher::new(Arc::clone(ledger), address, stopping);
    Some((stop, tokio::spawn(publisher.run())))
}

/// Publishes what the last requests left, as far as NATS takes it quickly; the rest waits for the next start.
async fn end_publisher(publisher: Option<(watch::Sender<bool>, JoinHandle<()>)>) {
    let Some((stop, mut publishing)) = publisher else { return };
    // Nobody listens only when it has ended already.
    let _ = stop.send(true);
    if timeout(LAST_EVENTS, &mut publishing).await.is_err() {
        tracing::info!("events still wait in the outbox; the next start publishes them");
        publishing.abort();
    }
}

/// Tokens that were made or revoked meanwhile count within seconds.
async fn refresh_tokens(ledger: Shared) {
    while !is_ending(&ledger, REFRESH).await {
        match ledger.store.tokens().await {
            Ok(tokens) => ledger.guard.know(&tokens),
            Err(error) => {
                tracing::warn!(%error, "the tokens could not be read again; those known before still count");
            }
        }
    }
}

/// Gives events their place once they are committed; see `store/outbox.rs`.
async fn sequence_events(ledger: Shared) {
    let written = ledger.store.written();
    loop {
        let bell = written.notified();
        match ledger.store.sequence_events().await {
            // There may be more.
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "events could not be put in order; they wait"),
        }
        let mut ending = ledger.ending.clone();
        tokio::select! {
            () = bell => {}
            // Another process may have written.
            () = tokio::time::sleep(LOOK) => {}
            _ = ending.wait_for(|ending| *ending) => return,
        }
    }
}

/// Waits, and returns whether the service is told to end meanwhile.
async fn is_ending(ledger: &Shared, wait: Duration) -> bool {
    let mut ending = ledger.ending.clone();
    // An error means that the sender is gone, which is an end as well.
    timeout(wait, ending.wait_for(|ending| *ending)).await.is_ok()
}
