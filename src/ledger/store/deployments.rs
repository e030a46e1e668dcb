//! Looking at deployments: one, or a page of them.

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::change::AnyQuery;
use super::rows::{DEPLOYMENT, deployment};
use super::{Deployment, Store, StoreError};

/// Which deployments are wanted; what is not said is any.
#[derive(Clone, Debug, Default)]
pub struct DeploymentFilter {
    /// Those of this entity.
    pub entity: Option<Uuid>,
    /// Those in this environment; any word, an unknown one has none (R004-26).
    pub environment: Option<String>,
    /// Those with this status; any word.
    pub status: Option<String>,
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct DeploymentPage {
    /// Newest first.
    pub deployments: Vec<Deployment>,
    /// How many there are on all pages.
    pub total: i64,
}

impl Store {
    /// Returns a deployment, if there is one of this id.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn deployment(&self, id: Uuid) -> Result<Option<Deployment>, StoreError> {
        let text = format!("SELECT {DEPLOYMENT} FROM deployments d WHERE d.deployment_id = $1");
        let row = sqlx::query(AssertSqlSafe(text)).bind(id.to_string()).fetch_optional(&self.read).await?;
        row.as_ref().map(deployment).transpose()
    }

    /// Returns a page of deployments, newest first (R004-27); `page` counts from 1.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn deployments(
        &self,
        filter: &DeploymentFilter,
        page: i64,
        page_size: i64,
    ) -> Result<DeploymentPage, StoreError> {
        // PostgreSQL's text has no NUL; nothing was stored with one.
        if [&filter.environment, &filter.status].into_iter().flatten().any(|word| word.contains('\0')) {
            return Ok(DeploymentPage { deployments: Vec::new(), total: 0 });
        }
        let total = self.total(filter).await?;
        let skipped = (page - 1).saturating_mul(page_size);
        if skipped >= total {
            return Ok(DeploymentPage { deployments: Vec::new(), total });
        }
        let length = page_size.min(total - skipped);
        // The index is walked from its nearer end.
        let from_the_end = skipped > total / 2;
        let offset = if from_the_end { total - skipped - length } else { skipped };
        let text = page_text(filter, from_the_end);
        let query = filter.bind(sqlx::query(AssertSqlSafe(text))).bind(length).bind(offset);
        let rows = query.fetch_all(&self.read).await?;
        let mut deployments = rows.iter().map(deployment).collect::<Result<Vec<_>, _>>()?;
        if from_the_end {
            deployments.reverse();
        }
        Ok(DeploymentPage { deployments, total })
    }

    /// The kept total: the counters of the entity, or of all shards (`change.rs`).
    async fn total(&self, filter: &DeploymentFilter) -> Result<i64, StoreError> {
        let mut text = "SELECT CAST(COALESCE(SUM(count), 0) AS BIGINT) FROM counters WHERE ".to_owned();
        text.push_str(if filter.entity.is_some() { "scope = $1" } else { "scope >= 's' AND scope < 't'" });
        let mut next = usize::from(filter.entity.is_some());
        for (column, value) in [("environment", &filter.environment), ("status", &filter.status)] {
            if value.is_some() {
                next += 1;
                text.push_str(&format!(" AND {column} = ${next}"));
            }
        }
        let row = filter.bind(sqlx::query(AssertSqlSafe(text))).fetch_one(&self.read).await?;
        super::rows::get(&row, 0)
    }
}

/// Ids come from an index alone; only the rows of the page are read.
fn page_text(filter: &DeploymentFilter, from_the_end: bool) -> String {
    let way = if from_the_end { "ASC" } else { "DESC" };
    let (condition, next) = filter.condition();
    format!(
        "SELECT {DEPLOYMENT} FROM (SELECT id FROM deployments{condition} ORDER BY deployed_at {way}, id {way} \
         LIMIT ${} OFFSET ${}) page JOIN deployments d ON d.id = page.id ORDER BY d.deployed_at {way}, d.id {way}",
        next,
        next + 1,
    )
}

impl DeploymentFilter {
    /// Returns the condition, with the number of the next parameter.
    fn condition(&self) -> (String, usize) {
        let (mut text, mut next) = (String::new(), 1);
        let wanted = [
            ("entity_id", self.entity.is_some()),
            ("environment", self.environment.is_some()),
            ("status", self.status.is_some()),
        ];
        for (column, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
            text.push_str(if next == 1 { " WHERE " } else { " AND " });
            text.push_str(&format!("{column} = ${next}"));
            next += 1;
        }
        (text, next)
    }

    /// Binds what the condition has, in its order.
    fn bind<'q>(&'q self, mut query: AnyQuery<'q>) -> AnyQuery<'q> {
        if let Some(entity) = self.entity {
            query = query.bind(entity.to_string());
        }
        for word in [&self.environment, &self.status].into_iter().flatten() {
            query = query.bind(word.as_str());
        }
        query
    }
}
