//! One app that is crashed again and again: brought to where a walk starts, and walked with a fault.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use super::{invariants, points};
use crate::support::{
    Counter, Ended, Host, Project, Running, alive, as_pid, base_image, free_port, mentioning, until, within,
};

/// Longest wait for anything; the machine may be busy with other tests.
pub(super) const SOON: Duration = Duration::from_secs(120);
/// Releases that are kept: few, so that each deployment has something to take away.
const KEPT: usize = 2;
/// Points of a recovery among which the second death goes round.
const RECOVERY: usize = 16;

/// What is done while something dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// A release that is healthy, over another one.
    Good,
    /// A release that is not healthy, over another one.
    Bad,
    /// A release that is healthy, where there is none yet.
    First,
    /// Back to the release before.
    Rollback,
    /// A release that is healthy and whose `post_deploy` hook refuses it, over another one: hooks of every kind come.
    Hooks,
}

/// Where the app lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// On a root of its own.
    Root,
    /// Where its project is.
    InPlace,
}

/// Who dies, and who puts it right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Series {
    /// The worker; its guard starts another.
    Worker,
    /// The worker, and then the one that recovers, at some point of its own; the guard starts a third.
    Twice,
    /// Worker, guard and runner; the next deployment ends it, or `recover`, in turns.
    Both,
}

/// Returns the programs that can be told to die; says so when they were not built, and fails where they must be.
///
/// # Panics
/// They are missing, and `FFE_TEST_REQUIRE` lists `fault-injection`.
pub(crate) fn programs() -> Option<PathBuf> {
    let usual = Path::new(env!("CARGO_BIN_EXE_ffe-deploy"));
    // <target>/<triple>/<profile>/ffe-deploy
    let program = usual.ancestors().nth(3)?.join("fault-injection/ffe-deploy");
    if program.is_file() {
        return Some(program);
    }
    let required = std::env::var("FFE_TEST_REQUIRE").unwrap_or_default();
    let how = format!("{} is missing: scripts/test builds it", program.display());
    assert!(!required.split(',').any(|name| name.trim() == "fault-injection"), "{how}");
    eprintln!("SKIPPED what needs fault injection: {how}");
    None
}

/// An app with one service that keeps a counter in a volume, and a client that counts.
pub(super) struct Bench {
    program: PathBuf,
    pub(super) host: Host,
    project: Project,
    pub(super) port: u16,
    pub(super) walk: Walk,
    layout: Layout,
    /// Number of the last version that was written.
    version: u32,
    /// Versions that were deployed well, the current one last.
    good: Vec<u32>,
    counter: Option<Counter>,
}

impl Bench {
    pub(super) fn new(program: &Path, walk: Walk, layout: Layout) -> Self {
        let (host, project) = (Host::local(), Project::new("shop"));
        let address = match layout {
            Layout::Root => format!("{{host: local, root: '{}'}}", host.root_base().display()),
            Layout::InPlace => "{host: local}".to_owned(),
        };
        project.file("deploy/environments.yaml", format!("environments:\n  staging: {address}\n"));
        let (program, port) = (program.to_owned(), free_port());
        Self { program, host, project, port, walk, layout, version: 0, good: Vec::new(), counter: None }
    }

    /// Returns the root of the app.
    pub(super) fn root(&self) -> PathBuf {
        match self.layout {
            Layout::Root => self.host.root("staging"),
            Layout::InPlace => {
                self.project.path().join(".ffe-deploy").join(format!("{}-staging", self.host.app()))
            }
        }
    }

    /// Writes the next release into the project, and returns its version.
    fn write(&mut self, mode: &str) -> u32 {
        self.version += 1;
        let (version, app, port, image) = (self.version, self.host.app(), self.port, base_image());
        let timeout = if mode == "unhealthy" { "5s" } else { "60s" };
        let hooks = if mode == "hooked" { self.hooks() } else { String::new() };
        let mode = if mode == "hooked" { "ok" } else { mode };
        self.project.file(
            "deploy/deployments.yaml",
            format!(
                "deployments:\n  {app}: {{type: docker-compose, keep_releases: {KEPT}, health: {{timeout: {timeout}}}, \
                 requirements: {{disk_gb: 0.1, memory_gb: 0.1}}, rollback: {{automatic: true}}{hooks}}}\n"
            ),
        );
        self.project.file(
            "docker-compose.yml",
            format!(
                "services:\n  backend:\n    image: {image}\n    stop_grace_period: 0s\n    \
                 environment: {{VERSION: '{version}', MODE: '{mode}'}}\n    ports: ['127.0.0.1:{port}:8000']\n    \
                 volumes: ['kept:/data', './shop.yaml:/shop.yaml:ro']\n    \
                 healthcheck: {{test: [CMD, shop, get, 'localhost:8000/health'], interval: 300ms, retries: 3}}\n\
                 volumes: {{kept: }}\n"
            ),
        );
        self.project.file("shop.yaml", format!("note: {version}\n"));
        self.project.commit(&version.to_string());
        version
    }

    /// A hook of each kind, which notes that it runs; that after the checks fails.
    fn hooks(&self) -> String {
        let notes = self.hook_notes();
        let hook = |kind: &str, keys: &str, then: &str| {
            let line = format!("echo $FFE_DEPLOYMENT_ID $FFE_HOOK >>{}; sleep 0.1{then}", notes.display());
            format!("{kind}: [{{name: {kind}, shell: '{line}'{keys}}}]")
        };
        let all = [
            hook("pre_deploy", "", ""),
            hook("post_deploy", ", on_error: rollback", "; exit 1"),
            hook("on_failure", "", ""),
            hook("on_rollback", "", ""),
            hook("finally", "", ""),
        ];
        format!(", hooks: {{{}}}", all.join(", "))
    }

    /// Where hooks note that they run: a line of deployment and kind for each time.
    pub(super) fn hook_notes(&self) -> PathBuf {
        self.host.dir().join("hooks.txt")
    }

    /// Starts the program, with these variables besides.
    fn spawn(&self, words: &[&str], variables: &[(&str, &str)]) -> Running {
        let log = self.host.dir().join("events.jsonl");
        // One that is not there yet is as good.
        fs::remove_file(&log).ok();
        let mut command = self.host.command(&self.program);
        command.args(words).arg("--project-root").arg(self.project.path()).arg("--event-log").arg(&log);
        command.envs(variables.iter().copied()).current_dir(self.host.dir());
        Running::start(command, log)
    }

    pub(super) fn run(&self, words: &[&str]) -> Ended {
        let run = self.spawn(words, &[]).wait();
        let code = run.code;
        run.exits(code)
    }

    /// Deploys the next release, which is good; that must succeed.
    fn deploy(&mut self) {
        let version = self.write("ok");
        let ended = self.run(&["deploy", "staging", "--version", &version.to_string()]);
        assert_eq!(ended.code, 0, "a deployment without a fault: {}", ended.told());
        self.good.push(version);
        if self.counter.is_none() {
            self.counter = Some(Counter::start(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)), 0));
        }
    }

    /// Brings the app to where the walk starts.
    fn prepare(&mut self) {
        match self.walk {
            Walk::First => self.begin_anew(),
            Walk::Good | Walk::Bad | Walk::Hooks if self.good.is_empty() => {
                (0..=KEPT).for_each(|_| self.deploy())
            }
            Walk::Good | Walk::Bad | Walk::Hooks => {}
            Walk::Rollback if self.good.is_empty() => (0..2).for_each(|_| self.deploy()),
            // Nobody goes back to a release that could not be gone back to, or that somebody went back from: a new one
            // makes the one that runs now the one before.
            Walk::Rollback => self.deploy(),
        }
    }

    /// An app that was never deployed.
    fn begin_anew(&mut self) {
        *self = Self::new(&self.program, self.walk, self.layout);
    }

    /// Verb of the walk, the version that runs before, and the one that it brings.
    fn words(&mut self) -> (Vec<String>, Option<u32>, u32) {
        let old = self.good.last().copied();
        let (verb, new) = match self.walk {
            Walk::Good | Walk::First => ("deploy", self.write("ok")),
            Walk::Bad => ("deploy", self.write("unhealthy")),
            Walk::Hooks => ("deploy", self.write("hooked")),
            Walk::Rollback => ("rollback", self.good[self.good.len() - 2]),
        };
        let mut words = vec![verb.to_owned(), "staging".to_owned()];
        if verb == "deploy" {
            words.extend(["--version".to_owned(), new.to_string()]);
        }
        (words, old, new)
    }

    /// Returns the points of the walk.
    pub(super) fn trace(&mut self) -> Vec<String> {
        self.prepare();
        let (words, old, new) = self.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let trace = self.host.dir().join("trace");
        let ended = self.spawn(&words, &[("FFE_FAULT_TRACE", &trace.display().to_string())]).wait();
        let goes_back = matches!(self.walk, Walk::Bad | Walk::Hooks);
        ended.exits(if goes_back { 4 } else { 0 });
        self.has_become(if goes_back { old } else { Some(new) });
        points::of(&fs::read_to_string(&trace).expect("a trace was written"), "worker")
    }

    /// Notes which version runs now.
    fn has_become(&mut self, version: Option<u32>) {
        let Some(version) = version else { return };
        match self.walk {
            // What somebody went back from is not there to go back to.
            Walk::Rollback if self.good.contains(&version) => self.good.retain(|other| *other <= version),
            _ if self.good.last() != Some(&version) => self.good.push(version),
            _ => {}
        }
    }

    /// A crashed deployment leaves things that the next one takes away before it begins, where another one does that at
    /// its end: before this, so that the walk comes by the points that were traced.
    pub(super) fn settle(&mut self) {
        if self.walk == Walk::Good {
            self.deploy();
        }
    }

    /// Walks once with a fault at this point; returns how it ended, after all was found to be well.
    pub(super) fn crash(&mut self, point: &str, number: usize, series: Series) -> String {
        self.prepare();
        let (words, old, new) = self.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let trace = self.host.dir().join(format!("trace-{number}"));
        let file = trace.display().to_string();
        let again = if series == Series::Twice {
            format!(",recovery:{}", 1 + number % RECOVERY)
        } else {
            String::new()
        };
        let place = format!("worker:{point}{again}");
        // What runs is to come half-way.
        let later = if point.contains("(running)") && number.is_multiple_of(2) { "300" } else { "0" };
        let variable = if series == Series::Both { "FFE_FAULT_STOP_AT" } else { "FFE_FAULT_KILL_AT" };
        let variables =
            [("FFE_FAULT_TRACE", file.as_str()), (variable, &place), ("FFE_FAULT_AFTER_MS", later)];
        let mut run = self.spawn(&words, &variables);
        let id = id_of(&mut run);
        let done = trace.with_file_name(format!("trace-{number}.done"));
        let ended = match series {
            Series::Worker | Series::Twice => Some(run.wait()),
            Series::Both => self.kill_all(run, &trace, &done),
        };
        let ended = ended.map(|run| {
            let code = run.code;
            run.exits(code)
        });
        let what = format!(
            "killed at `{point}` in {:?}, {:?}: {}",
            self.walk,
            self.layout,
            ended.as_ref().map(Ended::told).unwrap_or_default()
        );
        let mut told = String::new();
        if series == Series::Both {
            told = self.end_by_hand(number, &what);
        }
        let state = invariants::check(self, &id, old, new, &what);
        assert!(done.is_file(), "it was not reached: {what}");
        assert!(series == Series::Both || state.outcome != "not begun", "no last word of {id}: {what}");
        self.has_become(state.version);
        // Whatever came of it, the next deployment needs no repair.
        if self.walk == Walk::First || state.version.is_none() {
            self.deploy();
        }
        let runs = match state.version {
            None => "nothing",
            Some(version) if version == new => "new",
            Some(version) if Some(version) == old => "old",
            Some(_) => "newer",
        };
        format!("{runs}\t{}{told}", state.outcome)
    }

    /// Waits until the worker stands still at its point, and kills runner, guard and worker, in this order.
    fn kill_all(&self, mut run: Running, trace: &Path, done: &Path) -> Option<crate::support::Run> {
        let stands = within(SOON, || {
            let ours = mentioning(trace);
            // The runner may end before the last points of the worker.
            let has_ended = run.has_ended() && !ours.iter().any(|pid| alive(*pid));
            let stands = done.is_file() && ours.into_iter().any(is_stopped);
            (stands || has_ended).then_some(stands)
        });
        match stands {
            Some(false) => Some(run.wait()),
            Some(true) => {
                let mut ours = mentioning(trace);
                // Whoever was started first watches over the others.
                ours.sort_by_key(|pid| (is_stopped(*pid), *pid));
                for pid in &ours {
                    // One that has ended meanwhile is as good as killed.
                    kill_process(as_pid(*pid), Signal::KILL).ok();
                }
                until(SOON, "the end of runner, guard and worker", || !ours.iter().any(|pid| alive(*pid)));
                None
            }
            None => panic!("the worker never came to {}", done.display()),
        }
    }

    /// The next deployment, or `recover`, ends what was left.
    fn end_by_hand(&mut self, number: usize, what: &str) -> String {
        if number.is_multiple_of(2) {
            let ended = self.run(&["recover", "staging"]);
            assert!([0, 5].contains(&ended.code), "{what}\nrecover: {}", ended.told());
            return "; recover".to_owned();
        }
        let version = self.write("ok");
        let ended = self.run(&["deploy", "staging", "--version", &version.to_string()]);
        assert_eq!(ended.code, 0, "{what}\nthe next deployment: {}", ended.told());
        self.has_become(Some(version));
        "; next deployment".to_owned()
    }

    /// The last number that was counted is there, too.
    pub(super) fn end(mut self) {
        invariants::nothing_is_lost(&self, "at the end");
        self.counter.take();
    }

    pub(super) fn lost(&self) -> Option<Vec<u64>> {
        self.counter.as_ref().map_or(Some(Vec::new()), Counter::lost)
    }

    /// Version of the last release that was deployed well.
    pub(super) fn newest(&self) -> Option<u32> {
        self.good.last().copied()
    }
}

/// Id of the deployment that a run has begun.
fn id_of(run: &mut Running) -> String {
    let event = run.until_event(SOON, |event| event["deployment_id"].is_string());
    event["deployment_id"].as_str().expect("it is a string").to_owned()
}

fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}
