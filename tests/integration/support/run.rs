//! One run of the built binary: while it goes on, and when it has ended.
use std::io::Read;
use std::ops::Deref;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process, kill_process_group};
use serde_json::Value;

use super::process::{as_pid, kill_tree};
use super::wait::{until_some, within};
use super::{assert_gapless, events};

/// Longest that any run may take.
const LIMIT: Duration = Duration::from_secs(180);
/// Longest that stdout and stderr may stay open after the end: a CI runner waits for that, too.
const CLOSING: Duration = Duration::from_secs(5);

/// A run that has ended, of which nobody has yet said how it must end: say it with [`Run::exits`].
#[must_use = "say how it must end: `.exits(0)`"]
pub(crate) struct Run(Ended);

/// A run that has ended as it should.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What was run, for messages.
    pub(crate) command: String,
    /// The exit code; 128 + N when signal N ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The event log, each line checked against the schema.
    pub(crate) events: Vec<Value>,
    pub(crate) duration: Duration,
}

impl Deref for Run {
    type Target = Ended;
    fn deref(&self) -> &Ended {
        &self.0
    }
}

impl Run {
    /// Checks the exit code.
    ///
    /// # Panics
    /// With all that the run has printed, when the code is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Ended {
        assert!(self.code == code, "exit {} instead of {code}: {}", self.code, self.0.told());
        self.0
    }
}

impl Ended {
    /// The first event called `name`.
    #[track_caller]
    pub(crate) fn event(&self, name: &str) -> &Value {
        let found = self.events.iter().find(|event| event["event"] == name);
        found.unwrap_or_else(|| panic!("no event `{name}`: {}", self.told()))
    }

    /// All events called `name`, in order.
    pub(crate) fn events_named(&self, name: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["event"] == name).collect()
    }

    /// `result` of the last event, which must be `deployment_finished`; the events must have no gap.
    #[track_caller]
    pub(crate) fn result(&self) -> &Value {
        assert_gapless(&self.events);
        let last = self.events.last().unwrap_or_else(|| panic!("no events: {}", self.told()));
        assert_eq!(last["event"], "deployment_finished", "the last event is another: {}", self.told());
        &last["result"]
    }

    /// Stdout as JSON (`--output json`).
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is no JSON ({error}): {}", self.told()))
    }

    /// Checks that the console says all of `parts`: stderr, or stdout in a job of GitHub.
    #[track_caller]
    pub(crate) fn says(&self, parts: &[&str]) -> &Self {
        for part in parts {
            let said = self.stderr.contains(part) || self.stdout.contains(part);
            assert!(said, "the console does not say `{part}`: {}", self.told());
        }
        self
    }

    /// Everything about the run, for a panic message.
    pub(crate) fn told(&self) -> String {
        let names: Vec<_> = self.events.iter().map(|event| event["event"].as_str().unwrap_or("?")).collect();
        format!(
            "{}\n--- after {:?}; events: {}\n--- stdout\n{}\n--- stderr\n{}",
            self.command,
            self.duration,
            names.join(" "),
            self.stdout,
            self.stderr
        )
    }
}

/// A run that goes on, in a process group of its own; killed on drop.
pub(crate) struct Running {
    child: Child,
    command: String,
    log: PathBuf,
    started: Instant,
    stdout: Stream,
    stderr: Stream,
}

struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn of(mut source: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = source.read(&mut buffer) {
                sink.lock().expect("no reader panics").extend_from_slice(&buffer[..count]);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("no reader panics")).into_owned()
    }

    fn is_closed(&self) -> bool {
        self.reader.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Running {
    /// Starts `command`, which writes its events to `log`.
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Self {
        use std::os::unix::process::CommandExt;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("could not start {command:?}: {error}"));
        let stdout = Stream::of(child.stdout.take().expect("stdout is piped"));
        let stderr = Stream::of(child.stderr.take().expect("stderr is piped"));
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        let command = format!("ffe-deploy {}", arguments.join(" "));
        Self { child, command, log, started: Instant::now(), stdout, stderr }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process alone.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(as_pid(self.pid()), signal).expect("signal the run");
    }

    /// Sends a signal to the whole process group.
    pub(crate) fn signal_group(&self, signal: Signal) {
        kill_process_group(as_pid(self.pid()), signal).expect("signal the run's process group");
    }

    pub(crate) fn stdout_so_far(&self) -> String {
        self.stdout.text()
    }

    pub(crate) fn stderr_so_far(&self) -> String {
        self.stderr.text()
    }

    pub(crate) fn events_so_far(&self) -> Vec<Value> {
        events::read(&self.log)
    }

    /// Waits for the first event of which `wanted` holds.
    #[track_caller]
    pub(crate) fn until_event(&mut self, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        let what = format!("an event of {}", self.command);
        let found = within(limit, || {
            let ended = self.has_ended();
            let found = self.events_so_far().into_iter().find(|event| wanted(event));
            if found.is_none() && ended { Some(None) } else { found.map(Some) }
        });
        found.flatten().unwrap_or_else(|| panic!("no such event: {what}\n{}", self.stderr_so_far()))
    }

    /// Waits until the stage called `stage` has begun.
    #[track_caller]
    pub(crate) fn until_stage(&mut self, limit: Duration, stage: &str) -> Value {
        self.until_event(limit, |event| event["event"] == "stage_started" && event["stage"] == stage)
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("ask for the run's end").is_some()
    }

    /// Waits for the end, and until nothing holds stdout and stderr any more.
    ///
    /// # Panics
    /// With all that it has printed, when it takes more than 3 minutes, or when something keeps its output open.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Run {
        let Some(status) = within(LIMIT, || self.child.try_wait().expect("ask for the run's end")) else {
            kill_tree(self.pid());
            panic!("still running after {LIMIT:?}, so killed: {}", self.ended(None).told())
        };
        let duration = self.started.elapsed();
        let closed = within(CLOSING, || (self.stdout.is_closed() && self.stderr.is_closed()).then_some(()));
        let mut ended = self.ended(Some(status));
        ended.duration = duration;
        assert!(closed.is_some(), "has ended, but something keeps its output open: {}", ended.told());
        Run(ended)
    }

    fn ended(&self, status: Option<ExitStatus>) -> Ended {
        let code = status.map_or(-1, |status| status.code().unwrap_or(128 + status.signal().unwrap_or(0)));
        Ended {
            command: self.command.clone(),
            code,
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            events: events::read(&self.log),
            duration: self.started.elapsed(),
        }
    }

    /// Waits until stderr says `part`.
    #[track_caller]
    pub(crate) fn until_says(&self, limit: Duration, part: &str) {
        until_some(limit, &format!("`{part}` on stderr"), || {
            self.stderr_so_far().contains(part).then_some(())
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended() {
            kill_tree(self.pid());
            self.child.wait().ok();
        }
    }
}
