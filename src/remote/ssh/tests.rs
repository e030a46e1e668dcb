//! The whole way, against a real sshd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::sshd::{Sshd, can_run};
use crate::config::{Jump, SshTarget, Target};
use crate::remote::{AgentBinary, Agents, Channel, Ended, How, Remote, RemoteError, Settings, connect};
use crate::text::Secret;

async fn reach(target: &SshTarget, settings: Settings) -> Result<Remote, RemoteError> {
    connect(&Target::Ssh(Box::new(target.clone())), settings).await
}

async fn refusal(target: &SshTarget, settings: Settings) -> RemoteError {
    match reach(target, settings).await {
        Ok(_) => panic!("connected"),
        Err(error) => error,
    }
}

/// Talks with the fake agent; returns its first line.
async fn talk(channel: Channel) -> (String, Ended) {
    let Channel { mut stdin, stdout, ending } = channel;
    let mut stdout = BufReader::new(stdout);
    let mut first = String::new();
    stdout.read_line(&mut first).await.unwrap();
    stdin.write_all(b"ping\n").await.unwrap();
    let mut echo = String::new();
    stdout.read_line(&mut echo).await.unwrap();
    assert_eq!(echo, "ping\n");
    drop(stdin);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "");
    (first, ending.ended().await)
}

async fn works(target: &SshTarget, settings: Settings) -> String {
    let mut remote = reach(target, settings).await.unwrap_or_else(|error| panic!("{:?}", error.report()));
    let channel = remote.attach().await.unwrap_or_else(|error| panic!("{:?}", error.report()));
    let (first, ended) = talk(channel).await;
    assert_eq!(ended.how, How::Exited(0), "{ended:?}");
    remote.close().await;
    first
}

#[tokio::test]
async fn the_agent_is_brought_once_and_then_found_by_one_channel() {
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let mut remote = reach(&sshd.target(), sshd.settings()).await.unwrap();
    assert!(remote.describe().ends_with(&format!("@127.0.0.1:{}", sshd.port)), "{}", remote.describe());
    let (first, ended) = talk(remote.attach().await.unwrap()).await;
    assert!(first.contains(&sshd.file("cache/ffe-deploy/ffe-agent-").display().to_string()), "{first}");
    assert_eq!(ended.last_lines, ["agent attach"]);
    assert_eq!(sshd.channels(), 3);
    talk(remote.attach().await.unwrap()).await;
    assert_eq!(sshd.channels(), 4);
    remote.close().await;
    works(&sshd.target(), sshd.settings()).await;
    assert_eq!(sshd.channels(), 5);
    let directory = sshd.file("cache/ffe-deploy");
    assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(directory).unwrap().count(), 1);
}

#[tokio::test]
async fn an_agent_whose_bytes_were_changed_is_brought_again() {
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    works(&sshd.target(), sshd.settings()).await;
    let file = fs::read_dir(sshd.file("cache/ffe-deploy")).unwrap().next().unwrap().unwrap().path();
    fs::write(&file, "#!/bin/sh\necho evil\n").unwrap();
    let first = works(&sshd.target(), sshd.settings()).await;
    assert!(first.starts_with("user="), "{first}");
}

#[tokio::test]
async fn a_directory_that_is_a_link_or_cannot_be_written_is_passed_over() {
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    std::os::unix::fs::symlink(sshd.file("run"), sshd.file("cache/ffe-deploy")).unwrap();
    let first = works(&sshd.target(), sshd.settings()).await;
    assert!(first.contains("/data/ffe-deploy/ffe-agent-"), "{first}");
}

#[tokio::test]
async fn a_file_system_mounted_noexec_is_passed_over() {
    if !can_run() {
        return;
    }
    // sshd gets a mount namespace of its own; without the right to that there is nothing to try.
    let namespace = ["unshare", "-m", "sh", "-c"];
    if !Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: no mount namespaces here");
        return;
    }
    let script = r#"c=$(sed -n "s/.*XDG_CACHE_HOME=\([^ ]*\).*/\1/p" "$5")
        mount -t tmpfs -o noexec none "$c" && exec "$0" "$@""#;
    let sshd = Sshd::start_by(&[&namespace[..], &[script]].concat(), "");
    let first = works(&sshd.target(), sshd.settings()).await;
    assert!(first.contains("/data/ffe-deploy/ffe-agent-"), "{first}");
}

#[tokio::test]
async fn a_host_where_no_directory_will_do_is_told_with_all_of_them() {
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    for name in ["cache", "data", "run"] {
        fs::write(sshd.file(name).join("ffe-deploy"), "in the way").unwrap();
    }
    // The last one is shared by the machine: it is the place where this succeeds.
    let first = works(&sshd.target(), sshd.settings()).await;
    assert!(first.contains("here=/var/tmp/ffe-deploy-"), "{first}");
    let path = first.trim().split("here=").nth(1).unwrap();
    fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_host_without_gzip_gets_the_program_as_it_is() {
    if !can_run() {
        return;
    }
    let bin = tempfile::tempdir().unwrap();
    for name in "sh id uname sha256sum mkdir chmod rm df mv find ls grep sed cat env true".split(' ') {
        std::os::unix::fs::symlink("/bin/busybox", bin.path().join(name)).unwrap();
    }
    // The login shell sets PATH: this is how a host with nothing but busybox looks.
    let force = format!("ForceCommand PATH={} && eval \"$SSH_ORIGINAL_COMMAND\"", bin.path().display());
    let sshd = Sshd::start(&force);
    works(&sshd.target(), sshd.settings()).await;
}

#[tokio::test]
async fn a_login_shell_that_greets_and_is_not_a_posix_shell_is_no_obstacle() {
    if !can_run() {
        return;
    }
    // Knows only what fish, csh and sh have in common: one command, words, text within single quotes.
    let shell = tempfile::NamedTempFile::new().unwrap();
    let script = r#"#!/usr/bin/env perl
use strict; my $c = $ENV{SSH_ORIGINAL_COMMAND};
$| = 1; print "Welcome to shop!\nNo newline here"; print STDERR "motd\n";
die "history" if $c =~ /[!\\\n]/;
my @w; while ($c =~ /\G\s*(?:'([^']*)'|([A-Za-z0-9_=.-]+))/gc) { push @w, defined $1 ? $1 : $2 }
die "syntax" if (pos($c) // 0) != length $c;
die "builtin" unless shift(@w) eq "exec";
exec { $w[0] } @w;
"#;
    fs::write(shell.path(), script).unwrap();
    fs::set_permissions(shell.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let shell = shell.into_temp_path();
    let sshd = Sshd::start(&format!("ForceCommand {}", shell.display()));
    works(&sshd.target(), sshd.settings()).await;
}

#[tokio::test]
async fn a_login_that_runs_nothing_is_told() {
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("ForceCommand echo This account is currently not available.; exit 1");
    let mut remote = reach(&sshd.target(), sshd.settings()).await.unwrap();
    let error = remote.attach().await.err().unwrap();
    assert!(matches!(&error, RemoteError::Shell { said, .. } if said.contains("not available")), "{error:?}");
}

#[tokio::test]
async fn the_agent_is_started_by_sudo_and_a_sudo_that_asks_is_told() {
    if !can_run() {
        return;
    }
    let bin = tempfile::tempdir().unwrap();
    let sudo = bin.path().join("sudo");
    let path = format!("{}:/usr/bin:/bin", bin.path().display());
    let sshd = Sshd::start(&format!("ForceCommand PATH={path} && eval \"$SSH_ORIGINAL_COMMAND\""));
    let asks = "#!/bin/sh\necho 'sudo: a password is required' >&2; exit 1\n";
    let runs = "#!/bin/sh\n[ \"$1 $2 $3\" = '-n -- sh' ] && shift 2 && SUDO=yes exec \"$@\"\n";
    fs::write(&sudo, asks).unwrap();
    fs::set_permissions(&sudo, fs::Permissions::from_mode(0o755)).unwrap();
    let target = SshTarget { become_root: true, ..sshd.target() };
    let mut remote = reach(&target, sshd.settings()).await.unwrap();
    // Who runs these tests may be root, who needs no sudo.
    let Remote::Ssh(session) = &mut remote else { panic!() };
    session.who = super::As::Root;
    let error = remote.attach().await.err().unwrap();
    assert!(
        matches!(&error, RemoteError::Sudo { said, .. } if said == "sudo: a password is required"),
        "{error:?}"
    );
    assert!(error.report().hint.unwrap().contains("ALL=(root) NOPASSWD: ALL"));
    fs::write(&sudo, runs).unwrap();
    talk(remote.attach().await.unwrap()).await;
    fs::remove_file(&sudo).unwrap();
    let error = remote.attach().await.err().unwrap();
    assert!(matches!(&error, RemoteError::Sudo { .. }), "{error:?}");
}

#[tokio::test]
async fn keys_with_passphrase_or_line_endings_of_windows_are_used_and_wrong_ones_told_before_connecting() {
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let key = |text: String, passphrase: Option<&str>| SshTarget {
        key: Some(Secret::new(text)),
        passphrase: passphrase.map(Secret::new),
        ..sshd.target()
    };
    let plain = sshd.read("id");
    works(&key(plain.trim_end().replace('\n', "\r\n"), None), sshd.settings()).await;
    works(&key(plain.clone(), Some("not needed")), sshd.settings()).await;
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-p", "-P", "", "-N", "pass $'\\ word", "-f"]).arg(sshd.file("id"));
    assert!(keygen.stdout(Stdio::null()).status().unwrap().success());
    let locked = sshd.read("id");
    works(&key(locked.clone(), Some("pass $'\\ word\n")), sshd.settings()).await;
    let logins = sshd.read("log").matches("Connection from").count();
    for (target, why) in [
        (key(locked.clone(), Some("wrong")), "its passphrase is wrong"),
        (key(locked, None), "it has a passphrase, and none was given"),
        (key(plain.replace("AAAA", "AB"), None), "`ssh-add` says: Error loading key"),
    ] {
        let error = refusal(&target, sshd.settings()).await;
        assert!(matches!(&error, RemoteError::KeyInvalid { .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
    }
    assert_eq!(sshd.read("log").matches("Connection from").count(), logins);
}

#[tokio::test]
async fn a_key_that_the_host_does_not_know_is_told_and_not_tried_again() {
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let other = Sshd::start("");
    let target = SshTarget { key: Some(Secret::new(other.read("id"))), ..sshd.target() };
    let error = refusal(&target, sshd.settings()).await;
    assert!(matches!(&error, RemoteError::Authentication { own_key: true, .. }), "{error:?}");
    assert_eq!(sshd.read("log").matches("Connection from").count(), 1);
    assert_eq!(sshd.read("log").matches("Failed publickey").count(), 1, "{}", sshd.read("log"));
}

#[tokio::test]
async fn without_a_key_the_users_own_configuration_is_used() {
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let config = format!(
        "Host shop\n HostName 127.0.0.1\n Port {}\n IdentityFile {}\n UserKnownHostsFile {}\n\
         Host *\n StrictHostKeyChecking no\n ControlMaster auto\n ControlPersist yes\n",
        sshd.port,
        sshd.file("id").display(),
        sshd.file("known").display()
    );
    fs::write(sshd.file("user_config"), config).unwrap();
    let target = SshTarget { host: "shop".into(), ..SshTarget::default() };
    let error = refusal(&target, sshd.settings()).await;
    assert!(matches!(error, RemoteError::HostKeyUnknown { .. }), "strict whatever it says: {error:?}");
    fs::write(sshd.file("known"), sshd.line()).unwrap();
    let remote = reach(&target, sshd.settings()).await.unwrap();
    assert!(remote.describe().ends_with(&format!("@shop:{}", sshd.port)));
    remote.close().await;
    works(&target, sshd.settings()).await;
    fs::write(sshd.file("user_config"), "Nonsense yes\n").unwrap();
    let error = refusal(&target, sshd.settings()).await;
    assert!(matches!(&error, RemoteError::Configuration { said } if said.contains("onsense")), "{error:?}");
}

#[tokio::test]
async fn an_unknown_host_key_comes_with_the_line_to_paste_and_that_line_works() {
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    fs::write(sshd.file("user_config"), format!("UserKnownHostsFile {}\n", sshd.file("known").display()))
        .unwrap();
    let unknown = SshTarget { host_key: None, ..sshd.target() };
    let error = refusal(&unknown, sshd.settings()).await;
    let RemoteError::HostKeyUnknown { line, fingerprint, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*fingerprint, sshd.fingerprint("host_key.pub"));
    let hint = error.report().hint.unwrap();
    assert!(hint.contains(line) && hint.contains("compare first"), "{hint}");
    assert!(!sshd.file("known").exists());
    let known = SshTarget { host_key: Some(line.clone()), ..sshd.target() };
    works(&known, sshd.settings()).await;
}

#[tokio::test]
async fn a_changed_host_key_is_told_with_both_fingerprints() {
    if !can_run() {
        return;
    }
    let (sshd, other) = (Sshd::start(""), Sshd::start(""));
    let old = other.line().replace(&other.port.to_string(), &sshd.port.to_string());
    let error = refusal(&SshTarget { host_key: Some(old), ..sshd.target() }, sshd.settings()).await;
    let RemoteError::HostKeyChanged { expected, found, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*expected, other.fingerprint("host_key.pub"));
    assert_eq!(*found, sshd.fingerprint("host_key.pub"));
    let elsewhere = SshTarget { host_key: Some(other.line()), ..sshd.target() };
    let error = refusal(&elsewhere, sshd.settings()).await;
    assert!(matches!(&error, RemoteError::HostKeyChanged { .. }), "{error:?}");
    let misnamed = sshd.line().replace("127.0.0.1", "shop");
    let error = refusal(&SshTarget { host_key: Some(misnamed), ..sshd.target() }, sshd.settings()).await;
    assert!(
        matches!(&error, RemoteError::HostKeyInvalid { why, .. } if why.contains(&sshd.line()[..30])),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_fingerprint_of_any_of_its_keys_is_enough_and_another_is_refused() {
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let with = |key: String| SshTarget { host_key: Some(key), ..sshd.target() };
    works(&with(sshd.fingerprint("host_key.pub")), sshd.settings()).await;
    works(&with(sshd.fingerprint("host_ecdsa.pub")), sshd.settings()).await;
    works(&with(sshd.read("host_key.pub")), sshd.settings()).await;
    let wrong = sshd.fingerprint("id.pub");
    let error = refusal(&with(wrong.clone()), sshd.settings()).await;
    let RemoteError::HostKeyChanged { expected, found, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*expected, wrong);
    assert!(found.contains(&sshd.fingerprint("host_key.pub")), "{found}");
    assert_eq!(sshd.read("log").matches("Accepted publickey").count(), 3);
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_tried_three_times() {
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = SshTarget { port: Some(port), ..sshd.target() };
    let server = std::thread::spawn(move || {
        // Closes each connection before it says a word, as sshd does with too many of them.
        (0..3).map(|_| drop(listener.accept().unwrap())).count()
    });
    let error = refusal(&target, sshd.settings()).await;
    assert!(matches!(error, RemoteError::Broken { .. }), "{error:?}");
    assert_eq!(server.join().unwrap(), 3);
    let error = refusal(&target, sshd.settings()).await;
    assert!(matches!(error, RemoteError::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn a_name_without_address_is_told() {
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let target = SshTarget { host: "no-such-host.invalid".into(), ..sshd.target() };
    let error = refusal(&target, sshd.settings()).await;
    assert!(matches!(error, RemoteError::Dns { .. }), "{error:?}");
}

#[tokio::test]
async fn the_way_goes_through_jump_hosts_and_their_keys_are_checked() {
    if !can_run() {
        return;
    }
    let (bastion, sshd) = (Sshd::start(""), Sshd::start(""));
    fs::copy(sshd.file("id.pub"), bastion.file("authorized_keys")).unwrap();
    let jump = Jump {
        host: "127.0.0.1".into(),
        port: Some(bastion.port),
        host_key: Some(bastion.line()),
        user: None,
    };
    let target = SshTarget { jump: vec![jump.clone()], ..sshd.target() };
    works(&target, sshd.settings()).await;
    assert!(bastion.read("log").contains("Accepted publickey"));
    let by_fingerprint = SshTarget { host_key: Some(sshd.fingerprint("host_key.pub")), ..target.clone() };
    works(&by_fingerprint, sshd.settings()).await;
    let wrong = Jump { host_key: Some(bastion.fingerprint("id.pub")), ..jump.clone() };
    let error = refusal(&SshTarget { jump: vec![wrong], ..target.clone() }, sshd.settings()).await;
    let at_bastion = format!("127.0.0.1:{}", bastion.port);
    assert!(matches!(&error, RemoteError::HostKeyChanged { host, .. } if *host == at_bastion), "{error:?}");
    fs::write(bastion.file("authorized_keys"), "").unwrap();
    let error = refusal(&target, sshd.settings()).await;
    assert!(matches!(&error, RemoteError::Authentication { host, .. } if *host == at_bastion), "{error:?}");
    drop(bastion);
    let error = refusal(&target, sshd.settings()).await;
    assert!(matches!(&error, RemoteError::Refused { host } if *host == at_bastion), "{error:?}");
}

#[tokio::test]
async fn a_frozen_host_is_noticed_and_after_a_lost_connection_attach_connects_again() {
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let mut remote = reach(&sshd.target(), sshd.settings()).await.unwrap();
    let channel = remote.attach().await.unwrap();
    let frozen = sshd.serving();
    for pid in &frozen {
        // One of them may have ended just now.
        Command::new("kill").args(["-STOP", &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
    }
    let start = Instant::now();
    let ended = channel.ended().await;
    assert_eq!(ended.how, How::ConnectionLost, "{ended:?}");
    assert!(ended.last_lines.iter().any(|line| line.contains("not responding")), "{ended:?}");
    assert!(start.elapsed() < Duration::from_secs(60));
    talk(remote.attach().await.unwrap()).await;
    remote.close().await;
}

#[tokio::test]
async fn a_connection_that_breaks_is_told_apart_from_an_agent_that_is_killed() {
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let mut remote = reach(&sshd.target(), sshd.settings()).await.unwrap();
    let mut channel = remote.attach().await.unwrap();
    // Once it has spoken it is one process, the last of all that serve us.
    channel.stdout.read_exact(&mut [0; 5]).await.unwrap();
    let cat = *sshd.serving().last().unwrap();
    assert!(Command::new("kill").args(["-9", &cat.to_string()]).status().unwrap().success());
    assert_eq!(channel.ended().await.how, How::Killed);
    let channel = remote.attach().await.unwrap();
    for pid in sshd.serving() {
        Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
    }
    assert_eq!(channel.ended().await.how, How::ConnectionLost);
}

#[tokio::test]
async fn an_architecture_without_agent_is_told() {
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    let mut settings = sshd.settings();
    settings.agents = Agents::these(vec![AgentBinary::file("riscv64", &sshd.file("fake-agent")).unwrap()]);
    let mut remote = reach(&sshd.target(), settings).await.unwrap();
    let error = remote.attach().await.err().unwrap();
    assert!(
        matches!(&error, RemoteError::WrongArchitecture { available, .. } if available == "riscv64"),
        "{error:?}"
    );
}

/// Not a test of its own: the process that `kill -9` hits. It connects, says so in a file, and waits.
#[tokio::test]
async fn driver_that_is_killed() {
    let Some(directory) = std::env::var_os("FFE_TEST_DRIVER").map(PathBuf::from) else { return };
    let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
    let target = SshTarget {
        host: "127.0.0.1".into(),
        port: Some(read("port").parse().unwrap()),
        key: Some(Secret::new(read("id"))),
        host_key: Some(read("line")),
        ..SshTarget::default()
    };
    let path = directory.join("fake-agent");
    let agents = Agents::these(vec![AgentBinary::file(std::env::consts::ARCH, &path).unwrap()]);
    let mut settings = Settings::new(agents);
    settings.ssh_config = Some(directory.join("user_config"));
    let mut remote = reach(&target, settings).await.unwrap();
    let channel = remote.attach().await.unwrap();
    let Remote::Ssh(session) = &remote else { panic!() };
    fs::write(directory.join("room.new"), session.room.path().display().to_string()).unwrap();
    fs::rename(directory.join("room.new"), directory.join("room")).unwrap();
    let Channel { stdin: _held, stdout: _held_too, ending } = channel;
    ending.ended().await;
}

/// Returns the command lines of all processes that name a path.
fn processes_with(path: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(path)).collect()
}

#[test]
fn nothing_is_left_behind_when_we_are_killed() {
    if !can_run() {
        return;
    }
    let sshd = Sshd::start("");
    drop(sshd.settings());
    fs::write(sshd.file("port"), sshd.port.to_string()).unwrap();
    fs::write(sshd.file("line"), sshd.line()).unwrap();
    let mut driver = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "remote::ssh::tests::driver_that_is_killed"])
        .env("FFE_TEST_DRIVER", sshd.directory.path())
        .env("RUNNER_TRACKING_ID", "github_x")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !sshd.file("room").exists() {
        assert!(start.elapsed() < Duration::from_secs(20) && driver.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    let room = sshd.read("room");
    assert!(Path::new(&room).is_dir());
    let running = processes_with(&room);
    assert!(running.iter().any(|line| line.starts_with("ssh -M")), "{running:?}");
    assert!(running.iter().any(|line| line.starts_with("ssh-agent")), "{running:?}");
    assert!(!running.iter().any(|line| line.contains("PRIVATE KEY")));
    driver.kill().unwrap();
    driver.wait().unwrap();
    let killed = Instant::now();
    while Path::new(&room).exists() || !processes_with(&room).is_empty() {
        assert!(killed.elapsed() < Duration::from_secs(20), "{:?}", processes_with(&room));
        std::thread::yield_now();
    }
}
