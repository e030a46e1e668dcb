//! Slack, by an incoming webhook: what a channel is told of an end, and how it gets there.
//!
//! Enter by [`message`], then by [`delivery`](super::delivery) with something that posts it, and [`judged`]. Knows nothing of addresses: they are secrets.

mod answer;
mod message;
mod text;

pub use answer::{hint, judged};
pub use message::{Ended, message};
