//! The tests of the built binary: a module for each feature, against a real engine and a real sshd.

mod acceptance;
mod action;
mod broken;
mod crash_points;
mod faults;
mod findings;
mod github;
mod harness;
mod hooks;
mod hostile;
mod house;
mod init;
mod matrix;
mod registry;
mod releases;
mod rules;
mod secrets;
mod setup;
mod slack;
mod ssh;
mod support;
