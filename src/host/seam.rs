//! The one seam through which this machine is changed: whoever changes it says so first.
//!
//! In a released binary the functions here are empty. With the feature `fault-injection`, which no released binary has
//! (`scripts/build` looks for the names of the variables below), each point is counted and traced, and a process stops or dies at a chosen one.
//! Unit tests set a hook instead. Points have stable names: `write state/journal.json`, `docker stop`,
//! `docker compose up (running)`; what differs between two runs (ids, digests, process ids) is shown as `*`.
//!
//! Variables, which the guard hands on to its workers only with the feature:
//! - `FFE_FAULT_TRACE`: file to which each point is appended as `<role> <number> <name>`; a role is `worker`, `recovery`
//!   (a worker that was started to end what another left) or `attach`; numbers count from 1 in each process.
//! - `FFE_FAULT_KILL_AT`, `FFE_FAULT_STOP_AT`: `<role>:<number>` or `<role>:<name>#<occurrence>`, several with commas.
//!   There the process sends itself SIGKILL, or SIGSTOP so that a test can kill whom it likes. Each happens once: what has
//!   happened is written to `<trace>.done`, so that the process that takes over does not end at the same point.
//! - `FFE_FAULT_AFTER_MS`: how long to wait at that point before it happens, for programs that are to come half-way.
//! - `FFE_FAULT_CLOCK_S`, `FFE_FAULT_CLOCK_FILE`: seconds by which the wall clock is wrong, and a file with them, which
//!   may change while a deployment runs.

#[cfg(any(test, feature = "fault-injection"))]
use std::path::Component;
use std::path::Path;

/// What a process is, for the numbers of its points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Serves a connection.
    Attach,
    /// Carries out a job.
    Worker,
    /// Ends what another worker left.
    Recovery,
}

/// Says what this process is. Before that it has no points.
#[inline(always)]
pub fn enter(_role: Role) {
    #[cfg(feature = "fault-injection")]
    injection::enter(_role);
}

/// Says what is about to be changed, by a name that is the same in every run.
#[inline(always)]
pub fn about_to(_point: &str) {
    #[cfg(any(test, feature = "fault-injection"))]
    reached(_point);
}

/// Says that a program that changes something has just been started.
#[inline(always)]
pub fn running(_point: &str) {
    #[cfg(any(test, feature = "fault-injection"))]
    reached(&format!("{_point} (running)"));
}

/// Says which file or directory is about to be changed.
#[inline(always)]
pub fn about_to_change(_verb: &str, _path: &Path) {
    #[cfg(any(test, feature = "fault-injection"))]
    reached(&format!("{_verb} {}", shown(_path)));
}

#[cfg(any(test, feature = "fault-injection"))]
fn reached(name: &str) {
    #[cfg(test)]
    hook::call(name);
    #[cfg(feature = "fault-injection")]
    injection::reached(name);
}

/// A path from the first directory on whose name is ours, with a star for what differs between two runs.
#[cfg(any(test, feature = "fault-injection"))]
fn shown(path: &Path) -> String {
    const OURS: [&str; 8] =
        ["state", "releases", "files", "shared", "backups", "history", "stage", ".ffe-deploy"];
    let parts: Vec<String> = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    // In place, the root has a name of ours, too; what lies in it is meant.
    let inner = parts.iter().position(|part| part == ".ffe-deploy").map_or(0, |at| at + 2);
    let inner = if inner < parts.len() { inner } else { 0 };
    let from = parts[inner..].iter().position(|part| OURS.contains(&part.as_str())).map(|at| inner + at);
    let from = from.unwrap_or(parts.len().saturating_sub(1));
    let starred: Vec<String> = parts[from..].iter().map(|part| starred(part)).collect();
    starred.join("/")
}

/// A name whose run of six or more digits, hexadecimal ones included, is a star from there on; its extension stays.
#[cfg(any(test, feature = "fault-injection"))]
fn starred(name: &str) -> String {
    let is_long = |part: &str| part.len() >= 6 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut words = name.split_inclusive(['-', '_', '.']);
    let mut kept = String::new();
    while let Some(word) = words.next() {
        let is_id = is_long(word.trim_end_matches(['-', '_', '.']));
        let is_process = kept.ends_with("tmp-") || kept.ends_with("agent-");
        let is_time = word.starts_with("20") && word.len() > 14;
        if is_id || is_process || is_time {
            let rest: String = words.collect();
            let extension = rest.find(".tar.").or_else(|| rest.rfind(".json")).map_or("", |at| &rest[at..]);
            return format!("{kept}*{extension}");
        }
        kept.push_str(word);
    }
    kept
}

/// What unit tests do at each point of their own thread.
#[cfg(test)]
pub(crate) mod hook {
    use std::cell::RefCell;

    /// Called with the name of each point; may unwind, as a process that dies.
    pub(crate) type Hook = Box<dyn FnMut(&str)>;

    thread_local! {
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    /// Sets the hook of this thread, or takes it away.
    pub(crate) fn set(hook: Option<Hook>) {
        HOOK.set(hook);
    }

    pub(super) fn call(name: &str) {
        // Taken out while it runs, so that it may change the host itself; one that unwinds is gone.
        if let Some(mut hook) = HOOK.take() {
            hook(name);
            HOOK.with_borrow_mut(|slot| {
                slot.get_or_insert(hook);
            });
        }
    }
}

/// Counts points, traces them, and ends the process at a chosen one.
#[cfg(feature = "fault-injection")]
mod injection {
    use std::collections::BTreeMap;
    use std::io::Write;
    use std::path::PathBuf;
    use std::sync::{Mutex, PoisonError};
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::Role;

    #[derive(Default)]
    struct Seen {
        role: Option<&'static str>,
        count: usize,
        names: BTreeMap<String, usize>,
    }

    static SEEN: Mutex<Seen> = Mutex::new(Seen { role: None, count: 0, names: BTreeMap::new() });

    pub(super) fn enter(role: Role) {
        let word = match role {
            Role::Attach => "attach",
            Role::Worker => "worker",
            Role::Recovery => "recovery",
        };
        SEEN.lock().unwrap_or_else(PoisonError::into_inner).role = Some(word);
    }

    pub(super) fn reached(name: &str) {
        let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(role) = seen.role else { return };
        seen.count += 1;
        let occurrence = seen.names.entry(name.to_owned()).or_default();
        *occurrence += 1;
        let occurrence = *occurrence;
        let places = [format!("{role}:{}", seen.count), format!("{role}:{name}#{occurrence}")];
        append("", &format!("{role} {} {name}", seen.count));
        for (variable, signal) in [("FFE_FAULT_KILL_AT", Signal::KILL), ("FFE_FAULT_STOP_AT", Signal::STOP)] {
            let wanted = std::env::var(variable).unwrap_or_default();
            let Some(place) = wanted.split(',').find(|wanted| places.iter().any(|place| place == wanted))
            else {
                continue;
            };
            if !has_happened(place) {
                std::thread::sleep(Duration::from_millis(number("FFE_FAULT_AFTER_MS")));
                append(".done", place);
                // It takes effect before the call returns, or there is nobody left to return to.
                kill_process(getpid(), signal).ok();
            }
        }
    }

    fn number(variable: &str) -> u64 {
        std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn trace(suffix: &str) -> Option<PathBuf> {
        let mut path = std::env::var_os("FFE_FAULT_TRACE")?;
        path.push(suffix);
        Some(path.into())
    }

    fn append(suffix: &str, line: &str) {
        let Some(path) = trace(suffix) else { return };
        let file = std::fs::File::options().create(true).append(true).open(path);
        // A test that finds no trace says so by itself.
        if let Ok(mut file) = file {
            file.write_all(format!("{line}\n").as_bytes()).ok();
        }
    }

    fn has_happened(place: &str) -> bool {
        let done = trace(".done").and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        done.lines().any(|line| line == place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_points_are_the_same_in_every_run() {
        let table = [
            ("/srv/shop/dev/state/journal.json", "state/journal.json"),
            ("/srv/shop/dev/state/journal.tmp-4711", "state/journal.tmp-*"),
            ("/srv/shop/dev/current", "current"),
            ("/srv/shop/dev/current.tmp-4711", "current.tmp-*"),
            (
                "/srv/shop/dev/releases/deploy-20260102030405-0a1b2c3d/app/compose.yml",
                "releases/deploy-*/app/compose.yml",
            ),
            ("/srv/shop/dev/releases/.going-deploy-20260102030405-0a1b2c3d", "releases/.going-deploy-*"),
            ("/p/.ffe-deploy/shop-dev/state/jobs/mine/cancel", "state/jobs/mine/cancel"),
            ("/p/.ffe-deploy/.gitignore", ".ffe-deploy/.gitignore"),
            ("/p/backups/ffe_backup_20260102_030405.tar.zst", "backups/ffe_backup_*.tar.zst"),
            ("/srv/shop/dev/history/shop_dev_20260102T030405.006Z.json", "history/shop_dev_*.json"),
            (
                "/srv/shop/dev/state/bin/0.1.0-ffb0a70c1515bb0cbff0c44be6e1d6e9f8e8a3d9a5c8e71e2c05c3a7f2f3c1de/ffe-agent",
                "state/bin/0.1.0-*/ffe-agent",
            ),
        ];
        for (path, expected) in table {
            assert_eq!(shown(Path::new(path)), expected);
        }
    }

    #[test]
    fn a_hook_sees_the_points_of_its_thread() {
        use std::sync::{Arc, Mutex};
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mine = Arc::clone(&seen);
        hook::set(Some(Box::new(move |name| mine.lock().unwrap().push(name.to_owned()))));
        about_to("docker stop");
        running("docker stop");
        about_to_change("write", Path::new("/srv/shop/dev/state/journal.json"));
        std::thread::spawn(|| about_to("elsewhere")).join().unwrap();
        hook::set(None);
        about_to("afterwards");
        let seen = seen.lock().unwrap();
        assert_eq!(*seen, ["docker stop", "docker stop (running)", "write state/journal.json"]);
    }
}
