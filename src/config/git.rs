//! What git says of a directory. Questions only, hardened against what a checkout's configuration could start.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether git can speak about a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Git {
    /// There is no `git` on PATH.
    Missing,
    /// The directory belongs to no work tree, or nothing in it is tracked: git has no say.
    NoRepository,
    /// It has tracked files.
    Repository,
}

/// Returns whether git knows this directory.
pub(super) fn look(directory: &Path) -> Git {
    match run(directory, &["ls-files", "-z", "--", "."]) {
        Ok(Some(listed)) if !listed.is_empty() => Git::Repository,
        Ok(_) => Git::NoRepository,
        Err(_) => Git::Missing,
    }
}

/// Settings under which a checkout's own configuration starts nothing. In CI containers the checkout belongs to another
/// user; reading it is what the job is for.
pub const HARDENED: [&str; 4] =
    ["safe.directory=*", "core.fsmonitor=false", "core.hooksPath=/dev/null", "core.quotePath=false"];

/// Runs git in a directory: its output, nothing when it failed, or why it could not be started.
pub(super) fn run(directory: &Path, args: &[&str]) -> io::Result<Option<Vec<u8>>> {
    let mut command = Command::new("git");
    for setting in HARDENED {
        command.args(["-c", setting]);
    }
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR"] {
        command.env_remove(name);
    }
    command.env("GIT_OPTIONAL_LOCKS", "0").env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0");
    command.args(args).current_dir(directory).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output()?;
    Ok(output.status.success().then_some(output.stdout))
}

/// Returns git's answer as one trimmed line, when there is one.
pub(super) fn line(directory: &Path, args: &[&str]) -> Option<String> {
    let answer = String::from_utf8(run(directory, args).ok()??).ok()?;
    let answer = answer.trim();
    (!answer.is_empty()).then(|| answer.to_owned())
}

/// Returns what `git --version` says; `None` when there is no git that says anything.
pub(super) fn version() -> Option<String> {
    let output = Command::new("git").arg("--version").stdin(Stdio::null()).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!said.is_empty()).then_some(said)
}

/// Returns `git describe --always --dirty` of the directory; `None` without git, repository or commit.
pub fn describe(directory: &Path) -> Option<String> {
    line(directory, &["describe", "--always", "--dirty"])
}

/// Returns which of these paths the index has, whether or not they are in the work tree.
pub(super) fn tracked(directory: &Path, paths: &[&str]) -> Vec<String> {
    let mut args = vec!["--literal-pathspecs", "ls-files", "-z", "--"];
    args.extend(paths);
    let listed = run(directory, &args).ok().flatten().unwrap_or_default();
    let listed = String::from_utf8_lossy(&listed);
    listed.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect()
}

/// Returns what the index has below a directory that matches these patterns (pathspecs).
pub(super) fn listed(directory: &Path, patterns: &[&str]) -> Vec<String> {
    let mut args = vec!["ls-files", "-z", "--"];
    args.extend(patterns);
    let listed = run(directory, &args).ok().flatten().unwrap_or_default();
    let listed = String::from_utf8_lossy(&listed);
    listed.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect()
}

/// Returns whether git would pass over a file of this name, there or not, tracked or not.
pub(super) fn ignores(directory: &Path, name: &str) -> bool {
    matches!(run(directory, &["check-ignore", "--no-index", "--quiet", "--", name]), Ok(Some(_)))
}

/// Returns the name of the repository in the address of `origin`.
pub(super) fn origin_name(directory: &Path) -> Option<String> {
    let address = line(directory, &["config", "--get", "remote.origin.url"])?;
    let path = address.trim_end_matches('/').trim_end_matches(".git");
    path.rsplit(['/', ':']).next().filter(|name| !name.is_empty()).map(str::to_owned)
}
