//! How well deploying goes: what the metrics and the pages say of the last 30 days.

use super::rows::get;
use super::{Store, StoreError, now};

/// How far back the measures look.
pub const MEASURED_DAYS: i64 = 30;
const DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// What ended in one environment of one app within [`MEASURED_DAYS`].
#[derive(Clone, Debug)]
pub struct Measures {
    /// Name of the entity.
    pub app: String,
    /// The environment.
    pub environment: String,
    /// Deployments that ended, however.
    pub ended: i64,
    /// Those that came to run and were not taken back.
    pub succeeded: i64,
    /// Those that failed or were rolled back.
    pub failed: i64,
    /// Mean time from the commit to running, in seconds, of those whose commit is known.
    pub lead_time_s: Option<f64>,
    /// Mean time from a deployment to its rollback, in seconds.
    pub restore_s: Option<f64>,
    /// Mean duration in seconds.
    pub duration_s: Option<f64>,
}

impl Store {
    /// Returns the measures of all apps and environments.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn measures(&self) -> Result<Vec<Measures>, StoreError> {
        let rows = sqlx::query(
            "SELECT e.name, d.environment, CAST(COUNT(*) AS BIGINT), \
             CAST(SUM(CASE WHEN d.status IN ('active', 'inactive') THEN 1 ELSE 0 END) AS BIGINT), \
             CAST(SUM(CASE WHEN d.status IN ('failed', 'rolled_back') THEN 1 ELSE 0 END) AS BIGINT), \
             CAST(AVG(d.deployed_at - d.committed_at) / 1000000.0 AS DOUBLE PRECISION), \
             CAST(AVG(d.rolled_back_at - d.deployed_at) / 1000000.0 AS DOUBLE PRECISION), \
             CAST(AVG(d.deployment_duration_seconds) AS DOUBLE PRECISION) \
             FROM deployments d JOIN entities e ON e.entity_id = d.entity_id \
             WHERE d.deployed_at > $1 AND d.status NOT IN ('pending', 'deploying') \
             GROUP BY e.name, d.environment ORDER BY e.name, d.environment",
        )
        .bind(now() - MEASURED_DAYS * DAY)
        .fetch_all(self.read())
        .await?;
        let read = |row| {
            Ok(Measures {
                app: get(row, 0)?,
                environment: get(row, 1)?,
                ended: get(row, 2)?,
                succeeded: get(row, 3)?,
                failed: get(row, 4)?,
                lead_time_s: get(row, 5)?,
                restore_s: get(row, 6)?,
                duration_s: get(row, 7)?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Returns how many deployments there are by app, environment and status, ever: the kept totals.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn totals(&self) -> Result<Vec<(String, String, String, i64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT e.name, c.environment, c.status, CAST(SUM(c.count) AS BIGINT) FROM counters c \
             JOIN entities e ON e.entity_id = c.scope GROUP BY e.name, c.environment, c.status \
             ORDER BY e.name, c.environment, c.status",
        )
        .fetch_all(self.read())
        .await?;
        rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?, get(row, 2)?, get(row, 3)?))).collect()
    }
}
