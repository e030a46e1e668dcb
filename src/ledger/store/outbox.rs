//! The outbox: events in the order in which they are told to others.
//!
//! On PostgreSQL transactions commit in another order than they took their ids, so that a reader that goes by ids would
//! miss one. Events get their `sequence` after their commit, under a lock ([`Store::sequence_events`]); SQLite has one
//! writer, and a trigger does it.

use sqlx::any::AnyRow;

use super::rows::get;
use super::{Kind, Store, StoreError};

/// Number for PostgreSQL's advisory lock: "ffeorder" in ASCII.
const LOCK: i64 = 0x6666_656f_7264_6572;

/// An event as others are told it.
#[derive(Clone, Debug)]
pub struct OutboxEvent {
    /// Its place among all events: from 1, without gaps.
    pub sequence: i64,
    /// Its id: a UUID that no other event has, for those who must not take it twice.
    pub event_id: String,
    /// Type of the CloudEvent.
    pub kind: String,
    /// What it is published under, after the prefix: `deployment.completed`.
    pub subject: String,
    /// The entity that it is about; events of one entity are in order.
    pub entity_id: String,
    /// The deployment that it is about.
    pub deployment_id: String,
    /// The CloudEvent in its JSON format.
    pub body: String,
}

impl Store {
    /// Gives committed events their sequence. Returns whether there were some.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sequence_events(&self) -> Result<bool, StoreError> {
        if self.kind() == Kind::Sqlite {
            return Ok(false);
        }
        let waiting = sqlx::query("SELECT id FROM outbox WHERE sequence IS NULL LIMIT 1");
        if waiting.fetch_optional(self.read()).await?.is_none() {
            return Ok(false);
        }
        let mut transaction = self.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
        let done = sqlx::query(
            "UPDATE outbox SET sequence = next.sequence FROM (SELECT id, COALESCE((SELECT MAX(sequence) FROM outbox), 0) \
             + ROW_NUMBER() OVER (ORDER BY id) AS sequence FROM (SELECT id FROM outbox WHERE sequence IS NULL \
             ORDER BY id LIMIT 1000) waiting) next WHERE outbox.id = next.id",
        )
        .execute(&mut *transaction)
        .await?;
        // Readers see them now.
        self.commit(transaction).await?;
        Ok(done.rows_affected() > 0)
    }

    /// Returns events after a sequence, in order, at most so many.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn events_after(&self, sequence: i64, most: i64) -> Result<Vec<OutboxEvent>, StoreError> {
        let rows = sqlx::query(
            "SELECT sequence, event_id, type, subject, entity_id, deployment_id, body FROM outbox \
             WHERE sequence > $1 ORDER BY sequence LIMIT $2",
        )
        .bind(sequence)
        .bind(most)
        .fetch_all(self.read())
        .await?;
        rows.iter().map(event).collect()
    }

    /// Returns the sequence of the event of this id, when there is one that has its place.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sequence_of(&self, event_id: &str) -> Result<Option<i64>, StoreError> {
        let row = sqlx::query("SELECT sequence FROM outbox WHERE event_id = $1 AND sequence IS NOT NULL")
            .bind(event_id.to_owned())
            .fetch_optional(self.read())
            .await?;
        row.map(|row| get(&row, 0)).transpose()
    }

    /// Returns how many events come after a sequence, those among them that have no place yet.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn unpublished(&self, sequence: i64) -> Result<i64, StoreError> {
        // A sequence has no gaps: nothing is counted but those that just came.
        let row = sqlx::query(
            "SELECT CAST((SELECT COALESCE(MAX(sequence), 0) FROM outbox) + (SELECT COUNT(*) FROM outbox \
             WHERE sequence IS NULL) AS BIGINT)",
        )
        .fetch_one(self.read())
        .await?;
        Ok((get::<i64>(&row, 0)? - sequence).max(0))
    }

    /// Returns how far a reader has come; 0 for one that is not known.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn cursor(&self, name: &str) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT sequence FROM cursors WHERE name = $1")
            .bind(name.to_owned())
            .fetch_optional(self.read())
            .await?;
        row.map_or(Ok(0), |row| get(&row, 0))
    }

    /// Keeps how far a reader has come; it never goes back.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn move_cursor(&self, name: &str, sequence: i64) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO cursors (name, sequence) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET sequence = \
             CASE WHEN excluded.sequence > cursors.sequence THEN excluded.sequence ELSE cursors.sequence END",
        )
        .bind(name.to_owned())
        .bind(sequence)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Lets a reader begin again further back, unless another one has moved its cursor meanwhile.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn put_cursor_back(&self, name: &str, from: i64, to: i64) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query("UPDATE cursors SET sequence = $3 WHERE name = $1 AND sequence = $2")
            .bind(name.to_owned())
            .bind(from)
            .bind(to)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }
}

fn event(row: &AnyRow) -> Result<OutboxEvent, StoreError> {
    Ok(OutboxEvent {
        sequence: get(row, 0)?,
        event_id: get(row, 1)?,
        kind: get(row, 2)?,
        subject: get(row, 3)?,
        entity_id: get(row, 4)?,
        deployment_id: get(row, 5)?,
        body: get(row, 6)?,
    })
}
