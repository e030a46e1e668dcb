//! A user of this machine that lives as long as a test. Needs root.
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Command;

use super::host::{furnish_home, unique_word};
use super::process::output;

/// A user with a home and no password, who can log in with a key; removed with the home on drop.
pub(crate) struct User {
    name: String,
    uid: u32,
}

impl User {
    /// Makes a user who is in these groups besides an own one: `docker`, or none.
    pub(crate) fn create(groups: &[&str]) -> Self {
        let name = format!("ffe{}", unique_word());
        // `*` is no password, but unlike `!` it does not lock the account for sshd.
        let mut command = Command::new("useradd");
        command.args(["--create-home", "--user-group", "--shell", "/bin/sh", "--password", "*"]);
        if !groups.is_empty() {
            command.args(["--groups", &groups.join(",")]);
        }
        output(command.arg(&name));
        let uid = output(Command::new("id").args(["-u", &name])).trim().parse().expect("a user id");
        let user = Self { name, uid };
        furnish_home(&user.home());
        chown(user.home().join(".docker"), Some(uid), Some(uid)).ok();
        user
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    pub(crate) fn home(&self) -> PathBuf {
        PathBuf::from("/home").join(&self.name)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        Command::new("pkill").args(["-KILL", "-U", &self.uid.to_string()]).output().ok();
        let removed = Command::new("userdel").args(["--force", "--remove", &self.name]).output();
        if !removed.as_ref().is_ok_and(|done| done.status.success()) {
            eprintln!("could not remove user {}: {removed:?}", self.name);
        }
    }
}
