//! Asks what was deployed whether it is well: http, tcp, command and container checks, with backoff and deadlines.
//!
//! Enter by [`plan_checks`], which makes questions of the configuration, then [`verify`], which waits for good answers
//! (stage `verifying`), or [`ask_once`], which takes the first ones (`status`, `health`). [`explain_failure`] says what a
//! service's container has to say for itself. Does not know stages, releases or rollbacks: it answers, others decide.

mod answer;
mod backoff;
mod command;
mod container;
mod explain;
#[cfg(test)]
pub(crate) mod fixtures;
mod http;
mod interpolate;
mod plan;
mod services;
mod tcp;
mod verify;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use explain::{Explanation, explain_failure};
pub use interpolate::InterpolationError;
pub use plan::{HealthError, Problem, plan_checks};
pub use services::{Lifetime, PublishedPort, ServiceFacts};
pub use verify::{ask_once, verify};

/// One question, ready to be asked: every variable is resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Name people see; unique among the checks of an app.
    pub name: String,
    /// What is asked.
    pub probe: Probe,
    /// Service whose container can explain a failure, where one is known.
    pub service: Option<String>,
    /// Longest wait for a good answer, from the first attempt; 1 s to 1 h.
    pub timeout: Duration,
    /// Longest wait for one answer; 100 ms to 5 min.
    pub request_timeout: Duration,
    /// A failure only degrades.
    pub optional: bool,
    /// Why it is not asked at all; absent when it is.
    pub skip: Option<String>,
}

/// What a [`Check`] asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Probe {
    /// GET without a proxy, redirects not followed; passes on 2xx, or on just `status` where it is named (C29).
    Http {
        /// Absolute, `http` or `https`.
        url: String,
        /// 100 to 599.
        status: Option<u16>,
    },
    /// Connect; passes when the connection is still there a moment later.
    Tcp {
        /// `host:port`.
        address: String,
    },
    /// Run a program; exit 0 passes.
    Command {
        /// Program and arguments; never a shell line.
        argv: Vec<String>,
        /// Where it runs; relative programs are found from here.
        directory: PathBuf,
        /// The release's variables, secrets among them: never shown.
        env: BTreeMap<String, String>,
    },
    /// Ask Docker about the containers of a service.
    Container {
        /// Compose project.
        project: String,
        /// Compose service.
        service: String,
        /// How long they are to live.
        lifetime: Lifetime,
        /// How many containers there must be, from 1.
        replicas: usize,
    },
}

impl Probe {
    /// Returns the question as people read it, without secrets.
    pub fn asked(&self) -> String {
        match self {
            Self::Http { url, .. } => format!("GET {}", http::shown(url)),
            Self::Tcp { address } => format!("connect to {address}"),
            Self::Command { argv, .. } => format!("run {}", argv.join(" ")),
            Self::Container { service, .. } => format!("container of {service}"),
        }
    }
}

/// Shows the question only: the environment of a command holds secrets.
impl fmt::Debug for Probe {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Probe({})", self.asked())
    }
}
