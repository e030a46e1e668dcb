//! Slack, by an incoming webhook: what a channel is told of an end, and how it gets there.
//!
//! Enter by [`message`], then by [`send`] with something that posts it. Knows nothing of addresses: they are secrets.

mod message;
pub(super) mod send;
mod text;

pub use message::{Ended, message};
pub use send::{Answer, Limit, Unsent, send};
