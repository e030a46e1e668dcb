//! The machine on which the binary runs, as far as one test sees it: directories, names and variables of its own.
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::image::base_image;
use super::process::{kill_all_of, output};
use super::project::{Project, open_temp_dir};
use super::run::{Run, Running};
use super::tools::{search_path, shared_plugins};
use super::{Response, http};

/// A home, a root and an app name of a test's own; on drop all of that goes, with every container, network, volume
/// and image whose name or labels have the app's name in them, and every process that still runs from there.
pub(crate) struct Host {
    app: String,
    dir: Option<TempDir>,
    environment: BTreeMap<OsString, OsString>,
    path_first: Vec<PathBuf>,
    runs: AtomicU32,
}

impl Host {
    /// Makes a host that is this machine.
    pub(crate) fn local() -> Self {
        let dir = open_temp_dir("host");
        let app = format!("t{}-shop", unique_word());
        let mut host = Self {
            app,
            dir: Some(dir),
            environment: BTreeMap::new(),
            path_first: Vec::new(),
            runs: AtomicU32::new(0),
        };
        host.furnish();
        host
    }

    fn furnish(&mut self) {
        let dir = self.dir().to_owned();
        for (variable, name) in [
            ("HOME", "home"),
            ("XDG_CONFIG_HOME", "home/.config"),
            ("XDG_CACHE_HOME", "home/.cache"),
            ("XDG_DATA_HOME", "home/.local/share"),
            ("XDG_STATE_HOME", "home/.local/state"),
            ("XDG_RUNTIME_DIR", "run"),
            ("TMPDIR", "tmp"),
        ] {
            fs::create_dir_all(dir.join(name)).expect("make the host's directories");
            self.environment.insert(variable.into(), dir.join(name).into());
        }
        fs::create_dir_all(dir.join("srv")).expect("make the host's root");
        fs::set_permissions(dir.join("run"), fs::Permissions::from_mode(0o700))
            .expect("keep others out of run");
        furnish_home(&dir.join("home"));
        self.environment.insert("LANG".into(), "C.UTF-8".into());
        if let Some(engine) = std::env::var_os("DOCKER_HOST") {
            self.environment.insert("DOCKER_HOST".into(), engine);
        }
    }

    /// Name for the app under test, which nothing else on the machine has: `t0123abcd-shop`.
    pub(crate) fn app(&self) -> &str {
        &self.app
    }

    /// Directory with everything of this host.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.as_ref().expect("there until drop").path()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir().join("home")
    }

    /// What to write as `root:` of an environment.
    pub(crate) fn root_base(&self) -> PathBuf {
        self.dir().join("srv")
    }

    /// Root of the app in `environment`, when `root:` is [`Host::root_base`].
    pub(crate) fn root(&self, environment: &str) -> PathBuf {
        self.root_base().join(&self.app).join(environment)
    }

    /// Sets a variable for all runs.
    pub(crate) fn with_env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.insert(key.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Takes a variable away from all runs, also one that a host has by itself.
    pub(crate) fn without_env(mut self, key: impl AsRef<OsStr>) -> Self {
        self.environment.remove(key.as_ref());
        self
    }

    /// Puts a directory before all others on PATH; the last one given comes first.
    pub(crate) fn with_path_first(mut self, dir: impl AsRef<Path>) -> Self {
        self.path_first.insert(0, dir.as_ref().to_owned());
        self
    }

    /// Runs the binary for `project` to its end, with `--project-root` and `--event-log` added.
    #[track_caller]
    pub(crate) fn run(&self, project: &Project, arguments: &[&str]) -> Run {
        self.spawn(project, arguments).wait()
    }

    /// Runs the binary with these arguments alone, in `dir`.
    #[track_caller]
    pub(crate) fn run_bare(&self, dir: &Path, arguments: &[&str]) -> Run {
        let mut command = self.command(env!("CARGO_BIN_EXE_ffe-deploy"));
        command.args(arguments).current_dir(dir);
        Running::start(command, self.dir().join("no-events.jsonl")).wait()
    }

    /// Starts what [`Host::run`] runs.
    pub(crate) fn spawn(&self, project: &Project, arguments: &[&str]) -> Running {
        self.spawn_build(Path::new(env!("CARGO_BIN_EXE_ffe-deploy")), project, arguments)
    }

    /// Starts another build of it.
    pub(crate) fn spawn_build(&self, program: &Path, project: &Project, arguments: &[&str]) -> Running {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let log = self.dir().join(format!("events-{number}.jsonl"));
        let mut command = self.command(program);
        command.args(arguments).arg("--project-root").arg(project.path()).arg("--event-log").arg(&log);
        command.current_dir(self.dir());
        Running::start(command, log)
    }

    /// Any program, with this host's environment and nothing else.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", self.path()).envs(&self.environment);
        command
    }

    fn path(&self) -> OsString {
        let usual = search_path();
        let dirs = self.path_first.iter().cloned().chain(std::env::split_paths(&usual));
        std::env::join_paths(dirs).expect("no colon in a directory's name")
    }

    /// Asks `http://127.0.0.1:port/path`.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub(crate) fn get(&self, port: u16, path: &str) -> Response {
        http::get(port, path).unwrap_or_else(|| panic!("no answer at http://127.0.0.1:{port}{path}"))
    }

    /// Runs docker on the machine's engine and returns its stdout; for looking, and for neighbours' containers.
    #[track_caller]
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        docker(arguments)
    }

    /// Ids of the containers of a Compose project's service, running or not.
    pub(crate) fn containers(&self, project: &str, service: &str) -> Vec<String> {
        let of_project = format!("label=com.docker.compose.project={project}");
        let of_service = format!("label=com.docker.compose.service={service}");
        let ids = docker(&[
            "ps",
            "--all",
            "--quiet",
            "--no-trunc",
            "--filter",
            &of_project,
            "--filter",
            &of_service,
        ]);
        ids.lines().map(str::to_owned).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        kill_all_of(self.dir());
        if super::tools::find("docker").is_some() {
            remove_docker_things(&self.app);
        }
        remove_dir(self.dir.take().expect("there until drop"));
    }
}

/// Eight hex digits that no other test has.
pub(crate) fn unique_word() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..8].to_owned()
}

/// Makes Docker's command-line plugins work for a user whose home this is, whoever that is.
pub(crate) fn furnish_home(home: &Path) {
    if let Some(plugins) = shared_plugins() {
        fs::create_dir_all(home.join(".docker")).expect("make .docker");
        symlink(plugins, home.join(".docker/cli-plugins")).expect("link the plugins");
    }
}

fn docker(arguments: &[&str]) -> String {
    output(Command::new("docker").args(arguments))
}

/// Removes everything that names `word` in its name or labels; a failure is told, as a drop must not panic.
pub(crate) fn remove_docker_things(word: &str) {
    let each = |list: &[&str], remove: &[&str]| {
        let Ok(listed) = Command::new("docker").args(list).output() else { return };
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let ours =
            listed.lines().filter(|line| line.contains(word)).filter_map(|line| line.split(' ').next());
        let ours: Vec<_> = ours.collect();
        if ours.is_empty() {
            return;
        }
        let done = Command::new("docker").args(remove).args(&ours).output();
        if !done.as_ref().is_ok_and(|done| done.status.success()) {
            eprintln!("could not remove {ours:?}: {done:?}");
        }
    };
    each(&["ps", "-a", "--format", "{{.ID}} {{.Names}} {{.Image}} {{.Labels}}"], &["rm", "-f", "-v"]);
    each(&["network", "ls", "--format", "{{.ID}} {{.Name}} {{.Labels}}"], &["network", "rm"]);
    each(&["volume", "ls", "--format", "{{.Name}} {{.Labels}}"], &["volume", "rm", "-f"]);
    each(&["images", "--format", "{{.Repository}}:{{.Tag}}"], &["rmi", "-f"]);
}

/// Removes a directory, also where containers left files of other users in it.
pub(crate) fn remove_dir(dir: TempDir) {
    let path = dir.keep();
    if fs::remove_dir_all(&path).is_ok() || !path.exists() {
        return;
    }
    let mount = format!("{}:/gone", path.display());
    let image = base_image();
    let wipe =
        ["run", "--rm", "--user", "0", "-v", &mount, &image, "find", "/gone", "-mindepth", "1", "-delete"];
    Command::new("docker").args(wipe).output().ok();
    if let Err(error) = fs::remove_dir_all(&path) {
        eprintln!("could not remove {}: {error}", path.display());
    }
}
