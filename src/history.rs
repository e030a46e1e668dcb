//! The history on the target: one JSON file a deployment, newest read first, and where a rollback goes.
//!
//! [`write()`] adds a record, [`read_all`] reads them, [`rollback_candidate`] chooses. Does not know Docker,
//! stages or events; what a record holds is [`crate::model::HistoryRecord`].

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::host::{atomic, seam};
use crate::model::{
    AppName, DeploymentId, EnvironmentName, ErrorKind, FailureReport, HistoryEntry, HistoryRecord,
    HistoryStatus, Outcome, ReleaseId,
};

/// Largest record that is read; a file beyond it is not ours.
const LARGEST_RECORD: u64 = 4 * 1024 * 1024;
/// How many names are tried when records of one millisecond meet.
const NAMES_TRIED: i64 = 1000;
/// Time in a name.
const STAMP: &str = "%Y%m%dT%H%M%S.%3fZ";
/// Length of `YYYYMMDDTHHMMSS.mmmZ`.
const STAMP_LENGTH: usize = 20;

/// Why a record was not written. The deployment itself is not touched by it.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The directory or the file could not be made.
    #[error("could not write the record of this deployment in {}; what runs is not touched by that", path.display())]
    Write {
        /// Directory or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Every name of that second is taken.
    #[error("no free name for a record in {}: {NAMES_TRIED} of them are taken", path.display())]
    NoName {
        /// Directory.
        path: PathBuf,
    },
}

impl HistoryError {
    /// Returns it as people and programs read it.
    pub fn report(&self) -> FailureReport {
        let cause = std::error::Error::source(self).map(|source| format!(": {source}")).unwrap_or_default();
        FailureReport::new(ErrorKind::DeploymentError, "history.write", format!("{self}{cause}"))
            .hint("free space in that directory and make it writable for the user of the agent")
    }
}

/// Writes a record as `{app}_{environment}_{YYYYMMDDTHHMMSS.mmmZ}.json`, 0600, whole or not at all, and returns its
/// path. A name that is taken gives way to the next millisecond. Makes the directory (0700) when it is missing.
///
/// # Errors
/// When the directory or the file cannot be written.
pub fn write(directory: &Path, record: &HistoryRecord) -> Result<PathBuf, HistoryError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| HistoryError::Write { path, source }
    };
    atomic::make_directory(directory, 0o700).map_err(|error| failed(directory)(error.source))?;
    seam::about_to("write history/*.json");
    let mut file = written(directory, record).map_err(failed(directory))?;
    let first = next_stamp(directory, record);
    for later in 0..NAMES_TRIED {
        let path = directory.join(file_name(record, first, later));
        seam::about_to("replace history/*.json");
        match file.persist_noclobber(&path) {
            Ok(_) => {
                File::open(directory).and_then(|dir| dir.sync_all()).map_err(failed(directory))?;
                return Ok(path);
            }
            Err(taken) if taken.error.kind() == io::ErrorKind::AlreadyExists => file = taken.file,
            Err(other) => return Err(HistoryError::Write { path, source: other.error }),
        }
    }
    Err(HistoryError::NoName { path: directory.to_owned() })
}

/// The record on disk under a name that no reader looks at, 0600 as `tempfile` makes its files.
fn written(directory: &Path, record: &HistoryRecord) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix(".record-").tempfile_in(directory)?;
    let json = serde_json::to_string_pretty(record).map_err(io::Error::other)?;
    file.write_all(json.as_bytes())?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn file_name(record: &HistoryRecord, first: Timestamp, later_ms: i64) -> String {
    let time = first.checked_add(SignedDuration::from_millis(later_ms)).unwrap_or(first);
    format!("{}_{}_{}.json", record.app, record.env, time.strftime(STAMP))
}

/// Returns the record's time, or just after the youngest name there is, when the clock was set back since: readers tell by
/// the names what came after what.
fn next_stamp(directory: &Path, record: &HistoryRecord) -> Timestamp {
    let prefix = format!("{}_{}_", record.app, record.env);
    let youngest = names_in(directory, &prefix).unwrap_or_default().into_iter().max();
    let stamp = youngest.as_deref().and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(".json"));
    let youngest =
        stamp.and_then(|stamp| DateTime::strptime(STAMP, stamp).ok()?.to_zoned(TimeZone::UTC).ok());
    let after = youngest.and_then(|at| at.timestamp().checked_add(SignedDuration::from_millis(1)).ok());
    after.map_or(record.timestamp, |after| after.max(record.timestamp))
}

/// Returns all records of this app and environment, newest first. What cannot be read becomes an entry that names it;
/// a directory that does not exist holds none.
pub fn read_all(directory: &Path, app: &AppName, environment: &EnvironmentName) -> Vec<HistoryEntry> {
    let names = match names_in(directory, &format!("{app}_{environment}_")) {
        Ok(names) => names,
        Err(cause) => return vec![unreadable(directory, &cause)],
    };
    let mut entries: Vec<(String, HistoryEntry)> = Vec::new();
    for name in names {
        let path = directory.join(&name);
        match read(&path) {
            Ok(record) if record.app != *app || record.env != *environment => {}
            Ok(record) => entries.push((name, HistoryEntry::Record(Box::new(record)))),
            Err(cause) => entries.push((name, unreadable(&path, &cause))),
        }
    }
    // The stamp in a name sorts as the time does, and orders records of one millisecond.
    entries.sort_by(|one, other| other.0.cmp(&one.0));
    entries.into_iter().map(|(_, entry)| entry).collect()
}

/// Returns the record of a deployment, when there is one.
pub fn record_of(
    directory: &Path,
    app: &AppName,
    environment: &EnvironmentName,
    id: &DeploymentId,
) -> Option<HistoryRecord> {
    let entries = read_all(directory, app, environment);
    let mut records = entries.iter().filter_map(HistoryEntry::record);
    records.find(|record| record.deployment_id == *id).cloned()
}

/// Names of the form `{prefix}{stamp}.json`. Apps `a_b` and `a` can share a prefix: the record decides.
fn names_in(directory: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let listing = match fs::read_dir(directory) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing?,
    };
    let mut names = Vec::new();
    for entry in listing {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let stamp = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(".json"));
        if stamp.is_some_and(|stamp| stamp.len() == STAMP_LENGTH) {
            names.push(name);
        }
    }
    Ok(names)
}

fn read(path: &Path) -> io::Result<HistoryRecord> {
    use rustix::fs::{Mode, OFlags};
    // A fifo or a symlink in our 0700 directory is nothing of ours: neither wait for it nor follow it.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > LARGEST_RECORD {
        return Err(io::Error::other(format!("not a file of at most {LARGEST_RECORD} bytes")));
    }
    let mut text = String::new();
    file.take(LARGEST_RECORD).read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(io::Error::other)
}

fn unreadable(path: &Path, cause: &io::Error) -> HistoryEntry {
    HistoryEntry::Unreadable { file: path.display().to_string(), unreadable: cause.to_string() }
}

/// What the history says about one release.
#[derive(Clone, Copy)]
struct Standing {
    /// When a deployment brought it live for the last time; orders releases by age. A rollback makes none younger.
    brought_at: usize,
    /// Its last deployment succeeded, and nobody rolled back from it since.
    good: bool,
}

/// Returns where a rollback goes: the youngest release that is older than `current`, whose last deployment succeeded
/// and that nobody rolled back from since, so that two rollbacks go v3 → v2 → v1 (DESIGN section 5, C17). Without a
/// current release it is the youngest such release of all.
///
/// `entries` are those of [`read_all`], newest first. Whether the release's directory is still there is not asked.
pub fn rollback_candidate(entries: &[HistoryEntry], current: Option<&ReleaseId>) -> Option<ReleaseId> {
    let releases = standings(entries);
    let current_age = current.map_or(usize::MAX, |id| releases.get(id).map_or(usize::MAX, |s| s.brought_at));
    releases
        .iter()
        .filter(|(id, standing)| standing.good && Some(*id) != current && standing.brought_at < current_age)
        .max_by_key(|(_, standing)| standing.brought_at)
        .map(|(id, _)| id.clone())
}

/// Returns the releases whose last deployment succeeded and that nobody rolled back from since, youngest first.
pub fn good_releases(entries: &[HistoryEntry]) -> Vec<ReleaseId> {
    let mut good: Vec<(ReleaseId, Standing)> = standings(entries).into_iter().collect();
    good.retain(|(_, standing)| standing.good);
    good.sort_by_key(|(_, standing)| std::cmp::Reverse(standing.brought_at));
    good.into_iter().map(|(id, _)| id).collect()
}

/// Returns the release of the last deployment that came to its switch, when that failed and could not be undone: it may
/// run although it is not current.
pub fn left_running(entries: &[HistoryEntry]) -> Option<ReleaseId> {
    let mut records = entries.iter().filter_map(HistoryEntry::record);
    let last = records.find(|record| !is_before_the_switch(record.outcome))?;
    last.release.clone().filter(|_| last.outcome == Outcome::Failed)
}

/// Returns whether any record is about this release.
pub fn knows(entries: &[HistoryEntry], release: &ReleaseId) -> bool {
    let mut records = entries.iter().filter_map(HistoryEntry::record);
    records.any(|record| record.release.as_ref() == Some(release))
}

fn standings(entries: &[HistoryEntry]) -> BTreeMap<ReleaseId, Standing> {
    let mut releases: BTreeMap<ReleaseId, Standing> = BTreeMap::new();
    let records = entries.iter().rev().filter_map(HistoryEntry::record);
    for (at, record) in records.enumerate() {
        judge(&mut releases, record, 2 * at + 1);
    }
    releases
}

fn judge(releases: &mut BTreeMap<ReleaseId, Standing>, record: &HistoryRecord, at: usize) {
    let Some(release) = &record.release else { return };
    if let Some(previous) = &record.previous_release {
        // It ran, so it was verified or adopted, although no record that is left brought it.
        releases.entry(previous.clone()).or_insert(Standing { brought_at: at - 1, good: true });
    }
    let succeeded = record.status == HistoryStatus::Succeeded;
    let switched = record.previous_release.as_ref() != Some(release);
    let standing = releases.entry(release.clone()).or_insert(Standing { brought_at: at, good: false });
    match record.verb.as_str() {
        // It never came to the release: that says nothing about it.
        _ if is_before_the_switch(record.outcome) => {}
        "deploy" | "up" => {
            standing.good = succeeded;
            if succeeded && switched {
                standing.brought_at = at;
            }
        }
        "rollback" => {
            standing.good = succeeded;
            if let (true, true, Some(previous)) = (succeeded, switched, &record.previous_release) {
                releases.entry(previous.clone()).and_modify(|left| left.good = false);
            }
        }
        _ => {}
    }
}

fn is_before_the_switch(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Invalid
        | Outcome::Refused
        | Outcome::Busy
        | Outcome::Unreachable
        | Outcome::Aborted
        | Outcome::Planned => true,
        Outcome::Succeeded | Outcome::RolledBack | Outcome::Failed | Outcome::Cancelled | Outcome::Lost => {
            false
        }
    }
}

/// Returns when this release went live for the last time, as far as the records know.
pub fn went_live(entries: &[HistoryEntry], release: &ReleaseId) -> Option<Timestamp> {
    entries
        .iter()
        .filter_map(HistoryEntry::record)
        .find(|record| {
            let switched = record.previous_release.as_ref() != Some(release);
            record.status == HistoryStatus::Succeeded && switched && record.release.as_ref() == Some(release)
        })
        .map(|record| record.timestamp)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::model::{App, AppKind, BackupSpec, BuildMode, HealthSpec, Requester, Requirements, SetupSpec};

    fn app(name: &str) -> App {
        App {
            name: name.parse().unwrap(),
            kind: AppKind::DockerCompose,
            compose_files: vec!["docker-compose.yml".into()],
            profiles: vec![],
            project: None,
            required_files: vec![],
            required_vars: Default::default(),
            required_services: vec![],
            one_shot: vec![],
            build: BuildMode::Host,
            shared: vec![],
            setup: SetupSpec::default(),
            requirements: Requirements::default(),
            backup: BackupSpec::default(),
            health: HealthSpec::default(),
            automatic_rollback: true,
            keep_releases: 5,
            url: None,
            hooks: Vec::new(),
        }
    }

    fn record(second: i64, verb: &str, from: Option<&str>, to: &str, outcome: Outcome) -> HistoryRecord {
        let ended = Timestamp::from_second(1_790_000_000 + second).unwrap();
        let id = format!("deploy-{second}").parse().unwrap();
        let start = ended.checked_sub(SignedDuration::from_millis(1500)).unwrap();
        let requester = Requester { who: "ada".into(), run_url: None };
        let mut record =
            HistoryRecord::new(&app("shop"), "dev".parse().unwrap(), id, (outcome, start, ended), &requester);
        record.verb = verb.into();
        record.version = to.into();
        record.release = Some(to.parse().unwrap());
        record.previous_release = from.map(|from| from.parse().unwrap());
        record
    }

    #[test]
    fn a_record_of_a_clock_that_was_set_back_comes_after_those_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let year = 365 * 86_400;
        for (second, release) in [(10 * year, "v1"), (0, "v2"), (1, "v3"), (-20 * year, "v4")] {
            let path = write(directory.path(), &record(second, "deploy", None, release, Outcome::Succeeded))
                .unwrap();
            assert!(second > 0 || path.to_string_lossy().contains("dev_2036"), "{path:?}");
        }
        let entries = read_all(directory.path(), &"shop".parse().unwrap(), &"dev".parse().unwrap());
        let versions: Vec<_> =
            entries.iter().filter_map(|entry| Some(entry.record()?.version.as_str())).collect();
        assert_eq!(versions, ["v4", "v3", "v2", "v1"]);
        assert_eq!(rollback_candidate(&entries, Some(&"v4".parse().unwrap())).unwrap().as_str(), "v3");
    }

    /// A made-up history: each step is written as `deploy v2`, `fail v2`, `rollback v1`, …
    struct Story(Vec<HistoryEntry>, Option<String>);

    impl Story {
        fn of(steps: &[&str]) -> Self {
            let mut story = Self(vec![], None);
            for step in steps {
                story.step(step);
            }
            story
        }

        fn step(&mut self, step: &str) {
            let (word, release) = step.split_once(' ').unwrap();
            let (verb, outcome) = match word {
                "deploy" => ("deploy", Outcome::Succeeded),
                "fail" => ("deploy", Outcome::RolledBack),
                "cancel" => ("deploy", Outcome::Cancelled),
                "abort" => ("deploy", Outcome::Aborted),
                "rollback" => ("rollback", Outcome::Succeeded),
                "fail-rollback" => ("rollback", Outcome::RolledBack),
                "restart" => ("restart", Outcome::Failed),
                other => panic!("{other}"),
            };
            let made = record(self.0.len() as i64, verb, self.1.as_deref(), release, outcome);
            self.0.insert(0, HistoryEntry::Record(Box::new(made)));
            if outcome == Outcome::Succeeded {
                self.1 = Some(release.to_owned());
            }
        }

        fn candidate(&self) -> Option<String> {
            let current = self.1.as_ref().map(|id| id.parse().unwrap());
            rollback_candidate(&self.0, current.as_ref()).map(|id| id.to_string())
        }
    }

    #[test]
    fn two_rollbacks_go_from_v3_to_v2_to_v1_and_then_no_further() {
        let mut story = Story::of(&["deploy v1", "deploy v2", "deploy v3"]);
        for expected in ["v2", "v1"] {
            assert_eq!(story.candidate().as_deref(), Some(expected));
            story.step(&format!("rollback {expected}"));
        }
        assert_eq!(story.candidate(), None);
    }

    #[test]
    fn a_deploy_after_two_rollbacks_goes_back_to_what_nobody_rolled_back_from() {
        let story = ["deploy v1", "deploy v2", "deploy v3", "rollback v2", "rollback v1", "deploy v4"];
        assert_eq!(Story::of(&story).candidate().as_deref(), Some("v1"));
    }

    #[test]
    fn failed_cancelled_and_aborted_releases_are_never_candidates() {
        let story = ["deploy v1", "fail v2", "cancel v3", "abort v4", "deploy v5"];
        assert_eq!(Story::of(&story).candidate().as_deref(), Some("v1"));
        assert_eq!(Story::of(&["fail v1", "deploy v2"]).candidate(), None);
        assert_eq!(Story::of(&["deploy v1"]).candidate(), None);
        assert_eq!(Story::of(&[]).candidate(), None);
    }

    #[test]
    fn a_deployment_that_ended_before_the_switch_says_nothing_about_its_release() {
        let story = ["deploy v1", "deploy v2", "abort v1"];
        assert_eq!(Story::of(&story).candidate().as_deref(), Some("v1"));
    }

    #[test]
    fn a_restart_that_fails_says_nothing_about_its_release_either() {
        let story = ["deploy v1", "restart v1", "deploy v2"];
        assert_eq!(Story::of(&story).candidate().as_deref(), Some("v1"));
    }

    #[test]
    fn a_rollback_that_failed_takes_its_target_out_and_nothing_else() {
        let story = ["deploy v1", "deploy v2", "deploy v3", "fail-rollback v2"];
        assert_eq!(Story::of(&story).candidate().as_deref(), Some("v1"));
    }

    #[test]
    fn an_old_release_that_is_deployed_again_is_young_again() {
        assert_eq!(Story::of(&["deploy v1", "deploy v2", "deploy v1"]).candidate().as_deref(), Some("v2"));
        let redeployed = ["deploy v1", "deploy v2", "rollback v1", "deploy v2", "deploy v3"];
        assert_eq!(Story::of(&redeployed).candidate().as_deref(), Some("v2"));
    }

    #[test]
    fn a_rollback_never_goes_forward() {
        let skipped = ["deploy v1", "deploy v2", "deploy v3", "rollback v1"];
        assert_eq!(Story::of(&skipped).candidate(), None);
    }

    #[test]
    fn what_ran_before_the_first_record_can_be_returned_to() {
        let adopted = record(1, "deploy", Some("adopted"), "v1", Outcome::Succeeded);
        let entries = [HistoryEntry::Record(Box::new(adopted))];
        let candidate = rollback_candidate(&entries, Some(&"v1".parse().unwrap()));
        assert_eq!(candidate, Some("adopted".parse().unwrap()));
    }

    #[test]
    fn without_a_current_release_the_youngest_good_one_is_the_candidate() {
        let story = Story::of(&["deploy v1", "deploy v2", "fail v3"]);
        assert_eq!(rollback_candidate(&story.0, None), Some("v2".parse().unwrap()));
    }

    #[test]
    fn records_are_private_named_by_their_time_and_read_newest_first() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("state/history");
        let (old, new) = (
            record(1, "deploy", None, "v1", Outcome::Succeeded),
            record(2, "deploy", Some("v1"), "v2", Outcome::RolledBack),
        );
        let path = write(&dir, &old).unwrap();
        write(&dir, &new).unwrap();
        assert_eq!(path.file_name().unwrap(), "shop_dev_20260921T141321.000Z.json");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let read = read_all(&dir, &old.app, &old.env);
        assert_eq!(read.iter().filter_map(HistoryEntry::record).collect::<Vec<_>>(), [&new, &old]);
        assert_eq!(new.status, HistoryStatus::Failed);
        assert_eq!(new.duration_seconds, 1.5);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn a_record_has_the_documents_keys() {
        let json = serde_json::to_value(record(1, "deploy", None, "v1", Outcome::Succeeded)).unwrap();
        for key in ["app", "env", "version", "timestamp", "status", "config"] {
            assert!(json.get(key).is_some_and(|value| !value.is_null()), "{key}");
        }
        assert_eq!(
            (&json["status"], &json["config"]["kind"]),
            (&"succeeded".into(), &"docker-compose".into())
        );
    }

    #[test]
    fn records_of_one_millisecond_get_names_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let record = record(1, "deploy", None, "v1", Outcome::Succeeded);
        let names: Vec<PathBuf> = (0..3).map(|_| write(dir.path(), &record).unwrap()).collect();
        assert!(names[2].ends_with("shop_dev_20260921T141321.002Z.json"), "{names:?}");
        assert_eq!(read_all(dir.path(), &record.app, &record.env).len(), 3);
    }

    #[test]
    fn what_cannot_be_read_is_named_and_the_rest_still_counts() {
        let dir = tempfile::tempdir().unwrap();
        let good = record(5, "deploy", None, "v1", Outcome::Succeeded);
        write(dir.path(), &good).unwrap();
        let torn = dir.path().join("shop_dev_20990101T000000.000Z.json");
        fs::write(&torn, "{\"app\": \"shop\"").unwrap();
        std::os::unix::fs::symlink("/dev/zero", dir.path().join("shop_dev_20980101T000000.000Z.json"))
            .unwrap();
        fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        let entries = read_all(dir.path(), &good.app, &good.env);
        assert_eq!(entries.len(), 3);
        let HistoryEntry::Unreadable { file, unreadable } = &entries[0] else { panic!("{entries:?}") };
        assert_eq!((file.as_str(), unreadable.is_empty()), (torn.to_str().unwrap(), false));
        assert_eq!(entries.iter().filter_map(HistoryEntry::record).count(), 1);
    }

    #[test]
    fn records_of_another_app_with_the_same_prefix_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut other = record(1, "deploy", None, "v1", Outcome::Succeeded);
        (other.app, other.env) = ("shop_dev".parse().unwrap(), "eu".parse().unwrap());
        write(dir.path(), &other).unwrap();
        let (app, env) = ("shop".parse().unwrap(), "dev_eu".parse().unwrap());
        assert!(read_all(dir.path(), &app, &env).is_empty());
        assert!(read_all(&dir.path().join("absent"), &app, &env).is_empty());
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named_with_what_was_not_touched() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let record = record(1, "deploy", None, "v1", Outcome::Succeeded);
        let report = write(&file.path().join("history"), &record).unwrap_err().report();
        assert!(report.message.contains("what runs is not touched"), "{}", report.message);
    }
}
