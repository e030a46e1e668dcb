//! Recovery when the host comes up again: what a deployment leaves for it, and the agent that the unit starts.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::attach::{Refusal, Served, tools};
use super::guard::environment;
use super::{newer, way};
use crate::event::{Emitter, EventKind};
use crate::here;
use crate::host::atomic::{self, WriteError};
use crate::host::boot::{BootError, Unit};
use crate::host::clock::Moment;
use crate::host::layout::Layout;
use crate::host::lease;
use crate::model::{ErrorKind, FailureReport, Job, Placement, Severity};
use crate::pipeline::journal::{self, JournalError};

/// Longest wait for Docker after the machine's start, and how often it is asked.
const DOCKER: Duration = Duration::from_secs(5 * 60);
const LOOK: Duration = Duration::from_secs(1);
/// May hold a password.
const SECRET: &str = "DOCKER_AUTH_CONFIG";
/// Argument after the root of an agent that has its variables already.
pub(super) const READY: &str = "ready";

/// Lets the host end this deployment by itself when it comes up again. That it cannot is told, and stops nothing.
pub(super) async fn prepare(job: &Job, layout: &Layout, emitter: &Emitter) {
    if !job.environment.recover_at_boot {
        return;
    }
    let unit = Unit::of(layout.root(), &job.app.name, &job.environment.name);
    let installed = match (leave(layout), unit) {
        _ if layout.agent_of_this_process().is_empty() => Err(vec![BootError::NoPrograms]),
        (Err(error), _) => Err(vec![BootError::Write(error)]),
        (_, Err(error)) => Err(vec![error]),
        (_, Ok(unit)) => unit.install().await,
    };
    let Err(refused) = installed else { return };
    // Where there is no way at all, the checks have said so.
    let why: Vec<String> =
        refused.iter().filter(|why| !matches!(why, BootError::NoWay)).map(ToString::to_string).collect();
    if why.is_empty() {
        return;
    }
    let notice = format!(
        "a deployment that a restart of this host interrupts is not ended at boot, but by the next one: {}",
        crate::text::harmless(&why.join("; "))
    );
    let hint =
        "mend that and deploy again, or write `recover_at_boot: false` in environments.yaml".to_owned();
    let code = "host.boot-recovery".to_owned();
    emitter.emit(here!(), EventKind::Noticed { code, notice, hint: Some(hint), severity: Severity::Warning });
}

/// Points the unit's link at this agent, and keeps the variables that it needs to find Docker as we do.
fn leave(layout: &Layout) -> Result<(), WriteError> {
    let agent = PathBuf::from(layout.agent_of_this_process()).join("ffe-agent");
    let target = agent.strip_prefix("state").unwrap_or(&agent);
    let link = layout.recovery_agent();
    if fs::read_link(&link).is_ok_and(|found| found == target) {
        return keep_environment(layout);
    }
    atomic::point(&link, target)?;
    keep_environment(layout)
}

fn keep_environment(layout: &Layout) -> Result<(), WriteError> {
    let path = layout.recovery_environment();
    let variables: BTreeMap<String, String> = environment().filter(|(name, _)| name != SECRET).collect();
    let text = serde_json::to_vec(&variables).unwrap_or_default();
    if fs::read(&path).is_ok_and(|found| found == text) {
        return Ok(());
    }
    atomic::write(&path, &text, 0o600)
}

/// The agent that the unit starts: ends what the root's journal names, or has nothing to do.
///
/// # Errors
/// The journal cannot be used, Docker does not come, or no guard can be started.
pub(super) async fn recover(mut arguments: impl Iterator<Item = String>) -> io::Result<()> {
    let root = PathBuf::from(arguments.next().unwrap_or_default());
    let ready = arguments.next().is_some_and(|word| word == READY);
    let done = end_unfinished(&root, ready).await;
    done.map_err(|Refusal { failure, .. }| {
        io::Error::other(format!("{}; {}", failure.message, failure.hint.unwrap_or_default()))
    })
}

async fn end_unfinished(root: &Path, ready: bool) -> Served {
    let entry = match journal::read(&root.join("state/journal.json")) {
        Ok(Some(entry)) => entry,
        Ok(None) => return Ok(()),
        Err(JournalError::Newer { version, entry, .. }) => {
            return newer::hand_on(root, &version, &entry, if ready { &[READY] } else { &[] })
                .map_err(Refusal::of);
        }
        Err(error) => return Err(Refusal::of(error.report())),
    };
    let mut job = entry.job;
    let layout = layout_at(root, &mut job)?;
    if !ready {
        return if job.environment.recover_at_boot { Err(Refusal::of(again(root, &layout))) } else { Ok(()) };
    }
    if !lease::is_free(&layout.lease()) {
        return Ok(());
    }
    let until = Moment::now().after(DOCKER);
    while let Err(refusal) = tools().await {
        if until.left().is_zero() {
            return Err(refusal);
        }
        tokio::time::sleep(LOOK).await;
    }
    let id = job.deployment_id.clone();
    way::start_recovery(&layout, &job, &id)
}

/// The root may have moved, and its base may not be said in the job: two directories above it is where it lies.
fn layout_at(root: &Path, job: &mut Job) -> Result<Layout, Refusal> {
    let above = root.ancestors().nth(2).unwrap_or(root).to_owned();
    job.environment.placement = match job.environment.placement {
        Placement::Root { .. } => Placement::Root { base: Some(above) },
        Placement::InPlace { .. } => Placement::InPlace { path: above },
    };
    let layout = Layout::of(&job.app.name, &job.environment);
    if layout.root() == root {
        return Ok(layout);
    }
    let message = format!("the journal in {} is that of another root; nothing was touched", root.display());
    let failure = FailureReport::new(ErrorKind::DeploymentError, "journal.unusable", message);
    Err(Refusal::of(failure.hint("move the root back to where it was deployed, or deploy again")))
}

/// Becomes the same agent with the variables of the last deployment. Without them it goes on with those that it has.
fn again(root: &Path, layout: &Layout) -> FailureReport {
    let mut command = Command::new("/proc/self/exe");
    let kept = fs::read(layout.recovery_environment()).ok();
    let kept: Option<BTreeMap<String, String>> = kept.and_then(|text| serde_json::from_slice(&text).ok());
    if let Some(kept) = kept {
        command.env_clear().envs(kept);
    }
    let error = command.arg("recover").arg(root).arg(READY).exec();
    FailureReport::new(ErrorKind::DeploymentError, "agent.guard", format!("could not start: {error}"))
        .hint("run `ffe-deploy recover`")
}
