//! Looking at what is asked for most, by the driver of the database itself: on PostgreSQL `Any` copies each value twice.

use std::borrow::Cow;

use sqlx::query::Query;
use sqlx::{AnyPool, AssertSqlSafe, Database, Encode, Type};

use super::StoreError;
use super::held::Held;
use super::rows::Columns;

/// Connections for looking.
#[derive(Clone, Debug)]
pub(super) enum Reader {
    /// Of SQLite, which are in this process.
    Any(AnyPool),
    /// Of PostgreSQL.
    Postgres(Held),
}

impl Reader {
    /// Returns the rows of a statement, each made by `make`.
    pub(super) async fn rows<T>(
        &self,
        text: String,
        values: &[Value<'_>],
        make: fn(&dyn Columns) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        // The texts are this program's; what others say is bound.
        let text = AssertSqlSafe(text);
        match self {
            Self::Any(pool) => {
                bound(sqlx::query(text), values).fetch_all(pool).await?.iter().map(|row| make(row)).collect()
            }
            Self::Postgres(held) => {
                let mut lent = held.lend().await?;
                let rows = bound(sqlx::query(text), values).fetch_all(lent.connection()).await?;
                lent.give_back();
                rows.iter().map(|row| make(row)).collect()
            }
        }
    }

    /// Ends the connections, when those who use them are done.
    pub(super) async fn close(&self) {
        match self {
            Self::Any(pool) => pool.close().await,
            Self::Postgres(held) => held.close().await,
        }
    }
}

/// A parameter of a statement.
#[derive(Clone, Debug)]
pub(super) enum Value<'v> {
    Text(Option<Cow<'v, str>>),
    Number(Option<i64>),
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl<'v> From<Option<&'v str>> for Value<'v> {
    fn from(text: Option<&'v str>) -> Self {
        Self::Text(text.map(Cow::from))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

/// Binds the values to a query of either driver.
pub(super) fn bound<'q, D: Database>(
    query: Query<'q, D, D::Arguments>,
    values: &'q [Value<'_>],
) -> Query<'q, D, D::Arguments>
where
    Option<&'q str>: Encode<'q, D> + Type<D>,
    Option<i64>: Encode<'q, D> + Type<D>,
{
    values.iter().fold(query, |query, value| match value {
        Value::Text(text) => query.bind(text.as_deref()),
        Value::Number(number) => query.bind(*number),
    })
}
