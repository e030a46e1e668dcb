//! What a transaction tells of itself: history, counters, and events for others, written at its end.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, Transaction};
use uuid::Uuid;

use super::StoreError;
use super::rows::time_text;
use super::together::Together;
use crate::model::lifecycle::DeploymentStatus;

/// How many shards the totals are spread over (schema/0001.sql).
const SHARDS: u128 = 64;
/// Longest text in an event, in bytes.
const LONGEST_TEXT: usize = 8 * 1024;

/// An event for others; what is published of it is a CloudEvent (R004-40, R004-49).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A deployment is under way; only a CI job tells that.
    Started,
    /// A deployment is active.
    Completed,
    /// A deployment failed, and what ran before still does, or nothing does.
    Failed,
    /// A deployment was rolled back.
    RolledBack,
}

impl Told {
    /// Returns the type of the CloudEvent: the one that CDEvents has for it (cdevents.dev, 0.4).
    pub fn kind(self) -> &'static str {
        match self {
            Self::Started => "dev.cdevents.pipelinerun.started.0.2.0",
            Self::Completed => "dev.cdevents.service.deployed.0.2.0",
            Self::Failed => "dev.cdevents.pipelinerun.finished.0.2.0",
            Self::RolledBack => "dev.cdevents.service.rolledback.0.2.0",
        }
    }

    /// Returns the subject that it is published under, after the prefix.
    pub fn subject(self) -> &'static str {
        match self {
            Self::Started => "deployment.started",
            Self::Completed => "deployment.completed",
            Self::Failed => "deployment.failed",
            Self::RolledBack => "deployment.rolled_back",
        }
    }
}

/// What a transaction on the deployments of one entity changed.
#[derive(Debug)]
pub struct Changes {
    entity: Uuid,
    at: i64,
    /// By environment and status, which is also the order in which rows of counters are locked.
    counts: BTreeMap<(String, &'static str), i64>,
    steps: Vec<Step>,
    events: Vec<(Told, String, Value)>,
    is_silent: bool,
}

#[derive(Debug)]
struct Step {
    deployment: String,
    environment: String,
    from: Option<DeploymentStatus>,
    to: DeploymentStatus,
    who: String,
    reason: Option<String>,
}

impl Changes {
    /// Returns changes of this entity's deployments, none yet, which happen at this time (microseconds, UTC).
    pub fn new(entity: Uuid, at: i64) -> Self {
        Self { entity, at, counts: BTreeMap::new(), steps: Vec::new(), events: Vec::new(), is_silent: false }
    }

    /// Notes that a deployment went from one status to the next; `None` is where a new one comes from.
    pub fn step(
        &mut self,
        (deployment, environment): (&str, &str),
        (from, to): (Option<DeploymentStatus>, DeploymentStatus),
        who: &str,
        reason: Option<&str>,
    ) {
        if let Some(from) = from {
            *self.counts.entry((environment.to_owned(), from.as_str())).or_default() -= 1;
        }
        *self.counts.entry((environment.to_owned(), to.as_str())).or_default() += 1;
        self.steps.push(Step {
            deployment: deployment.to_owned(),
            environment: environment.to_owned(),
            from,
            to,
            who: who.to_owned(),
            reason: reason.map(str::to_owned),
        });
    }

    /// From now on nothing is told to others.
    pub fn tell_nobody(&mut self) {
        self.is_silent = true;
    }

    /// Notes an event for others, with the document's fields as its data.
    pub fn tell(&mut self, told: Told, deployment: &str, mut data: Value) {
        if !self.is_silent {
            shorten(&mut data);
            self.events.push((told, deployment.to_owned(), data));
        }
    }

    /// Writes them: the last statements before the commit, so that rows that many share are held briefly.
    ///
    /// # Errors
    /// When the database refuses a statement.
    pub async fn write(self, transaction: &mut Transaction<'static, Any>) -> Result<(), StoreError> {
        let mut last = Together::default();
        self.add_to(&mut last);
        last.run(transaction).await
    }

    /// Adds what writes them, for a transaction that has more to say at its end.
    pub(super) fn add_to<'v>(&'v self, last: &mut Together<'v>) {
        self.add_steps(last);
        self.add_events(last);
        self.add_counts(last);
    }

    fn add_steps<'v>(&'v self, last: &mut Together<'v>) {
        if self.steps.is_empty() {
            return;
        }
        let text = rows_of(
            "INSERT INTO deployment_events (deployment_id, entity_id, environment, from_status, to_status, at, who, reason) VALUES ",
            8,
            self.steps.len(),
        );
        let mut values = Vec::with_capacity(8 * self.steps.len());
        for step in &self.steps {
            values.extend([
                step.deployment.as_str().into(),
                self.entity.to_string().into(),
                step.environment.as_str().into(),
                step.from.map(DeploymentStatus::as_str).into(),
                step.to.as_str().into(),
                self.at.into(),
                step.who.as_str().into(),
                step.reason.as_deref().into(),
            ]);
        }
        last.add(text, values);
    }

    fn add_events<'v>(&'v self, last: &mut Together<'v>) {
        if self.events.is_empty() {
            return;
        }
        let text = rows_of(
            "INSERT INTO outbox (event_id, type, subject, entity_id, deployment_id, at, body) VALUES ",
            7,
            self.events.len(),
        );
        let mut values = Vec::with_capacity(7 * self.events.len());
        for (told, deployment, data) in &self.events {
            let id = Uuid::new_v4().to_string();
            let body = self.envelope(*told, &id, deployment, data);
            values.extend([
                id.into(),
                told.kind().into(),
                told.subject().into(),
                self.entity.to_string().into(),
                deployment.as_str().into(),
                self.at.into(),
                body.into(),
            ]);
        }
        last.add(text, values);
    }

    /// A CloudEvent 1.0 in its JSON format; `partitionkey` is the extension that orders those of one entity.
    fn envelope(&self, told: Told, id: &str, deployment: &str, data: &Value) -> String {
        json!({
            "specversion": "1.0",
            "id": id,
            "source": "/ffe-ledger",
            "type": told.kind(),
            "subject": deployment,
            "time": time_text(self.at),
            "partitionkey": self.entity.to_string(),
            "datacontenttype": "application/json",
            "data": data,
        })
        .to_string()
    }

    fn add_counts<'v>(&'v self, last: &mut Together<'v>) {
        let changed: Vec<_> = self.counts.iter().filter(|(_, count)| **count != 0).collect();
        if changed.is_empty() {
            return;
        }
        let mut text =
            rows_of("INSERT INTO counters (scope, environment, status, count) VALUES ", 4, changed.len() * 2);
        text.push_str(
            " ON CONFLICT (scope, environment, status) DO UPDATE SET count = counters.count + excluded.count",
        );
        let mut values = Vec::with_capacity(8 * changed.len());
        // Rows that two transactions may share come last, and in one order for all: nobody waits in a circle.
        for scope in [self.entity.to_string(), shard_of(self.entity)] {
            for ((environment, status), count) in &changed {
                values.extend([
                    scope.clone().into(),
                    environment.as_str().into(),
                    (*status).into(),
                    (**count).into(),
                ]);
            }
        }
        last.add(text, values);
    }
}

/// Cuts long texts, such as a reason: NATS takes messages of 1 MB, and one that is larger would stand in the way of all
/// that come after it.
fn shorten(data: &mut Value) {
    match data {
        Value::String(text) if text.len() > LONGEST_TEXT => {
            text.truncate(text.floor_char_boundary(LONGEST_TEXT));
            text.push('…');
        }
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The scope of the totals that this entity's deployments are counted in.
fn shard_of(entity: Uuid) -> String {
    format!("s{:02}", entity.as_u128() % SHARDS)
}

/// Returns a statement with this many rows of this many values.
pub(super) fn rows_of(head: &str, columns: usize, rows: usize) -> String {
    let mut text = String::with_capacity(head.len() + rows * (columns * 5 + 4));
    text.push_str(head);
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 1..=columns {
            if column > 1 {
                text.push_str(", ");
            }
            text.push('$');
            text.push_str(&(row * columns + column).to_string());
        }
        text.push(')');
    }
    text
}

/// A query of the database that any of the two answers.
pub(super) type AnyQuery<'q> = Query<'q, Any, AnyArguments>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rows_are_one_statement() {
        assert_eq!(rows_of("X ", 2, 2), "X ($1, $2), ($3, $4)");
    }

    #[test]
    fn long_texts_of_events_are_cut_between_characters() {
        let mut data =
            json!({"reason": "ä".repeat(5000), "metadata": {"app": "shop", "duration_seconds": 3}});
        shorten(&mut data);
        let reason = data["reason"].as_str().unwrap();
        assert_eq!((reason.len(), reason.ends_with("ä…")), (8 * 1024 + "…".len(), true));
        assert_eq!(data["metadata"], json!({"app": "shop", "duration_seconds": 3}));
    }

    #[test]
    fn statuses_that_come_and_go_within_a_transaction_are_not_counted() {
        let mut changes = Changes::new(Uuid::nil(), 0);
        let place = ("d", "staging");
        changes.step(place, (None, DeploymentStatus::Pending), "x", None);
        changes.step(place, (Some(DeploymentStatus::Pending), DeploymentStatus::Active), "x", None);
        let counts: Vec<_> = changes.counts.into_iter().filter(|(_, count)| *count != 0).collect();
        assert_eq!(counts, [(("staging".to_owned(), "active"), 1)]);
    }
}
