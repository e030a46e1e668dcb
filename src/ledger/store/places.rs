//! What runs where: apps by name, and for each of their environments what is active and what came last.

use sqlx::AssertSqlSafe;

use super::reader::Value;
use super::rows::{Columns, get, json, status};
use super::{Json, Store, StoreError};
use crate::model::lifecycle::DeploymentStatus;

/// Which apps are wanted.
#[derive(Clone, Debug, Default)]
pub struct AppFilter {
    /// Those with this part in their name, in whatever case.
    pub name: Option<String>,
    /// Those that were deployed to this environment.
    pub environment: Option<String>,
}

/// An entity as the overview shows it.
#[derive(Clone, Debug)]
pub struct App {
    /// Its id.
    pub entity_id: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// healthy, degraded, unhealthy or unknown, as somebody told the API.
    pub health_status: String,
}

/// One environment of an app.
#[derive(Clone, Debug)]
pub struct Place {
    /// The app.
    pub entity_id: String,
    /// The environment.
    pub environment: String,
    /// What runs there.
    pub active: Option<Standing>,
    /// What came last there, whatever became of it.
    pub latest: Option<Standing>,
}

/// A deployment in few words.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its id.
    pub deployment_id: String,
    /// Its version.
    pub version: String,
    /// Where it stands.
    pub status: DeploymentStatus,
    /// When it was deployed; microseconds, UTC.
    pub deployed_at: i64,
    /// Who deployed it.
    pub deployed_by: String,
    /// Results of its health checks.
    pub health_checks: Json,
}

impl Store {
    /// Returns apps by name, and how many there are.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn apps(
        &self,
        filter: &AppFilter,
        skipped: i64,
        most: i64,
    ) -> Result<(Vec<App>, i64), StoreError> {
        let texts =
            [filter.name.as_deref().unwrap_or_default(), filter.environment.as_deref().unwrap_or_default()];
        // PostgreSQL's text has no NUL; nothing was stored with one.
        if texts.iter().any(|text| text.contains('\0')) {
            return Ok((Vec::new(), 0));
        }
        let part = format!("%{}%", literal(&texts[0].to_lowercase()));
        let condition = "deleted_at IS NULL AND ($1 = '%%' OR LOWER(name) LIKE $1 ESCAPE '!') AND ($2 = '' OR EXISTS \
            (SELECT 1 FROM counters c WHERE c.scope = entity_id AND c.environment = $2 AND c.count > 0))";
        let text = format!(
            "SELECT entity_id, name, type, health_status, COUNT(*) OVER () FROM entities WHERE {condition} \
             ORDER BY LOWER(name), id LIMIT $3 OFFSET $4"
        );
        let query = sqlx::query(AssertSqlSafe(text)).bind(part).bind(texts[1].to_owned());
        let rows = query.bind(most).bind(skipped).fetch_all(self.read()).await?;
        let total = rows.first().map_or(Ok(0), |row| get(row, 4))?;
        let read = |row| {
            let (entity_id, name) = (get(row, 0)?, get(row, 1)?);
            Ok(App { entity_id, name, kind: get(row, 2)?, health_status: get(row, 3)? })
        };
        Ok((rows.iter().map(read).collect::<Result<_, StoreError>>()?, total))
    }

    /// Returns the environments of these apps, with what runs in each: one statement, however many there are.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn places(&self, apps: &[App]) -> Result<Vec<Place>, StoreError> {
        if apps.is_empty() {
            return Ok(Vec::new());
        }
        // Few different lengths, so that the statements stay prepared.
        let length = apps.len().next_power_of_two();
        let marks: Vec<String> = (1..=length).map(|number| format!("${number}")).collect();
        let last = apps.last().map(|app| app.entity_id.as_str()).unwrap_or_default();
        let ids = apps.iter().map(|app| app.entity_id.as_str()).chain(std::iter::repeat(last));
        let ids: Vec<Value<'_>> = ids.take(length).map(Value::from).collect();
        let text = format!(
            "SELECT p.scope, p.environment, a.deployment_id, a.version, a.status, a.deployed_at, a.deployed_by, \
             a.health_checks, l.deployment_id, l.version, l.status, l.deployed_at, l.deployed_by, l.health_checks \
             FROM (SELECT scope, environment FROM counters WHERE scope IN ({}) AND count > 0 GROUP BY scope, environment) p \
             LEFT JOIN deployments a ON a.entity_id = p.scope AND a.environment = p.environment AND a.status = 'active' \
             LEFT JOIN deployments l ON l.id = (SELECT d.id FROM deployments d WHERE d.entity_id = p.scope \
             AND d.environment = p.environment ORDER BY d.deployed_at DESC, d.id DESC LIMIT 1)",
            marks.join(", ")
        );
        self.reader.rows(text, &ids, place).await
    }
}

fn place(row: &dyn Columns) -> Result<Place, StoreError> {
    Ok(Place {
        entity_id: row.text(0)?,
        environment: row.text(1)?,
        active: standing(row, 2)?,
        latest: standing(row, 8)?,
    })
}

pub(super) fn standing(row: &dyn Columns, first: usize) -> Result<Option<Standing>, StoreError> {
    let Some(deployment_id) = row.maybe_text(first)? else { return Ok(None) };
    Ok(Some(Standing {
        deployment_id,
        version: row.text(first + 1)?,
        status: status(row, first + 2)?,
        deployed_at: row.number(first + 3)?,
        deployed_by: row.text(first + 4)?,
        health_checks: json(row, first + 5)?,
    }))
}

/// A text as LIKE takes it literally, with `!` before what it would read.
fn literal(text: &str) -> String {
    text.chars().flat_map(|c| "!%_".contains(c).then_some('!').into_iter().chain([c])).collect()
}
