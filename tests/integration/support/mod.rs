//! What tests of the built binary stand on: projects, hosts, a real engine, a real sshd, and ways to disturb them.
//!
//! A test begins with [`needs!`], makes a [`Project`] and a [`Host`] (and an [`Sshd`] where the release goes over
//! SSH), runs the binary with [`Host::run`] and says how that must end with [`Run::exits`]. Everything that is made
//! here has a name or a directory of its own and is removed on drop. Knows nothing of the crate that it tests.
#![allow(dead_code, unused_imports, unused_macros, reason = "each test takes from here what it needs")]

pub(crate) mod actions;
pub(crate) mod block_kit;
mod counter;
mod engine;
mod events;
mod host;
mod http;
mod image;
mod machine;
mod ports;
mod process;
mod project;
mod registry;
mod run;
mod shim;
mod slack;
mod sshd;
mod tools;
mod user;
mod wait;
mod web;
mod witness;

pub(crate) use block_kit::seen;
pub(crate) use counter::{Counted, Counter};
pub(crate) use engine::SecondEngine;
pub(crate) use events::{assert_gapless, validate_event};
pub(crate) use host::Host;
pub(crate) use http::{Response, get, post, request, request_at};
pub(crate) use image::{base_image, shop_binary};
pub(crate) use machine::Machine;
pub(crate) use ports::free_port;
pub(crate) use process::{alive, as_pid, descendants, kill_all_of, kill_tree, mentioning, output};
pub(crate) use project::Project;
pub(crate) use registry::{Front, Registry};
pub(crate) use run::{Ended, Run, Running};
pub(crate) use shim::{Act, Shim};
pub(crate) use slack::Slack;
pub(crate) use sshd::{Sshd, SshdOptions};
pub(crate) use tools::{find, needs, require};
pub(crate) use user::User;
pub(crate) use wait::{until, until_some, within};
pub(crate) use web::{Reply, Request, Web};
pub(crate) use witness::Witness;
