//! Applies a release with one tool. What the pipeline decides, this carries out; it decides nothing itself.

pub mod blobs;
pub mod compose;
pub mod hook;
pub mod prune;
pub mod registry;
pub mod runner;
pub mod variables;
