//! `ffe-ledger import`: what hosts remember of their deployments, as records of the ledger with their real times.
//!
//! A record is applied as the report that its job would have sent (`model::reported`), so that all rules hold: one active
//! deployment, nothing twice, what ended stays as it ended. Nothing is told to others: it is long ago.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;
use uuid::Uuid;

use super::cli::Database;
use super::store::{ReportError, Store, StoreError};
use crate::model::lifecycle::{DeploymentStatus, Report};
use crate::model::reported::ledger_id;
use crate::model::{HistoryEntry, HistoryRecord};
use crate::text::harmless;

/// What stands for standard input.
const STDIN: &str = "-";

/// Arguments of `import`.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// Files of a host's `history/`, a directory of them, or what `ffe-deploy history --output json` says; `-` is standard
    /// input.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Only say what would be imported.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    database: Database,
}

/// Why nothing was imported, or not everything.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImportError {
    #[error("{place} cannot be read; nothing was imported")]
    Read { place: String, source: std::io::Error },
    #[error("{place} is no JSON; nothing was imported")]
    Json { place: String, source: serde_json::Error },
    #[error("{place} is no record of a history; nothing was imported")]
    Record { place: String, source: serde_json::Error },
    #[error(
        "the record of {deployment_id} ({place}) was not imported; those before it were: mend it, and import again"
    )]
    Refused { deployment_id: String, place: String, source: ReportError },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A record, and where it stands.
struct Found {
    place: String,
    record: HistoryRecord,
}

/// Imports, and returns what to print.
pub(super) async fn run(verb: Import) -> Result<String, ImportError> {
    let mut text = String::new();
    let mut found = Vec::new();
    for path in &verb.paths {
        for (place, content) in contents(path)? {
            for entry in entries(&place, &content)? {
                match entry {
                    (place, HistoryEntry::Record(record)) => found.push(Found { place, record: *record }),
                    (place, HistoryEntry::Unreadable { file, unreadable }) => {
                        let line =
                            format!("left out: {file} was not readable for its host: {unreadable} ({place})");
                        text.push_str(&format!("{}\n", harmless(&line)));
                    }
                }
            }
        }
    }
    // As it happened, whatever the order of the files: what is active is what came last.
    found.sort_by_key(|found| found.record.timestamp);
    let store = verb.database.open().await?;
    let mut counts = BTreeMap::new();
    for found in &found {
        let became = import(&store, found, verb.dry_run).await?;
        *counts.entry(became).or_insert(0u64) += 1;
        if became == Became::Imported {
            let HistoryRecord { app, env, version, outcome, deployment_id, timestamp, .. } = &found.record;
            let line = format!("{timestamp} {app} {version} in {env}: {outcome}, {deployment_id}");
            text.push_str(&format!("{}\n", harmless(&line)));
        }
    }
    let count = |became| counts.get(&became).copied().unwrap_or_default();
    let word = if verb.dry_run { "would be imported" } else { "imported" };
    text.push_str(&format!(
        "{} {word}, {} known already, {} of no deployment\n",
        count(Became::Imported),
        count(Became::Known),
        count(Became::None)
    ));
    Ok(text)
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Became {
    Imported,
    Known,
    /// It is of a verb that brings no release, or of what was refused before anything was touched.
    None,
}

async fn import(store: &Store, found: &Found, dry_run: bool) -> Result<Became, ImportError> {
    let Some(mut report) = Report::of_record(&found.record) else { return Ok(Became::None) };
    let id = ledger_id(&report.app, &report.environment, &report.deployment_id);
    if let Some(known) = store.report(id).await? {
        let is_open =
            matches!(known.deployment.status, DeploymentStatus::Pending | DeploymentStatus::Deploying);
        if !is_open {
            return Ok(Became::Known);
        }
        // Its job never told the end.
        let above = u32::try_from(known.sequence.saturating_add(1)).unwrap_or(u32::MAX);
        report.sequence = report.sequence.max(above);
    }
    if !dry_run {
        put(store, id, &report, found).await?;
    }
    Ok(Became::Imported)
}

async fn put(store: &Store, id: Uuid, report: &Report, found: &Found) -> Result<(), ImportError> {
    let kept = store.import_report(id, report).await;
    kept.map(drop).map_err(|source| ImportError::Refused {
        deployment_id: report.deployment_id.to_string(),
        place: found.place.clone(),
        source,
    })
}

/// The texts at a path, each with its place.
fn contents(path: &Path) -> Result<Vec<(String, String)>, ImportError> {
    let place = harmless(&path.display().to_string());
    let failed = |place: &str| {
        let place = place.to_owned();
        move |source| ImportError::Read { place, source }
    };
    if path == Path::new(STDIN) {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(failed("standard input"))?;
        return Ok(vec![("standard input".to_owned(), text)]);
    }
    if !path.is_dir() {
        let text = fs::read_to_string(path).map_err(failed(&place))?;
        return Ok(vec![(place, text)]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed(&place))? {
        let file = entry.map_err(failed(&place))?.path();
        if file.extension().is_some_and(|ending| ending == "json") {
            files.push(file);
        }
    }
    files.sort();
    let read = |file: PathBuf| {
        let place = harmless(&file.display().to_string());
        let text = fs::read_to_string(&file).map_err(failed(&place))?;
        Ok((place, text))
    };
    files.into_iter().map(read).collect()
}

/// The records of a text: one, a list of them, or several one after the other; each with its place.
fn entries(place: &str, text: &str) -> Result<Vec<(String, HistoryEntry)>, ImportError> {
    let mut found = Vec::new();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    loop {
        let line = 1 + text.as_bytes()[..values.byte_offset().min(text.len())]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        let Some(value) = values.next() else { return Ok(found) };
        let value = value.map_err(|source| ImportError::Json { place: place.to_owned(), source })?;
        let list = match value {
            Value::Array(list) => list,
            one => vec![one],
        };
        let many = list.len() > 1;
        for (at, value) in list.into_iter().enumerate() {
            let place = if many {
                format!("{place}, record {} of the list that begins in line {line}", at + 1)
            } else {
                format!("{place}, line {line}")
            };
            found
                .push((place.clone(), entry(value).map_err(|source| ImportError::Record { place, source })?));
        }
    }
}

/// A list of the history also names files that were no records.
fn entry(value: Value) -> Result<HistoryEntry, serde_json::Error> {
    if value.get("unreadable").is_some() {
        return serde_json::from_value(value);
    }
    Ok(HistoryEntry::Record(Box::new(serde_json::from_value(value)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let place = |text: &str| match entries("h.json", text) {
            Err(error) => format!("{error}: {}", std::error::Error::source(&error).unwrap()),
            Ok(found) => format!("{} records", found.len()),
        };
        assert!(place("{").starts_with("h.json is no JSON; nothing was imported: EOF"));
        assert!(
            place("[{}, {}]").starts_with("h.json, record 1 of the list that begins in line 1 is no record")
        );
        assert!(place("\n\n{\"app\": 1}").contains("h.json, line"), "{}", place("\n\n{\"app\": 1}"));
        assert_eq!(place("[]"), "0 records");
        assert_eq!(place(r#"[{"file": "a", "unreadable": "torn"}]"#), "1 records");
    }
}
