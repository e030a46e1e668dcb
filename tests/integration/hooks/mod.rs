//! Hooks and tests of the app's own: when they run, what they see, what their failure means, and what ends them.

mod before;
mod dying;
mod failing;
mod missing;
mod order;
mod planned;
mod runner;
mod service;
mod ssh;
mod stand;
