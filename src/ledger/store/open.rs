//! Opening the database: connections, what each of them is told first, and the schema.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sqlx::any::{AnyConnectOptions, install_default_drivers};
use sqlx::pool::PoolOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Any, AnyPool, ConnectOptions, Connection, Database, Executor};
use tokio::sync::Notify;

use super::held::Held;
use super::lookups::Lookups;
use super::migrate::migrate;
use super::reader::Reader;
use super::turns::Turns;
use super::{Kind, Store, StoreError};

/// How long a request waits for a connection before it is told that the database does not answer.
const ACQUIRE: Duration = Duration::from_secs(10);
/// A connection that lay idle for longer is asked whether it still lives, before it is used.
const IDLE: Duration = Duration::from_millis(100);
/// What a path in a URL must not hold as it is.
const IN_URL: &AsciiSet = &CONTROLS.add(b'?').add(b'#').add(b'%').add(b' ').add(b'[').add(b']').add(b'\\');
/// A power cut after the answer takes nothing back (FULL); readers never wait for the writer (WAL).
const SQLITE: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 10000; \
    PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -4096;";

impl Store {
    /// Opens the database at a path or URL with at most so many connections, and brings its schema up to date.
    ///
    /// # Errors
    /// When it cannot be reached, or was written by a newer version of this program; nothing is changed then.
    pub async fn open(address: &str, connections: u32) -> Result<Self, StoreError> {
        install_default_drivers();
        let (kind, url) = url_of(address)?;
        let options: AnyConnectOptions = url.parse().map_err(|_| StoreError::Address)?;
        let options = options.disable_statement_logging();
        let connections = connections.max(3);
        let (writers, readers) = match kind {
            // A second writer would only wait, and could be told that the file is busy.
            Kind::Sqlite => (1, connections.min(4)),
            Kind::Postgres => (connections / 2, connections.div_ceil(8)),
        };
        let write = pool(kind, options.clone(), writers).await?;
        let read = pool(kind, options, readers).await?;
        let reader = match kind {
            Kind::Sqlite => Reader::Any(read.clone()),
            Kind::Postgres => {
                let options: PgConnectOptions = url.parse().map_err(|_| StoreError::Address)?;
                let most = connections - writers - readers;
                let pool = pool_options(most).connect_lazy_with(options.disable_statement_logging());
                Reader::Postgres(Held::new(pool, ACQUIRE, IDLE))
            }
        };
        let turns = Turns::default();
        let (lookups, written) = (Lookups::new(reader.clone()), Arc::new(Notify::new()));
        let store = Self { read, reader, lookups, write, kind, turns, written };
        let mut transaction = store.begin().await?;
        migrate(&mut transaction, kind).await?;
        transaction.commit().await?;
        Ok(store)
    }
}

async fn pool(kind: Kind, options: AnyConnectOptions, most: u32) -> Result<AnyPool, StoreError> {
    let pool = pool_options::<Any>(most).after_connect(move |connection, _| {
        Box::pin(async move {
            if kind == Kind::Sqlite {
                connection.execute(SQLITE).await?;
            }
            Ok(())
        })
    });
    Ok(pool.connect_with(options).await?)
}

fn pool_options<D: Database>(most: u32) -> PoolOptions<D> {
    PoolOptions::new()
        .max_connections(most)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .before_acquire(|connection: &mut D::Connection, about| {
            Box::pin(async move {
                // An error here makes the pool take another connection.
                if about.idle_for > IDLE { connection.ping().await.map(|()| true) } else { Ok(true) }
            })
        })
}

/// Returns the URL that sqlx takes; a file of SQLite's is made here, for its owner alone.
fn url_of(address: &str) -> Result<(Kind, String), StoreError> {
    if address.starts_with("postgres://") || address.starts_with("postgresql://") {
        return Ok((Kind::Postgres, address.to_owned()));
    }
    let path = address.strip_prefix("sqlite://").or(address.strip_prefix("sqlite:")).unwrap_or(address);
    if path.is_empty() || path.contains("://") || path.contains('\0') {
        return Err(StoreError::Address);
    }
    let path = PathBuf::from(path);
    make(&path).map_err(|source| StoreError::File { path: path.clone(), source })?;
    let path = path.canonicalize().map_err(|source| StoreError::File { path: path.clone(), source })?;
    let text = path.to_str().ok_or(StoreError::Address)?;
    Ok((Kind::Sqlite, format!("sqlite://{}", utf8_percent_encode(text, IN_URL))))
}

fn make(path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    // What is there keeps its mode and its content.
    drop(OpenOptions::new().create(true).append(true).mode(0o600).open(path)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_path_or_a_url() {
        assert_eq!(url_of("postgres://u@h/d").unwrap(), (Kind::Postgres, "postgres://u@h/d".to_owned()));
        for bad in ["", "mysql://u@h/d", "sqlite:"] {
            assert!(matches!(url_of(bad), Err(StoreError::Address)), "{bad}");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a b/led?er.db");
        let (kind, url) = url_of(path.to_str().unwrap()).unwrap();
        assert_eq!(kind, Kind::Sqlite);
        assert!(url.ends_with("/a%20b/led%3Fer.db"), "{url}");
        assert!(path.is_file());
    }
}
