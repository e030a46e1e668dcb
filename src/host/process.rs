//! The one place that spawns programs: own process group, named deployment, deadline, output as lines.
//!
//! A command is data first ([`Command`]), so that a test can compare argument lists; [`run`] alone spawns it.
//! Arguments are never joined into a shell line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use zeroize::Zeroizing;

use super::clock::Moment;
use super::seam;

/// Longest line of output that is kept; what is longer is cut and marked.
const LONGEST_LINE: usize = 16 * 1024;
/// Longest line that is read of a program whose output nobody keeps, in bytes: one that never ends its line must not fill
/// the memory.
const LONGEST_READ: usize = 1 << 20;
/// What marks a line of which the rest was not kept.
const CUT: &str = " … (cut)";
/// Lines of output kept for error messages.
const LAST_LINES: usize = 50;
/// How long a process group gets between SIGTERM and SIGKILL when its deadline has passed.
const GRACE: Duration = Duration::from_secs(5);

/// A program to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    environment: BTreeMap<String, String>,
    directory: Option<PathBuf>,
    stdin: Option<Vec<u8>>,
    deadline: Duration,
    change: Option<&'static str>,
    keeps_output: bool,
}

/// Variables of this process that every program may see, where they are set (DESIGN section 6: a cleared environment).
const PASSED_ON: [&str; 10] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "FFE_DEPLOYMENT_ID",
];

impl Command {
    /// Returns the command with a cleared environment, no input, and a deadline of 10 minutes.
    pub fn new(program: impl Into<OsString>) -> Self {
        let environment = std::env::vars()
            .filter(|(name, _)| PASSED_ON.contains(&name.as_str()) || name.starts_with("DOCKER_"))
            .collect();
        Self {
            program: program.into(),
            args: Vec::new(),
            environment,
            directory: None,
            stdin: None,
            deadline: Duration::from_secs(600),
            change: None,
            keeps_output: true,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets one variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Sets the directory in which it runs.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Gives it bytes to read; without them it reads nothing.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Sets how long it may take.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Says that its output is only seen line by line, so that much of it needs no room: [`Finished::stdout`] stays empty.
    #[must_use]
    pub fn forgetting(mut self) -> Self {
        self.keeps_output = false;
        self
    }

    /// Says that it changes something on this machine, by a name for the seam ([`super::seam`]); whoever
    /// [`watch_changes`] is told its process id.
    #[must_use]
    pub fn changes(mut self, what: &'static str) -> Self {
        self.change = Some(what);
        self
    }

    /// Returns the command as people write it, for messages; arguments hold no secrets by rule.
    pub fn shown(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.args);
        words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    /// Returns it ready to be spawned by those who talk with it while it runs.
    pub(crate) fn prepared(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.args).env_clear().envs(&self.environment).process_group(0).kill_on_drop(true);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Which stream a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    /// Its status.
    pub status: ExitStatus,
    /// Its whole standard output.
    pub stdout: String,
    /// The last 50 lines of both streams.
    pub last_lines: Vec<String>,
}

impl Finished {
    /// Returns the last line that says something, for one-line messages.
    pub fn last_words(&self) -> String {
        self.last_lines.iter().rev().find(|line| !line.trim().is_empty()).cloned().unwrap_or_default()
    }
}

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is no such program on PATH.
    #[error("`{program}` is not installed or not on PATH")]
    Missing {
        /// Its name.
        program: String,
    },
    /// It could not be started.
    #[error("could not start `{program}`")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It did not end in time, and was ended.
    #[error("`{shown}` did not end within {} s and was stopped", deadline.as_secs())]
    Deadline {
        /// The command.
        shown: String,
        /// What it was given.
        deadline: Duration,
    },
    /// It was told to stop before it had ended.
    #[error("`{shown}` was stopped")]
    Stopped {
        /// The command.
        shown: String,
    },
    /// It ended with an error.
    #[error("`{shown}` failed ({}): {}", .finished.status, .finished.last_words())]
    Failed {
        /// The command.
        shown: String,
        /// All it said.
        finished: Box<Finished>,
    },
}

/// Runs a command to its end, whatever its exit status; `on_line` sees each line as it comes.
///
/// # Errors
/// The program is missing, cannot be started, or does not end within its deadline (its whole group is then ended).
pub async fn run_unchecked(
    command: &Command,
    on_line: impl FnMut(Stream, &str) + Send,
) -> Result<Finished, ProcessError> {
    run_until(command, &mut std::future::pending(), on_line).await
}

/// As [`run_unchecked`], and ends the program with its whole group when `stop` is ready: SIGTERM first, SIGKILL 5 s later.
///
/// # Errors
/// As [`run_unchecked`], and when it was stopped.
pub async fn run_until(
    command: &Command,
    stop: &mut (dyn Future<Output = ()> + Send + Unpin),
    mut on_line: impl FnMut(Stream, &str) + Send,
) -> Result<Finished, ProcessError> {
    if let Some(what) = command.change {
        seam::about_to(what);
    }
    let mut child = command.prepared().spawn().map_err(|source| not_started(command, source))?;
    if let Some(what) = command.change {
        if let (Some(pid), Some(watcher)) = (child.id(), watcher()) {
            watcher(what, pid);
        }
        seam::running(what);
    }
    let group = Group::of(&child);
    let _running = Running::of(command);
    if let (Some(bytes), Some(mut stdin)) = (command.stdin.clone(), child.stdin.take()) {
        // A program that does not read its input fails by itself; its own message is the better one.
        tokio::spawn(async move { stdin.write_all(&bytes).await.ok() });
    }
    let mut output = Output { keeps: command.keeps_output, ..Output::default() };
    let work = async {
        let most = if command.keeps_output { usize::MAX } else { LONGEST_READ };
        let out = child.stdout.take().map(|stream| Lines::new(stream, most));
        let err = child.stderr.take().map(|stream| Lines::new(stream, most));
        read_both(out, err, &mut |stream, line: &str| {
            output.push(stream, line);
            on_line(stream, line);
        })
        .await;
        child.wait().await
    };
    // On a clock that goes on while the machine sleeps.
    let (shown, deadline) = (command.shown(), command.deadline);
    let late = tokio::select! {
        ended = work => match ended {
            Ok(status) => {
                group.let_go();
                return Ok(Finished { status, stdout: output.stdout, last_lines: output.last });
            }
            Err(source) => return Err(not_started(command, source)),
        },
        () = Moment::now().after(deadline).comes() => ProcessError::Deadline { shown, deadline },
        () = stop => ProcessError::Stopped { shown },
    };
    group.end(&mut child).await;
    Err(late)
}

/// How a program ended that was asked for a secret.
#[derive(Debug)]
pub struct Told {
    /// Its status.
    pub status: ExitStatus,
    /// The beginning of its standard output, wiped when it is dropped; never copied.
    pub stdout: Zeroizing<Vec<u8>>,
}

/// Runs a command whose standard output is a secret, to its end, whatever its exit status. Of the output `most` bytes and
/// one more are read, then nobody listens any more; `on_err` sees each line of standard error.
///
/// # Errors
/// As [`run_unchecked`].
pub async fn ask(
    command: &Command,
    most: usize,
    mut on_err: impl FnMut(&str) + Send,
) -> Result<Told, ProcessError> {
    let mut child = command.prepared().spawn().map_err(|source| not_started(command, source))?;
    let group = Group::of(&child);
    let _running = Running::of(command);
    // As large as it may become: a vector that grows leaves what it held behind.
    let mut stdout = Zeroizing::new(Vec::with_capacity(most + 1));
    let (shown, deadline) = (command.shown(), command.deadline);
    let ended = tokio::select! {
        ended = secret_of(&mut child, most, &mut stdout, &mut on_err) => Some(ended),
        () = Moment::now().after(deadline).comes() => None,
    };
    match ended {
        Some(Ok(status)) => {
            group.let_go();
            Ok(Told { status, stdout })
        }
        Some(Err(source)) => Err(not_started(command, source)),
        None => {
            group.end(&mut child).await;
            Err(ProcessError::Deadline { shown, deadline })
        }
    }
}

async fn secret_of(
    child: &mut tokio::process::Child,
    most: usize,
    stdout: &mut Vec<u8>,
    on_err: &mut impl FnMut(&str),
) -> std::io::Result<ExitStatus> {
    let out = child.stdout.take();
    let err = child.stderr.take().map(|stream| Lines::new(stream, LONGEST_READ));
    let listen = async {
        let Some(mut out) = out else { return };
        // What cannot be read is as what was never said.
        while stdout.len() <= most && out.read_buf(stdout).await.is_ok_and(|read| read > 0) {}
    };
    let mut tell = |_, line: &str| on_err(line);
    tokio::join!(listen, read_both(None::<Lines<&[u8]>>, err, &mut tell));
    child.wait().await
}

/// Who is told the process ids of programs that change what runs.
type Watcher = Arc<dyn Fn(&str, u32) + Send + Sync>;
static WATCHER: Mutex<Option<Watcher>> = Mutex::new(None);

/// Has every program that [`Command::changes`] something told by that name and its process id as soon as it is there.
pub fn watch_changes(watcher: impl Fn(&str, u32) + Send + Sync + 'static) {
    *WATCHER.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(watcher));
}

fn watcher() -> Option<Watcher> {
    WATCHER.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Command lines of the programs that run now, by number.
static RUNNING: Mutex<BTreeMap<u64, String>> = Mutex::new(BTreeMap::new());

/// Returns the command lines of the programs that this process waits for, oldest first.
pub fn running() -> Vec<String> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
}

/// One of [`running`], as long as it is there.
struct Running(u64);

impl Running {
    fn of(command: &Command) -> Self {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let number = running.last_key_value().map_or(0, |(number, _)| number + 1);
        running.insert(number, command.shown());
        Self(number)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Runs a command that must succeed, line by line.
///
/// # Errors
/// As [`run_unchecked`], and when it ends with another status than 0.
pub async fn run(
    command: &Command,
    on_line: impl FnMut(Stream, &str) + Send,
) -> Result<Finished, ProcessError> {
    let finished = run_unchecked(command, on_line).await?;
    if finished.status.success() {
        return Ok(finished);
    }
    Err(ProcessError::Failed { shown: command.shown(), finished: Box::new(finished) })
}

/// Runs a command that must succeed, and returns its standard output.
///
/// # Errors
/// As [`run`].
pub async fn output(command: &Command) -> Result<String, ProcessError> {
    run(command, |_, _| {}).await.map(|finished| finished.stdout)
}

/// Returns whether a program of this name is on PATH.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| is_executable(&directory.join(program)))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn not_started(command: &Command, source: std::io::Error) -> ProcessError {
    let program = command.program.to_string_lossy().into_owned();
    if source.kind() == std::io::ErrorKind::NotFound && command.directory.as_ref().is_none_or(|d| d.is_dir())
    {
        return ProcessError::Missing { program };
    }
    ProcessError::Start { program, source }
}

#[derive(Default)]
struct Output {
    keeps: bool,
    stdout: String,
    last: Vec<String>,
}

impl Output {
    fn push(&mut self, stream: Stream, line: &str) {
        if stream == Stream::Out && self.keeps {
            self.stdout.push_str(line);
            self.stdout.push('\n');
        }
        if self.last.len() == LAST_LINES {
            self.last.remove(0);
        }
        let cut = line.char_indices().nth(LONGEST_LINE).map_or(line, |(at, _)| &line[..at]);
        self.last.push(cut.to_owned());
    }
}

/// Lines of a stream, whatever bytes it holds; of each no more than `most` bytes.
struct Lines<R> {
    stream: BufReader<R>,
    read: Vec<u8>,
    most: usize,
    is_cut: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(stream: R, most: usize) -> Self {
        Self { stream: BufReader::new(stream), read: Vec::new(), most, is_cut: false }
    }

    /// Safe to drop half-way: what was read waits in the buffer for the next call.
    async fn next(&mut self) -> Option<String> {
        loop {
            let piece = self.stream.fill_buf().await.ok()?;
            if piece.is_empty() {
                break;
            }
            let end = piece.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(piece.len(), |at| at + 1);
            let kept = taken.min(self.most.saturating_sub(self.read.len()));
            self.is_cut |= kept < end.unwrap_or(piece.len());
            self.read.extend_from_slice(&piece[..kept]);
            self.stream.consume(taken);
            if end.is_some() {
                break;
            }
        }
        let (bytes, is_cut) = (std::mem::take(&mut self.read), std::mem::take(&mut self.is_cut));
        if bytes.is_empty() {
            return None;
        }
        let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
        Some(if is_cut { line + CUT } else { line })
    }
}

async fn read_both<A: AsyncRead + Unpin, B: AsyncRead + Unpin>(
    mut out: Option<Lines<A>>,
    mut err: Option<Lines<B>>,
    on_line: &mut impl FnMut(Stream, &str),
) {
    while out.is_some() || err.is_some() {
        let next_out = async {
            if let Some(lines) = &mut out { lines.next().await } else { std::future::pending().await }
        };
        let next_err = async {
            if let Some(lines) = &mut err { lines.next().await } else { std::future::pending().await }
        };
        let (stream, line) = tokio::select! {
            line = next_out => (Stream::Out, line),
            line = next_err => (Stream::Err, line),
        };
        match (stream, line) {
            (_, Some(line)) => on_line(stream, &line),
            (Stream::Out, None) => out = None,
            (Stream::Err, None) => err = None,
        }
    }
}

/// The process group of a program that runs. Dropped before the program has ended, it takes all of the group with it:
/// whoever stops waiting (a cancelled deployment) must not leave half of a program behind.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// The program has ended, and its number may soon be another's.
    fn let_go(mut self) {
        self.0 = None;
    }

    async fn end(self, child: &mut tokio::process::Child) {
        self.signal(Signal::TERM);
        if tokio::time::timeout(GRACE, child.wait()).await.is_ok() {
            // What it had started may live on: as long as any of it does, the number is nobody else's.
            self.signal(Signal::KILL);
        } else {
            self.signal(Signal::KILL);
            // What hangs in the kernel (a file system whose server is away) does not even end by that.
            tokio::time::timeout(GRACE, child.wait()).await.ok();
        }
        self.let_go();
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            // ESRCH: the group is gone already, which is what is wanted.
            kill_process_group(pid, signal).ok();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_from_both_streams_and_the_status_is_kept() {
        let command = Command::new("sh").args(["-c", "echo one; echo two >&2; exit 3"]);
        let mut seen = Vec::new();
        let finished =
            run_unchecked(&command, |stream, line| seen.push((stream, line.to_owned()))).await.unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(finished.stdout, "one\n");
        seen.sort_by_key(|(stream, _)| *stream == Stream::Err);
        assert_eq!(seen, [(Stream::Out, "one".to_owned()), (Stream::Err, "two".to_owned())]);
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_ended_with_its_children() {
        let command =
            Command::new("sh").args(["-c", "sleep 600 & wait"]).deadline(Duration::from_millis(200));
        let ended = run_unchecked(&command, |_, _| {}).await;
        assert!(matches!(ended, Err(ProcessError::Deadline { .. })), "{ended:?}");
    }

    #[tokio::test]
    async fn what_a_program_started_is_ended_with_it_also_when_it_does_not_hear() {
        let script = "sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' & wait";
        let command = Command::new("sh").args(["-c", script]).forgetting();
        let (told, mut deaf) = tokio::sync::mpsc::unbounded_channel();
        let seen = Arc::new(Mutex::new(String::new()));
        let mut stop = Box::pin(async { *seen.lock().unwrap() = deaf.recv().await.unwrap() });
        let ended = run_until(&command, &mut stop, |_, line| told.send(line.to_owned()).unwrap()).await;
        assert!(matches!(ended, Err(ProcessError::Stopped { .. })), "{ended:?}");
        let pid = seen.lock().unwrap().clone();
        let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        while !(stat().is_empty() || stat().contains(") Z ")) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_program_that_nobody_waits_for_any_more_goes_with_its_children() {
        let command = Command::new("sh").args(["-c", "sleep 600 & echo $!; wait"]);
        let (told, mut child) = tokio::sync::mpsc::unbounded_channel();
        let running = run_unchecked(&command, |_, line| told.send(line.to_owned()).unwrap());
        let child = tokio::select! {
            _ = running => panic!("it waits for its child"),
            pid = child.recv() => pid.unwrap(),
        };
        let state = || std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let is_gone = || state().is_empty() || state().contains(") Z ");
        while !is_gone() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_line_that_never_ends_is_cut_and_the_next_one_is_whole() {
        let script = "head -c 5000000 /dev/zero | tr '\\0' x; echo end; echo next; head -c 2000000 /dev/zero";
        let command = Command::new("sh").args(["-c", script]).forgetting();
        let mut lines = Vec::new();
        run(&command, |_, line| lines.push(line.to_owned())).await.unwrap();
        let lengths: Vec<usize> = lines.iter().map(String::len).collect();
        assert_eq!(lengths, [LONGEST_READ + CUT.len(), 4, LONGEST_READ + CUT.len()]);
        assert!(lines[0].ends_with("xx … (cut)") && lines[1] == "next", "{}", lines[1]);
        let kept = Command::new("sh").args(["-c", script]);
        assert_eq!(run(&kept, |_, _| {}).await.unwrap().stdout.len(), 5_000_004 + 5 + 2_000_001);
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let ended = output(&Command::new("no-such-program")).await;
        assert_eq!(ended.unwrap_err().to_string(), "`no-such-program` is not installed or not on PATH");
    }

    #[tokio::test]
    async fn the_environment_of_the_job_is_not_passed_on() {
        let listed = output(&Command::new("env").env("GIVEN", "x")).await.unwrap();
        assert!(listed.contains("GIVEN=x"));
        assert!(!listed.contains("CARGO_"), "{listed}");
    }
}
