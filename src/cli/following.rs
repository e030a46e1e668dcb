//! Follows a deployment on the host to its last word: over new connections where one is lost, and up to a cancel.

use std::time::{Duration, Instant};

use super::drive::{Agreed, Drive, Load, Word};
use super::line::Line;
use super::own::{self, Own};
use super::signals::{Signals, patience};
use crate::agent::protocol::{Frame, Reply};
use crate::event::{Event, EventKind};
use crate::here;
use crate::model::{FailureReport, Outcome, Severity};
use crate::remote::Remote;
use crate::remote::session::{Message, Session};

/// How long the host gets to acknowledge a cancel (DESIGN section 6).
const ACKNOWLEDGE: Duration = Duration::from_secs(5);
/// How often a lost connection is made again, and the wait after the first time; it doubles. Each time has retries of
/// its own: a host that refuses is given up after about 25 s, one that is silent after minutes.
const RECONNECTS: u32 = 6;
const RECONNECT_WAIT: Duration = Duration::from_millis(500);

/// Code of a refusal because another deployment came in between.
const OVERTAKEN: &str = "release.changed";

/// Whether this job was asked to stop, and until when the host may acknowledge it.
#[derive(Clone, Copy, Default)]
struct Cancelling {
    heard: bool,
    /// Absent before, and when the host has answered that it is too late.
    until: Option<tokio::time::Instant>,
}

impl Cancelling {
    fn now() -> Self {
        Self { heard: true, until: Some(tokio::time::Instant::now() + ACKNOWLEDGE) }
    }
}

/// Tells the host to stop. A connection that is gone shows as a missing acknowledgement.
async fn send_cancel(session: &mut Session) {
    tokio::time::timeout(ACKNOWLEDGE, session.send(Frame::Cancel)).await.ok();
}

impl Drive {
    /// Tells an event of the host that was not told before.
    pub(super) fn relay(&mut self, event: &Event) -> bool {
        let is_new = event.seq > self.seen;
        if is_new {
            self.seen = event.seq;
            self.telling.relay(event);
        }
        is_new
    }

    pub(super) fn tell_noise(&self, text: String) {
        if !text.is_empty() {
            self.telling.emitter.emit(here!(), EventKind::LogLine { source: "agent".to_owned(), text });
        }
    }

    /// Follows the host to its last word, over new connections where the old one is lost.
    pub(super) async fn follow(
        &mut self,
        line: &mut Line,
        load: &mut Load,
        signals: &mut Signals,
    ) -> Result<Word, Own> {
        let mut cancel = Cancelling::default();
        let (mut futile, mut seen_before) = (0, self.seen);
        loop {
            let message = tokio::select! {
                message = line.session.next() => message,
                () = signals.raised(), if !cancel.heard => {
                    if self.looks_on() {
                        return Err(Own::Stopped);
                    }
                    // A second signal changes nothing: the host knows.
                    cancel = Cancelling::now();
                    self.tell_cancel();
                    send_cancel(&mut line.session).await;
                    continue;
                }
                () = patience(cancel.until) => return Err(self.unheard(load)),
            };
            match message {
                Message::Event(mut event) => {
                    let is_new = event.seq > self.seen;
                    if let (EventKind::DeploymentFinished { is_final: true, result }, true) =
                        (&mut event.kind, is_new)
                    {
                        self.after_the_end(load, result, signals).await;
                    }
                    if !self.relay(&event) {
                        continue;
                    }
                    match event.kind {
                        EventKind::DeploymentFinished { is_final: true, result } => {
                            return Ok(Word::Result(result));
                        }
                        EventKind::CancelRequested { effect } if cancel.until.is_some() => {
                            return Err(own::acknowledged(&effect));
                        }
                        EventKind::Noticed { code, .. } if code == "cancel.late" => cancel.until = None,
                        _ => {}
                    }
                }
                Message::Reply(reply) => {
                    if let Reply::Refused { outcome, failure } = *reply {
                        if failure.code != OVERTAKEN || !self.is_patient() {
                            return Err(Own::of(outcome, failure));
                        }
                        self.overtaken(line, load, signals).await?;
                    }
                }
                Message::Noise(line) => self.tell_noise(line),
                Message::End => {
                    // An agent that ends at once whenever it is started is as good as none.
                    futile = if self.seen > seen_before { 0 } else { futile + 1 };
                    seen_before = self.seen;
                    if futile > RECONNECTS {
                        return Err(self.lost(load, Some(line.session.lost().await.report())));
                    }
                    let before = cancel;
                    cancel = self.come_back(line, load, signals, before).await?;
                    if cancel.heard && !before.heard {
                        self.tell_cancel();
                    }
                    if cancel.until.is_some() {
                        send_cancel(&mut line.session).await;
                    }
                }
            }
        }
    }

    /// Connects again, also for a cancel that comes meanwhile: it must still be delivered, or be said to be lost, within
    /// the time that a job has.
    async fn come_back(
        &mut self,
        line: &mut Line,
        load: &mut Load,
        signals: &mut Signals,
        mut cancel: Cancelling,
    ) -> Result<Cancelling, Own> {
        let (looks_on, unheard) = (self.looks_on(), self.unheard(load));
        let coming = self.reconnect(line, load);
        tokio::pin!(coming);
        loop {
            tokio::select! {
                found = &mut coming => return found.map(|()| cancel),
                () = signals.raised(), if !cancel.heard => {
                    if looks_on {
                        return Err(Own::Stopped);
                    }
                    cancel = Cancelling::now();
                }
                () = patience(cancel.until) => return Err(unheard),
            }
        }
    }

    fn is_patient(&self) -> bool {
        self.patient_until.is_some_and(|until| Instant::now() < until)
    }

    /// Another deployment came between the look at the host and the start, and has ended: everything is looked at anew.
    async fn overtaken(
        &mut self,
        line: &mut Line,
        load: &mut Load,
        signals: &mut Signals,
    ) -> Result<(), Own> {
        let notice = "another deployment came in between; comparing with what it has left".to_owned();
        self.notice("lease.overtaken", notice, Severity::Warning);
        line.session.ended().await;
        line.session = tokio::select! {
            () = signals.raised() => return Err(own::cancelled_early()),
            session = self.attach_again(&mut line.remote, load) => session?,
        };
        Ok(())
    }

    fn lost(&self, load: &Load, last: Option<FailureReport>) -> Own {
        own::lost(&load.job.deployment_id, &self.how_to_follow, last)
    }

    fn unheard(&self, load: &Load) -> Own {
        own::unacknowledged(&load.job.deployment_id, &self.how_to_follow)
    }

    fn tell_cancel(&self) {
        let notice =
            "asked to stop: the host is told, and goes back to the previous release by itself if it has to";
        self.notice("cancel.asked", notice.to_owned(), Severity::Warning);
    }

    /// Attaches to the deployment again, by its id.
    async fn reconnect(&mut self, line: &mut Line, load: &mut Load) -> Result<(), Own> {
        let cause = line.session.lost().await;
        let notice =
            format!("lost sight of the deployment, which goes on by itself; connecting again ({cause})");
        self.notice("connection.lost", notice, Severity::Warning);
        let mut wait = RECONNECT_WAIT;
        let mut last = None;
        for attempt in 0..RECONNECTS {
            if attempt > 0 {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            match self.attach_again(&mut line.remote, load).await {
                Ok(session) => {
                    line.session = session;
                    let notice = "connected again; following the deployment".to_owned();
                    self.notice("connection.back", notice, Severity::Passed);
                    return Ok(());
                }
                // The host has answered: it says how this ends.
                Err(Own::Ended(outcome, failures)) if outcome != Outcome::Unreachable => {
                    return Err(Own::Ended(outcome, failures));
                }
                Err(Own::Ended(_, failures)) => last = failures.into_iter().next(),
                Err(left) => return Err(left),
            }
        }
        Err(self.lost(load, last))
    }

    pub(super) fn notice(&self, code: &str, notice: String, severity: Severity) {
        self.telling
            .emitter
            .emit(here!(), EventKind::Noticed { code: code.to_owned(), notice, hint: None, severity });
    }

    /// What the host has is told again from its beginning, and passed over by its numbers. A host that had not begun
    /// yet asks for the bundle again, and begins.
    async fn attach_again(&mut self, remote: &mut Remote, load: &mut Load) -> Result<Session, Own> {
        load.job.options.wait_for_lease =
            self.patient_until.map(|until| until.saturating_duration_since(Instant::now()));
        let channel = remote.attach().await?;
        let mut session = Session::open(channel, self.redactor.clone()).await?;
        if let Agreed::MayStart(..) = self.validate(&mut session, load).await? {
            self.start(&mut session).await?;
        }
        Ok(session)
    }
}
