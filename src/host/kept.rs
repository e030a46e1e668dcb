//! Programs that must not outlive this process, however it ends: `kill -9` and an out-of-memory kill included.
//!
//! [`keep`] starts a program under a small shell that holds the reading end of a pipe whose writing end only this
//! process has. When [`Kept`] is dropped, or that end closes because we are gone, the shell ends the program's whole process
//! group; in the second case it removes the private directory, too. This needs no signal on the death of a parent, which
//! Linux ties to one thread and takes back from setgid programs such as `ssh-agent`. The shell is detached and does
//! not carry the tracking id of a CI runner, so that it is still there to clean up when a job's whole tree is killed.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::ChildStdin;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Lines kept of what a program says.
const LAST_LINES: usize = 50;
/// Longest line kept, in bytes; what is longer is cut.
const LONGEST_LINE: u64 = 4096;
/// How long its last words may take after its end.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How long its end may take that was asked for, before nobody waits for it any more.
const ORDERLY: Duration = Duration::from_secs(10);
/// By this variable GitHub's runner finds what to kill at the end of a job.
const TRACKING: &str = "RUNNER_TRACKING_ID";

/// `$1` is the directory to remove, the rest is the program. File descriptor 3 is the lifeline: a line means that the
/// program shall end, its end of file that we did. The reader signals the whole group, which it and the shell itself ignore, and the waiting shell then tidies up.
const KEEPER: &str = r#"
exec 3<&0
(
  room=$1; shift
  "$@" 3<&- </dev/null >/dev/null & child=$!
  exec 2>/dev/null
  trap "" HUP INT TERM PIPE
  ( exec >/dev/null; read -r _ <&3; orderly=$?; kill -TERM 0; exit "$orderly" ) & reader=$!
  exec 3<&-
  wait "$child"
  echo "ended $?"
  wait "$reader" || rm -rf -- "$room"
) &
"#;

/// A program that ends with this process.
#[derive(Debug)]
pub struct Kept {
    lifeline: Option<ChildStdin>,
    said: Said,
    ended: watch::Receiver<Progress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    Runs,
    Ended,
    TidiedUp,
}

/// A program and its arguments, to be kept. Knows secrets, so it has no `Debug`.
pub struct ToKeep<'a> {
    /// Its name, found on PATH.
    pub program: &'a str,
    /// Its arguments; never a secret.
    pub arguments: Vec<OsString>,
    /// Secrets, trimmed: it inherits no variable with such a value, and all others.
    pub hidden: Vec<&'a str>,
    /// Private directory that is removed when this process ends without doing so itself; absolute.
    pub room: &'a Path,
}

/// Starts a program that ends when [`Kept`] is dropped or this process ends.
///
/// # Errors
/// There is no `sh`. That the program itself is missing shows by its end, with status 127.
pub fn keep(wanted: &ToKeep<'_>) -> std::io::Result<Kept> {
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", KEEPER, "ffe-deploy-keeper"]).arg(wanted.room);
    command.arg(wanted.program).args(&wanted.arguments).process_group(0).env_remove(TRACKING);
    let hidden = std::env::vars_os()
        .filter(|(_, value)| value.to_str().is_some_and(|value| wanted.hidden.contains(&value.trim())));
    for (name, _) in hidden {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let said = Said::default();
    let (tell, ended) = watch::channel(Progress::Runs);
    let listener = child.stderr.take().map(|stderr| tokio::spawn(said.clone().listen(stderr)));
    let lifeline = child.stdin.take();
    let news = child.stdout.take();
    tokio::spawn(async move {
        if let Some(news) = news {
            follow(news, listener, &tell).await;
        }
        // The first shell ended at once; this only takes its status away.
        child.wait().await.ok();
    });
    Ok(Kept { lifeline, said, ended })
}

async fn follow(
    news: impl AsyncRead + Unpin,
    listener: Option<JoinHandle<()>>,
    tell: &watch::Sender<Progress>,
) {
    let mut news = BufReader::new(news);
    let mut line = String::new();
    if matches!(news.read_line(&mut line).await, Ok(read) if read > 0) {
        if let Some(listener) = listener {
            // Its last words belong to its end, unless something that it left behind still holds its stderr.
            tokio::time::timeout(LAST_WORDS, listener).await.ok();
        }
        tell.send_replace(Progress::Ended);
        line.clear();
        news.read_line(&mut line).await.ok();
    }
    tell.send_replace(Progress::TidiedUp);
}

impl Kept {
    /// Returns what it has said on stderr so far, the last 50 lines; foreign text.
    pub fn said(&self) -> Said {
        self.said.clone()
    }

    /// Returns whether it runs.
    pub fn runs(&self) -> bool {
        *self.ended.borrow() == Progress::Runs
    }

    /// Returns once it has ended.
    pub async fn ended(&self) {
        // An error means that the sender is gone, and with it the program.
        self.ended.clone().wait_for(|progress| *progress >= Progress::Ended).await.ok();
    }

    /// Ends it, and returns when it is gone. Its directory stays.
    pub async fn end(mut self) {
        self.let_go();
        let gone = self.ended.wait_for(|progress| *progress == Progress::TidiedUp);
        tokio::time::timeout(ORDERLY, gone).await.ok();
    }
}

impl Kept {
    /// Says that its end is wanted; the pipe is empty, so this does not block.
    fn let_go(&mut self) {
        use std::io::Write;
        if let Some(Ok(pipe)) = self.lifeline.take().map(ChildStdin::into_owned_fd) {
            std::fs::File::from(pipe).write_all(b"\n").ok();
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// The last lines that a program said on a stream; foreign text.
#[derive(Clone, Debug, Default)]
pub struct Said(Arc<Mutex<VecDeque<String>>>);

impl Said {
    /// Returns the lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Takes in a stream up to its end.
    pub async fn listen(self, stream: impl AsyncRead + Unpin) {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!((&mut stream).take(LONGEST_LINE).read_until(b'\n', &mut line).await, Ok(read) if read > 0)
        {
            self.push(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    }

    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LAST_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell<'a>(script: &str, room: &'a Path) -> ToKeep<'a> {
        let arguments = vec!["-c".into(), script.into()];
        ToKeep { program: "sh", arguments, hidden: vec![], room }
    }

    async fn ends_with_its_children(orderly: bool) -> bool {
        let above = tempfile::tempdir().unwrap();
        let room = above.path().join("room");
        std::fs::create_dir(&room).unwrap();
        let mut kept = keep(&shell("sleep 600 & echo $! >&2; wait", &room)).unwrap();
        while kept.said().lines().is_empty() {
            tokio::task::yield_now().await;
        }
        let pid = kept.said().lines()[0].clone();
        assert!(kept.runs());
        if !orderly {
            // What the kernel does when this process is killed.
            drop(kept.lifeline.take());
        }
        kept.end().await;
        // Its children got the same signal, but nobody waits for those that it left behind: the kernel takes its time.
        let gone = async {
            while is_alive(&pid) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.expect("its child ends");
        room.exists()
    }

    fn is_alive(pid: &str) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !state.is_empty() && !state.contains(") Z ")
    }

    #[tokio::test]
    async fn ending_it_ends_its_children_and_leaves_the_directory() {
        assert!(ends_with_its_children(true).await);
    }

    #[tokio::test]
    async fn our_own_end_ends_its_children_and_removes_the_directory() {
        assert!(!ends_with_its_children(false).await);
    }

    #[tokio::test]
    async fn a_program_that_ends_by_itself_is_noticed_with_its_words() {
        let room = tempfile::tempdir().unwrap();
        let kept = keep(&shell("echo goodbye >&2; exit 3", room.path())).unwrap();
        kept.ended().await;
        assert!(!kept.runs());
        assert!(room.path().exists());
        kept.end().await;
    }

    #[tokio::test]
    async fn variables_that_hold_a_secret_are_not_inherited() {
        let room = tempfile::tempdir().unwrap();
        let path = std::env::var("HOME").unwrap();
        let mut wanted = shell("echo \"home=$HOME\" >&2", room.path());
        wanted.hidden = vec![&path];
        let kept = keep(&wanted).unwrap();
        let said = kept.said();
        kept.end().await;
        assert!(said.lines().iter().all(|line| line == "home="), "{:?}", said.lines());
    }
}
