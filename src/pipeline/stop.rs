//! Why a stage does not go on, and how it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

use crate::backup::BackupError;
use crate::executor::compose::ExecutorError;
use crate::host::atomic::WriteError;
use crate::model::{ErrorKind, FailureReport};

/// Why a stage does not go on.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// Something failed.
    Failed(Box<FailureReport>),
    /// Somebody asked to stop.
    Cancelled,
}

impl From<FailureReport> for Stop {
    fn from(failure: FailureReport) -> Self {
        Self::Failed(Box::new(failure))
    }
}

impl From<ExecutorError> for Stop {
    fn from(error: ExecutorError) -> Self {
        error.report().into()
    }
}

impl From<BackupError> for Stop {
    fn from(error: BackupError) -> Self {
        error.report().into()
    }
}

impl From<WriteError> for Stop {
    fn from(error: WriteError) -> Self {
        ExecutorError::Write(error).into()
    }
}

impl Stop {
    /// Returns the sentence that explains it.
    pub fn reason(&self) -> String {
        match self {
            Self::Failed(failure) => failure.message.clone(),
            Self::Cancelled => "cancelled".to_owned(),
        }
    }

    /// Returns it with what the services say of themselves added to its sentence.
    #[must_use]
    pub fn because(mut self, states: &[String]) -> Self {
        if let (Self::Failed(failure), false) = (&mut self, states.is_empty()) {
            failure.message = format!("{}; {}", failure.message, states.join("; "));
        }
        self
    }

    /// Returns whether something took too long.
    pub fn is_late(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.code.starts_with("deadline."))
    }

    /// Code of the failure that a cancel is.
    pub(super) const CANCELLED: &'static str = "cancelled";

    /// Returns whether it is that Docker's daemon does not answer.
    pub(super) fn is_no_daemon(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.code == "docker.running")
    }

    /// Returns the failure that it is.
    pub fn failure(&self) -> FailureReport {
        match self {
            Self::Failed(failure) => (**failure).clone(),
            Self::Cancelled => FailureReport::new(
                ErrorKind::DeploymentError,
                Self::CANCELLED,
                "the deployment was cancelled",
            ),
        }
    }
}

/// The wish to stop, seen by every stage. Cheap to clone. Either somebody raises it or the commit closes it, once and for
/// good: a cancel that was acknowledged can never meet a release that goes live all the same.
#[derive(Clone, Default)]
pub struct Cancel(Arc<(AtomicU8, Notify)>);

const OPEN: u8 = 0;
const RAISED: u8 = 1;
const CLOSED: u8 = 2;

impl Cancel {
    /// Says that somebody wants to stop; returns whether that still counts.
    pub fn raise(&self) -> bool {
        let counts = self.decide(RAISED);
        self.0.1.notify_waiters();
        counts
    }

    /// Says that from now on nobody can stop it; returns whether nobody had.
    pub fn close(&self) -> bool {
        self.decide(CLOSED)
    }

    fn decide(&self, wanted: u8) -> bool {
        let before = self.0.0.compare_exchange(OPEN, wanted, Ordering::SeqCst, Ordering::SeqCst);
        before.is_ok() || before == Err(wanted)
    }

    /// Returns whether somebody wants to stop.
    pub fn is_raised(&self) -> bool {
        self.0.0.load(Ordering::SeqCst) == RAISED
    }

    /// Ends when somebody wants to stop.
    pub async fn raised(&self) {
        loop {
            let notified = self.0.1.notified();
            if self.is_raised() {
                return;
            }
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_first_decides_between_cancel_and_commit() {
        let cancelled = Cancel::default();
        assert!(cancelled.raise() && cancelled.raise() && !cancelled.close() && cancelled.is_raised());
        let committed = Cancel::default();
        assert!(committed.close() && !committed.raise() && !committed.is_raised());
    }
}
