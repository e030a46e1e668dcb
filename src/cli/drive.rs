//! Verbs that change the host, and `validate`: from the wish to the last word.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::answer;
use super::building;
use super::github::{Front, Github};
use super::order::Wish;
use super::own::{self, Own};
use super::signals::{Signals, patience};
use super::slack;
use super::stage::{Named, OwnEnding, Telling};
use super::surroundings::Surroundings;
use crate::agent::protocol::{Frame, Reply, Start};
use crate::config::{self, Audience, Resolved, Slack, bundle};
use crate::event::{DeploymentResult, Event, EventKind};
use crate::here;
use crate::model::{
    Action, BuildOrders, DeploymentId, ErrorKind, Exit, FailureReport, Job, Outcome, Placement, Profile,
    RecoveredDeployment, Severity, Stage, StageOutcome, ValidateAnswer,
};
use crate::remote::session::{Message, Session};
use crate::remote::{self, Agents, Remote, Settings};
use crate::report::slack::Ended;
use crate::text::Redactor;

/// How long the host gets to acknowledge a cancel (DESIGN section 6).
const ACKNOWLEDGE: Duration = Duration::from_secs(5);
/// How often a lost connection is made again, and the wait after the first time; it doubles. Each time has retries of
/// its own: a host that refuses is given up after about 25 s, one that is silent after minutes.
const RECONNECTS: u32 = 6;
const RECONNECT_WAIT: Duration = Duration::from_millis(500);
/// How long an agent and its connection get to end; what is left then ends with this process.
const CLOSE: Duration = Duration::from_secs(5);

/// What the host had to say at its end.
enum Word {
    /// The result of a deployment.
    Result(Box<DeploymentResult>),
    /// The answer of `validate`, or that there is nothing to recover.
    Answer(serde_json::Value),
}

/// Drives a wish to its end.
pub(super) async fn drive(wish: Wish) -> Exit {
    let surroundings = Surroundings::of_process();
    let id = wish.deployment_id.clone().unwrap_or_else(DeploymentId::generate);
    let profile = Profile::of_name(wish.environment.as_deref().unwrap_or("dev"));
    let config = &wish.reach.config;
    let github = Github::of(&surroundings, Front::beside(config.log.output), &config.project_root);
    let verb = wish.action.verb();
    let telling = match Telling::open(&config.log, &surroundings, verb, profile, id, github.as_ref()) {
        Ok(telling) => telling,
        Err(error) => {
            return answer::fail(verb, &own::log_failure(&error), Exit::Invalid, github.as_ref());
        }
    };
    let audience = config::audience(&wish.inputs(&surroundings));
    let secrets: Vec<_> = audience.slack.iter().flat_map(Slack::secrets).collect();
    let mut drive = Drive {
        wish,
        surroundings,
        telling,
        named: Named::default(),
        redactor: Redactor::new(secrets.iter().map(crate::text::Secret::reveal)),
        github,
        audience,
        seen: 0,
        built: BTreeMap::new(),
    };
    let mut line = None;
    let ended = drive.run(&mut line).await;
    // A job that is cancelled has seconds: its last word comes before the tidying, and both are done at once.
    let (exit, recovered) = drive.finish(ended);
    let closed = async {
        if let Some(line) = line {
            line.close().await;
        }
    };
    tokio::join!(closed, drive.notify(recovered.as_ref()));
    exit
}

struct Drive {
    wish: Wish,
    surroundings: Surroundings,
    telling: Telling,
    named: Named,
    redactor: Redactor,
    github: Option<Github>,
    /// Whom to tell of the end, also when the configuration is wrong.
    audience: Audience,
    /// Number of the last event of the host that was told: another connection may bring the same ones again.
    seen: u64,
    /// Images that the runner has built and pushed, `repository@sha256:…` by service.
    built: BTreeMap<String, String>,
}

/// A connection, and the agent that speaks on it.
struct Line {
    remote: Remote,
    session: Session,
}

impl Line {
    /// Ends both, so that nothing of them is left on this machine when we end.
    async fn close(mut self) {
        let closed = async {
            self.session.ended().await;
            self.remote.close().await;
        };
        tokio::time::timeout(CLOSE, closed).await.ok();
    }
}

/// What the host says to a job.
enum Agreed {
    /// It may start, once these images are built.
    MayStart(BuildOrders),
    /// All that was asked for.
    Answered(serde_json::Value),
}

/// What is deployed: the job, and where the files of its bundle are.
struct Load {
    job: Job,
    app_dir: PathBuf,
}

impl Drive {
    async fn run(&mut self, opened: &mut Option<Line>) -> Result<Word, Own> {
        let mut signals = Signals::new().map_err(|error| {
            Own::of(
                Outcome::Aborted,
                FailureReport::new(ErrorKind::DeploymentError, "signals", error.to_string()),
            )
        })?;
        let began = Instant::now();
        let resolved = self.resolve();
        self.telling.begin_at(Stage::Initializing, began);
        let (line, load) = tokio::select! {
            () = signals.raised() => return Err(own::cancelled_early()),
            ready = self.initialize(resolved) => ready?,
        };
        let line = opened.insert(line);
        self.telling.end(StageOutcome::Succeeded, None);
        self.converse(line, &load, &mut signals).await
    }

    async fn converse(&mut self, line: &mut Line, load: &Load, signals: &mut Signals) -> Result<Word, Own> {
        self.telling.begin(Stage::Validating);
        let answered = tokio::select! {
            () = signals.raised() => return Err(own::cancelled_early()),
            answered = self.agree(&mut line.session, load) => answered?,
        };
        self.telling.end(StageOutcome::Succeeded, None);
        if let Some(answer) = answered {
            return Ok(Word::Answer(answer));
        }
        self.start(&mut line.session).await?;
        self.follow(line, load, signals).await
    }

    /// Lets the host look at the job, then builds what is the runner's to build; an answer is one of `validate`.
    async fn agree(&mut self, session: &mut Session, load: &Load) -> Result<Option<serde_json::Value>, Own> {
        let orders = match self.validate(session, load).await? {
            Agreed::Answered(answer) => return Ok(Some(answer)),
            Agreed::MayStart(orders) => orders,
        };
        let (architecture, emitter) = (&session.facts.architecture, &self.telling.emitter);
        self.built = building::build(&load.job, &load.app_dir, architecture, &orders, emitter).await?;
        Ok(None)
    }

    /// Says that the host may start, with the images that it shall run.
    async fn start(&self, session: &mut Session) -> Result<(), Own> {
        let start = Start { built: self.built.clone() };
        Ok(session.send(Frame::Start(serde_json::to_vec(&start).unwrap_or_default())).await?)
    }

    /// Reads the configuration, and hides its secrets before anything is printed.
    fn resolve(&mut self) -> Result<Resolved, Own> {
        let resolved = self.wish.resolve(&self.surroundings);
        if let Ok(resolved) = &resolved {
            self.redactor = Redactor::new(resolved.secrets.iter().map(crate::text::Secret::reveal));
        }
        if let Some(github) = &self.github {
            github.mask(&self.redactor);
        }
        resolved.map_err(|error| {
            let outcome = if error.exit() == Exit::Invalid { Outcome::Invalid } else { Outcome::Refused };
            Own::of(outcome, error.report())
        })
    }

    /// Reaches the target.
    async fn initialize(&mut self, resolved: Result<Resolved, Own>) -> Result<(Line, Load), Own> {
        let Audience { app, environment, .. } = self.audience.clone();
        self.telling.emitter.identify(app.clone(), environment.clone());
        self.named = Named { app, environment, version: None };
        let resolved = resolved?;
        let kept = self.telling.keep_logs(&resolved.environment.name, self.redactor.clone());
        kept.map_err(|error| Own::of(Outcome::Invalid, own::log_failure(&error)))?;
        self.introduce(&resolved);
        self.wish.confirmed(&resolved).map_err(|failure| Own::of(Outcome::Refused, failure))?;
        let ids = (self.telling.deployment_id.clone(), self.telling.correlation_id.clone());
        let mut job = self.wish.job(&resolved, ids, &self.surroundings);
        let in_place = matches!(resolved.environment.placement, Placement::InPlace { .. });
        if job.action.brings_bundle(in_place) {
            job.bundle = scan(&resolved).await?;
        }
        let agents = Agents::found()?;
        let mut remote = remote::connect(&resolved.target, Settings::new(agents)).await?;
        let channel = remote.attach().await?;
        let session = Session::open(channel, self.redactor.clone()).await?;
        Ok((Line { remote, session }, Load { job, app_dir: resolved.app_dir }))
    }

    fn introduce(&mut self, resolved: &Resolved) {
        let in_place = matches!(resolved.environment.placement, Placement::InPlace { .. });
        let brings = self.wish.action.brings_bundle(in_place);
        self.named = Named {
            app: Some(resolved.app.name.clone()),
            environment: Some(resolved.environment.name.clone()),
            version: Some(resolved.version.label.clone()).filter(|_| brings),
        };
        self.telling.emitter.identify(self.named.app.clone(), self.named.environment.clone());
        let rollback = self.wish.rollback_words(resolved, &self.surroundings);
        self.telling.know(resolved.app_dir.clone(), self.redactor.redact(&rollback).into_owned());
        let started = EventKind::DeploymentStarted {
            verb: self.wish.action.verb().to_owned(),
            version: self.named.version.clone(),
            target: resolved.target.to_string(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.telling.emitter.emit(here!(), started);
        for finding in &resolved.notices {
            self.telling.emitter.emit(here!(), EventKind::FindingReported { finding: finding.clone() });
        }
    }

    /// Hands the job over, lets the host look at it, and returns what it says.
    async fn validate(&mut self, session: &mut Session, load: &Load) -> Result<Agreed, Own> {
        session.send_job(&load.job).await?;
        loop {
            match session.next().await {
                Message::Event(event) => {
                    self.relay(&event);
                }
                Message::Noise(line) => self.tell_noise(line),
                Message::End => return Err(session.lost().await.into()),
                Message::Reply(reply) => match *reply {
                    Reply::Lacks { digests } => {
                        session.send_bundle(&load.app_dir, &load.job.bundle, &digests).await?;
                    }
                    Reply::Ready { passed: true, builds, .. } => return Ok(Agreed::MayStart(builds)),
                    Reply::Ready { findings, .. } => return Err(own::refused(&findings)),
                    Reply::Answer { answer } => return Ok(Agreed::Answered(answer)),
                    Reply::Refused { outcome, failure } => return Err(Own::of(outcome, failure)),
                    Reply::Hello { .. } | Reply::Started { .. } | Reply::Line { .. } => {}
                },
            }
        }
    }

    /// Tells an event of the host that was not told before.
    fn relay(&mut self, event: &Event) -> bool {
        let is_new = event.seq > self.seen;
        if is_new {
            self.seen = event.seq;
            self.telling.relay(event);
        }
        is_new
    }

    fn tell_noise(&self, text: String) {
        if !text.is_empty() {
            self.telling.emitter.emit(here!(), EventKind::LogLine { source: "agent".to_owned(), text });
        }
    }

    /// Follows the host to its last word, over new connections where the old one is lost.
    async fn follow(&mut self, line: &mut Line, load: &Load, signals: &mut Signals) -> Result<Word, Own> {
        let mut asked: Option<tokio::time::Instant> = None;
        let (mut futile, mut seen_before) = (0, self.seen);
        let mut heard = false;
        loop {
            let message = tokio::select! {
                message = line.session.next() => message,
                () = signals.raised(), if !heard => {
                    // A second signal changes nothing: the host knows.
                    heard = true;
                    asked = Some(tokio::time::Instant::now() + ACKNOWLEDGE);
                    self.tell_cancel();
                    // A connection that is gone shows as a missing acknowledgement.
                    line.session.send(Frame::Cancel).await.ok();
                    continue;
                }
                () = patience(asked) => return Err(own::unacknowledged(&load.job.deployment_id)),
            };
            match message {
                Message::Event(event) => {
                    if !self.relay(&event) {
                        continue;
                    }
                    match event.kind {
                        EventKind::DeploymentFinished { is_final: true, result } => {
                            return Ok(Word::Result(result));
                        }
                        EventKind::CancelRequested { effect } if asked.is_some() => {
                            return Err(own::acknowledged(&effect));
                        }
                        EventKind::Noticed { code, .. } if code == "cancel.late" => asked = None,
                        _ => {}
                    }
                }
                Message::Reply(reply) => {
                    if let Reply::Refused { outcome, failure } = *reply {
                        return Err(Own::of(outcome, failure));
                    }
                }
                Message::Noise(line) => self.tell_noise(line),
                Message::End if asked.is_some() => return Err(own::unacknowledged(&load.job.deployment_id)),
                Message::End => {
                    // An agent that ends at once whenever it is started is as good as none.
                    futile = if self.seen > seen_before { 0 } else { futile + 1 };
                    seen_before = self.seen;
                    if futile > RECONNECTS {
                        return Err(own::lost(
                            &load.job.deployment_id,
                            Some(line.session.lost().await.report()),
                        ));
                    }
                    tokio::select! {
                        () = signals.raised() => return Err(own::unacknowledged(&load.job.deployment_id)),
                        found = self.reconnect(line, load) => found?,
                    }
                }
            }
        }
    }

    fn tell_cancel(&self) {
        let notice =
            "asked to stop: the host is told, and goes back to the previous release by itself if it has to";
        self.notice("cancel.asked", notice.to_owned(), Severity::Warning);
    }

    /// Attaches to the deployment again, by its id.
    async fn reconnect(&mut self, line: &mut Line, load: &Load) -> Result<(), Own> {
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
        Err(own::lost(&load.job.deployment_id, last))
    }

    fn notice(&self, code: &str, notice: String, severity: Severity) {
        self.telling
            .emitter
            .emit(here!(), EventKind::Noticed { code: code.to_owned(), notice, hint: None, severity });
    }

    /// What the host has is told again from its beginning, and passed over by its numbers. A host that had not begun
    /// yet asks for the bundle again, and begins.
    async fn attach_again(&mut self, remote: &mut Remote, load: &Load) -> Result<Session, Own> {
        let channel = remote.attach().await?;
        let mut session = Session::open(channel, self.redactor.clone()).await?;
        self.validate(&mut session, load).await?;
        self.start(&mut session).await?;
        Ok(session)
    }

    /// Has the last word, where the host had none, and returns the exit code, and what was recovered.
    fn finish(&mut self, ended: Result<Word, Own>) -> (Exit, Option<RecoveredDeployment>) {
        self.keep_logs_anyway();
        let output = self.wish.reach.config.log.output;
        let result = match ended {
            Ok(Word::Result(result)) => *result,
            Ok(Word::Answer(answer)) => return self.answered(answer),
            Err(Own::Ended(outcome, errors)) => {
                let reason = errors
                    .first()
                    .map(|failure| failure.message.lines().next().unwrap_or_default().to_owned());
                self.telling.end(StageOutcome::Failed, reason);
                self.telling.emitter.enter(Stage::Failed);
                self.telling.finish(&self.named, OwnEnding::last(outcome, errors))
            }
            Err(Own::Left(outcome, failure)) => {
                let next_step = failure.hint.clone();
                let ending =
                    OwnEnding { outcome, changed: false, is_final: false, errors: vec![failure], next_step };
                self.telling.finish(&self.named, ending)
            }
        };
        answer::result(&result, output);
        (result.outcome.exit(), None)
    }

    /// Tells Slack of the end, after everything else was told. A failure is one more line, and changes nothing.
    async fn notify(&self, recovered: Option<&RecoveredDeployment>) {
        let Some(channel) = &self.audience.slack else { return };
        let story = self.telling.story();
        let Some(end) = &story.end else { return };
        let did_nothing = self.wish.action == Action::Recover
            && end.result.outcome == Outcome::Succeeded
            && recovered.is_none();
        if !slack::is_told(&self.wish.action) || did_nothing {
            return;
        }
        let requester = self.surroundings.requester();
        let ended = Ended { end, failed_checks: story.failed_checks(), recovered, requester: &requester };
        match slack::tell(channel, &ended).await {
            Ok(false) => {}
            Ok(true) => self.telling.notified("Slack", None),
            Err(why) => self.telling.notified("Slack", Some(self.redactor.redact(&why).into_owned())),
        }
    }

    /// A run that ended before its environment was known has log files, too.
    fn keep_logs_anyway(&self) {
        let given = self.wish.environment.as_deref().unwrap_or("unknown");
        let Some(environment) = given.parse().or_else(|_| "unknown".parse()).ok() else { return };
        if let Err(error) = self.telling.keep_logs(&environment, self.redactor.clone()) {
            self.telling.emitter.emit(here!(), EventKind::Failed { failure: own::log_failure(&error) });
        }
    }

    fn answered(&mut self, answer: serde_json::Value) -> (Exit, Option<RecoveredDeployment>) {
        let output = self.wish.reach.config.log.output;
        let typed = serde_json::from_value::<ValidateAnswer>(answer.clone());
        let (passed, recovered) = match (&self.wish.action, typed) {
            (Action::Validate, Ok(found)) => {
                answer::findings(&found, output);
                (found.passed, None)
            }
            _ => (true, answer::recovered(&answer, output)),
        };
        let outcome = if passed { Outcome::Succeeded } else { Outcome::Refused };
        self.telling.emitter.enter(if passed { Stage::Complete } else { Stage::Failed });
        let ending = OwnEnding { changed: recovered.is_some(), ..OwnEnding::last(outcome, Vec::new()) };
        self.telling.finish(&self.named, ending);
        (outcome.exit(), recovered)
    }
}

async fn scan(resolved: &Resolved) -> Result<crate::model::Manifest, Own> {
    let (directory, include, exclude) =
        (resolved.app_dir.clone(), resolved.bundle.clone(), resolved.bundle_exclude.clone());
    let scanned = tokio::task::spawn_blocking(move || bundle::scan(&directory, &include, &exclude)).await;
    match scanned {
        Ok(Ok(manifest)) => Ok(manifest),
        Ok(Err(error)) => Err(Own::of(Outcome::Invalid, error.report())),
        Err(error) => {
            let failure = FailureReport::new(ErrorKind::DeploymentError, "bundle.scan", error.to_string());
            Err(Own::of(Outcome::Aborted, failure))
        }
    }
}
