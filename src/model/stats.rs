//! What the history says of an environment as a whole (R002-48): rates, times, checks, rollbacks.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{HistoryEntry, HistoryRecord, HistoryStatus, Outcome, Verdict};

/// Most records that are counted, from the youngest on.
pub const MOST_COUNTED: usize = 5_000;

/// Figures of one app in one environment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HistoryStats {
    /// Start of the oldest record that was counted.
    pub from: Option<Timestamp>,
    /// End of the youngest.
    pub to: Option<Timestamp>,
    /// Records of `deploy` and `up`; rates are of these.
    pub deployments: u64,
    /// Those that succeeded.
    pub succeeded: u64,
    /// Those that failed, rolled back or not.
    pub failed: u64,
    /// Those that somebody stopped.
    pub cancelled: u64,
    /// How many ended in each way, by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Part that succeeded, 0 to 1, of those that were not cancelled; absent where there are none.
    pub success_rate: Option<f64>,
    /// Part that failed, 0 to 1, of those that were not cancelled.
    pub failure_rate: Option<f64>,
    /// Times of deployments that succeeded.
    pub duration: Durations,
    /// How often a release was put back.
    pub rollbacks: Rollbacks,
    /// Checks of all these deployments, by name.
    pub checks: BTreeMap<String, CheckStats>,
    /// Whether every check passed that counted when it was asked last.
    pub healthy_last: Option<bool>,
    /// Files that are no records.
    pub unreadable: u64,
}

/// Times in seconds; absent where nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Durations {
    /// Half of them took no longer.
    pub median_seconds: Option<f64>,
    /// 95 of 100 took no longer (nearest rank).
    pub p95_seconds: Option<f64>,
    /// The longest.
    pub longest_seconds: Option<f64>,
}

/// How often a release was put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rollbacks {
    /// By itself, after a deployment that failed.
    pub automatic: u64,
    /// By the verb `rollback`.
    pub by_hand: u64,
    /// Both, for each deployment; absent where there is none.
    pub per_deployment: Option<f64>,
}

/// Verdicts of one check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckStats {
    /// How often it passed.
    pub passed: u64,
    /// How often it failed.
    pub failed: u64,
    /// How often it was not asked.
    pub skipped: u64,
}

impl HistoryStats {
    /// Returns the figures of these entries, which come youngest first.
    pub fn of(entries: &[HistoryEntry]) -> Self {
        let entries = &entries[..entries.len().min(MOST_COUNTED)];
        let records: Vec<&HistoryRecord> = entries.iter().filter_map(HistoryEntry::record).collect();
        let mut stats = Self {
            from: records.last().map(|record| record.started_at),
            to: records.first().map(|record| record.timestamp),
            unreadable: (entries.len() - records.len()) as u64,
            ..Self::default()
        };
        let mut times = Vec::new();
        for record in &records {
            stats.count(record, &mut times);
        }
        let decided = stats.succeeded + stats.failed;
        stats.success_rate = part(stats.succeeded, decided);
        stats.failure_rate = part(stats.failed, decided);
        let rollbacks = &mut stats.rollbacks;
        rollbacks.per_deployment = part(rollbacks.automatic + rollbacks.by_hand, stats.deployments);
        stats.duration = Durations::of(times);
        let asked = records.iter().find(|record| !record.checks.is_empty());
        stats.healthy_last = asked.map(|record| {
            record.checks.iter().all(|check| check.optional || check.verdict != Verdict::Failed)
        });
        stats
    }

    fn count(&mut self, record: &HistoryRecord, times: &mut Vec<f64>) {
        for check in &record.checks {
            let counted = self.checks.entry(check.name.clone()).or_default();
            match check.verdict {
                Verdict::Passed => counted.passed += 1,
                Verdict::Failed => counted.failed += 1,
                Verdict::Skipped => counted.skipped += 1,
            }
        }
        if record.verb == "rollback" {
            self.rollbacks.by_hand += u64::from(record.outcome == Outcome::Succeeded);
        }
        if !matches!(record.verb.as_str(), "deploy" | "up") {
            return;
        }
        self.deployments += 1;
        *self.outcomes.entry(record.outcome.as_str().to_owned()).or_default() += 1;
        self.rollbacks.automatic += u64::from(record.rolled_back_to.is_some());
        match record.status {
            HistoryStatus::Succeeded => {
                self.succeeded += 1;
                times.extend(Some(record.duration_seconds).filter(|time| time.is_finite() && *time >= 0.0));
            }
            HistoryStatus::Failed => self.failed += 1,
            HistoryStatus::Cancelled => self.cancelled += 1,
        }
    }
}

impl Durations {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        // Nearest rank: the smallest value that so many hundredths are no larger than.
        let ranked = |hundredths: usize| {
            let rank = (times.len() * hundredths).div_ceil(100).max(1);
            times.get(rank - 1).copied()
        };
        Self { median_seconds: ranked(50), p95_seconds: ranked(95), longest_seconds: times.last().copied() }
    }
}

/// A part of a whole, to four places.
fn part(some: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| (some as f64 / all as f64 * 10_000.0).round() / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CheckResult, example_job};

    fn record(verb: &str, outcome: Outcome, seconds: i64) -> HistoryEntry {
        let job = example_job();
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let end = Timestamp::from_second(1_790_000_000 + seconds).unwrap();
        let (environment, id) = (job.environment.name.clone(), job.deployment_id.clone());
        let mut record = HistoryRecord::new(&job.app, environment, id, (outcome, start, end), &job.requester);
        record.verb = verb.to_owned();
        record.rolled_back_to =
            (outcome == Outcome::RolledBack).then(|| job.deployment_id.as_str().parse().unwrap());
        let check = serde_json::json!({
            "name": "web", "asked": "x", "detail": "y", "latency_ms": 1, "waited_ms": 1, "attempts": 1,
            "verdict": if outcome == Outcome::Succeeded { "passed" } else { "failed" }, "optional": false,
        });
        record.checks = vec![serde_json::from_value::<CheckResult>(check).unwrap()];
        HistoryEntry::Record(Box::new(record))
    }

    #[test]
    fn figures_are_of_deployments_and_rollbacks_are_counted_both_ways() {
        let mut entries: Vec<HistoryEntry> =
            (1..=18).map(|seconds| record("deploy", Outcome::Succeeded, seconds)).collect();
        entries.push(record("deploy", Outcome::RolledBack, 100));
        entries.push(record("deploy", Outcome::Aborted, 1));
        entries.push(record("deploy", Outcome::Cancelled, 1));
        entries.push(record("rollback", Outcome::Succeeded, 500));
        entries.push(record("restart", Outcome::Succeeded, 500));
        entries.push(HistoryEntry::Unreadable { file: "x".into(), unreadable: "y".into() });
        let stats = HistoryStats::of(&entries);
        assert_eq!((stats.deployments, stats.succeeded, stats.failed, stats.cancelled), (21, 18, 2, 1));
        assert_eq!((stats.success_rate, stats.failure_rate), (Some(0.9), Some(0.1)));
        assert_eq!(stats.duration.median_seconds, Some(9.0));
        assert_eq!((stats.duration.p95_seconds, stats.duration.longest_seconds), (Some(18.0), Some(18.0)));
        let Rollbacks { automatic, by_hand, per_deployment } = stats.rollbacks;
        assert_eq!((automatic, by_hand, per_deployment), (1, 1, Some(0.0952)));
        assert_eq!(stats.checks["web"], CheckStats { passed: 20, failed: 3, skipped: 0 });
        assert_eq!((stats.healthy_last, stats.unreadable), (Some(true), 1));
        assert_eq!(stats.outcomes["succeeded"], 18);
    }

    #[test]
    fn an_empty_history_has_no_rates() {
        let stats = HistoryStats::of(&[]);
        assert_eq!((stats.success_rate, stats.duration, stats.from), (None, Durations::default(), None));
    }
}
