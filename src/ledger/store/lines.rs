//! The log of each deployment, as its job reports it.

use sqlx::{Any, Transaction};

use super::change::rows_of;
use super::rows::get;
use super::together::Together;
use super::{Store, StoreError};
use crate::model::lifecycle::ReportLine;

/// How many lines one statement writes: five values each, and SQLite takes 32,766.
const AT_ONCE: usize = 500;

/// A line as it is kept.
#[derive(Clone, Debug)]
pub struct KeptLine {
    /// Its place in the log, from 1.
    pub number: i64,
    /// When it was said; microseconds, UTC.
    pub at: i64,
    /// Word of the stage that it was said in.
    pub stage: Option<String>,
    /// What it says: foreign text.
    pub text: String,
}

impl Store {
    /// Returns lines of a deployment after a number, in order, at most so many.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn lines(
        &self,
        deployment: uuid::Uuid,
        after: i64,
        most: i64,
    ) -> Result<Vec<KeptLine>, StoreError> {
        let text = "SELECT number, at, stage, text FROM deployment_lines WHERE deployment_id = $1 AND number > $2 \
                    ORDER BY number LIMIT $3";
        let rows = sqlx::query(text)
            .bind(deployment.to_string())
            .bind(after)
            .bind(most)
            .fetch_all(self.read())
            .await?;
        let line = |row| {
            Ok(KeptLine { number: get(row, 0)?, at: get(row, 1)?, stage: get(row, 2)?, text: get(row, 3)? })
        };
        rows.iter().map(line).collect()
    }
}

/// Keeps those lines that are not known.
pub(super) async fn keep_lines(
    transaction: &mut Transaction<'static, Any>,
    deployment: &str,
    lines: &[ReportLine],
) -> Result<(), StoreError> {
    for lines in lines.chunks(AT_ONCE) {
        let mut text = rows_of(
            "INSERT INTO deployment_lines (deployment_id, number, at, stage, text) VALUES ",
            5,
            lines.len(),
        );
        text.push_str(" ON CONFLICT (deployment_id, number) DO NOTHING");
        let mut values = Vec::with_capacity(5 * lines.len());
        for line in lines {
            values.extend([
                deployment.into(),
                i64::from(line.number).into(),
                line.at.as_microsecond().into(),
                line.stage.map(|stage| stage.as_str()).into(),
                // PostgreSQL's text has no NUL.
                line.text.replace('\0', "\u{fffd}").into(),
            ]);
        }
        let mut one = Together::default();
        one.add(text, values);
        one.run(transaction).await?;
    }
    Ok(())
}
