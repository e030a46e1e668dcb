//! One check on its way from the first attempt to its verdict, and what it tells on the way.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{Check, Probe};
use crate::event::EventKind;
use crate::model::{CheckResult, Verdict};

/// What one attempt brought, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// As wanted.
    Good(String),
    /// Not as wanted; asking again may help.
    NotYet(String),
    /// Not as wanted, and asking again cannot help.
    Never(String),
}

impl Answer {
    fn words(&self) -> &str {
        match self {
            Self::Good(words) | Self::NotYet(words) | Self::Never(words) => words,
        }
    }
}

/// Takes what happened. Called from one task at a time.
pub(super) type Observer<'a> = &'a (dyn Fn(EventKind) + Send + Sync);

/// What all checks of one round share.
#[derive(Clone, Copy)]
pub(super) struct Round<'a> {
    /// Longest wait for all of them.
    pub(super) longest: Duration,
    /// Told of every attempt and every verdict.
    pub(super) observer: Observer<'a>,
    /// Woken when a check that counts has failed: the round is lost.
    pub(super) lost: &'a Notify,
}

/// A check that is being asked.
pub(super) struct Asking<'a> {
    pub(super) check: &'a Check,
    round: Round<'a>,
    begun: Instant,
    deadline: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    attempts: u32,
    latency: Duration,
    waited: Duration,
    detail: String,
    verdict: Option<Verdict>,
}

impl<'a> Asking<'a> {
    /// Begins now; a check that is skipped is finished at once.
    pub(super) fn begin(check: &'a Check, round: Round<'a>) -> Self {
        let begun = Instant::now();
        let deadline = begun + check.timeout.min(round.longest);
        let asking = Self { check, round, begun, deadline, state: Mutex::default() };
        if let Some(reason) = &check.skip {
            asking.finish(Verdict::Skipped, reason.clone());
        }
        asking
    }

    /// When it ends as failed.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How long the next attempt may take.
    pub(super) fn limit(&self) -> Duration {
        self.check.request_timeout.min(self.deadline.saturating_duration_since(Instant::now()))
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().verdict.is_none()
    }

    /// Returns whether it has failed and counts.
    pub(super) fn is_lost(&self) -> bool {
        !self.check.optional && self.lock().verdict == Some(Verdict::Failed)
    }

    /// Returns the last answer, if there was one.
    pub(super) fn last_words(&self) -> Option<String> {
        let state = self.lock();
        (state.attempts > 0).then(|| state.detail.clone())
    }

    /// Takes an attempt's answer, and with it the verdict when there is nothing left to ask.
    /// An answer that the deadline cut off does not replace an earlier one, which says more.
    pub(super) fn answered(&self, latency: Duration, answer: &Answer, cut_off: bool) {
        let (attempt, fresh, detail) = {
            let mut state = self.lock();
            state.attempts += 1;
            state.latency = latency;
            let fresh = state.attempts == 1 || state.detail != answer.words();
            let says_less = cut_off && state.attempts > 1 && !matches!(answer, Answer::Good(_));
            if !says_less {
                state.detail = answer.words().to_owned();
            }
            (state.attempts, fresh, state.detail.clone())
        };
        if fresh || !matches!(self.check.probe, Probe::Container { .. }) {
            let (check, detail) = (self.check.name.clone(), answer.words().to_owned());
            (self.round.observer)(EventKind::HealthAttempted {
                check,
                attempt,
                latency_ms: millis(latency),
                detail,
            });
        }
        match answer {
            Answer::Good(_) => self.finish(Verdict::Passed, detail),
            Answer::Never(_) => self.finish(Verdict::Failed, detail),
            Answer::NotYet(_) => {}
        }
    }

    /// Ends it as failed when its deadline has come.
    pub(super) fn end_if_due(&self) {
        if self.is_open() && Instant::now() >= self.deadline {
            self.finish(Verdict::Failed, self.last_words().unwrap_or_else(|| "no answer".to_owned()));
        }
    }

    /// Ends it; the first verdict stays.
    pub(super) fn finish(&self, verdict: Verdict, detail: String) {
        {
            let mut state = self.lock();
            if state.verdict.is_some() {
                return;
            }
            state.waited = if verdict == Verdict::Skipped { Duration::ZERO } else { self.begun.elapsed() };
            state.verdict = Some(verdict);
            state.detail = detail;
        }
        (self.round.observer)(finished_event(self.result()));
        if self.is_lost() {
            self.round.lost.notify_one();
        }
    }

    /// Returns the result so far; failed while there is no verdict.
    pub(super) fn result(&self) -> CheckResult {
        let state = self.lock();
        CheckResult {
            name: self.check.name.clone(),
            verdict: state.verdict.unwrap_or(Verdict::Failed),
            optional: self.check.optional,
            latency_ms: millis(state.latency),
            waited_ms: millis(state.waited),
            attempts: state.attempts,
            asked: self.check.probe.asked(),
            detail: state.detail.clone(),
        }
    }

    /// A panic of another holder cannot leave the state half changed: it is plain data.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn finished_event(result: CheckResult) -> EventKind {
    let CheckResult { name, verdict, optional, latency_ms, waited_ms, attempts, asked, detail } = result;
    EventKind::CheckFinished {
        check: name,
        verdict,
        latency_ms,
        waited_ms,
        attempts,
        asked,
        detail,
        optional,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
