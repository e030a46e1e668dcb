//! `history --ledger` and `list --ledger`: what the ledger knows, in the forms of what a host knows.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::super::answer;
use super::super::args::{ListArgs, Output};
use super::super::github::{Front, Github};
use super::super::order::Wish;
use super::super::surroundings::Surroundings;
use super::client::Api;
use super::sync::{configured, unusable};
use crate::config::{self, Inputs};
use crate::model::lifecycle::DeploymentStatus;
use crate::model::{
    AppName, DeploymentId, EnvironmentName, ErrorKind, Exit, FailureReport, HISTORY_SCHEMA, HistoryEntry,
    HistoryRecord, HistoryStats, ListedRunning, Outcome, RunningAnswer,
};
use crate::report::delivery::Unsent;
use crate::report::human;
use crate::report::ledger::{judged, strange};
use crate::text::harmless;

/// Most that a page has (R004's own limit), and most pages that are read.
const PAGE: usize = 100;
const PAGES: usize = 10;
/// Longest wait for one page.
const PATIENCE: Duration = Duration::from_secs(10);

/// A deployment, as much of it as is looked at.
#[derive(Deserialize)]
struct Kept {
    deployment_id: DeploymentId,
    entity_id: String,
    version: String,
    environment: String,
    #[serde(default)]
    config_snapshot: Value,
    status: String,
    deployed_at: Timestamp,
    deployed_by: String,
    rolled_back_at: Option<Timestamp>,
    rollback_reason: Option<String>,
    #[serde(default)]
    health_checks: Value,
    error_logs: Option<String>,
    deployment_duration_seconds: Option<i64>,
}

#[derive(Deserialize)]
struct Deployments {
    deployments: Vec<Kept>,
}

#[derive(Deserialize)]
struct Entities {
    entities: Vec<Entity>,
}

#[derive(Deserialize)]
struct Entity {
    entity_id: String,
    name: String,
}

type Failed = (Exit, FailureReport);

/// Prints the deployments of an app and environment that the ledger knows, newest first.
pub(in crate::cli) async fn history(wish: &Wish) -> Exit {
    let surroundings = Surroundings::of_process();
    let config = &wish.reach.config;
    let github = Github::of(&surroundings, Front::beside(config.log.output), &config.project_root);
    ended("history", github.as_ref(), entries(wish, &surroundings).await, |entries| {
        if wish.options.stats {
            let stats = HistoryStats::of(&entries);
            let table = human::stats(&stats, None);
            return answer::print(
                &serde_json::to_value(stats).unwrap_or_default(),
                config.log.output,
                Some(table),
            );
        }
        let table = human::history(&entries, None);
        answer::print(&serde_json::to_value(entries).unwrap_or_default(), config.log.output, Some(table));
    })
}

/// Prints what runs where, as the ledger knows it.
pub(in crate::cli) async fn list(args: &ListArgs) -> Exit {
    let surroundings = Surroundings::of_process();
    let config = &args.config;
    let github = Github::of(&surroundings, Front::beside(config.log.output), &config.project_root);
    ended("list", github.as_ref(), running(args, &surroundings).await, |found| {
        let table = (config.log.output == Output::Human).then(|| human::running(&found, None));
        answer::print(&serde_json::to_value(&found).unwrap_or_default(), config.log.output, table);
    })
}

fn ended<T>(verb: &str, github: Option<&Github>, found: Result<T, Failed>, show: impl FnOnce(T)) -> Exit {
    match found {
        Ok(found) => {
            show(found);
            github.iter().for_each(|github| github.ended(Exit::Done));
            Exit::Done
        }
        Err((exit, failure)) => answer::fail(verb, &failure, exit, github),
    }
}

async fn entries(wish: &Wish, surroundings: &Surroundings) -> Result<Vec<HistoryEntry>, Failed> {
    let api =
        Api::of(&configured(&wish.inputs(surroundings))?).map_err(|why| (Exit::Invalid, unusable(&why)))?;
    let resolved = wish.resolve(surroundings).await.map_err(|error| (error.exit(), error.report()))?;
    let (app, environment) = (resolved.app.name, resolved.environment.name);
    let Some(entity) = entity(&api, &app).await? else { return Ok(Vec::new()) };
    let mut entries = Vec::new();
    let path = format!("/api/v1/entities/{}/deployments?environment={environment}", query(&entity));
    for kept in pages(&api, &path, |page: Deployments| page.deployments).await? {
        entries.extend(entry(kept, &app, &environment).map(|record| HistoryEntry::Record(Box::new(record))));
    }
    Ok(entries)
}

/// The entity that an app's reports go to has its name.
async fn entity(api: &Api, app: &AppName) -> Result<Option<String>, Failed> {
    let path = format!("/api/v1/entities?name={app}");
    let found = pages(api, &path, |page: Entities| page.entities).await?;
    Ok(found.into_iter().find(|entity| entity.name == app.as_str()).map(|entity| entity.entity_id))
}

async fn running(args: &ListArgs, surroundings: &Surroundings) -> Result<RunningAnswer, Failed> {
    let inputs = Inputs {
        app: args.config.app.clone(),
        project_root: args.config.project_root.clone(),
        config_dir: args.config.config_dir.clone(),
        verb: config::Verb::Looks,
        job: surroundings.variables.clone(),
        ..Inputs::default()
    };
    let api = Api::of(&configured(&inputs)?).map_err(|why| (Exit::Invalid, unusable(&why)))?;
    let entities = pages(&api, "/api/v1/entities?", |page: Entities| page.entities).await?;
    let names: BTreeMap<String, String> =
        entities.into_iter().map(|entity| (entity.entity_id, entity.name)).collect();
    let active =
        pages(&api, "/api/v1/deployments?status=active", |page: Deployments| page.deployments).await?;
    let mut running: Vec<ListedRunning> = active
        .into_iter()
        .map(|kept| ListedRunning {
            app: harmless(names.get(&kept.entity_id).unwrap_or(&kept.entity_id)),
            environment: harmless(&kept.environment),
            version: harmless(&kept.version),
            deployed_at: kept.deployed_at,
            deployed_by: harmless(&kept.deployed_by),
            deployment_id: kept.deployment_id,
        })
        .filter(|running| args.config.app.as_ref().is_none_or(|app| *app == running.app))
        .collect();
    running.sort_by(|one, other| (&one.app, &one.environment).cmp(&(&other.app, &other.environment)));
    Ok(RunningAnswer { running })
}

/// Reads all pages at an address, up to the most that is read.
async fn pages<P: DeserializeOwned, T>(
    api: &Api,
    path: &str,
    items: impl Fn(P) -> Vec<T>,
) -> Result<Vec<T>, Failed> {
    let mut found = Vec::new();
    for page in 1..=PAGES {
        let path = format!("{path}&page={page}&page_size={PAGE}").replace("?&", "?");
        let answered = timeout(PATIENCE, api.get(&path)).await.map_err(|_| Unsent::Late(PATIENCE));
        let answered =
            answered.and_then(|answered| answered.map_err(Unsent::Away)).map_err(|why| unread(&why))?;
        if answered.status != 200 {
            let why = judged(&answered).err().unwrap_or_else(strange);
            return Err(unread(&why));
        }
        let read = serde_json::from_str(&answered.body).map_err(|_| unread(&strange()))?;
        let some = items(read);
        let is_last = some.len() < PAGE;
        found.extend(some);
        if is_last {
            break;
        }
    }
    Ok(found)
}

/// Why the ledger has not said it.
fn unread(why: &Unsent) -> Failed {
    let exit = if why.is_passing() { Exit::Unreachable } else { Exit::Refused };
    let hint = match why {
        Unsent::Refused { status: 401 | 403, .. } => {
            "reading wants a token of the scope `read`: `ffe-ledger token create NAME --scope read`"
        }
        _ => "look at `ledger.url`, and whether the ledger runs; without `--ledger` the host is asked",
    };
    let message = format!("the ledger cannot be read: {why}");
    (exit, FailureReport::new(ErrorKind::DeploymentError, "ledger.unread", message).hint(hint))
}

/// A part of an address.
fn query(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
}

/// A deployment in the words of a host's history; nothing while it has not ended.
fn entry(kept: Kept, app: &AppName, environment: &EnvironmentName) -> Option<HistoryRecord> {
    let status: DeploymentStatus = kept.status.parse().ok()?;
    let outcome = match status {
        DeploymentStatus::Pending | DeploymentStatus::Deploying => return None,
        DeploymentStatus::Active | DeploymentStatus::Inactive => Outcome::Succeeded,
        DeploymentStatus::Failed => Outcome::Failed,
        DeploymentStatus::RolledBack => Outcome::RolledBack,
    };
    let took = SignedDuration::from_secs(kept.deployment_duration_seconds.unwrap_or_default().max(0));
    // What became active is dated by that, what did not by its beginning.
    let (started_at, timestamp) = match outcome {
        Outcome::Succeeded => {
            (kept.deployed_at.checked_sub(took).unwrap_or(kept.deployed_at), kept.deployed_at)
        }
        _ => (kept.deployed_at, kept.rolled_back_at.or(kept.deployed_at.checked_add(took).ok())?),
    };
    let errors = kept.error_logs.filter(|text| !text.trim().is_empty()).map(|text| {
        FailureReport::new(
            ErrorKind::DeploymentError,
            "ledger",
            harmless(text.lines().next().unwrap_or_default()),
        )
    });
    Some(HistoryRecord {
        app: app.clone(),
        env: environment.clone(),
        version: harmless(&kept.version),
        timestamp,
        status: outcome.into(),
        config: kept.config_snapshot,
        schema: HISTORY_SCHEMA,
        deployment_id: kept.deployment_id,
        verb: "deploy".to_owned(),
        outcome,
        release: None,
        commit: None,
        previous_release: None,
        rolled_back_to: None,
        reason: kept.rollback_reason.as_deref().map(harmless),
        who: harmless(&kept.deployed_by),
        run_url: None,
        started_at,
        duration_seconds: took.as_secs_f64(),
        backup: None,
        checks: serde_json::from_value(kept.health_checks).unwrap_or_default(),
        hooks: Vec::new(),
        errors: errors.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(status: &str) -> Kept {
        serde_json::from_value(serde_json::json!({
            "deployment_id": "0123abcd-0000-8000-8000-000000000000", "entity_id": "e", "version": "1.0.0",
            "environment": "staging", "config_snapshot": {}, "status": status, "deployed_at": "2026-01-01T00:01:00Z",
            "deployed_by": "ada\u{1b}[1m", "rolled_back_at": null, "rollback_reason": null, "health_checks": [],
            "error_logs": "no room\nmore", "deployment_duration_seconds": 60, "later": 1,
        }))
        .unwrap()
    }

    #[test]
    fn a_deployment_is_told_as_a_record_of_the_history() {
        let (app, environment) = ("shop".parse().unwrap(), "staging".parse().unwrap());
        let record = entry(kept("inactive"), &app, &environment).unwrap();
        assert_eq!((record.outcome, record.who.as_str()), (Outcome::Succeeded, "ada"));
        assert_eq!(record.started_at.to_string(), "2026-01-01T00:00:00Z");
        let failed = entry(kept("failed"), &app, &environment).unwrap();
        assert_eq!(failed.timestamp.to_string(), "2026-01-01T00:02:00Z");
        assert_eq!(failed.errors[0].message, "no room");
        assert!(entry(kept("deploying"), &app, &environment).is_none());
        assert_eq!(query("a-1/../?x"), "a-1x");
    }
}
