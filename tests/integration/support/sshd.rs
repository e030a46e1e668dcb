//! A real sshd on loopback, with keys, configuration and a home of its own.
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::host::{Host, furnish_home, remove_dir};
use super::ports::free_port;
use super::process::{kill_all_of, kill_and_wait, kill_tree, output};
use super::project::open_temp_dir;
use super::tools::{find, search_path};
use super::user::User;
use super::wait::until;

const START: Duration = Duration::from_secs(10);

/// How an sshd differs from the usual one; `SshdOptions::default()` differs in nothing.
#[derive(Default)]
pub(crate) struct SshdOptions<'a> {
    /// Directories before all others on the PATH of its sessions, such as a [`Shim`](super::Shim)'s.
    pub(crate) path_first: Vec<PathBuf>,
    /// More variables of its sessions.
    pub(crate) environment: Vec<(String, String)>,
    /// Lines of sshd_config, which win over the usual ones: the first of a keyword counts.
    pub(crate) config: Vec<String>,
    /// Who logs in, in place of the user who runs the tests; that user's own home stays in use.
    pub(crate) user: Option<&'a User>,
    /// Address to listen on, 127.0.0.1 if none: 127.0.0.2 and so on are further hosts.
    pub(crate) address: Option<&'a str>,
}

/// A running sshd that lets one key in; ended with all its sessions, and what they left running, on drop.
pub(crate) struct Sshd {
    dir: Option<TempDir>,
    address: String,
    port: u16,
    user: String,
    child: Option<Child>,
}

impl Sshd {
    /// Starts the usual sshd: on 127.0.0.1, for the user who runs the tests, whose HOME is [`Sshd::home`] there.
    pub(crate) fn start() -> Self {
        Self::start_with(&SshdOptions::default())
    }

    pub(crate) fn start_with(options: &SshdOptions<'_>) -> Self {
        let dir = open_temp_dir("sshd");
        let user = options.user.map_or_else(current_user, |user| user.name().to_owned());
        let address = options.address.unwrap_or("127.0.0.1").to_owned();
        let mut sshd = Self { dir: Some(dir), address, port: free_port(), user, child: None };
        for name in ["host_key", "user_key"] {
            keygen(&sshd.file(name), &["-N", "", "-C", name]);
        }
        fs::copy(sshd.file("user_key.pub"), sshd.file("authorized_keys")).expect("authorize the user's key");
        fs::create_dir_all(sshd.home()).expect("make the home");
        furnish_home(&sshd.home());
        if let Some(user) = options.user {
            chown(sshd.home(), Some(user.uid()), Some(user.uid())).expect("give the home to its user");
        }
        fs::write(sshd.file("config"), sshd.config(options)).expect("write sshd_config");
        sshd.run();
        sshd
    }

    fn config(&self, options: &SshdOptions<'_>) -> String {
        let dirs: Vec<_> = options.path_first.iter().map(|dir| dir.display().to_string()).collect();
        let path = [dirs.join(":"), search_path()].join(":");
        let mut variables = format!("\"PATH={}\"", path.trim_start_matches(':'));
        if options.user.is_none() {
            variables += &format!(" \"HOME={}\"", self.home().display());
        }
        for (key, value) in &options.environment {
            variables += &format!(" \"{key}={value}\"");
        }
        let mut lines = options.config.clone();
        lines.extend([
            format!("Port {}", self.port),
            format!("ListenAddress {}", self.address),
            format!("HostKey {}", self.file("host_key").display()),
            format!("AuthorizedKeysFile {}", self.file("authorized_keys").display()),
            format!("PidFile {}", self.file("pid").display()),
            format!("SetEnv {variables}"),
            "StrictModes no".into(),
            "PermitRootLogin yes".into(),
            "PubkeyAuthentication yes".into(),
            "PasswordAuthentication no".into(),
            "KbdInteractiveAuthentication no".into(),
            "UsePAM no".into(),
            "UseDNS no".into(),
            "PrintMotd no".into(),
            "LogLevel VERBOSE".into(),
            // Many tests connect at once, and some on purpose with a wrong key.
            "MaxStartups 100".into(),
        ]);
        lines.join("\n") + "\n"
    }

    fn run(&mut self) {
        let log =
            fs::File::options().create(true).append(true).open(self.log_file()).expect("open sshd's log");
        let mut command = Command::new(find("sshd").expect("sshd is there"));
        command.args(["-D", "-e", "-f"]).arg(self.file("config"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("start sshd"));
        // Asked by its log, since a connection would be counted.
        let listening = format!("Server listening on {} port {}", self.address, self.port);
        let before = self.log().matches(&listening).count();
        until(START, "sshd to listen", || {
            let ended = self
                .child
                .as_mut()
                .is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_some()));
            assert!(!ended, "sshd ended:\n{}", self.log());
            self.log().matches(&listening).count() > before || TcpStream::connect(self.endpoint()).is_ok()
        });
    }

    /// Ends sshd and its sessions; what they have detached goes on. Its port stays ours.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            kill_tree(child.id());
            child.wait().ok();
        }
    }

    /// Starts it again after [`Sshd::stop`], at the same port.
    pub(crate) fn start_again(&mut self) {
        assert!(self.child.is_none(), "sshd runs already");
        self.run();
    }

    /// Cuts all connections that are there now, and leaves what runs behind them; new ones are let in.
    pub(crate) fn cut_sessions(&self) {
        let listener = self.child.as_ref().expect("sshd runs").id();
        let is_sshd = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("sshd"))
        };
        let mut sessions = super::process::descendants(listener);
        sessions.retain(is_sshd);
        kill_and_wait(&sessions);
    }

    /// Replaces the host key, as if another machine had taken the address.
    pub(crate) fn change_host_key(&mut self) {
        self.stop();
        for name in ["host_key", "host_key.pub"] {
            fs::remove_file(self.file(name)).expect("remove the old host key");
        }
        keygen(&self.file("host_key"), &["-N", "", "-C", "host_key"]);
        self.run();
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `address:port`.
    pub(crate) fn endpoint(&self) -> String {
        format!("{}:{}", self.address, self.port)
    }

    /// Who may log in.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// HOME of its sessions, unless the options name a user.
    pub(crate) fn home(&self) -> PathBuf {
        self.dir().join("home")
    }

    /// Directory with everything of this sshd; a root for deployments can be made here.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.as_ref().expect("there until drop").path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// The key that is let in, as text.
    pub(crate) fn private_key(&self) -> String {
        read(&self.file("user_key"))
    }

    /// File of that key, for a plain `ssh -i`.
    pub(crate) fn private_key_file(&self) -> PathBuf {
        self.file("user_key")
    }

    /// The same key, encrypted.
    pub(crate) fn private_key_with_passphrase(&self, passphrase: &str) -> String {
        let copy = self.file("user_key_encrypted");
        fs::copy(self.file("user_key"), &copy).expect("copy the key");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).expect("keep the key to us");
        output(Command::new("ssh-keygen").args(["-q", "-p", "-P", "", "-N", passphrase, "-f"]).arg(&copy));
        read(&copy)
    }

    /// A key that is not let in, as text.
    pub(crate) fn another_key(&self) -> String {
        let path = self.file("another_key");
        if !path.exists() {
            keygen(&path, &["-N", "", "-C", "stranger"]);
        }
        read(&path)
    }

    /// The runner's side with all that leads here: host, port, user, key and host key of `staging`.
    pub(crate) fn reached_by(&self, host: Host) -> Host {
        host.with_env("STAGING_HOST", self.address())
            .with_env("STAGING_PORT", self.port().to_string())
            .with_env("STAGING_USER", self.user())
            .with_env("STAGING_SSH_KEY", self.private_key())
            .with_env("STAGING_HOST_KEY", self.host_key_line())
    }

    /// The line of known_hosts: `[127.0.0.1]:PORT ssh-ed25519 AAAA…`.
    pub(crate) fn host_key_line(&self) -> String {
        let public = read(&self.file("host_key.pub"));
        let words: Vec<_> = public.split(' ').take(2).collect();
        format!("[{}]:{} {}", self.address, self.port, words.join(" "))
    }

    /// `SHA256:…` of the host key.
    pub(crate) fn fingerprint(&self) -> String {
        let told = output(Command::new("ssh-keygen").arg("-lf").arg(self.file("host_key.pub")));
        told.split(' ').nth(1).expect("a fingerprint").to_owned()
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.file("log")
    }

    /// What sshd has told so far, at level VERBOSE.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.log().matches("Connection from ").count()
    }

    /// How many commands and shells have been started.
    pub(crate) fn sessions(&self) -> usize {
        self.log().matches("Starting session: ").count()
    }

    /// A plain `ssh` that gets in, to which the remote command can be added.
    pub(crate) fn ssh(&self) -> Command {
        let known = self.file("known_hosts");
        fs::write(&known, self.host_key_line() + "\n").expect("write known_hosts");
        let mut command = Command::new("ssh");
        command.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o"]);
        command.arg(format!("UserKnownHostsFile={}", known.display())).arg("-i").arg(self.private_key_file());
        command.args(["-p", &self.port.to_string(), "-l", &self.user, &self.address]);
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
        kill_all_of(self.dir());
        remove_dir(self.dir.take().expect("there until drop"));
    }
}

fn keygen(path: &Path, options: &[&str]) {
    output(Command::new("ssh-keygen").args(["-q", "-t", "ed25519"]).args(options).arg("-f").arg(path));
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn current_user() -> String {
    output(Command::new("id").arg("-un")).trim().to_owned()
}
