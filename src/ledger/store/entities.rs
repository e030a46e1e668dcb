//! Entities: what can be deployed. The document presumes their list, creation and reading (R004-05).

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::change::AnyQuery;
use super::rows::{ENTITY, entity, get};
use super::{Entity, Json, Store, StoreError, now};

/// Which entities are wanted; what is not said is any.
#[derive(Clone, Debug, Default)]
pub struct EntityFilter {
    /// Those of exactly this name.
    pub name: Option<String>,
    /// Those of this type.
    pub kind: Option<String>,
    /// Those with this status.
    pub status: Option<String>,
    /// Those with this health.
    pub health_status: Option<String>,
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct EntityPage {
    /// Newest first.
    pub entities: Vec<Entity>,
    /// How many there are on all pages.
    pub total: i64,
}

impl EntityFilter {
    fn wanted(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let all = [
            ("name", &self.name),
            ("type", &self.kind),
            ("status", &self.status),
            ("health_status", &self.health_status),
        ];
        all.into_iter().filter_map(|(column, value)| Some((column, value.as_ref()?)))
    }

    fn condition(&self) -> (String, usize) {
        let (mut text, mut next) = (" WHERE deleted_at IS NULL".to_owned(), 1);
        for (column, _) in self.wanted() {
            text.push_str(&format!(" AND {column} = ${next}"));
            next += 1;
        }
        (text, next)
    }

    fn bind<'q>(&'q self, query: AnyQuery<'q>) -> AnyQuery<'q> {
        self.wanted().fold(query, |query, (_, value)| query.bind(value.as_str()))
    }
}

impl Store {
    /// Keeps a new entity.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn add_entity(&self, new: &Entity) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        insert(new).execute(&mut *transaction).await?;
        self.commit(transaction).await
    }

    /// Returns an entity that is not deleted, if there is one of this id.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn entity(&self, id: Uuid) -> Result<Option<Entity>, StoreError> {
        let text = format!("SELECT {ENTITY} FROM entities WHERE entity_id = $1 AND deleted_at IS NULL");
        let row = sqlx::query(AssertSqlSafe(text)).bind(id.to_string()).fetch_optional(&self.read).await?;
        row.as_ref().map(entity).transpose()
    }

    /// Returns a page of entities, newest first; `page` counts from 1.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn entities(
        &self,
        filter: &EntityFilter,
        page: i64,
        page_size: i64,
    ) -> Result<EntityPage, StoreError> {
        if filter.wanted().any(|(_, value)| value.contains('\0')) {
            return Ok(EntityPage { entities: Vec::new(), total: 0 });
        }
        let (condition, next) = filter.condition();
        let text = format!("SELECT COUNT(*) FROM entities{condition}");
        let row = filter.bind(sqlx::query(AssertSqlSafe(text))).fetch_one(&self.read).await?;
        let total = get(&row, 0)?;
        let text = format!(
            "SELECT {ENTITY} FROM entities{condition} ORDER BY created_at DESC, id DESC LIMIT ${next} OFFSET ${}",
            next + 1
        );
        let skipped = (page - 1).saturating_mul(page_size);
        let query = filter.bind(sqlx::query(AssertSqlSafe(text))).bind(page_size).bind(skipped);
        let rows = query.fetch_all(&self.read).await?;
        let entities = rows.iter().map(entity).collect::<Result<Vec<_>, _>>()?;
        Ok(EntityPage { entities, total })
    }

    /// Changes an entity under its lock: `change` gets it as it is. Returns it as it became, if it is there.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn change_entity(
        &self,
        id: Uuid,
        change: impl FnOnce(&mut Entity),
    ) -> Result<Option<Entity>, StoreError> {
        let mut transaction = self.begin().await?;
        let text = format!(
            "UPDATE entities SET turn = turn + 1 WHERE entity_id = $1 AND deleted_at IS NULL RETURNING {ENTITY}"
        );
        let row =
            sqlx::query(AssertSqlSafe(text)).bind(id.to_string()).fetch_optional(&mut *transaction).await?;
        let Some(row) = row else { return Ok(None) };
        let mut changed = entity(&row)?;
        change(&mut changed);
        changed.updated_at = now();
        update(&changed).execute(&mut *transaction).await?;
        self.commit(transaction).await?;
        Ok(Some(changed))
    }
}

fn insert(new: &Entity) -> AnyQuery<'_> {
    sqlx::query(
        "INSERT INTO entities (entity_id, name, type, version, description, config, parameters, dependencies, status, \
         health_status, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(new.entity_id.as_str())
    .bind(new.name.as_str())
    .bind(new.kind.as_str())
    .bind(new.version.as_deref())
    .bind(new.description.as_deref())
    .bind(new.config.text())
    .bind(new.parameters.text())
    .bind(new.dependencies.text())
    .bind(new.status.as_str())
    .bind(new.health_status.as_str())
    .bind(new.created_at)
    .bind(new.updated_at)
}

/// A deleted entity gives up its app: the next report of that name makes a new one.
fn update(changed: &Entity) -> AnyQuery<'_> {
    sqlx::query(
        "UPDATE entities SET name = $2, type = $3, version = $4, description = $5, config = $6, parameters = $7, \
         dependencies = $8, status = $9, health_status = $10, updated_at = $11, deleted_at = $12, \
         app = CASE WHEN $12 IS NULL THEN app END WHERE entity_id = $1",
    )
    .bind(changed.entity_id.as_str())
    .bind(changed.name.as_str())
    .bind(changed.kind.as_str())
    .bind(changed.version.as_deref())
    .bind(changed.description.as_deref())
    .bind(changed.config.text())
    .bind(changed.parameters.text())
    .bind(changed.dependencies.text())
    .bind(changed.status.as_str())
    .bind(changed.health_status.as_str())
    .bind(changed.updated_at)
    .bind(changed.deleted_at)
}

/// Returns the names in a list of dependencies, as it is stored.
pub(super) fn names_of(dependencies: &Json) -> Vec<String> {
    // Written by this program as a list of strings only.
    serde_json::from_str(dependencies.text()).unwrap_or_default()
}
