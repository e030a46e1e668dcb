//! Hosts that are not as one would wish: no Docker, no rights, sudo, odd login shells, homes that hold nothing.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use serde_json::Value;

use super::stand::{Stand, files_in, left_behind, path_without, write_environment};
use crate::support::{Project, Shim, SshdOptions, User, needs};

/// A user of this machine in a Docker group or none, an sshd for that user, and a root that is the user's.
fn stand_of(user: &User, options: SshdOptions<'_>) -> Stand {
    let stand = Stand::with(&SshdOptions { user: Some(user), ..options });
    let root = stand.sshd.dir().join("srv");
    fs::create_dir(&root).expect("make the base of the root");
    chown(&root, Some(user.uid()), Some(user.uid())).expect("give it to its user");
    stand
}

#[test]
fn become_sudo_starts_the_agent_by_a_sudo_that_must_not_ask() {
    needs!("docker", "sshd", "root");
    let (user, shim) = (User::create(&["docker"]), Shim::new());
    shim.fake("sudo", "[[ $1 == -n && $2 == -- ]] || exit 9\nshift 2\nexec \"$@\"");
    let stand = stand_of(&user, SshdOptions { path_first: vec![shim.path()], ..SshdOptions::default() });
    write_environment(&stand, "become: sudo");
    stand.deploy("1.0.0").exits(0);
    assert_eq!(stand.version(), "1.0.0");
    let calls = shim.calls();
    assert!(calls.iter().all(|call| call[..5] == ["sudo", "-n", "--", "sh", "-c"]), "{calls:?}");
    assert!(!calls.is_empty() && !files_in(&user.home().join(".cache/ffe-deploy"), "ffe-agent-").is_empty());
    shim.fake("sudo", "echo 'sudo: a password is required' >&2; exit 1");
    let told = stand.deploy("1.1.0").exits(7);
    told.says(&["`sudo -n` does not work", "a password is required", user.name(), "NOPASSWD: ALL"]);
    left_behind(&stand);
}

#[test]
fn a_user_without_rights_to_docker_is_refused_with_the_way_to_get_them() {
    needs!("docker", "sshd", "root");
    let user = User::create(&[]);
    let stand = stand_of(&user, SshdOptions::default());
    let told = stand.deploy("1.0.0").exits(3);
    let group = format!("usermod -aG docker {}", user.name());
    told.says(&["may not use Docker", &group, "refused before anything was touched"]);
    assert_eq!(told.result()["outcome"], "refused");
    assert!(!stand.root().join("releases").exists());
}

#[test]
fn a_host_without_docker_is_refused() {
    needs!("docker", "sshd");
    let tools = path_without("docker");
    let home = tempfile::tempdir().unwrap();
    let variables = format!(
        "SetEnv \"PATH={}\" \"HOME={}\" \"DOCKER_HOST=unix:///nonexistent.sock\"",
        tools.path().display(),
        home.path().display()
    );
    let stand = Stand::with(&SshdOptions { config: vec![variables], ..SshdOptions::default() });
    let told = stand.deploy("1.0.0").exits(3);
    told.says(&["Docker is not installed", "refused before anything was touched"]);
    let errors = told.result()["errors"].as_array().expect("errors").clone();
    let codes: Vec<_> = errors.iter().map(|error| (&error["code"], &error["error_kind"])).collect();
    let docker = |code: &str| (Value::from(code), Value::from("DockerError"));
    let (installed, running) = (docker("docker.installed"), docker("docker.running"));
    assert_eq!(codes, [(&installed.0, &installed.1), (&running.0, &running.1)], "each cause once");
    let started: Vec<_> = told.events_named("stage_started").iter().map(|event| &event["stage"]).collect();
    assert_eq!(started, ["initializing", "validating"]);
    stand.run(&["validate", "staging"]).exits(3);
    stand.run(&["status", "staging"]).exits(3).says(&["Docker"]);
    assert!(!stand.root().join("releases").exists());
}

#[test]
fn a_login_shell_that_greets_and_is_no_posix_shell_is_no_obstacle() {
    needs!("docker", "sshd", "perl");
    // Knows only what fish, csh and sh have in common: one command, words, text within single quotes.
    let shell = Project::without_git("shell");
    let script = r#"#!/usr/bin/env perl
use strict; my $c = $ENV{SSH_ORIGINAL_COMMAND};
$| = 1; print "Welcome to the shop!\n::error::not ours\n{\"event\":\"x\"}\nno newline here"; print STDERR "motd\n";
my @w; while ($c =~ /\G\s*(?:'([^']*)'|([A-Za-z0-9_=.-]+))/gc) { push @w, defined $1 ? $1 : $2 }
die "syntax" if (pos($c) // 0) != length $c;
die "builtin" unless shift(@w) eq "exec";
exec { $w[0] } @w;
"#;
    shell.executable("shell", script);
    let force = format!("ForceCommand {}", shell.path().join("shell").display());
    let stand = Stand::with(&SshdOptions { config: vec![force], ..SshdOptions::default() });
    let ended = stand.deploy("1.0.0").exits(0);
    assert_eq!(stand.version(), "1.0.0");
    assert!(!ended.stdout.contains("::error") && !ended.stderr.contains("Welcome"), "{}", ended.told());
}

/// A directory in which no program may run and nothing can be written, until drop.
struct Sealed(PathBuf);

impl Sealed {
    fn over(dir: PathBuf) -> Option<Self> {
        let mount = |options: &[&str]| {
            let status = std::process::Command::new("mount").args(options).arg(&dir).status();
            status.is_ok_and(|status| status.success())
        };
        let bound = dir.display().to_string();
        let mounted = mount(&["--bind", &bound]).then(|| Self(dir.clone()))?;
        mount(&["-o", "remount,bind,ro,noexec"]).then_some(mounted)
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

#[test]
fn a_home_where_no_program_may_run_and_nothing_be_written_is_passed_over() {
    needs!("docker", "sshd", "root");
    let run = tempfile::tempdir().unwrap();
    let environment = vec![("XDG_RUNTIME_DIR".to_owned(), run.path().display().to_string())];
    let stand = Stand::with(&SshdOptions { environment, ..SshdOptions::default() });
    let Some(_sealed) = Sealed::over(stand.sshd.home()) else {
        eprintln!("SKIPPED: nothing can be mounted here");
        return;
    };
    stand.deploy("1.0.0").exits(0);
    assert_eq!(stand.version(), "1.0.0");
    assert!(stand.agents().is_empty());
    assert_eq!(files_in(&run.path().join("ffe-deploy"), "ffe-agent-").len(), 1);
}
