//! Why a stage does not go on, and how it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

    /// Returns the failure that it is.
    pub fn failure(&self) -> FailureReport {
        match self {
            Self::Failed(failure) => (**failure).clone(),
            Self::Cancelled => {
                FailureReport::new(ErrorKind::DeploymentError, "cancelled", "the deployment was cancelled")
            }
        }
    }
}

/// The wish to stop, seen by every stage. Cheap to clone; raised once, for good.
#[derive(Clone, Default)]
pub struct Cancel(Arc<(AtomicBool, Notify)>);

impl Cancel {
    /// Says that somebody wants to stop.
    pub fn raise(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        self.0.1.notify_waiters();
    }

    /// Returns whether somebody wants to stop.
    pub fn is_raised(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
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
