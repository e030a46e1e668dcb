//! Configuration as checked values.

mod target;

pub use target::{Jump, SshTarget, Target};
