//! What can go wrong between the service and its database.

use std::path::PathBuf;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `--database` is neither a path nor a URL that is known.
    #[error(
        "the database is not understood: give the path of an SQLite file, or postgres://USER@HOST/DATABASE"
    )]
    Address,
    /// The file of the SQLite database cannot be made.
    #[error("could not make {}", path.display())]
    File {
        /// The file or its directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database was written by a later version of this program.
    #[error(
        "the database has schema {found}, this program knows up to {known}; nothing was changed: start the newer ffe-ledger that wrote it"
    )]
    Newer {
        /// Version that the database says.
        found: i64,
        /// Latest version that this program knows.
        known: i64,
    },
    /// The database does not answer, or went away; the same may work in a moment.
    #[error("the database does not answer")]
    Away(#[source] sqlx::Error),
    /// Somebody else changes the same rows; nothing was changed.
    #[error("another change of the same deployment is under way")]
    Busy,
    /// A constraint of the database refused it; nothing was changed.
    #[error("the database refused a second row of its kind")]
    Unique,
    /// Anything else that the database says.
    #[error("the database refused a statement")]
    Database(#[source] sqlx::Error),
    /// A row holds something that no version of this program writes.
    #[error("column {column} holds what it must not")]
    Row {
        /// Place of the column in its query.
        column: usize,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Returns what makes an error of why a column cannot be read or written: for `map_err`.
    pub(super) fn of_column<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        column: usize,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Row { column, source: source.into() }
    }

    /// Returns whether the whole transaction may be tried again: it lost to another one, and left nothing.
    pub fn is_worth_repeating(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else { return false };
        // serialization_failure, deadlock_detected; SQLITE_BUSY and its extended codes.
        error.code().is_some_and(|code| ["40001", "40P01", "5", "261", "517"].contains(&code.as_ref()))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed => Self::Away(error),
            sqlx::Error::Database(told) if told.is_unique_violation() => Self::Unique,
            sqlx::Error::Database(told) => match told.code().as_deref() {
                // lock_not_available
                Some("55P03") => Self::Busy,
                // No connection, no resources such as room on the disk, told to stop (PostgreSQL's classes 08, 53, 57), and
                // a replica that is about to become the primary (25006).
                Some("25006") => Self::Away(error),
                Some(code) if ["08", "53", "57"].iter().any(|class| code.starts_with(class)) => {
                    Self::Away(error)
                }
                _ => Self::Database(error),
            },
            _ => Self::Database(error),
        }
    }
}
