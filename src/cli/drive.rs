//! Verbs that change the host, and `validate`: from the wish to the last word.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use super::ancestry::{self, Coming, Running};
use super::answer;
use super::building;
use super::github::{Front, Github};
use super::ledger::{self, Courier};
use super::line::Line;
use super::order::Wish;
use super::own::{self, Own};
use super::planned;
use super::signals::Signals;
use super::slack;
use super::stage::{Named, OwnEnding, Telling};
use super::surroundings::Surroundings;
use super::survey::survey;
use crate::agent::protocol::{Frame, Reply, Start};
use crate::config::{self, Audience, Resolved, TestSpec};
use crate::event::{DeploymentResult, EventKind};
use crate::here;
use crate::model::{
    Action, BuildOrders, DeploymentId, ErrorKind, Exit, FailureReport, Finding, HookResult, Job, Outcome,
    Placement, Profile, RecoveredDeployment, Severity, Stage, StageOutcome, ValidateAnswer,
};
use crate::remote::session::{Message, Session};
use crate::remote::{self, Agents, Settings};
use crate::report::slack::Ended;
use crate::text::Redactor;

/// What the host had to say at its end.
pub(super) enum Word {
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
    let secrets = audience.secrets();
    let courier = ledger::begin(&wish, &audience, &telling);
    let patient_until = wish.options.wait_for_lease.map(|time| Instant::now() + time);
    let mut drive = Drive {
        wish,
        surroundings,
        telling,
        named: Named::default(),
        redactor: Redactor::new(secrets.iter().map(crate::text::Secret::reveal)),
        github,
        audience,
        courier,
        seen: 0,
        built: BTreeMap::new(),
        found: Vec::new(),
        how_to_follow: String::new(),
        patient_until,
        withheld: BTreeSet::new(),
        running: None,
        hooks: Vec::new(),
        may_start: false,
        is_ours: false,
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
    let courier = drive.courier.take();
    tokio::join!(closed, drive.notify(recovered.as_ref()), drive.tell_ledger(courier));
    exit
}

pub(super) struct Drive {
    pub(super) wish: Wish,
    pub(super) surroundings: Surroundings,
    pub(super) telling: Telling,
    pub(super) named: Named,
    pub(super) redactor: Redactor,
    pub(super) github: Option<Github>,
    /// Whom to tell of the end, also when the configuration is wrong.
    pub(super) audience: Audience,
    /// Who tells the ledger.
    pub(super) courier: Option<Courier>,
    /// Number of the last event of the host that was told: another connection may bring the same ones again.
    pub(super) seen: u64,
    /// Images that the runner has built and pushed, `repository@sha256:…` by service.
    pub(super) built: BTreeMap<String, String>,
    /// What the runner itself has found of the project, before the host was asked.
    pub(super) found: Vec<Finding>,
    /// Words of the command that follows what runs there.
    pub(super) how_to_follow: String,
    /// Until when another deployment is waited for.
    pub(super) patient_until: Option<Instant>,
    /// Every secret: programs of the project are not given the job's variables that hold one.
    pub(super) withheld: BTreeSet<String>,
    /// What would be replaced, where the host has said so.
    pub(super) running: Option<Running>,
    /// Hooks that this machine has run.
    pub(super) hooks: Vec<HookResult>,
    /// Whether the host has agreed to the job.
    pub(super) may_start: bool,
    /// Whether this run has started the deployment, and not only follows it.
    pub(super) is_ours: bool,
}

/// What the host says to a job.
pub(super) enum Agreed {
    /// It may start, once these images are built; and whether this version with these files is what runs already.
    MayStart(BuildOrders, bool),
    /// It runs, or has run, already.
    Follows(DeploymentId),
    /// All that was asked for.
    Answered(serde_json::Value),
}

/// What is deployed: the job, and where the files of its bundle are.
pub(super) struct Load {
    pub(super) job: Job,
    pub(super) app_dir: PathBuf,
    /// What is run here before anything is deployed.
    pub(super) test: Option<TestSpec>,
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
        let resolved = tokio::select! {
            () = signals.raised() => return Err(self.stopped_early()),
            resolved = self.resolve() => resolved,
        };
        if !self.looks_on() {
            self.telling.begin_at(Stage::Initializing, began);
        }
        let (line, mut load) = tokio::select! {
            () = signals.raised() => return Err(self.stopped_early()),
            ready = self.initialize(resolved) => ready?,
        };
        let line = opened.insert(line);
        self.telling.end(StageOutcome::Succeeded, None);
        let ended = self.converse(line, &mut load, &mut signals).await;
        if let (Err(own), true, false) = (&ended, self.may_start, self.is_ours) {
            self.after_own_end(&load, own, &mut signals).await;
        }
        ended
    }

    async fn converse(
        &mut self,
        line: &mut Line,
        load: &mut Load,
        signals: &mut Signals,
    ) -> Result<Word, Own> {
        if !self.looks_on() {
            self.telling.begin(Stage::Validating);
        }
        let agreed = tokio::select! {
            () = signals.raised() => return Err(self.stopped_early()),
            agreed = self.agree(&mut line.session, load) => agreed?,
        };
        self.telling.end(StageOutcome::Succeeded, None);
        match agreed {
            Agreed::Answered(answer) => return Ok(Word::Answer(answer)),
            Agreed::Follows(id) => self.follows(load, id),
            Agreed::MayStart(..) => self.start(&mut line.session).await?,
        }
        self.follow(line, load, signals).await
    }

    /// Whether this run only looks on: it asks for nothing, and nothing that it does is news.
    pub(super) fn looks_on(&self) -> bool {
        self.wish.action == Action::Follow
    }

    fn stopped_early(&self) -> Own {
        if self.looks_on() { Own::Stopped } else { own::cancelled_early() }
    }

    /// Takes in which deployment is followed.
    fn follows(&mut self, load: &mut Load, id: DeploymentId) {
        if load.job.deployment_id != id {
            let (notice, severity) = if self.looks_on() {
                (format!("following {id} from its beginning"), Severity::Passed)
            } else {
                let notice = format!(
                    "this run of the workflow has begun {id} already, which goes on; following it from its beginning"
                );
                (notice, Severity::Warning)
            };
            self.notice("deployment.followed", notice, severity);
        }
        self.telling.deployment_id = id.clone();
        load.job.deployment_id = id;
    }

    /// Lets the host look at the job, then builds what is the runner's to build.
    async fn agree(&mut self, session: &mut Session, load: &Load) -> Result<Agreed, Own> {
        let agreed = self.validate(session, load).await?;
        if let Agreed::MayStart(orders, is_same) = &agreed {
            self.may_start = true;
            self.before_the_start(load, *is_same && orders.images.is_empty()).await?;
            let (architecture, emitter) = (&session.facts.architecture, &self.telling.emitter);
            self.built = building::build(&load.job, &load.app_dir, architecture, orders, emitter).await?;
        }
        Ok(agreed)
    }

    /// Says that the host may start, with the images that it shall run.
    pub(super) async fn start(&mut self, session: &mut Session) -> Result<(), Own> {
        let start = Start { built: self.built.clone() };
        session.send(Frame::Start(serde_json::to_vec(&start).unwrap_or_default())).await?;
        self.is_ours = true;
        Ok(())
    }

    /// Reads the configuration, and hides its secrets before anything is printed.
    async fn resolve(&mut self) -> Result<Resolved, Own> {
        let resolved = self.wish.resolve(&self.surroundings).await;
        if let Ok(resolved) = &resolved {
            self.redactor = Redactor::new(resolved.secrets.iter().map(crate::text::Secret::reveal));
            self.withheld = resolved.secrets.iter().map(|secret| secret.reveal().to_owned()).collect();
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
            let (bundle, found) = survey(&resolved, !self.wish.skip_tests).await?;
            job.bundle = bundle;
            found.into_iter().for_each(|finding| self.find(finding));
        }
        self.know_for_ledger(&resolved, &job).await;
        job.options.run_key = self.surroundings.run_key(job.bundle.commit.as_deref());
        let agents = Agents::found()?;
        let mut remote = remote::connect(&resolved.target, Settings::new(agents)).await?;
        let channel = remote.attach().await?;
        let session = Session::open(channel, self.redactor.clone()).await?;
        Ok((Line { remote, session }, Load { job, app_dir: resolved.app_dir, test: resolved.test }))
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
        let words = |verb| self.wish.words_of(verb, resolved, &self.surroundings);
        let (rollback, follow) = (words("rollback"), words("status"));
        self.how_to_follow = self.redactor.redact(&format!("{follow} --follow")).into_owned();
        self.telling.know(resolved.app_dir.clone(), self.redactor.redact(&rollback).into_owned());
        let started = EventKind::DeploymentStarted {
            verb: self.wish.action.verb().to_owned(),
            version: self.named.version.clone(),
            target: resolved.target.to_string(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        if self.looks_on() {
            // What is followed has its own findings; nothing of the runner's is told between its lines.
            return;
        }
        self.telling.emitter.emit(here!(), started);
        for finding in &resolved.notices {
            self.find(finding.clone());
        }
    }

    /// Tells what the runner itself has found, and keeps it for the answer.
    fn find(&mut self, finding: Finding) {
        self.telling.emitter.emit(here!(), EventKind::FindingReported { finding: finding.clone() });
        self.found.push(finding);
    }

    /// Hands the job over, lets the host look at it, and returns what it says.
    pub(super) async fn validate(&mut self, session: &mut Session, load: &Load) -> Result<Agreed, Own> {
        if !matches!(load.job.environment.placement, Placement::InPlace { .. }) {
            session.send_ahead(&load.app_dir, &load.job.bundle).await?;
        }
        session.send_job(&load.job).await?;
        let mut order = None;
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
                    Reply::Current { release, version, commit } => {
                        let running = Running { release, version, commit };
                        order = self.judge_order(&running, load).await;
                        self.running = Some(running);
                    }
                    Reply::Ready { passed, mut findings, builds, is_same } => {
                        // What a release must not have stops nobody who only makes the host ready.
                        let own = self.found.iter().filter(|_| self.wish.action != Action::Setup);
                        findings.extend(own.cloned().chain(order));
                        if passed && !own::is_refused(&findings) {
                            return Ok(Agreed::MayStart(builds, is_same));
                        }
                        return Err(own::refused(&findings));
                    }
                    Reply::Answer { answer } if self.wish.action == Action::Plan => {
                        let own = self.found.iter().cloned().chain(order).collect();
                        let test = load.test.as_ref().filter(|_| !self.wish.skip_tests);
                        return planned::judge(answer, own, test);
                    }
                    Reply::Answer { answer } => {
                        let own = self.found.iter().cloned().chain(order).collect();
                        return Ok(Agreed::Answered(answer::with_findings(answer, own)));
                    }
                    Reply::Refused { outcome, failure } => return Err(Own::of(outcome, failure)),
                    Reply::Started { deployment_id, .. } => return Ok(Agreed::Follows(deployment_id)),
                    Reply::Hello { .. } | Reply::Line { .. } => {}
                },
            }
        }
    }

    /// Asks whether the job's commit comes after the one that runs, and tells what is found.
    async fn judge_order(&self, running: &Running, load: &Load) -> Option<Finding> {
        let (job, allow_older) = (&load.job, self.wish.allow_older);
        let (version, commit) = (job.version.label.as_str(), job.bundle.commit.as_deref());
        let coming = Coming { action: &job.action, directory: &load.app_dir, version, commit, allow_older };
        let found = ancestry::judge(running, &coming, &self.surroundings).await;
        let found = found.map(|finding| finding.silenced_by(&load.job.silenced));
        if let Some(finding) = found.clone() {
            self.telling.emitter.emit(here!(), EventKind::FindingReported { finding });
        }
        found
    }

    /// Has the last word, where the host had none, and returns the exit code, and what was recovered.
    fn finish(&mut self, ended: Result<Word, Own>) -> (Exit, Option<RecoveredDeployment>) {
        self.keep_logs_anyway();
        let output = self.wish.reach.config.log.output;
        let result = match ended {
            Ok(Word::Result(result)) => *result,
            Ok(Word::Answer(answer)) => return self.answered(answer),
            Err(Own::Stopped) => {
                let notice = "stopped following; the deployment goes on".to_owned();
                self.notice("follow.stopped", notice, Severity::Warning);
                return (Exit::Done, None);
            }
            Err(Own::Ended(outcome, errors)) => {
                let reason = errors
                    .first()
                    .map(|failure| failure.message.lines().next().unwrap_or_default().to_owned());
                self.telling.end(StageOutcome::Failed, reason);
                self.telling.emitter.enter(Stage::Failed);
                let hooks = std::mem::take(&mut self.hooks);
                self.telling.finish(&self.named, OwnEnding { hooks, ..OwnEnding::last(outcome, errors) })
            }
            Err(Own::Left(outcome, failure)) => {
                let next_step = failure.hint.clone();
                let (errors, hooks) = (vec![failure], std::mem::take(&mut self.hooks));
                let ending = OwnEnding { outcome, changed: false, is_final: false, errors, hooks, next_step };
                self.telling.finish(&self.named, ending)
            }
        };
        match self.wish.action {
            Action::Prune | Action::BackupPrune => {
                answer::pruned(&result, &self.telling.story().pruned, output);
            }
            _ if self.looks_on() => {}
            _ => answer::result(&result, output),
        }
        self.print_sarif_of(&result);
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
        if self.looks_on() {
            answer::nothing_to_follow(&answer, output);
            return (Exit::Done, None);
        }
        if self.wish.action == Action::Plan {
            return (self.planned(answer), None);
        }
        let typed = serde_json::from_value::<ValidateAnswer>(answer.clone());
        let (passed, recovered) = match (&self.wish.action, typed) {
            (Action::Validate, Ok(found)) => {
                answer::findings(&found, output);
                self.print_sarif(&found, if found.passed { Exit::Done } else { Exit::Refused });
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
