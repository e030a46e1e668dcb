//! Old releases, and what only they needed, go: [`Choice`] says which, [`ComposeExecutor::prune`] takes them away.
//!
//! Decides by facts alone; who is protected and how many stay is the pipeline's to say.
//!
//! [`ComposeExecutor::prune`]: crate::executor::compose::ComposeExecutor::prune

mod act;
mod choice;

pub use act::Pruned;
pub use choice::{Choice, Facts, Kept, Needs};
