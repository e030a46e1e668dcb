//! ffe-deploy: takes an application from one release to the next, and brings it back when it fails.
//!
//! The rooms and the arrows between them are those of `docs/architecture.md`.

pub mod agent;
pub mod config;
pub mod event;
pub mod host;
pub mod model;
pub mod pipeline;
pub mod remote;
pub mod text;
