//! The ledger: what it is told of a deployment, folded from the events, and how it gets there.
//!
//! Enter by [`Account`], which hears every event and says the report as it stands; [`Listener`] is the reporter that
//! hears for it. [`judged`] says what its answers mean. The same fold serves a run that goes
//! on and an event log that is read later. Knows nothing of addresses, tokens and files.

mod account;
mod answer;
mod body;
mod lines;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{ReportError, Reporter};
use crate::event::Event;

pub use account::{Account, Known, Letter, Recovered, in_portions};
pub use answer::{Kept, hint, judged, strange};

/// An account that is written by one and read by another, and the bell for what is new in it.
#[derive(Clone, Default)]
pub struct Shared {
    account: Arc<Mutex<Account>>,
    bell: Arc<Notify>,
}

impl Shared {
    /// Returns the account. Do not hold it while anything is waited for.
    pub fn lock(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when something new was heard since the last time.
    pub async fn news(&self) {
        self.bell.notified().await;
    }

    /// Has [`Shared::news`] return once more, for what could not be said yet.
    pub fn ring(&self) {
        self.bell.notify_one();
    }
}

/// The reporter that hears for the account. It never waits and never fails.
pub struct Listener(pub Shared);

impl Reporter for Listener {
    fn name(&self) -> &'static str {
        "ledger"
    }

    fn on_event(&mut self, event: &Event) -> Result<(), ReportError> {
        self.0.lock().hear(event);
        self.0.ring();
        Ok(())
    }
}
