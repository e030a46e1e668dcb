//! Getting in: keys, host keys, ways there, and every reason why there is none, told as somebody needs it at night.

use std::fs;
use std::path::PathBuf;

use super::stand::{LOOK, SOON, Stand, files_in, left_behind, path_without, write_environment};
use crate::support::{Ended, Project, Sshd, User, needs, until};

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
