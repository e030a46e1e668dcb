//! A Docker engine of a test's own, for tests that kill it. Needs root.
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use super::host::{remove_dir, unique_word};
use super::image::base_image;
use super::ports::free_port;
use super::process::{alive, as_pid, kill_all_of, output};
use super::project::open_temp_dir;
use super::tools::{find, search_path};
use super::wait::{until, within};

const START: Duration = Duration::from_secs(60);

/// A second dockerd with the base image and a bridge of its own: ports that its containers publish answer, but these
/// reach nothing outside. Removed on drop with all its containers.
pub(crate) struct SecondEngine {
    dir: Option<TempDir>,
    word: String,
    bridge: String,
    child: Option<Child>,
}

impl SecondEngine {
    pub(crate) fn start() -> Self {
        let (dir, word) = (Some(open_temp_dir("engine")), unique_word());
        // A port that is ours alone gives addresses that are ours alone.
        let [high, low] = (free_port() - 20_000).to_be_bytes();
        let mut engine = Self { dir, bridge: format!("ffe-{word}"), word, child: None };
        ip(&["link", "add", &engine.bridge, "type", "bridge"]);
        ip(&["addr", "add", &format!("10.{}.{low}.1/24", 192 + high), "dev", &engine.bridge]);
        ip(&["link", "set", &engine.bridge, "up"]);
        engine.start_again();
        engine.load(&base_image());
        engine
    }

    /// Starts it again after [`SecondEngine::kill`] or [`SecondEngine::stop`].
    pub(crate) fn start_again(&mut self) {
        assert!(self.child.is_none(), "the engine runs already");
        if !self.starts() {
            panic!("no second engine:\n{}", fs::read_to_string(self.file("log")).unwrap_or_default());
        }
    }

    fn starts(&mut self) -> bool {
        // Without its file, dockerd would take a recycled pid for itself.
        fs::remove_file(self.file("pid")).ok();
        let mut child = self.dockerd().spawn().expect("start dockerd");
        let mut ended = false;
        let answered = within(START, || {
            ended = child.try_wait().is_ok_and(|status| status.is_some());
            (ended || self.try_docker(&["version"])).then_some(())
        });
        self.child = Some(child);
        answered.is_some() && !ended
    }

    fn dockerd(&self) -> Command {
        let log =
            fs::File::options().create(true).append(true).open(self.file("log")).expect("open dockerd's log");
        let mut command = Command::new(find("dockerd").expect("dockerd is there"));
        command.arg("--data-root").arg(self.file("data")).arg("--exec-root").arg(self.file("exec"));
        command.arg("--pidfile").arg(self.file("pid")).arg("--host").arg(self.host());
        // With `--bridge none`, or `--default-address-pool`, dockerd would delete docker0, the other engine's.
        command.args(["--bridge", &self.bridge, "--iptables=false", "--ip6tables=false", "--ip-masq=false"]);
        // Where a containerd of the system runs, both engines use it.
        command.arg("--containerd-namespace").arg(format!("ffe-{}", self.word));
        command.arg("--containerd-plugins-namespace").arg(format!("ffe-plugins-{}", self.word));
        command.env_clear().env("PATH", search_path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }

    /// For DOCKER_HOST.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.file("docker.sock").display())
    }

    /// Kills dockerd with SIGKILL; its containers go on.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("the engine runs");
        child.kill().expect("kill dockerd");
        child.wait().expect("wait for dockerd");
        // The kernel kills its containerd with it; a pid that nobody has reaped yet would make the next dockerd wait
        // for that one. The shims of containers go on.
        let pid_file = self.file("exec/containerd/containerd.pid");
        let pid = fs::read_to_string(&pid_file).ok().and_then(|pid| pid.trim().parse().ok());
        if let Some(pid) = pid {
            until(START, "the end of its containerd", || !alive(pid));
            fs::remove_file(pid_file).expect("remove containerd's pid file");
        }
    }

    /// Stops dockerd in order, and its containers with it.
    pub(crate) fn stop(&mut self) {
        let mut child = self.child.take().expect("the engine runs");
        // One that has ended already needs no signal.
        kill_process(as_pid(child.id()), Signal::TERM).ok();
        child.wait().expect("wait for dockerd");
    }

    /// Runs docker on this engine and returns its stdout.
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        output(self.command().args(arguments))
    }

    /// Copies an image here from the machine's engine.
    pub(crate) fn load(&self, image: &str) {
        let mut save =
            Command::new("docker").args(["save", image]).stdout(Stdio::piped()).spawn().expect("docker save");
        let saved = save.stdout.take().expect("stdout is piped");
        output(self.command().args(["load", "--quiet"]).stdin(saved));
        assert!(save.wait().expect("wait for docker save").success(), "docker save {image} failed");
    }

    fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", self.host());
        command
    }

    fn try_docker(&self, arguments: &[&str]) -> bool {
        self.command().args(arguments).output().is_ok_and(|done| done.status.success())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.as_ref().expect("there until drop").path().join(name)
    }
}

impl SecondEngine {
    fn remove_containers(&mut self) {
        if self.child.is_none() && !self.starts() {
            eprintln!("the second engine does not come back to end its containers");
        }
        let listed = self.command().args(["ps", "--all", "--quiet"]).output();
        let listed =
            listed.map(|listed| String::from_utf8_lossy(&listed.stdout).into_owned()).unwrap_or_default();
        let containers: Vec<_> = listed.lines().collect();
        if !containers.is_empty() {
            self.try_docker(&[&["rm", "--force"], containers.as_slice()].concat());
        }
        // Its bridges are interfaces of this machine.
        self.try_docker(&["network", "prune", "--force"]);
        self.stop();
        kill_all_of(&self.file(""));
    }

    /// dockerd leaves mounts behind: its data directory on itself, and of what it could not end.
    fn unmount(&self) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let dir = self.file("").display().to_string();
        let ours =
            mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|mount| mount.starts_with(&dir));
        for mount in ours.collect::<Vec<_>>().into_iter().rev() {
            Command::new("umount").args(["--lazy", mount]).output().ok();
        }
    }
}

impl Drop for SecondEngine {
    fn drop(&mut self) {
        self.remove_containers();
        self.unmount();
        Command::new("ip").args(["link", "del", &self.bridge]).env("PATH", search_path()).output().ok();
        remove_dir(self.dir.take().expect("there until drop"));
    }
}

fn ip(arguments: &[&str]) {
    output(Command::new("ip").args(arguments).env("PATH", search_path()));
}
