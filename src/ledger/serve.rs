//! Listening, and ending without losing a request.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::nats::NatsState;
use super::store::{Store, StoreError};
use super::{Ledger, Settings, api};

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
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Signals cannot be received.
    #[error("could not wait for signals")]
    Signals(#[source] std::io::Error),
    /// The listener failed.
    #[error("could not go on listening")]
    Accept(#[source] std::io::Error),
}

/// Serves until SIGTERM or SIGINT, then ends what is under way.
pub(super) async fn serve(database: &str, connections: u32, settings: Settings) -> Result<(), ServeError> {
    let store = Store::open(database, connections).await?;
    let (end, ending) = watch::channel(false);
    let address = settings.listen;
    let grace = settings.grace;
    let ledger =
        Arc::new(Ledger { store, settings, started: Instant::now(), nats: NatsState::default(), ending });
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
    let router = api::router(Arc::clone(&ledger));
    let mut server =
        tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(wait).await });
    tokio::select! {
        ended = &mut server => return ended.unwrap_or(Ok(())).map_err(ServeError::Accept),
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
    ledger.store.close().await;
    tracing::info!("ended");
    Ok(())
}
