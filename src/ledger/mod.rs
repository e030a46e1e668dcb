//! The ledger: a service that knows what runs where, and what became of each deployment (document 004).
//!
//! [`main`] is the way in. `store` keeps, `api` answers; both stand on `model::lifecycle`. Knows nothing of hosts, SSH or
//! Docker: what a CI job did it is told.

pub mod api;
mod cli;
mod connections;
pub mod dispatch;
pub mod foreign;
pub mod guard;
mod import;
mod log;
pub mod metrics;
pub mod nats;
pub mod pages;
mod serve;
mod settings;
pub mod store;
mod tokens;
pub mod validation;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

pub use cli::main;
pub use settings::Settings;

use guard::Guard;
use metrics::Metrics;
use nats::NatsState;
use pages::log::Streams;
use pages::session::Sessions;
use store::Store;

/// What all requests share.
#[derive(Debug)]
pub struct Ledger {
    /// The open database.
    pub store: Store,
    /// How it was told to behave.
    pub settings: Settings,
    /// When it started.
    pub started: Instant,
    /// Who may do what.
    pub guard: Guard,
    /// Who is signed in at the pages.
    pub sessions: Sessions,
    /// Who looks at a log live.
    pub streams: Streams,
    /// What is counted.
    pub metrics: Metrics,
    /// What is known of NATS.
    pub nats: NatsState,
    /// Becomes true when the service is told to end: streams end then.
    pub ending: watch::Receiver<bool>,
}

/// Returns an error with its causes, as people read it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}

/// The same for all requests.
pub type Shared = Arc<Ledger>;
