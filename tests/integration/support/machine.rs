//! A whole machine of a test's own, for tests that cut it off, kill it, and start it again. Needs root.
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use super::host::{Host, remove_dir, unique_word};
use super::image::base_image;
use super::ports::free_port;
use super::process::{as_pid, descendants, kill_all_of, output};
use super::project::open_temp_dir;
use super::shim::Shim;
use super::tools::{find, search_path, shared_plugins};
use super::wait::until;

const SCRIPT: &str = include_str!("machine.sh");
/// Stands for the program that writes the crontab, on a machine without cron.
const CRONTAB: &str = r#"#!/bin/bash
case ${1:--} in
    -l) cat "$DIR/crontab" 2>/dev/null || { echo "no crontab for root" >&2; exit 1; } ;;
    -r) rm -f "$DIR/crontab" ;;
    *) fresh=$(mktemp "$DIR/crontab.XXXXXX") && cat -- "$1" >"$fresh" && mv "$fresh" "$DIR/crontab" ;;
esac
"#;
const START: Duration = Duration::from_secs(90);
/// Apparent size of the disk on which the root lies; only what is written takes room.
const DISK_BYTES: u64 = 32 << 30;

/// Network, mounts, processes and name of its own, with an sshd and a dockerd, at an address of its own. Its disks
/// stay when it is killed, /run does not. Removed on drop with all its containers.
pub(crate) struct Machine {
    dir: Option<TempDir>,
    word: String,
    subnet: [u8; 2],
    shim: Shim,
    unshared: Option<Child>,
}

impl Machine {
    /// Starts one that has the base image, and whose calls of docker can be held.
    pub(crate) fn start() -> Self {
        let (dir, word) = (Some(open_temp_dir("machine")), unique_word());
        // A port that is ours alone gives addresses that are ours alone.
        let [high, low] = (free_port() - 20_000).to_be_bytes();
        let subnet = [192 + high, low];
        let mut machine = Self { dir, word, subnet, shim: Shim::docker(), unshared: None };
        machine.furnish();
        machine.bridge();
        machine.start_again();
        machine.load(&base_image());
        machine
    }

    fn furnish(&self) {
        for name in ["bin", "cgroup", "docker", "etc-docker", "home/.docker", "srv"] {
            fs::create_dir_all(self.file(name)).expect("make the machine's directories");
        }
        if let Some(plugins) = shared_plugins() {
            symlink(plugins, self.file("home/.docker/cli-plugins")).expect("link the plugins");
        }
        for (name, text) in [("machine.sh", SCRIPT), ("bin/crontab", CRONTAB)] {
            fs::write(self.file(name), text).expect("write a script");
            fs::set_permissions(self.file(name), fs::Permissions::from_mode(0o755))
                .expect("make it a program");
        }
        for name in ["host_key", "user_key"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(self.file(name));
            output(&mut keygen);
        }
        fs::write(self.file("sshd_config"), self.sshd_config()).expect("write sshd_config");
        let disk = fs::File::create(self.file("disk.img")).expect("make the disk");
        disk.set_len(DISK_BYTES).expect("size the disk");
        // Nothing is reserved for root: what is full is full.
        let mut format = Command::new(find("mkfs.ext4").expect("mkfs.ext4 is there"));
        format.args(["-q", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"]);
        output(format.arg(self.file("disk.img")));
    }

    fn sshd_config(&self) -> String {
        let [home, keys, host_key] =
            ["home", "user_key.pub", "host_key"].map(|name| self.file(name).display().to_string());
        let path = self.path();
        let dir = self.dir().display();
        format!(
            "Port 22\nHostKey {host_key}\nAuthorizedKeysFile {keys}\nPidFile /run/sshd.pid\nStrictModes no\n\
             SetEnv \"PATH={path}\" \"HOME={home}\" \"DIR={dir}\" \"FFE_FAULT_CLOCK_FILE={dir}/clock\"\nPermitRootLogin yes\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nUsePAM no\nUseDNS no\nPrintMotd no\nLogLevel VERBOSE\n"
        )
    }

    fn path(&self) -> String {
        format!("{}:{}:{}", self.shim.path().display(), self.file("bin").display(), search_path())
    }

    /// The bridge stays when the machine is gone, so that nobody else answers at its address.
    fn bridge(&self) {
        let name = format!("ffe-{}", self.word);
        ip(&["link", "add", &name, "type", "bridge"]);
        ip(&["addr", "add", &format!("{}/24", self.runner()), "dev", &name]);
        ip(&["link", "set", &name, "up"]);
    }

    /// Switches it on: returns when its sshd and its engine answer.
    pub(crate) fn start_again(&mut self) {
        assert!(self.unshared.is_none(), "the machine runs already");
        // Whoever kills the tests ends their machines, too.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare"]);
        command.args(["--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "bash"]);
        command.arg(self.file("machine.sh")).arg("init").env_clear().envs(self.variables());
        command.current_dir("/").stdin(Stdio::null()).stdout(self.log()).stderr(self.log());
        let unshared = command.spawn().expect("start unshare");
        let pid = unshared.id();
        self.unshared = Some(unshared);
        until(START, "PID 1 of the machine", || !descendants(pid).is_empty());
        let (near, bridge, init) = (format!("ffv-{}", self.word), format!("ffe-{}", self.word), self.init());
        ip(&["link", "add", &near, "type", "veth", "peer", "name", "eth0", "netns", &init.to_string()]);
        ip(&["link", "set", &near, "master", &bridge, "up"]);
        self.until_engine();
        until(START, "the machine's sshd", || std::net::TcpStream::connect(self.address(22)).is_ok());
    }

    fn variables(&self) -> [(&'static str, String); 6] {
        [
            ("DIR", self.dir().display().to_string()),
            ("NAME", format!("ffe-{}", self.word)),
            ("ADDRESS", self.address(0).ip().to_string()),
            ("RUNNER", self.runner().to_string()),
            ("HOME", self.file("home").display().to_string()),
            ("PATH", self.path()),
        ]
    }

    fn log(&self) -> fs::File {
        fs::File::options().create(true).append(true).open(self.file("log")).expect("open the machine's log")
    }

    /// PID 1 of it, as this side sees it.
    fn init(&self) -> u32 {
        let unshared = self.unshared.as_ref().expect("the machine runs").id();
        *descendants(unshared).first().expect("the machine has a PID 1")
    }

    /// Kills everything in it at once, as when the power fails.
    pub(crate) fn kill(&mut self) {
        let init = self.init();
        let mut unshared = self.unshared.take().expect("the machine runs");
        kill_process(as_pid(init), Signal::KILL).expect("kill the machine");
        unshared.wait().expect("wait for the machine");
        let disk = self.file("disk.img").display().to_string();
        let losetup = find("losetup").expect("losetup is there");
        until(START, "the disk to be let go", || {
            output(Command::new(&losetup).args(["--associated", &disk])).is_empty()
        });
        self.remove_cgroups();
    }

    fn remove_cgroups(&self) {
        let name = format!("ffe-{}", self.word);
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let dirs = hierarchies
            .map(|entry| entry.path().join(&name))
            .chain([Path::new("/sys/fs/cgroup").join(&name)]);
        for dir in dirs.filter(|dir| dir.is_dir()) {
            // What is left is empty, and harms nobody.
            Command::new("find")
                .arg(dir)
                .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"])
                .output()
                .ok();
        }
    }

    /// Cuts the connections of SSH, old and new, without a word to either side; what the app publishes still answers.
    pub(crate) fn cut(&self) {
        for chain in [["PREROUTING", "--dport"], ["OUTPUT", "--sport"]] {
            let mut rule = self.inside("iptables");
            rule.args(["-w", "-t", "raw", "-A", chain[0], "-p", "tcp", chain[1], "22", "-j", "DROP"]);
            output(&mut rule);
        }
    }

    /// Ends [`Machine::cut`].
    pub(crate) fn heal(&self) {
        output(self.inside("iptables").args(["-w", "-t", "raw", "-F"]));
    }

    /// Makes the wall clock wrong by so many seconds, for agents that are built with fault injection.
    pub(crate) fn set_clock(&self, ahead_s: i64) {
        fs::write(self.file("clock"), ahead_s.to_string()).expect("write the clock's error");
    }

    /// Runs one of the script's words inside, and returns what it prints.
    pub(crate) fn does(&self, words: &[&str]) -> String {
        output(self.inside("bash").arg(self.file("machine.sh")).args(words))
    }

    /// Pids, inside, of our agents in this role: `attach`, `guard`, `work`.
    pub(crate) fn agents(&self, role: &str) -> Vec<String> {
        self.does(&["agents", role]).lines().map(str::to_owned).collect()
    }

    /// Starts dockerd again after `does(&["end-engine", …])`.
    pub(crate) fn start_engine(&self) {
        self.does(&["engine"]);
        self.until_engine();
    }

    fn until_engine(&self) {
        until(START, "the machine's engine", || {
            let asked = self.inside("docker").arg("version").output();
            asked.is_ok_and(|asked| asked.status.success())
        });
    }

    /// A program that runs in it, as root, and is not reached over the network.
    pub(crate) fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init().to_string()]);
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--", program]);
        command.env_clear().envs(self.variables()).current_dir("/").stdin(Stdio::null());
        command
    }

    /// Runs docker in it, past the shim, and returns its stdout.
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        let docker = find("docker").expect("docker is there").display().to_string();
        output(self.inside(&docker).args(arguments))
    }

    /// Copies an image here from the engine that all tests use.
    pub(crate) fn load(&self, image: &str) {
        let mut save =
            Command::new("docker").args(["save", image]).stdout(Stdio::piped()).spawn().expect("docker save");
        let saved = save.stdout.take().expect("stdout is piped");
        output(self.inside("docker").args(["load", "--quiet"]).stdin(saved));
        assert!(save.wait().expect("wait for docker save").success(), "docker save {image} failed");
    }

    /// What holds calls of docker.
    pub(crate) fn shim(&self) -> &Shim {
        &self.shim
    }

    /// Where it answers.
    pub(crate) fn address(&self, port: u16) -> SocketAddr {
        (Ipv4Addr::new(10, self.subnet[0], self.subnet[1], 2), port).into()
    }

    /// Where it finds the runner.
    pub(crate) fn runner(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.subnet[0], self.subnet[1], 1)
    }

    /// Directory with everything of it, which has the same name inside.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.as_ref().expect("there until drop").path()
    }

    /// What to write as `root:` of an environment: a disk of its own, which only the machine has mounted.
    pub(crate) fn root_base(&self) -> PathBuf {
        self.file("srv")
    }

    /// The path by which this side reaches what the machine has at `path`.
    pub(crate) fn seen_from_here(&self, path: &Path) -> PathBuf {
        let path = path.strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.init())).join(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// The runner's side with all that leads here: host, user, key and host key of `staging`.
    pub(crate) fn reached_by(&self, host: Host) -> Host {
        let address = self.address(22).ip().to_string();
        let read = |name| fs::read_to_string(self.file(name)).expect("read a key");
        let public = read("host_key.pub");
        let words: Vec<_> = public.split(' ').take(2).collect();
        host.with_env("STAGING_HOST", &address)
            .with_env("STAGING_USER", "root")
            .with_env("STAGING_SSH_KEY", read("user_key"))
            .with_env("STAGING_HOST_KEY", format!("{address} {}", words.join(" ")))
    }

    /// What its daemons have said, for messages.
    pub(crate) fn told(&self) -> String {
        let tail = |name: &str| {
            let text = fs::read_to_string(self.file(name)).unwrap_or_default();
            let lines: Vec<_> = text.lines().rev().take(30).collect();
            format!("--- {name}\n{}\n", lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
        };
        ["log", "dockerd.log", "sshd.log", "cron.log"].map(tail).concat()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.unshared.is_some() {
            self.kill();
        }
        kill_all_of(self.dir());
        let bridge = format!("ffe-{}", self.word);
        Command::new("ip").args(["link", "del", &bridge]).env("PATH", search_path()).output().ok();
        remove_dir(self.dir.take().expect("there until drop"));
    }
}

fn ip(arguments: &[&str]) {
    output(Command::new("ip").args(arguments).env("PATH", search_path()));
}
