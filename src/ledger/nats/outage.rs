//! How long to wait before the next attempt, and what the log says of an outage: once, not once for each event.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use super::stream::STREAM;
use crate::ledger::store::{OutboxEvent, StoreError, Told};

/// First wait before an attempt.
const FIRST: Duration = Duration::from_millis(250);
/// Longest wait: so much later than NATS the events are there, at most.
const LONGEST: Duration = Duration::from_secs(10);

/// An outage, when there is one.
#[derive(Debug, Default)]
pub(super) struct Outage {
    since: Option<Instant>,
    /// Whether NATS ever answered.
    has_answered: bool,
    /// What the log had of it already.
    told: Vec<String>,
    waits: Option<ExponentialBackoff>,
}

impl Outage {
    /// Notes that there is one.
    pub(super) fn begin(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// Notes that NATS did not take the event that is next, or that it is away while there is none.
    pub(super) fn note(&mut self, error: &str, first: Option<&OutboxEvent>, waiting: i64) {
        self.begin();
        let Some(first) = first else {
            return self.tell("idle", || {
                tracing::warn!("NATS: {error}; no event waits, and it is tried again until it answers");
            });
        };
        // The document's words (R004-41).
        let words = match first.subject == Told::RolledBack.subject() {
            true => "Failed to publish rollback event",
            false => "Failed to publish deployment event",
        };
        // Another cause is another thing to do.
        self.tell(&format!("{words}: {error}"), || {
            tracing::error!(
                event_id = first.event_id, waiting,
                "{words}: {error}; requests go on, {waiting} events wait in the outbox, and it is tried again until NATS takes them"
            );
        });
    }

    /// Notes that the database did not answer; whoever needs it says so to people.
    pub(super) fn note_store(&mut self, error: &StoreError) {
        self.tell("store", || {
            tracing::warn!(%error, "the outbox cannot be read for NATS; its events wait");
        });
    }

    fn tell(&mut self, what: &str, say: impl FnOnce()) {
        if !self.told.iter().any(|told| told == what) {
            self.told.push(what.to_owned());
            say();
        }
    }

    /// Notes that NATS answers.
    pub(super) fn end(&mut self, servers: &str) {
        match self.since {
            Some(since) if self.has_answered => {
                tracing::info!(
                    "NATS answers again after {} s; events are published",
                    since.elapsed().as_secs()
                );
            }
            _ if self.has_answered => {}
            _ => tracing::info!("events are published to NATS at {servers}, stream {STREAM}"),
        }
        *self = Self { has_answered: true, ..Self::default() };
    }

    /// Returns how long to wait before the next attempt; each wait is longer than the one before.
    pub(super) fn next_wait(&mut self) -> Duration {
        let waits = self.waits.get_or_insert_with(|| {
            let builder = ExponentialBuilder::default().with_min_delay(FIRST).with_max_delay(LONGEST);
            builder.with_jitter().without_max_times().build()
        });
        // Jitter adds up to a whole wait.
        waits.next().unwrap_or(LONGEST).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_ten_seconds_and_begin_anew_after_an_outage() {
        let mut outage = Outage::default();
        assert!(outage.next_wait() < FIRST * 3);
        for _ in 0..100 {
            assert!(outage.next_wait() <= LONGEST);
        }
        assert_eq!(outage.next_wait(), LONGEST);
        outage.end("a:4222");
        assert!(outage.next_wait() < FIRST * 3);
    }

    #[test]
    fn the_log_has_an_outage_once_for_each_cause() {
        let mut outage = Outage::default();
        for _ in 0..3 {
            outage.note("full", None, 0);
            outage.note("gone", None, 0);
        }
        assert_eq!(outage.told, ["idle"]);
        outage.end("a:4222");
        assert!(outage.told.is_empty() && outage.since.is_none());
    }
}
