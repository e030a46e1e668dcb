//! Taking turns: changes of one entity's deployments come one after another, and one that lost is made again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::{Any, AssertSqlSafe, Transaction};
use uuid::Uuid;

use super::rows::{ENTITY, entity};
use super::{Entity, Kind, Store, StoreError};

/// How often a transaction that lost to another one is made again.
const ATTEMPTS: u32 = 5;

/// What happens to a create or rollback while another one of the same entity and environment is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnConflict {
    /// It waits for its turn.
    #[default]
    Wait,
    /// It is refused.
    Refuse,
}

/// Entities and environments that a change is under way for, in this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<HashSet<(String, String)>>>);

/// Gives its turn back when it goes.
pub(super) struct Turn(Turns, (String, String));

impl Turns {
    fn take(&self, entity: &str, environment: &str) -> Option<Turn> {
        let place = (entity.to_owned(), environment.to_owned());
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone());
        taken.then(|| Turn(self.clone(), place))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl Store {
    /// Takes the place's turn in this process, or refuses; who waits does so for the row's lock.
    pub(super) fn turn(
        &self,
        entity: &str,
        environment: &str,
        on_conflict: OnConflict,
    ) -> Result<Option<Turn>, StoreError> {
        match on_conflict {
            OnConflict::Wait => Ok(None),
            OnConflict::Refuse => self.turns.take(entity, environment).map(Some).ok_or(StoreError::Busy),
        }
    }

    /// Another process of PostgreSQL's may have the turn: there the wait for its lock is cut short.
    pub(super) async fn begin_turn(
        &self,
        on_conflict: OnConflict,
    ) -> Result<Transaction<'static, Any>, StoreError> {
        let mut transaction = self.begin().await?;
        if on_conflict == OnConflict::Refuse && self.kind == Kind::Postgres {
            sqlx::query("SET LOCAL lock_timeout = '100ms'").execute(&mut *transaction).await?;
        }
        Ok(transaction)
    }
}

/// An error that may say that a transaction lost to another one.
pub(super) trait Repeatable {
    /// Whether the same may work when it is made again.
    fn is_worth_repeating(&self) -> bool;
}

/// Makes a transaction, again when it lost to another one.
pub(super) async fn repeated<T, E, F>(once: impl Fn() -> F) -> Result<T, E>
where
    E: Repeatable,
    F: Future<Output = Result<T, E>>,
{
    let mut attempt = 1;
    loop {
        match once().await {
            Err(error) if error.is_worth_repeating() && attempt < ATTEMPTS => attempt += 1,
            ended => return ended,
        }
    }
}

/// Which entity's turn is taken.
#[derive(Clone, Copy)]
pub(super) enum Whose<'a> {
    /// The one of this id, unless it is deleted.
    Living(Uuid),
    /// The one of this id, also when it is deleted.
    Any(Uuid),
    /// The one that jobs report under this app's name.
    App(&'a str),
}

/// The first statement of each transaction: the row's lock makes those of one entity take turns, on both databases.
pub(super) async fn take_turn(
    transaction: &mut Transaction<'static, Any>,
    whose: Whose<'_>,
) -> Result<Option<Entity>, StoreError> {
    let (condition, value) = match whose {
        Whose::Living(id) => ("entity_id = $1 AND deleted_at IS NULL", id.to_string()),
        Whose::Any(id) => ("entity_id = $1", id.to_string()),
        Whose::App(app) => ("app = $1 AND deleted_at IS NULL", app.to_owned()),
    };
    let text = format!("UPDATE entities SET turn = turn + 1 WHERE {condition} RETURNING {ENTITY}");
    let row = sqlx::query(AssertSqlSafe(text)).bind(value).fetch_optional(&mut **transaction).await?;
    row.as_ref().map(entity).transpose()
}
