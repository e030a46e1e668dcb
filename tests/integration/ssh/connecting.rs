//! Getting in: keys, host keys, ways there, and every reason why there is none, told as somebody needs it at night.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::PathBuf;

use serde_json::Value;

use super::stand::{SOON, Stand, files_in, left_behind};
use crate::support::{Ended, Project, Shim, Sshd, SshdOptions, User, needs, until};

/// The cheapest verb that goes all the way to the agent; no Docker is asked.
const LOOK: [&str; 4] = ["history", "staging", "--output", "json"];

/// Changes one variable of the runner, and looks.
#[track_caller]
fn look_with(stand: Stand, name: &str, value: &str, code: i32) -> (Stand, Ended) {
    let stand = stand.on_runner(|host| host.with_env(name, value));
    let ended = stand.run(&LOOK).exits(code);
    (stand, ended)
}

#[test]
fn keys_come_as_ci_systems_hand_them_over() {
    needs!("sshd");
    let stand = Stand::new();
    let key = stand.sshd.private_key();
    let encrypted = stand.sshd.private_key_with_passphrase("open sesame");
    let (stand, _) = look_with(stand, "STAGING_SSH_KEY", &key.replace('\n', "\r\n"), 0);
    let (stand, _) = look_with(stand, "STAGING_SSH_KEY", key.trim_end(), 0);
    let (stand, told) = look_with(stand, "STAGING_SSH_KEY", &encrypted, 2);
    told.says(&["it has a passphrase, and none was given", "nothing was touched", "_SSH_KEY_PASSPHRASE"]);
    let (stand, told) = look_with(stand, "STAGING_SSH_KEY_PASSPHRASE", "sesame", 2);
    told.says(&["its passphrase is wrong"]);
    let (stand, _) = look_with(stand, "STAGING_SSH_KEY_PASSPHRASE", "open sesame", 0);
    let stand = stand.on_runner(|host| host.without_env("STAGING_SSH_KEY_PASSPHRASE"));
    let (stand, told) = look_with(stand, "STAGING_SSH_KEY", "/home/me/.ssh/id_ed25519", 2);
    told.says(&["this is not the text of a private key", "BEGIN line"]);
    let before = stand.sshd.connections();
    let (stand, told) = look_with(stand, "STAGING_SSH_KEY", &stand_another_key(), 7);
    told.says(&["refused the login", "authorized_keys"]);
    assert_eq!(stand.sshd.connections(), before + 1, "a wrong key is not tried again: fail2ban counts");
    left_behind(&stand);
}

/// A good key of somebody else.
fn stand_another_key() -> String {
    Sshd::start().another_key()
}

#[test]
fn host_keys_are_given_in_every_form_and_a_wrong_one_is_refused() {
    needs!("sshd");
    let stand = Stand::new();
    let (line, fingerprint) = (stand.sshd.host_key_line(), stand.sshd.fingerprint());
    let file = stand.host.home().join("known hosts").with_file_name("known_hosts");
    fs::write(&file, format!("# ours\n{line}\n")).unwrap();
    let bare = line.split_once(' ').unwrap().1.to_owned();
    let mut stand = stand;
    for value in [&bare, &fingerprint, &file.display().to_string(), &"~/known_hosts".to_owned()] {
        (stand, _) = look_with(stand, "STAGING_HOST_KEY", value, 0);
    }
    let (stand, _) = look_with(stand, "STAGING_HOST_KEY", "", 7);
    let stand = stand.on_runner(|host| host.without_env("STAGING_HOST_KEY"));

    stand.project.file("deploy/known_hosts", format!("{line}\n"));
    write_environment(&stand, "host_key: deploy/known_hosts");
    stand.run(&LOOK).exits(0);
    let by_flag = [&LOOK[..], &["--host-key", &fingerprint]].concat();
    stand.run(&by_flag).exits(0);

    write_environment(&stand, "host_key: deploy/nothing");
    stand.run(&LOOK).exits(2).says(&["deploy/nothing` cannot be read", "`host_key`", "nothing was touched"]);
    let (stand, told) = look_with(stand, "STAGING_HOST_KEY", "yes", 2);
    told.says(&["STAGING_HOST_KEY", "is not a host key", "SHA256:"]);
    let other = "SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDMHGsJP8JnTK4l7Pc";
    let (_, told) = look_with(stand, "STAGING_HOST_KEY", other, 7);
    told.says(&["has changed", other, &fingerprint]);
}

/// Writes the staging entry with this line in it.
fn write_environment(stand: &Stand, line: &str) {
    let root = stand.sshd.dir().join("srv");
    let text = format!("environments:\n  staging:\n    root: '{}'\n    {line}\n", root.display());
    stand.project.file("environments.yaml", text);
}

#[test]
fn an_unknown_host_key_comes_with_the_line_to_paste_and_a_changed_one_with_both_fingerprints() {
    needs!("sshd");
    let stand = Stand::new().on_runner(|host| host.without_env("STAGING_HOST_KEY"));
    let told = stand.deploy("1.0.0").exits(7);
    let line = stand.sshd.host_key_line();
    told.says(&["the host key of", "is not known", &line, &stand.sshd.fingerprint(), "nothing was touched"]);
    assert!(!stand.root().exists() && stand.agents().is_empty(), "nothing was touched");
    let (mut stand, _) = look_with(stand, "STAGING_HOST_KEY", &line, 0);
    let old = stand.sshd.fingerprint();
    stand.sshd.change_host_key();
    let told = stand.run(&LOOK).exits(7);
    told.says(&["has changed", &old, &stand.sshd.fingerprint(), "an attacker"]);
}

#[test]
fn each_reason_for_no_connection_is_told_apart() {
    needs!("sshd");
    let mut stand = Stand::new();
    let (host, port) = (stand.sshd.address().to_owned(), stand.sshd.port().to_string());
    stand.sshd.stop();
    let told = stand.deploy("1.0.0").exits(7);
    told.says(&["refused the connection", &host, &port, "sshd runs there", "nothing was touched"]);
    assert_eq!(told.result()["outcome"], "unreachable");
    let (stand, told) = look_with(stand, "STAGING_HOST", "no-such-host.invalid", 7);
    told.says(&["no-such-host.invalid", "resolved"]);
    let (stand, told) = look_with(stand, "STAGING_HOST", "", 2);
    told.says(&["`STAGING_HOST` is empty", "local"]);
    let (stand, told) = look_with(stand, "STAGING_HOST", "-oProxyCommand=x", 2);
    told.says(&["`STAGING_HOST` names no host", "[USER@]HOST[:PORT]"]);
    assert!(files_in(&stand.host.dir().join("run"), "").is_empty());
}

#[test]
fn a_runner_without_an_ssh_client_says_how_to_get_one() {
    needs!("sshd");
    let (stand, tools) = (Stand::new(), path_without("ssh"));
    let stand = stand.on_runner(|host| host.with_env("PATH", tools.path()));
    stand.run(&LOOK).exits(7).says(&["`ssh` is not installed", "install the OpenSSH client"]);
    let told = stand.run(&["deploy", "staging", "--yes"]).exits(7);
    told.says(&["nothing was touched"]);
}

#[test]
fn an_empty_secret_in_the_file_never_deploys_to_the_runner() {
    needs!("sshd");
    let stand = Stand::new();
    let text = "environments:\n  production: {host: '${PROD_HOST}', host_key: '${PROD_HOST_KEY}'}\n";
    stand.project.file("environments.yaml", text);
    let deploy = ["deploy", "production", "--yes"];
    let unset = stand.run(&deploy).exits(2);
    unset.says(&["PROD_HOST", "is not set"]);
    let stand = stand.on_runner(|host| host.with_env("PROD_HOST", "").with_env("PROD_HOST_KEY", ""));
    let empty = stand.run(&deploy).exits(2);
    empty.says(&["PROD_HOST", "empty"]);
    assert_eq!(empty.result()["outcome"], "invalid");
    assert_eq!(stand.sshd.connections(), 0);
}

#[test]
fn the_way_through_a_jump_host_is_taken_and_its_key_is_checked() {
    needs!("sshd");
    let (stand, jump) = (Stand::new(), Sshd::start());
    let keys = [&jump, &stand.sshd].map(|sshd| fs::read_to_string(sshd.dir().join("user_key.pub")).unwrap());
    fs::write(jump.dir().join("authorized_keys"), keys.concat()).unwrap();
    let hop = |key: &str| {
        let (host, port, user) = (jump.address(), jump.port(), jump.user());
        format!("jump: [{{host: {host}, port: {port}, user: {user}, host_key: '{key}'}}]")
    };
    write_environment(&stand, &hop(&jump.host_key_line()));
    stand.run(&LOOK).exits(0);
    assert_eq!((jump.connections(), stand.sshd.connections()), (1, 1));
    write_environment(&stand, &hop(&stand.sshd.fingerprint()));
    let told = stand.run(&LOOK).exits(7);
    told.says(&["has changed", &jump.port().to_string(), &jump.fingerprint()]);
    assert_eq!(stand.sshd.connections(), 1);
    left_behind(&stand);
}

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

/// A directory with all programs but those of that name.
fn path_without(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("make a directory");
    for from in ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"] {
        for program in files_in(&PathBuf::from(from), "") {
            let file = program.file_name().expect("it has a name").to_owned();
            if !file.to_string_lossy().starts_with(name) {
                // The first of a name counts, as on PATH.
                symlink(&program, dir.path().join(file)).ok();
            }
        }
    }
    dir
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

/// OpenSSH looks into the home that the system knows, so this runner is a user of its own.
#[test]
fn without_a_key_or_host_key_the_users_own_files_are_used() {
    needs!("sshd", "root", "setpriv");
    let (user, stand) = (User::create(&[]), Stand::new());
    let programs = Project::without_git("programs");
    for program in [env!("CARGO_BIN_EXE_ffe-deploy"), env!("CARGO_BIN_EXE_ffe-agent")] {
        let name = PathBuf::from(program).file_name().unwrap().to_string_lossy().into_owned();
        programs.executable(&name, fs::read(program).unwrap());
    }
    let ssh = user.home().join(".ssh");
    fs::create_dir(&ssh).unwrap();
    fs::write(ssh.join("known_hosts"), stand.sshd.host_key_line() + "\n").unwrap();
    fs::write(ssh.join("id_ed25519"), stand.sshd.private_key()).unwrap();
    let (address, port) = (stand.sshd.address(), stand.sshd.port());
    fs::write(
        ssh.join("config"),
        format!("Host shop\nHostName {address}\nPort {port}\nUser {}\n", stand.sshd.user()),
    )
    .unwrap();
    let uid = user.uid().to_string();
    crate::support::output(std::process::Command::new("chown").args(["-R", &uid]).arg(&ssh));
    crate::support::output(std::process::Command::new("chmod").args(["-R", "go-rwx"]).arg(&ssh));
    let as_user = format!("setpriv --reuid {uid} --regid {uid} --clear-groups");
    let mut command = std::process::Command::new("setpriv");
    command.args(as_user.split(' ').skip(1)).arg(programs.path().join("ffe-deploy")).args(LOOK);
    command.args(["--host", "shop", "--project-root"]).arg(stand.project.path());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", user.home());
    let ended = command.current_dir("/").output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(stand.sshd.sessions(), 3, "one looked for the agent, one brought it, one became it");
    until(SOON, "nothing of the user to run", || crate::support::mentioning(programs.path()).is_empty());
}
