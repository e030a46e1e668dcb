//! Looking at deployments: one, or a page of them.

use uuid::Uuid;

use super::reader::Value;
use super::rows::{Columns, DEPLOYMENT, deployment};
use super::{Deployment, Store, StoreError};

/// Up to here a page comes in one answer with its total; behind, the total says from which end the index is walked.
const NEAR: i64 = 10_000;
/// Columns that a page near the front has after those of a deployment.
const TOTAL: usize = 22;
const IS_ENTITY_THERE: usize = 23;

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

/// A row of a page near the front.
struct Near {
    deployment: Deployment,
    total: i64,
    is_entity_there: bool,
}

impl Store {
    /// Returns a deployment, if there is one of this id.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn deployment(&self, id: Uuid) -> Result<Option<Deployment>, StoreError> {
        self.lookups.find(id).await
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
        let skipped = (page - 1).saturating_mul(page_size);
        match self.near_page(filter, skipped, page_size).await? {
            Some((page, _)) => Ok(page),
            None => self.far_page(filter, skipped, page_size).await,
        }
    }

    /// Returns a page of the deployments of the filter's entity, unless the entity is not there or deleted.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn deployments_of_entity(
        &self,
        entity: Uuid,
        filter: &DeploymentFilter,
        page: i64,
        page_size: i64,
    ) -> Result<Option<DeploymentPage>, StoreError> {
        let skipped = (page - 1).saturating_mul(page_size);
        if let Some((page, is_entity_there)) = self.near_page(filter, skipped, page_size).await? {
            return Ok(is_entity_there.then_some(page));
        }
        if self.entity(entity).await?.is_none() {
            return Ok(None);
        }
        self.far_page(filter, skipped, page_size).await.map(Some)
    }

    /// A page near the front with its total, and whether the filter's entity is there, in one answer. Nothing when there
    /// is no such page: then it takes more to know the total.
    async fn near_page(
        &self,
        filter: &DeploymentFilter,
        skipped: i64,
        page_size: i64,
    ) -> Result<Option<(DeploymentPage, bool)>, StoreError> {
        if skipped > NEAR || filter.has_nul() {
            return Ok(None);
        }
        let more = format!(", ({}), {}", filter.total_text(), filter.is_entity_there_text());
        let text = page_text(filter, &more, Way::FromTheFront, page_size);
        let rows = self.reader.rows(text, &filter.values(&[skipped]), near).await?;
        let Some(Near { total, is_entity_there, .. }) = rows.first() else { return Ok(None) };
        let (total, is_entity_there) = (*total, *is_entity_there);
        let deployments = rows.into_iter().map(|row| row.deployment).collect();
        Ok(Some((DeploymentPage { deployments, total }, is_entity_there)))
    }

    async fn far_page(
        &self,
        filter: &DeploymentFilter,
        skipped: i64,
        page_size: i64,
    ) -> Result<DeploymentPage, StoreError> {
        // PostgreSQL's text has no NUL; nothing was stored with one.
        let total = if filter.has_nul() { 0 } else { self.total(filter).await? };
        if skipped >= total {
            return Ok(DeploymentPage { deployments: Vec::new(), total });
        }
        let length = page_size.min(total - skipped);
        let way = if skipped > total / 2 { Way::FromTheEnd } else { Way::FromTheFront };
        let offset = if way == Way::FromTheEnd { total - skipped - length } else { skipped };
        let text = page_text(filter, "", way, length);
        let mut deployments = self.reader.rows(text, &filter.values(&[offset]), deployment).await?;
        if way == Way::FromTheEnd {
            deployments.reverse();
        }
        Ok(DeploymentPage { deployments, total })
    }

    /// The kept total: the counters of the entity, or of all shards (`change.rs`).
    async fn total(&self, filter: &DeploymentFilter) -> Result<i64, StoreError> {
        let totals = self.reader.rows(filter.total_text(), &filter.values(&[]), |row| row.number(0)).await?;
        Ok(totals.into_iter().next().unwrap_or_default())
    }
}

fn near(row: &dyn Columns) -> Result<Near, StoreError> {
    Ok(Near {
        deployment: deployment(row)?,
        total: row.number(TOTAL)?,
        is_entity_there: row.number(IS_ENTITY_THERE)? > 0,
    })
}

/// From which end the index is walked: the nearer one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    FromTheFront,
    FromTheEnd,
}

/// Ids come from an index alone; only the rows of the page are read. The length of a page stands in the text: of one that it
/// is told later PostgreSQL expects a tenth of all rows, and would rather read them all than plan anew each time.
fn page_text(filter: &DeploymentFilter, more: &str, way: Way, length: i64) -> String {
    let way = if way == Way::FromTheEnd { "ASC" } else { "DESC" };
    let wanted = filter.wanted();
    let next = wanted.len() + 1;
    let condition = if wanted.is_empty() { String::new() } else { format!(" WHERE {}", equal(&wanted, 1)) };
    format!(
        "SELECT {DEPLOYMENT}{more} FROM (SELECT id FROM deployments{condition} ORDER BY deployed_at {way}, id {way} \
         LIMIT {length} OFFSET ${next}) page JOIN deployments d ON d.id = page.id ORDER BY d.deployed_at {way}, d.id {way}",
    )
}

/// `a = $1 AND b = $2`, counted from a number.
fn equal(columns: &[(&'static str, Value<'_>)], first: usize) -> String {
    let all: Vec<_> =
        columns.iter().zip(first..).map(|((column, _), number)| format!("{column} = ${number}")).collect();
    all.join(" AND ")
}

impl DeploymentFilter {
    fn has_nul(&self) -> bool {
        [&self.environment, &self.status].into_iter().flatten().any(|word| word.contains('\0'))
    }

    /// Columns that must have a value, the entity first.
    fn wanted(&self) -> Vec<(&'static str, Value<'_>)> {
        let words = [("environment", &self.environment), ("status", &self.status)];
        let entity = self.entity.map(|id| ("entity_id", Value::from(id.to_string())));
        let words =
            words.into_iter().filter_map(|(column, word)| Some((column, Value::from(word.as_deref()?))));
        entity.into_iter().chain(words).collect()
    }

    /// Values of the columns, then these numbers.
    fn values(&self, numbers: &[i64]) -> Vec<Value<'_>> {
        let columns = self.wanted().into_iter().map(|(_, value)| value);
        columns.chain(numbers.iter().copied().map(Value::from)).collect()
    }

    /// Asks for the kept total, with the same values in the same order.
    fn total_text(&self) -> String {
        let mut wanted = self.wanted();
        let mut first = 1;
        let mut text = "SELECT CAST(COALESCE(SUM(count), 0) AS BIGINT) FROM counters WHERE ".to_owned();
        if self.entity.is_some() {
            wanted.remove(0);
            first = 2;
            text.push_str("scope = $1");
        } else {
            text.push_str("scope >= 's' AND scope < 't'");
        }
        if !wanted.is_empty() {
            text.push_str(" AND ");
            text.push_str(&equal(&wanted, first));
        }
        text
    }

    /// Asks for 1 when the filter's entity is there and not deleted, else for 0.
    fn is_entity_there_text(&self) -> &'static str {
        match self.entity {
            Some(_) => {
                "(SELECT CAST(COUNT(*) AS BIGINT) FROM entities WHERE entity_id = $1 AND deleted_at IS NULL)"
            }
            None => "CAST(0 AS BIGINT)",
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::AssertSqlSafe;

    use super::*;
    use crate::ledger::store::rows::get;

    /// How SQLite would go about a statement.
    async fn plan(store: &Store, text: &str) -> Vec<String> {
        let text = format!("EXPLAIN QUERY PLAN {text}");
        let rows = sqlx::query(AssertSqlSafe(text)).fetch_all(store.read()).await.unwrap();
        rows.iter().map(|row| get(row, 3).unwrap()).collect()
    }

    #[tokio::test]
    async fn every_list_of_deployments_goes_along_an_index_that_has_its_order() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("l.db").to_str().unwrap(), 3).await.unwrap();
        for number in 0..8 {
            let filter = DeploymentFilter {
                entity: (number & 1 > 0).then(Uuid::new_v4),
                environment: (number & 2 > 0).then(|| "staging".to_owned()),
                status: (number & 4 > 0).then(|| "active".to_owned()),
            };
            for way in [Way::FromTheFront, Way::FromTheEnd] {
                let plan = plan(&store, &page_text(&filter, "", way, 20)).await;
                assert!(
                    plan.iter().any(|line| line.contains("deployments USING COVERING INDEX")),
                    "{filter:?}: {plan:?}"
                );
                // The page itself is sorted again, nothing else.
                assert!(
                    plan.iter().filter(|line| line.contains("TEMP B-TREE")).count() <= 1,
                    "{filter:?}: {plan:?}"
                );
                assert!(
                    !plan.iter().any(|line| line.starts_with("SCAN deployments") && !line.contains("INDEX")),
                    "{plan:?}"
                );
            }
        }
        store.close().await;
    }
}
