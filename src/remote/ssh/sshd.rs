//! A real sshd on a free loopback port for tests: own host key, own log, its own `XDG_*` directories for what is
//! brought along, and gone with the test.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::config::SshTarget;
use crate::remote::{AgentBinary, Agents, Settings};
use crate::text::Secret;

/// Stands for the agent: says that it is there, then gives back what it reads.
const FAKE_AGENT: &str = "#!/bin/sh\necho agent $* >&2\necho \"user=$(id -un) here=$0\"\nexec cat\n";

/// A running sshd that lets in the user of this process with the key `id`.
pub(super) struct Sshd {
    pub(super) directory: TempDir,
    pub(super) port: u16,
    process: Child,
}

/// Returns whether the test can run; panics when it must.
pub(super) fn can_run() -> bool {
    let there = Path::new("/usr/sbin/sshd").exists() && crate::host::process::is_installed("ssh-keygen");
    let required = std::env::var("FFE_TEST_REQUIRE").unwrap_or_default();
    assert!(there || !required.split(',').any(|name| name == "sshd"), "sshd is required and not installed");
    if !there {
        eprintln!("SKIPPED: there is no sshd");
    }
    there
}

fn keygen(arguments: &[&str]) {
    let status = Command::new("ssh-keygen").args(["-q"]).args(arguments).status().unwrap();
    assert!(status.success());
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Sshd {
    /// Starts one with more lines in its configuration.
    pub(super) fn start(more: &str) -> Self {
        Self::start_by(&[], more)
    }

    /// Starts one by a program, such as `unshare`.
    pub(super) fn start_by(before: &[&str], more: &str) -> Self {
        // sshd wants it, and only root can make it.
        fs::create_dir_all("/run/sshd").ok();
        let directory = tempfile::Builder::new().prefix("ffe-ut-sshd-").tempdir_in("/tmp").unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        keygen(&["-t", "ed25519", "-N", "", "-C", "host", "-f", &at("host_key")]);
        keygen(&["-t", "ecdsa", "-N", "", "-C", "host", "-f", &at("host_ecdsa")]);
        keygen(&["-t", "ed25519", "-N", "", "-C", "id", "-f", &at("id")]);
        fs::copy(at("id.pub"), at("authorized_keys")).unwrap();
        for name in ["cache", "data", "run"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("user_config"), "# nothing\n").unwrap();
        let port = free_port();
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {host}\nHostKey {ecdsa}\nPidFile none\nUsePAM no\n\
             AuthorizedKeysFile {keys}\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             LogLevel VERBOSE\nSetEnv XDG_CACHE_HOME={cache} XDG_DATA_HOME={data} XDG_RUNTIME_DIR={run}\n{more}\n",
            host = at("host_key"),
            ecdsa = at("host_ecdsa"),
            keys = at("authorized_keys"),
            cache = at("cache"),
            data = at("data"),
            run = at("run"),
        );
        fs::write(at("sshd_config"), config).unwrap();
        let (log, config) = (at("log"), at("sshd_config"));
        let words = [before, &["/usr/sbin/sshd", "-D", "-E", &log, "-f", &config]].concat();
        let process = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).spawn().unwrap();
        let sshd = Self { directory, port, process };
        sshd.wait_for_log("Server listening");
        sshd
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    pub(super) fn wait_for_log(&self, phrase: &str) {
        let start = Instant::now();
        while !self.read("log").contains(phrase) {
            assert!(start.elapsed() < Duration::from_secs(10), "{}", self.read("log"));
            std::thread::yield_now();
        }
    }

    /// Returns how many channels were opened so far.
    pub(super) fn channels(&self) -> usize {
        self.read("log").matches("Starting session:").count()
    }

    /// Returns the known_hosts line of its ed25519 key.
    pub(super) fn line(&self) -> String {
        format!("[127.0.0.1]:{} {}", self.port, self.read("host_key.pub").trim())
    }

    /// Returns the fingerprint of a key file.
    pub(super) fn fingerprint(&self, name: &str) -> String {
        super::host_key::fingerprint(&self.read(name)).unwrap()
    }

    /// Returns the way to it, with its key as a value and its host key as a line.
    pub(super) fn target(&self) -> SshTarget {
        SshTarget {
            host: "127.0.0.1".into(),
            port: Some(self.port),
            key: Some(Secret::new(self.read("id"))),
            host_key: Some(self.line()),
            ..SshTarget::default()
        }
    }

    /// Returns settings with a fake agent, without the configuration of whoever runs the test, and in a hurry.
    pub(super) fn settings(&self) -> Settings {
        let path = self.file("fake-agent");
        fs::write(&path, FAKE_AGENT).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let agents = Agents::these(vec![AgentBinary::file(std::env::consts::ARCH, &path).unwrap()]);
        Settings {
            ssh_config: Some(self.file("user_config")),
            alive_interval: Duration::from_secs(1),
            first_delay: Duration::from_millis(10),
            ..Settings::new(agents)
        }
    }

    /// Returns the process ids of the sshd processes that serve connections.
    pub(super) fn serving(&self) -> Vec<u32> {
        let mut all = vec![self.process.id()];
        let mut at = 0;
        while at < all.len() {
            let listed =
                fs::read_to_string(format!("/proc/{0}/task/{0}/children", all[at])).unwrap_or_default();
            all.extend(listed.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            at += 1;
        }
        all.split_off(1)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        for pid in self.serving() {
            Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status().ok();
        }
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
