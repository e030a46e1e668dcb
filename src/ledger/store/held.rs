//! Connections of PostgreSQL that stay out of their pool from one statement to the next: at each return sqlx's pool asks
//! the server for a sign of life, which costs as much as a short statement does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgPool, Postgres};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// A pool, and those of its connections that lie idle beside it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pool: PgPool,
    /// As many as the pool has connections: who has a turn finds one idle, or the pool has one left.
    turns: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Idle>>>,
    /// How long it is waited for a connection.
    patience: Duration,
    /// A connection that lay idle for longer is asked whether it still lives.
    fresh: Duration,
}

#[derive(Debug)]
struct Idle {
    connection: PoolConnection<Postgres>,
    since: Instant,
}

/// A connection for one statement.
pub(super) struct Lent<'h> {
    held: &'h Held,
    connection: PoolConnection<Postgres>,
    _turn: SemaphorePermit<'h>,
}

impl Held {
    pub(super) fn new(pool: PgPool, patience: Duration, fresh: Duration) -> Self {
        let most = usize::try_from(pool.options().get_max_connections()).unwrap_or(usize::MAX);
        let turns = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { pool, turns, idle: Arc::default(), patience, fresh }
    }

    /// Returns a connection; what is not given back goes to the pool, which closes it unless it is well.
    pub(super) async fn lend(&self) -> sqlx::Result<Lent<'_>> {
        timeout(self.patience, self.lend_any()).await.map_err(|_| sqlx::Error::PoolTimedOut)?
    }

    async fn lend_any(&self) -> sqlx::Result<Lent<'_>> {
        let turn = self.turns.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?;
        loop {
            let Some(mut idle) = self.lock().pop() else { break };
            if idle.since.elapsed() <= self.fresh || idle.connection.ping().await.is_ok() {
                return Ok(Lent { held: self, connection: idle.connection, _turn: turn });
            }
            // What is said when a dead connection is closed is of no use.
            drop(idle.connection.close().await);
        }
        Ok(Lent { held: self, connection: self.pool.acquire().await?, _turn: turn })
    }

    /// Ends the connections, when those who use them are done.
    pub(super) async fn close(&self) {
        self.turns.close();
        drop(std::mem::take(&mut *self.lock()));
        self.pool.close().await;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent<'_> {
    /// Returns the connection.
    pub(super) fn connection(&mut self) -> &mut sqlx::PgConnection {
        &mut self.connection
    }

    /// Gives it back: its statement was answered to the end.
    pub(super) fn give_back(self) {
        let mut idle = self.held.lock();
        if !self.held.turns.is_closed() {
            idle.push(Idle { connection: self.connection, since: Instant::now() });
        }
    }
}
