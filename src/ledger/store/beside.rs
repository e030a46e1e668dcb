//! What a deployment's page shows beside it: its history, what ran before, and what came before and after.

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::places::{Standing, standing};
use super::reader::Value;
use super::rows::{Columns, DEPLOYMENT, deployment, get};
use super::{Deployment, KeptLine, Store, StoreError};

/// Deployments beside one, in the same place.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// What ran there before it came: the latest earlier one that succeeded.
    pub replaced: Option<Deployment>,
    /// The one before, whatever became of it.
    pub earlier: Option<Standing>,
    /// The one after.
    pub later: Option<Standing>,
}

/// A change of a deployment's status.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it was; nothing when it was made.
    pub from: Option<String>,
    /// What it became.
    pub to: String,
    /// When; microseconds, UTC.
    pub at: i64,
    /// Who did it.
    pub who: String,
    /// Why, when somebody said.
    pub reason: Option<String>,
}

/// Columns of a [`Standing`].
const STANDING: &str = "d.deployment_id, d.version, d.status, d.deployed_at, d.deployed_by, d.health_checks";

fn brief(row: &dyn Columns) -> Result<Option<Standing>, StoreError> {
    standing(row, 0)
}

impl Store {
    /// Returns what is beside a deployment in its place.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn beside(&self, of: &Deployment) -> Result<Beside, StoreError> {
        let place: [Value<'_>; 4] = [
            of.entity_id.as_str().into(),
            of.environment.as_str().into(),
            of.deployed_at.into(),
            of.id.into(),
        ];
        let text = |columns: &str, way: &str, more: &str| {
            let (sign, order) = if way == "back" { ("<", "DESC") } else { (">", "ASC") };
            format!(
                "SELECT {columns} FROM deployments d WHERE d.entity_id = $1 AND d.environment = $2 \
                 AND (d.deployed_at {sign} $3 OR (d.deployed_at = $3 AND d.id {sign} $4)){more} \
                 ORDER BY d.deployed_at {order}, d.id {order} LIMIT 1"
            )
        };
        let ran = " AND d.status IN ('active', 'inactive')";
        let (replaced, earlier, later) = tokio::try_join!(
            self.reader.rows(text(DEPLOYMENT, "back", ran), &place, deployment),
            self.reader.rows(text(STANDING, "back", ""), &place, brief),
            self.reader.rows(text(STANDING, "on", ""), &place, brief),
        )?;
        let one = |found: Vec<Option<Standing>>| found.into_iter().next().flatten();
        Ok(Beside { replaced: replaced.into_iter().next(), earlier: one(earlier), later: one(later) })
    }

    /// Returns the history of a deployment, in order.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn steps(&self, deployment: Uuid) -> Result<Vec<Step>, StoreError> {
        let text = "SELECT from_status, to_status, at, who, reason FROM deployment_events WHERE deployment_id = $1 \
                    ORDER BY id LIMIT 1000";
        let rows = sqlx::query(text).bind(deployment.to_string()).fetch_all(self.read()).await?;
        let step = |row| {
            let (from, to) = (get(row, 0)?, get(row, 1)?);
            Ok(Step { from, to, at: get(row, 2)?, who: get(row, 3)?, reason: get(row, 4)? })
        };
        rows.iter().map(step).collect()
    }

    /// Returns the last lines of a deployment's log before a number, in order, at most so many.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn lines_before(
        &self,
        deployment: Uuid,
        before: i64,
        most: i64,
    ) -> Result<Vec<KeptLine>, StoreError> {
        let text = "SELECT number, at, stage, text FROM deployment_lines WHERE deployment_id = $1 AND number < $2 \
                    ORDER BY number DESC LIMIT $3";
        let query = sqlx::query(text).bind(deployment.to_string()).bind(before).bind(most);
        let rows = query.fetch_all(self.read()).await?;
        let line = |row| {
            Ok(KeptLine { number: get(row, 0)?, at: get(row, 1)?, stage: get(row, 2)?, text: get(row, 3)? })
        };
        rows.iter().rev().map(line).collect()
    }

    /// Returns the names of entities by their ids, also of deleted ones.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn names(&self, ids: &[&str]) -> Result<BTreeMap<String, String>, StoreError> {
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let marks: Vec<String> = (1..=ids.len()).map(|number| format!("${number}")).collect();
        let text = format!("SELECT entity_id, name FROM entities WHERE entity_id IN ({})", marks.join(", "));
        let query =
            ids.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, id| query.bind((*id).to_owned()));
        let rows = query.fetch_all(self.read()).await?;
        rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
    }
}
