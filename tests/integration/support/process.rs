//! Processes other than our own children: who is there, and how to end them.
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait::within;

/// Runs `command` to its end and returns its stdout; panics with its stderr when it fails.
pub(crate) fn output(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("could not start {command:?}: {error}"));
    assert!(
        done.status.success(),
        "{command:?} ended with {}:\n{}{}",
        done.status,
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Says whether a process runs; a zombie does not.
pub(crate) fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

/// All processes that `pid` started, directly or not, which have not left its tree.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let parents: Vec<_> = pids().into_iter().filter_map(|pid| Some((pid, stat(pid)?.1))).collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.remove(0);
    found
}

/// Kills a process and all that it started, with SIGKILL.
pub(crate) fn kill_tree(pid: u32) {
    let mut all = descendants(pid);
    all.push(pid);
    kill_and_wait(&all);
}

/// Processes whose program, working directory, environment or arguments name `dir`, whoever their parent is by now.
pub(crate) fn mentioning(dir: &Path) -> Vec<u32> {
    let needle = dir.as_os_str().as_encoded_bytes();
    let inside = |pid: u32| {
        let link =
            |name| fs::read_link(format!("/proc/{pid}/{name}")).is_ok_and(|path| path.starts_with(dir));
        let names = |file| {
            let text = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            text.windows(needle.len()).any(|part| part == needle)
        };
        link("exe") || link("cwd") || names("environ") || names("cmdline")
    };
    pids().into_iter().filter(|pid| *pid != std::process::id() && inside(*pid)).collect()
}

/// Kills what [`mentioning`] finds, with all that those started, until it finds nothing.
pub(crate) fn kill_all_of(dir: &Path) {
    let gone = within(Duration::from_secs(10), || {
        let left: Vec<_> = mentioning(dir).into_iter().filter(|pid| alive(*pid)).collect();
        left.iter().flat_map(|pid| [descendants(*pid), vec![*pid]].concat()).for_each(kill);
        left.is_empty().then_some(())
    });
    if gone.is_none() {
        eprintln!("processes of {} do not end: {:?}", dir.display(), mentioning(dir));
    }
}

/// Kills these with SIGKILL, and waits until they are gone.
pub(crate) fn kill_and_wait(all: &[u32]) {
    all.iter().for_each(|pid| kill(*pid));
    if within(Duration::from_secs(10), || all.iter().all(|pid| !alive(*pid)).then_some(())).is_none() {
        eprintln!("some of these processes do not end: {all:?}");
    }
}

fn kill(pid: u32) {
    // One that has ended meanwhile is as good as killed.
    kill_process(as_pid(pid), Signal::KILL).ok();
}

pub(crate) fn as_pid(pid: u32) -> Pid {
    i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id")
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("read /proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// State and parent of a process.
fn stat(pid: u32) -> Option<(char, u32)> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut words = line.rsplit_once(')')?.1.split_whitespace();
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}
