//! ffe-deploy: takes an application from one release to the next, and brings it back when it fails.
//!
//! The rooms and the arrows between them are those of `docs/architecture.md`.

pub mod agent;
pub mod backup;
pub mod cli;
pub mod config;
pub mod event;
pub mod executor;
#[cfg(test)]
mod fuzz;
pub mod health;
pub mod history;
pub mod host;
#[cfg(feature = "ledger")]
pub mod ledger;
pub mod model;
pub mod pipeline;
pub mod preflight;
pub mod remote;
pub mod report;
pub mod text;
