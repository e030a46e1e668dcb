//! Where the ledger keeps what it knows: SQLite in a file, or PostgreSQL by URL, with the same statements.
//!
//! [`Store::open`] is the way in. Every change is one transaction that begins with [`Store::begin`], takes its
//! entity's turn, and tells what it did through [`Changes`]: history, counters and events for others are written by
//! the same commit. Does not know HTTP.

mod applying;
mod beside;
mod change;
mod checks;
mod create;
mod deployments;
mod entities;
mod error;
mod held;
mod lifecycle;
mod lines;
mod lookups;
mod measures;
mod migrate;
mod open;
mod outbox;
mod places;
mod reader;
mod records;
mod reports;
mod requests;
mod roll_back;
mod rows;
mod together;
mod tokens;
mod told;
mod turns;

use std::sync::Arc;

use sqlx::{Any, AnyPool, Transaction};
use tokio::sync::Notify;

pub use beside::{Beside, Step};
pub use change::{Changes, Told};
pub use checks::CheckCount;
pub use create::Create;
pub use deployments::{DeploymentFilter, DeploymentPage};
pub use entities::{EntityFilter, EntityPage};
pub use error::StoreError;
pub use lifecycle::{LifecycleError, Refused};
pub use lines::KeptLine;
pub use measures::{Figures, MEASURED_DAYS, Measures, Period, Series, Span};
pub use outbox::OutboxEvent;
pub use places::{App, AppFilter, Place, Standing};
pub use reports::{Kept, KeptReport, ReportError};
pub use requests::{Asked, RequestStep, RollbackRequest, Target};
pub use roll_back::Rollback;
pub use rows::{Deployment, Entity, Json, time_text};
pub use tokens::KeptToken;
pub use turns::OnConflict;

/// Which database it is; they differ in how they begin, and in how they are set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file; one writer at a time.
    Sqlite,
    /// A server.
    Postgres,
}

/// The open database.
#[derive(Debug)]
pub struct Store {
    read: AnyPool,
    /// For what is asked most: deployments.
    reader: reader::Reader,
    lookups: lookups::Lookups,
    write: AnyPool,
    kind: Kind,
    turns: turns::Turns,
    written: Arc<Notify>,
}

impl Store {
    /// Returns which database it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns connections for looking.
    pub fn read(&self) -> &AnyPool {
        &self.read
    }

    /// Begins a transaction that writes.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin(&self) -> Result<Transaction<'static, Any>, StoreError> {
        // Never upgraded from reading to writing, which SQLite refuses when somebody wrote in between.
        let word = match self.kind {
            Kind::Sqlite => "BEGIN IMMEDIATE",
            Kind::Postgres => "BEGIN",
        };
        Ok(self.write.begin_with(word).await?)
    }

    /// Commits, and wakes those who wait for events.
    ///
    /// # Errors
    /// When the database does not say that it is done; it may be done all the same.
    pub async fn commit(&self, transaction: Transaction<'static, Any>) -> Result<(), StoreError> {
        transaction.commit().await?;
        self.written.notify_waiters();
        Ok(())
    }

    /// Returns what is notified after each commit of this process.
    pub fn written(&self) -> Arc<Notify> {
        Arc::clone(&self.written)
    }

    /// Asks the database for an answer, in microseconds that it took.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ping(&self) -> Result<u64, StoreError> {
        let asked = std::time::Instant::now();
        let _: i64 = sqlx::query_scalar("SELECT CAST(1 AS BIGINT)").fetch_one(&self.read).await?;
        Ok(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Ends the connections, when those who use them are done.
    pub async fn close(&self) {
        self.read.close().await;
        self.reader.close().await;
        self.write.close().await;
    }
}

/// Returns the time as the database keeps it: microseconds since 1970, UTC.
pub fn now() -> i64 {
    crate::model::wall().as_microsecond()
}
