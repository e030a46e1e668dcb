//! How often each health check gave which verdict, for the metrics.

use sqlx::{Any, Transaction};

use super::rows::get;
use super::{Deployment, Store, StoreError};
use crate::model::CheckResult;

/// Checks of one deployment that are counted: each is a series for whoever watches.
const MOST: usize = 100;
/// Longest name of a check that is counted by its own name, in characters.
const LONGEST: usize = 100;

/// How often a check gave a verdict.
#[derive(Clone, Debug)]
pub struct CheckCount {
    /// Name of the entity.
    pub app: String,
    /// The environment.
    pub environment: String,
    /// Name of the check.
    pub check: String,
    /// Word of the verdict.
    pub verdict: String,
    /// How often.
    pub count: i64,
}

impl Store {
    /// Returns how often checks gave their verdicts, of deployments that ended, ever.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn check_results(&self) -> Result<Vec<CheckCount>, StoreError> {
        let rows = sqlx::query(
            "SELECT e.name, c.environment, c.name, c.verdict, c.count FROM check_results c \
             JOIN entities e ON e.entity_id = c.entity_id ORDER BY e.name, c.environment, c.name, c.verdict",
        )
        .fetch_all(self.read())
        .await?;
        let read = |row| {
            Ok(CheckCount {
                app: get(row, 0)?,
                environment: get(row, 1)?,
                check: get(row, 2)?,
                verdict: get(row, 3)?,
                count: get(row, 4)?,
            })
        };
        rows.iter().map(read).collect()
    }
}

/// Counts the verdicts of a deployment that has ended.
pub(super) async fn count_checks(
    transaction: &mut Transaction<'static, Any>,
    deployment: &Deployment,
    checks: &[CheckResult],
) -> Result<(), StoreError> {
    // One after the other: two checks of one name change the same row.
    for check in checks.iter().take(MOST) {
        // PostgreSQL's text has no NUL.
        let name: String = check.name.replace('\0', "\u{fffd}").chars().take(LONGEST).collect();
        sqlx::query(
            "INSERT INTO check_results (entity_id, environment, name, verdict, count) VALUES ($1, $2, $3, $4, 1) \
             ON CONFLICT (entity_id, environment, name, verdict) DO UPDATE SET count = check_results.count + 1",
        )
        .bind(deployment.entity_id.as_str())
        .bind(deployment.environment.as_str())
        .bind(name)
        .bind(check.verdict.as_str())
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}
