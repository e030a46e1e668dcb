//! What surrounds the job: its variables, who asks, and what the run is called.

use std::collections::BTreeMap;

use crate::model::{CorrelationId, Requester};
use crate::report::github;

/// The environment of the job, and what follows from it.
#[derive(Clone)]
pub(super) struct Surroundings {
    /// All variables that are text.
    pub variables: BTreeMap<String, String>,
}

impl Surroundings {
    /// Reads the process's own.
    pub(super) fn of_process() -> Self {
        let text = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self { variables: text.collect() }
    }

    /// Returns a variable that is set and not empty.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.variables.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// Returns whether a job of GitHub runs this.
    pub(super) fn on_github(&self) -> bool {
        github::is_active(|name| self.get(name))
    }

    /// Returns `github-<run>-<attempt>`, else a new id (DESIGN section 5).
    pub(super) fn correlation_id(&self) -> CorrelationId {
        let run = self.get("GITHUB_RUN_ID").filter(|_| self.on_github());
        let attempt = self.get("GITHUB_RUN_ATTEMPT").unwrap_or_else(|| "1".to_owned());
        run.and_then(|run| format!("github-{run}-{attempt}").parse().ok())
            .unwrap_or_else(CorrelationId::generate)
    }

    /// Returns what every attempt of a workflow's run has in common, for this commit of what is deployed; nothing
    /// outside of one (DESIGN section 5).
    pub(super) fn run_key(&self, commit: Option<&str>) -> Option<String> {
        let run = self.get("GITHUB_RUN_ID").filter(|_| self.on_github())?;
        let commit = commit.map(str::to_owned).or_else(|| self.get("GITHUB_SHA"));
        Some(crate::text::harmless(&format!("github-{run}/{}", commit.unwrap_or_default())))
    }

    /// Returns who asks.
    pub(super) fn requester(&self) -> Requester {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let user = self.get("USER").or_else(|| self.get("LOGNAME")).unwrap_or_else(user_of_process);
        let who = self.get("GITHUB_ACTOR").unwrap_or_else(|| format!("{user}@{host}"));
        Requester { who: crate::text::harmless(&who), run_url: self.run_url() }
    }

    fn run_url(&self) -> Option<String> {
        let (server, repository) = (self.get("GITHUB_SERVER_URL")?, self.get("GITHUB_REPOSITORY")?);
        let url = format!("{server}/{repository}/actions/runs/{}", self.get("GITHUB_RUN_ID")?);
        Some(crate::text::harmless(&url))
    }
}

/// The name of this process's user as /etc/passwd has it, for jobs whose environment does not say.
fn user_of_process() -> String {
    let uid = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("uid-{uid}"))
}
