//! The state machine, the journal and recovery: the only place that decides on a rollback.

pub mod journal;
