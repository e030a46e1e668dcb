//! The processes on the host, and the protocol that both halves speak.

pub mod protocol;
