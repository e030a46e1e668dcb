//! Tells the ledger of a run while it goes on, and of its end. What goes wrong with that is a line and a file that
//! `ledger sync` sends later, and changes nothing. Reads, too, what it knows.

mod client;
mod courier;
mod pending;
mod read;
mod run;
mod sync;

pub(super) use courier::Courier;
pub(super) use read::{history, list};
pub(super) use run::begin;
pub(super) use sync::sync;
