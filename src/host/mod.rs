//! What a host is: processes, files and locks of this machine, and its Docker engine.
//!
//! Everything here acts on the machine it runs on; which machine that is, `remote` decides.

pub mod atomic;
pub mod children;
pub mod compose;
pub mod distribution;
pub mod docker;
pub mod layout;
pub mod lease;
pub mod memory_file;
pub mod process;
