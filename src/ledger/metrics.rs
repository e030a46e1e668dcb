//! `/metrics`, in Prometheus' text format: requests, deployments, and the four DORA measures.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::nats::{CURSOR, NatsState};
use super::store::{Figures, MEASURED_DAYS, Store, StoreError};
use crate::model::lifecycle::DeploymentStatus;

/// Upper ends of the buckets of request durations, in seconds.
const BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];
/// How long what the database says is told again: many may ask, and it reads a month.
const FRESH: Duration = Duration::from_secs(15);

/// Methods that are counted by name; anybody can send others, as many as there are words.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// What is counted of requests, and what was last read of deployments.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, String, u16), Durations>>,
    deployments: tokio::sync::Mutex<Option<(Instant, String)>>,
}

#[derive(Clone, Debug, Default)]
struct Durations {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum_s: f64,
}

impl Metrics {
    /// Counts a request of a route; paths that are no route are one.
    pub fn count(&self, method: &str, route: Option<String>, status: u16, took: Duration) {
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("other");
        let key = (method, route.unwrap_or_else(|| "none".to_owned()), status);
        let seconds = took.as_secs_f64();
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let durations = requests.entry(key).or_default();
        durations.count += 1;
        durations.sum_s += seconds;
        if let Some(bucket) = BUCKETS.iter().position(|end| seconds <= *end) {
            durations.buckets[bucket] += 1;
        }
    }

    /// Returns everything as text.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn text(&self, store: &Store) -> Result<String, StoreError> {
        let mut out = self.requests_text();
        let mut known = self.deployments.lock().await;
        match &*known {
            Some((read, text)) if read.elapsed() < FRESH => out.push_str(text),
            _ => {
                let text = deployments_text(store).await?;
                out.push_str(&text);
                *known = Some((Instant::now(), text));
            }
        }
        Ok(out)
    }

    fn requests_text(&self) -> String {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut out = head("request_duration_seconds", "histogram", "Time from a request to its answer.");
        for ((method, route, status), durations) in &requests {
            let labels =
                format!("method=\"{}\",route=\"{}\",status=\"{status}\"", escaped(method), escaped(route));
            let mut below = 0;
            for (end, count) in BUCKETS.iter().zip(durations.buckets) {
                below += count;
                line(&mut out, "request_duration_seconds_bucket", &format!("{labels},le=\"{end}\""), below);
            }
            line(
                &mut out,
                "request_duration_seconds_bucket",
                &format!("{labels},le=\"+Inf\""),
                durations.count,
            );
            line(&mut out, "request_duration_seconds_sum", &labels, durations.sum_s);
            line(&mut out, "request_duration_seconds_count", &labels, durations.count);
        }
        out
    }
}

/// Returns how publishing to NATS goes; nothing where none is configured.
///
/// # Errors
/// When the database does not answer.
pub async fn nats_text(nats: &NatsState, store: &Store) -> Result<String, StoreError> {
    let Some((is_up, published)) = nats.figures() else { return Ok(String::new()) };
    let waiting = store.unpublished(store.cursor(CURSOR).await?).await?;
    let mut out = head("nats_up", "gauge", "Whether NATS answers.");
    line(&mut out, "nats_up", "", u8::from(is_up));
    out.push_str(&head("events_published_total", "counter", "Events that this process published to NATS."));
    line(&mut out, "events_published_total", "", published);
    out.push_str(&head("events_unpublished", "gauge", "Events that wait in the outbox for NATS."));
    line(&mut out, "events_unpublished", "", waiting);
    Ok(out)
}

async fn deployments_text(store: &Store) -> Result<String, StoreError> {
    let mut out = head("deployments", "gauge", "Deployments by where they stand, ever.");
    let mut rollbacks = head("rollbacks_total", "counter", "Deployments that were taken back, ever.");
    for (app, environment, status, count) in store.totals().await? {
        let place = place_labels(&app, &environment);
        line(&mut out, "deployments", &format!("{place},status=\"{}\"", escaped(&status)), count);
        if status == DeploymentStatus::RolledBack.as_str() {
            line(&mut rollbacks, "rollbacks_total", &place, count);
        }
    }
    out.push_str(&rollbacks);
    let about = "Verdicts of health checks in deployments that ended, ever.";
    out.push_str(&head("check_results_total", "counter", about));
    for found in store.check_results().await? {
        let place = place_labels(&found.app, &found.environment);
        let (check, verdict) = (escaped(&found.check), escaped(&found.verdict));
        line(
            &mut out,
            "check_results_total",
            &format!("{place},check=\"{check}\",verdict=\"{verdict}\""),
            found.count,
        );
    }
    let measures = store.measures(MEASURED_DAYS).await?;
    #[expect(clippy::type_complexity, reason = "a table: name, what it is, and how it is read")]
    let table: [(&str, &str, fn(&Figures) -> Option<f64>); 5] = [
        ("dora_deployments_per_day", "Deployments that came to run, a day, over 30 days.", |figures| {
            Some(figures.ran as f64 / MEASURED_DAYS as f64)
        }),
        ("dora_lead_time_seconds", "Median time from the commit to running, over 30 days.", |figures| {
            figures.lead_time_s
        }),
        (
            "dora_change_failure_ratio",
            "Part of deployments that failed or were rolled back, over 30 days.",
            Figures::failure_ratio,
        ),
        (
            "dora_time_to_restore_seconds",
            "Median time from a failed deployment to what is active next, over 30 days.",
            |figures| figures.restore_s,
        ),
        ("deployment_duration_mean_seconds", "Mean duration of deployments, over 30 days.", |figures| {
            figures.duration_s
        }),
    ];
    for (name, about, read) in table {
        out.push_str(&head(name, "gauge", about));
        for measures in &measures {
            if let Some(value) = read(&measures.figures) {
                line(&mut out, name, &place_labels(&measures.app, &measures.environment), value);
            }
        }
    }
    Ok(out)
}

fn place_labels(app: &str, environment: &str) -> String {
    format!("app=\"{}\",environment=\"{}\"", escaped(app), escaped(environment))
}

fn head(name: &str, kind: &str, about: &str) -> String {
    format!("# HELP ffe_ledger_{name} {about}\n# TYPE ffe_ledger_{name} {kind}\n")
}

fn line(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    // Writing to a String does not fail.
    let _ = match labels {
        "" => writeln!(out, "ffe_ledger_{name} {value}"),
        _ => writeln!(out, "ffe_ledger_{name}{{{labels}}} {value}"),
    };
}

/// A label's value, as the text format wants it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up_and_labels_are_escaped() {
        let metrics = Metrics::default();
        metrics.count("GET", Some("/a\"b".to_owned()), 200, Duration::from_millis(2));
        metrics.count("GET", Some("/a\"b".to_owned()), 200, Duration::from_secs(60));
        let text = metrics.requests_text();
        metrics.count("BREW", None, 405, Duration::ZERO);
        assert!(metrics.requests_text().contains("method=\"other\",route=\"none\",status=\"405\""));
        let labels = "method=\"GET\",route=\"/a\\\"b\",status=\"200\"";
        for (end, count) in [("0.001", 0), ("0.0025", 1), ("10", 1), ("+Inf", 2)] {
            let wanted =
                format!("ffe_ledger_request_duration_seconds_bucket{{{labels},le=\"{end}\"}} {count}\n");
            assert!(text.contains(&wanted), "{wanted}{text}");
        }
    }
}
