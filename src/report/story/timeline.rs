//! The stages of a run on one clock, although two machines tell of them.

use jiff::Timestamp;

use crate::event::{Event, EventKind, Origin};
use crate::model::{Stage, StageOutcome};

/// How much later than the runner's last event the host's first one may be before its clock counts as wrong: longer
/// than a bundle travels.
const MOST_APART_MS: i64 = 10 * 60 * 1000;

/// One stage as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageTold {
    /// Which.
    pub stage: Stage,
    /// Which half went through it.
    pub origin: Origin,
    /// When it began, counted from the beginning of the run.
    pub began_ms: u64,
    /// How long it took; absent while nobody has told its end.
    pub took_ms: Option<u64>,
    /// How it ended.
    pub outcome: Option<StageOutcome>,
    /// Why it was skipped or failed.
    pub reason: Option<String>,
}

/// The stages of a run, in order.
///
/// A host's clock may be wrong. Its first event cannot be earlier than what the runner said before it, and is not much
/// later: where the clocks say so, all of the host's times are moved.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    stages: Vec<StageTold>,
    /// Time of the first event, in milliseconds since 1970.
    start: Option<i64>,
    /// Latest time heard, on the runner's clock.
    latest: i64,
    /// What is added to the host's times; known with its first event.
    host_offset: Option<i64>,
}

impl Timeline {
    /// Takes one event in.
    pub(super) fn hear(&mut self, event: &Event) {
        let Ok(time) = event.timestamp.parse::<Timestamp>() else { return };
        let now = self.on_our_clock(event.origin, time.as_millisecond());
        let start = *self.start.get_or_insert(now);
        self.latest = self.latest.max(now);
        let since_start = u64::try_from(now - start).unwrap_or(0);
        match &event.kind {
            EventKind::StageStarted {} => self.begin(event, since_start),
            EventKind::StageFinished { outcome, took_ms, reason, span: _ } => {
                let is_open = |told: &StageTold| {
                    told.stage == event.stage && told.origin == event.origin && told.outcome.is_none()
                };
                let Some(at) = self.stages.iter().rposition(is_open) else { return };
                let told = &mut self.stages[at];
                told.took_ms = Some(*took_ms);
                told.outcome = Some(*outcome);
                told.reason.clone_from(reason);
                // The first stage begins before anything may be printed: so did the run.
                let before = took_ms.saturating_sub(since_start.saturating_sub(told.began_ms));
                if at == 0 {
                    self.start = Some(start - i64::try_from(before).unwrap_or(0));
                }
            }
            _ => {}
        }
    }

    fn on_our_clock(&mut self, origin: Origin, time: i64) -> i64 {
        if origin == Origin::Runner || self.start.is_none() {
            return time;
        }
        let apart = time - self.latest;
        let wrong = !(0..=MOST_APART_MS).contains(&apart);
        time + *self.host_offset.get_or_insert(if wrong { -apart } else { 0 })
    }

    fn begin(&mut self, event: &Event, began_ms: u64) {
        // A stage does not begin before the one above it has: clocks are read at different moments.
        let began_ms = self.stages.last().map_or(began_ms, |last| began_ms.max(last.began_ms));
        self.stages.push(StageTold {
            stage: event.stage,
            origin: event.origin,
            began_ms,
            took_ms: None,
            outcome: None,
            reason: None,
        });
    }

    /// Returns the stages in the order in which they began.
    pub fn stages(&self) -> &[StageTold] {
        &self.stages
    }

    /// Returns when the run began, on the runner's clock; nothing before its first event.
    pub fn start(&self) -> Option<Timestamp> {
        self.start.and_then(|start| Timestamp::from_millisecond(start).ok())
    }

    /// Returns how long the run went on, as far as it was heard of.
    pub fn length_ms(&self) -> u64 {
        let told = self.stages.iter().map(|told| told.began_ms + told.took_ms.unwrap_or(0)).max();
        let heard = self.start.and_then(|start| u64::try_from(self.latest - start).ok());
        told.max(heard).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Span, SpanStatus, examples};

    fn at(second: i64, origin: Origin, stage: Stage, kind: EventKind) -> Event {
        let time = Timestamp::from_second(1_790_000_000 + second).unwrap();
        Event { timestamp: crate::event::timestamp(time), ..examples::event(1, origin, stage, kind) }
    }

    fn ended(took_ms: u64) -> EventKind {
        let span = Span { name: "x".into(), duration_ms: took_ms, status: SpanStatus::Ok };
        EventKind::StageFinished { outcome: StageOutcome::Succeeded, took_ms, reason: None, span }
    }

    /// Two stages of the runner, then one of a host whose clock is `wrong` seconds off.
    fn with_a_clock_off_by(wrong: i64) -> Vec<(u64, Option<u64>)> {
        let mut timeline = Timeline::default();
        let begin = EventKind::StageStarted {};
        timeline.hear(&at(0, Origin::Runner, Stage::Initializing, begin.clone()));
        timeline.hear(&at(1, Origin::Runner, Stage::Initializing, ended(1_000)));
        timeline.hear(&at(1, Origin::Runner, Stage::Validating, begin.clone()));
        timeline.hear(&at(
            2 + wrong,
            Origin::Agent,
            Stage::Validating,
            EventKind::Failed {
                failure: crate::model::FailureReport::new(crate::model::ErrorKind::DeploymentError, "x", "y"),
            },
        ));
        timeline.hear(&at(3 + wrong, Origin::Agent, Stage::Setup, begin));
        timeline.hear(&at(7 + wrong, Origin::Agent, Stage::Setup, ended(4_000)));
        timeline.stages().iter().map(|told| (told.began_ms, told.took_ms)).collect()
    }

    #[test]
    fn stages_stand_on_one_clock_although_the_hosts_is_wrong() {
        let right = [(0, Some(1_000)), (1_000, None), (3_000, Some(4_000))];
        assert_eq!(with_a_clock_off_by(0), right);
        // The gap between the last words of the two cannot be known then.
        let moved = [(0, Some(1_000)), (1_000, None), (2_000, Some(4_000))];
        assert_eq!(with_a_clock_off_by(-3_600), moved);
        assert_eq!(with_a_clock_off_by(86_400), moved);
    }

    #[test]
    fn a_first_stage_that_was_told_late_does_not_reach_into_the_next() {
        let mut timeline = Timeline::default();
        timeline.hear(&at(10, Origin::Runner, Stage::Initializing, EventKind::StageStarted {}));
        timeline.hear(&at(11, Origin::Runner, Stage::Initializing, ended(3_000)));
        timeline.hear(&at(11, Origin::Runner, Stage::Validating, EventKind::StageStarted {}));
        let told: Vec<_> = timeline.stages().iter().map(|told| (told.began_ms, told.took_ms)).collect();
        assert_eq!(told, [(0, Some(3_000)), (3_000, None)]);
    }

    #[test]
    fn an_end_belongs_to_the_stage_of_the_same_half() {
        let mut timeline = Timeline::default();
        timeline.hear(&at(0, Origin::Runner, Stage::Validating, EventKind::StageStarted {}));
        timeline.hear(&at(1, Origin::Agent, Stage::Validating, EventKind::StageStarted {}));
        timeline.hear(&at(5, Origin::Runner, Stage::Validating, ended(5_000)));
        let told: Vec<_> = timeline.stages().iter().map(|told| (told.origin, told.took_ms)).collect();
        assert_eq!(told, [(Origin::Runner, Some(5_000)), (Origin::Agent, None)]);
        assert_eq!(timeline.length_ms(), 5_000);
    }
}
