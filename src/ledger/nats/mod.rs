//! Publishes the outbox to NATS JetStream (R004-40, R004-41, R004-49).
//!
//! [`Publisher::run`] is the way in. Requests never wait for it: they leave their events in the outbox, and it publishes
//! them in the order of their sequence, as often as it takes. No event is lost, because the cursor moves after the
//! stream has acknowledged; none is doubled and none overtakes another, see `link.rs`. Several ledgers on one database
//! may publish at once.

mod address;
mod error;
mod link;
mod outage;
mod state;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::Shared;
use super::store::StoreError;
pub use address::{Address, AddressError};
pub use error::NatsError;
use link::Link;
use outage::Outage;
pub use state::NatsState;

/// Name of the publisher's cursor.
pub const CURSOR: &str = "nats";
/// How many events are under way at once, at most.
const AT_ONCE: usize = 256;
/// How long to wait for a bell before looking: another process may have written.
const LOOK: Duration = Duration::from_secs(1);
/// How often the cursor is kept: each time is a write to the disk, and a start finds out what was published after it.
const KEEP: Duration = Duration::from_millis(200);
/// How often NATS is asked whether it is still there while nothing is published.
const ASK: Duration = Duration::from_secs(5);

/// Reads the outbox and publishes.
#[derive(Debug)]
pub struct Publisher {
    ledger: Shared,
    address: Address,
    stop: watch::Receiver<bool>,
    written: Arc<Notify>,
    /// Sequence up to which everything is published.
    position: i64,
    /// What the cursor says of it, and since when.
    kept: (i64, Instant),
    /// How many are sent at once: few where somebody else writes into the same stream.
    pace: usize,
    outage: Outage,
}

/// Why publishing has to begin anew.
#[derive(Debug)]
enum Broken {
    Nats(NatsError),
    Store(StoreError),
}

impl From<NatsError> for Broken {
    fn from(error: NatsError) -> Self {
        Self::Nats(error)
    }
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Publisher {
    /// Returns a publisher that ends when `stop` becomes true.
    pub fn new(ledger: Shared, address: Address, stop: watch::Receiver<bool>) -> Self {
        ledger.nats.down("not connected yet");
        let (written, outage) = (ledger.store.written(), Outage::default());
        Self { ledger, address, stop, written, position: 0, kept: (0, Instant::now()), pace: AT_ONCE, outage }
    }

    /// Publishes until it is told to end; what is in the outbox by then is published still, when NATS answers.
    pub async fn run(mut self) {
        loop {
            match self.session().await {
                Ok(()) => break,
                Err(Broken::Nats(error)) => self.note(&error).await,
                Err(Broken::Store(error)) => self.outage.note_store(&error),
            }
            let wait = self.outage.next_wait();
            if timeout(wait, self.stop.wait_for(|stop| *stop)).await.is_ok() {
                break;
            }
        }
        if let Err(error) = self.keep().await {
            tracing::info!(%error, "the place in the outbox could not be kept; the next start finds it in the stream");
        }
    }

    /// One connection, from its beginning to its end.
    async fn session(&mut self) -> Result<(), Broken> {
        let link = Link::open(&self.address).await?;
        self.find_place(&link).await?;
        let mut answered: Option<Instant> = None;
        loop {
            let stopping = *self.stop.borrow();
            let bell = Arc::clone(&self.written);
            let bell = bell.notified();
            if stopping {
                // Nobody else gives the last ones their place any more.
                while self.ledger.store.sequence_events().await? {}
            }
            if self.publish_waiting(&link).await? {
                answered = Some(Instant::now());
                continue;
            }
            if answered.is_none_or(|answered| answered.elapsed() >= ASK) {
                self.answered(link.ask().await?);
                answered = Some(Instant::now());
            }
            self.keep_now_and_then().await?;
            if stopping {
                return Ok(());
            }
            tokio::select! {
                () = bell => {}
                () = tokio::time::sleep(LOOK) => {}
                // An error means that the sender is gone, which is an end as well.
                _ = self.stop.wait_for(|stop| *stop) => {}
                error = link.lost() => return Err(error.into()),
            }
        }
    }

    /// Begins where the stream ends: what was acknowledged just before a crash is not published again, however long ago
    /// that was, and what NATS lost by a power cut of its own is. Without an event of ours in it, the cursor counts.
    async fn find_place(&mut self, link: &Link) -> Result<(), Broken> {
        let store = &self.ledger.store;
        let kept = store.cursor(CURSOR).await?;
        let last = match link.last_event().await? {
            Some(id) => store.sequence_of(&id).await?,
            None => None,
        };
        self.position = last.unwrap_or(kept.max(self.position));
        self.kept = (kept, Instant::now());
        if self.position < kept {
            let lost = kept - self.position;
            tracing::warn!(
                "the stream lacks its last {lost} events, which it had acknowledged; they are published again"
            );
            store.put_cursor_back(CURSOR, kept, self.position).await?;
            self.kept.0 = self.position;
        }
        Ok(())
    }

    /// Publishes some of what waits, and returns whether there was something.
    async fn publish_waiting(&mut self, link: &Link) -> Result<bool, Broken> {
        let most = i64::try_from(self.pace).unwrap_or(1);
        let mut waiting = self.ledger.store.events_after(self.position, most).await?;
        if waiting.is_empty() {
            return Ok(false);
        }
        // Another ledger on this database may have published them meanwhile.
        let kept = self.ledger.store.cursor(CURSOR).await?;
        self.position = self.position.max(kept);
        waiting.retain(|event| event.sequence > self.position);
        let Some(last) = waiting.last().map(|event| event.sequence) else { return Ok(true) };
        let sent = Instant::now();
        let outcome = link.publish(&waiting).await;
        if let Some(sequence) = outcome.through {
            self.position = sequence;
            self.ledger.nats.published(outcome.stored);
            self.answered(sent.elapsed());
        }
        self.keep_now_and_then().await?;
        match outcome.error {
            // The stream's last message is not the one before: what comes next goes alone, and so is in order as well.
            Some(NatsError::NotNext) if outcome.through.is_some() => self.pace = 1,
            Some(error) => return Err(error.into()),
            None if self.position == last => self.pace = (self.pace * 2).min(AT_ONCE),
            None => {}
        }
        Ok(true)
    }

    /// NATS answered: an outage is over.
    fn answered(&mut self, took: Duration) {
        self.ledger.nats.up(took.as_secs_f64() * 1000.0);
        self.outage.end(&self.address.shown());
    }

    async fn keep_now_and_then(&mut self) -> Result<(), StoreError> {
        if self.kept.1.elapsed() >= KEEP { self.keep().await } else { Ok(()) }
    }

    async fn keep(&mut self) -> Result<(), StoreError> {
        if self.position > self.kept.0 {
            self.ledger.store.move_cursor(CURSOR, self.position).await?;
        }
        self.kept = (self.position.max(self.kept.0), Instant::now());
        Ok(())
    }

    /// Notes an outage where people look, with the document's words when something waits.
    async fn note(&mut self, error: &NatsError) {
        let text = super::with_causes(error);
        self.ledger.nats.down(text.as_str());
        if let Err(error) = self.keep().await {
            return self.outage.note_store(&error);
        }
        // The attempt that follows within a moment says why there is no connection, or there is one again.
        if matches!(error, NatsError::Lost | NatsError::Gone) {
            return self.outage.begin();
        }
        let store = &self.ledger.store;
        // The database may be away as well, which is said by those who need it.
        let waiting = store.unpublished(self.position).await.unwrap_or_default();
        let first = store.events_after(self.position, 1).await.unwrap_or_default().into_iter().next();
        self.outage.note(&text, first.as_ref(), waiting);
    }
}
