//! Answers and results as `--output json` prints them on stdout.

use serde::Serialize;

use super::ReportError;

/// Returns an answer, or the result of a deployment, as indented JSON that ends with a line break and in which the
/// runner finds no command.
///
/// # Errors
/// Never for answers of this program: they hold nothing that JSON cannot say.
pub fn answer(answer: &impl Serialize) -> Result<String, ReportError> {
    let json = serde_json::to_string_pretty(answer).map_err(|source| ReportError::Json { source })?;
    Ok(format!("{}\n", crate::text::harmless_json(&json)))
}
