//! What somebody changed on the host behind the last recorded release: containers, images, compose files, environment.
//!
//! [`remember`] writes down what a verified release consists of, [`forget`] ends that before anything is changed, and
//! [`Drift::of`] compares. What a service does of its own is no drift: it writes files, crashes, is restarted by its
//! policy, or did not come back after a reboot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::{Deserialize, Serialize};

use crate::host::atomic::{self, WriteError};
use crate::host::children::boot;
use crate::host::digest;
use crate::host::docker::Docker;
use crate::host::layout::Layout;
use crate::model::{ContainerFacts, ContainerState, Finding, Release, ReleaseId, labels};
use crate::text::harmless;

/// Exit codes of a container that somebody stopped (0, or SIGTERM) or killed; one that crashed has others.
const STOPPED: [i64; 3] = [0, 128 + 9, 128 + 15];
/// Most differences of one kind that are named.
const NAMED: usize = 10;

/// What a verified release consists of.
#[derive(Serialize, Deserialize)]
struct Record {
    release: ReleaseId,
    project: String,
    /// Which start of the machine this was in.
    boot: String,
    containers: Vec<Mark>,
    /// Digests of its files in its directory, by their path there. One of `env` is a secret's: it lies beside it.
    files: BTreeMap<String, String>,
}

/// What of a container Compose decides by, and nothing that changes while it runs.
#[derive(PartialEq, Serialize, Deserialize)]
struct Mark {
    service: String,
    image: String,
    config: String,
    runs: bool,
}

impl Mark {
    fn of(container: &ContainerFacts) -> Self {
        Self {
            service: container.service.clone(),
            image: container.image_id.clone(),
            config: container.labels.get(labels::COMPOSE_CONFIG_HASH).cloned().unwrap_or_default(),
            runs: matches!(container.state, ContainerState::Running | ContainerState::Restarting),
        }
    }
}

/// Writes down what runs now as what the release consists of.
///
/// # Errors
/// It cannot be written.
pub fn remember(layout: &Layout, release: &Release, containers: &[ContainerFacts]) -> Result<(), WriteError> {
    let containers = containers.iter().map(Mark::of).collect();
    let (id, project, files) = (release.id.clone(), release.project.clone(), files(layout, release));
    let record = Record { release: id, project, boot: boot(), containers, files };
    atomic::write(&layout.recorded(), &serde_json::to_vec(&record).unwrap_or_default(), 0o600)
}

/// From here on nothing is known of what runs, until it is verified.
pub fn forget(layout: &Layout) {
    // One that stays is compared with what is then deployed, and told as what it is: a difference.
    atomic::remove_file(&layout.recorded()).ok();
}

fn recorded(layout: &Layout) -> Option<Record> {
    // One that cannot be read is as good as none: nothing is known.
    serde_json::from_slice(&fs::read(layout.recorded()).ok()?).ok()
}

/// Returns whether a release of ours is known to be deployed under this project name.
pub fn is_deployed(layout: &Layout, project: &str) -> bool {
    recorded(layout).is_some_and(|record| record.project == project)
}

/// Files of a release's directory that say how it is started.
fn files(layout: &Layout, release: &Release) -> BTreeMap<String, String> {
    let home = layout.release(&release.id);
    let mut paths = vec!["env".to_owned(), "override.yml".to_owned(), "release.json".to_owned()];
    paths.extend(release.app.compose_files.iter().map(|file| format!("app/{file}")));
    let more = fs::read_dir(home.join("env.d")).into_iter().flatten().flatten();
    paths.extend(more.filter_map(|entry| Some(format!("env.d/{}", entry.file_name().to_str()?))));
    let digests =
        paths.into_iter().filter_map(|path| Some((path.clone(), digest::of_file(&home.join(&path)).ok()?)));
    digests.collect()
}

/// What differs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// What, by kind: `compose`, `containers`, `environment`, `images`.
    pub said: BTreeMap<&'static str, Vec<String>>,
    /// Services whose containers have to be made anew; Compose alone might take them for good.
    pub services: BTreeSet<String>,
}

impl Drift {
    /// Returns what differs from what was recorded of a release; nothing when nothing is recorded, or when somebody
    /// stopped the app by `down`.
    pub fn of(layout: &Layout, release: &Release, found: &[ContainerFacts]) -> Option<Self> {
        let record = recorded(layout).filter(|_| !layout.stopped().exists())?;
        let mut drift = Self::default();
        if record.release != release.id {
            drift.say(
                "compose",
                format!("`current` names {}, and {} was deployed", release.id, record.release),
            );
            return Some(drift);
        }
        drift.compare_files(&record.files, &files(layout, release));
        let services: BTreeSet<&String> = record
            .containers
            .iter()
            .map(|mark| &mark.service)
            .chain(found.iter().map(|now| &now.service))
            .collect();
        for service in services {
            let was: Vec<&Mark> = record.containers.iter().filter(|mark| mark.service == *service).collect();
            let is: Vec<&ContainerFacts> = found.iter().filter(|now| now.service == *service).collect();
            drift.compare_service(service, &was, &is, record.boot == boot());
        }
        Some(drift)
    }

    /// Returns the same, with the release's tags of ours that somebody moved or removed.
    pub async fn look(docker: &Docker, layout: &Layout, release: &Release) -> Option<Self> {
        // An engine that does not answer is another finding.
        let found = docker.containers(&release.project).await.ok()?;
        let mut drift = Self::of(layout, release, &found)?;
        for (service, image) in &release.images {
            let tagged = docker.image(&image.pin).await.ok()?;
            if tagged.as_ref().is_none_or(|tagged| tagged.id != image.id) {
                let what = if tagged.is_some() { "names another image" } else { "is gone" };
                drift.say("images", format!("the tag `{}` of `{}` {what}", image.pin, harmless(service)));
            }
        }
        Some(drift)
    }

    /// Returns whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// Returns whether the release's own files are not what they were.
    pub fn in_files(&self) -> bool {
        self.said.contains_key("compose") || self.said.contains_key("environment")
    }

    /// Returns the finding: an error where it refuses.
    pub fn finding(&self, release: &Release, refuses: bool) -> Finding {
        let said: Vec<&str> = self.said.values().flatten().map(String::as_str).collect();
        let (id, version, said) = (&release.id, harmless(&release.version), said.join("; "));
        let message = format!("somebody changed the host behind release {id} ({version}): {said}");
        let finding = if refuses {
            let hint = "find out who, and why; `--accept-drift` deploys all the same, and what they changed is replaced";
            Finding::error("host.drift", format!("{message}; nothing was touched"), hint)
        } else {
            Finding::warning("host.drift", message, "a deploy replaces what they changed")
        };
        let kinds = self.said.iter();
        kinds.fold(finding, |finding, (kind, said)| finding.detail(kind, said.join("; ")))
    }

    fn say(&mut self, kind: &'static str, what: String) {
        let said = self.said.entry(kind).or_default();
        match said.len() {
            NAMED => said.push("and more".to_owned()),
            0..NAMED => said.push(what),
            _ => {}
        }
    }

    fn compare_files(&mut self, was: &BTreeMap<String, String>, is: &BTreeMap<String, String>) {
        for path in was.keys().chain(is.keys().filter(|path| !was.contains_key(*path))) {
            if was.get(path) != is.get(path) {
                let kind = if path.starts_with("env") { "environment" } else { "compose" };
                let what = if is.contains_key(path) { "was written to" } else { "is gone" };
                self.say(kind, format!("the release's `{}` {what}", harmless(path)));
            }
        }
    }

    fn compare_service(&mut self, service: &str, was: &[&Mark], is: &[&ContainerFacts], same_boot: bool) {
        let (least, most) = (was.iter().filter(|mark| mark.runs).count(), was.len());
        let name = harmless(service);
        if is.len() < least || is.len() > most {
            let wanted = if is.len() < least { least } else { most };
            self.say("containers", format!("`{name}` has {} containers instead of {wanted}", is.len()));
        }
        for container in is.iter().filter(|_| !was.is_empty()) {
            self.compare_container(container, was, same_boot && least > 0);
        }
    }

    fn compare_container(&mut self, is: &ContainerFacts, was: &[&Mark], should_run: bool) {
        let (mark, name) = (Mark::of(is), format!("`{}` of `{}`", harmless(&is.name), harmless(&is.service)));
        let (kind, what) = if was.iter().all(|was| was.image != mark.image) {
            ("images", "runs another image")
        } else if was.iter().all(|was| was.config != mark.config) {
            ("containers", "was made with other settings")
        } else if is.state == ContainerState::Paused {
            ("containers", "is paused")
        } else if should_run && was_stopped(is) {
            ("containers", "is stopped")
        } else {
            return;
        };
        self.say(kind, format!("container {name} {what}"));
        self.services.insert(is.service.clone());
    }
}

fn was_stopped(container: &ContainerFacts) -> bool {
    match container.state {
        ContainerState::Exited => {
            !container.oom_killed && container.exit_code.is_some_and(|code| STOPPED.contains(&code))
        }
        state => state == ContainerState::Created,
    }
}
