//! The log of each deployment, as its job reports it.

use std::fmt::Write as _;

use sqlx::{Any, AssertSqlSafe, Transaction};

use super::rows::get;
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
        let mut text =
            String::from("INSERT INTO deployment_lines (deployment_id, number, at, stage, text) VALUES ");
        for index in 0..lines.len() {
            let first = index * 5 + 1;
            let comma = if index == 0 { "" } else { ", " };
            let [second, third, fourth, fifth] = [first + 1, first + 2, first + 3, first + 4];
            // Writing to a String does not fail.
            let _ = write!(text, "{comma}(${first}, ${second}, ${third}, ${fourth}, ${fifth})");
        }
        text.push_str(" ON CONFLICT (deployment_id, number) DO NOTHING");
        let mut query = sqlx::query(AssertSqlSafe(text));
        for line in lines {
            query = query
                .bind(deployment.to_owned())
                .bind(i64::from(line.number))
                .bind(line.at.as_microsecond())
                .bind(line.stage.map(|stage| stage.as_str().to_owned()))
                // PostgreSQL's text has no NUL.
                .bind(line.text.replace('\0', "\u{fffd}"));
        }
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}
