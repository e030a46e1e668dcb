//! What a host is: processes, files and locks of this machine, and its Docker engine.
//!
//! Everything here acts on the machine it runs on; which machine that is, `remote` decides.

pub mod atomic;
pub mod ballast;
pub mod boot;
pub mod change;
pub mod children;
pub mod clock;
pub mod compose;
pub mod digest;
pub mod distribution;
pub mod docker;
pub mod docker_config;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod ffi;
pub mod http;
pub mod kept;
pub mod layout;
pub mod lease;
pub mod memory_file;
pub mod process;
pub mod program;
pub mod queue;
pub mod seam;
#[cfg(test)]
pub(crate) mod simulated;
pub mod startup;
