//! Where things lie on the host (DESIGN section 6): the only place that knows names of files and directories.

use std::path::{Path, PathBuf};

use super::atomic::{self, WriteError};
use crate::model::{AppName, DeploymentId, Environment, EnvironmentName, Placement, ReleaseId};

/// Base of roots when the environment names none and the system's cannot be made.
const USER_BASE: &str = ".local/share/ffe-deploy";
/// Base of roots when the environment names none.
const SYSTEM_BASE: &str = "/var/lib/ffe-deploy";
/// Directory of state beside a project that is deployed in place.
const IN_PLACE_STATE: &str = ".ffe-deploy";

/// Files and directories of one app and environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
    in_place: Option<PathBuf>,
}

impl Layout {
    /// Returns the layout of an app and environment. Touches nothing, except that the system's base is tried.
    pub fn of(app: &AppName, environment: &Environment) -> Self {
        match &environment.placement {
            Placement::InPlace { path } => {
                let name = format!("{app}-{}", environment.name);
                Self { root: path.join(IN_PLACE_STATE).join(name), in_place: Some(path.clone()) }
            }
            Placement::Root { base } => {
                let base = base.clone().unwrap_or_else(default_base);
                Self { root: base.join(app.as_str()).join(environment.name.as_str()), in_place: None }
            }
        }
    }

    /// Returns the root: everything that is ours lies below it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the project's directory, when it is deployed where it lies.
    pub fn in_place(&self) -> Option<&Path> {
        self.in_place.as_deref()
    }

    /// Returns `current`, the symlink to the verified release.
    pub fn current(&self) -> PathBuf {
        self.root.join("current")
    }

    /// Returns the directory of all releases.
    pub fn releases(&self) -> PathBuf {
        self.root.join("releases")
    }

    /// Returns the directory of one release.
    pub fn release(&self, id: &ReleaseId) -> PathBuf {
        self.releases().join(id.as_str())
    }

    /// Returns the ids of the releases that lie here, oldest name first.
    pub fn kept_releases(&self) -> Vec<ReleaseId> {
        let listing = std::fs::read_dir(self.releases()).into_iter().flatten().flatten();
        let names = listing.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut ids: Vec<ReleaseId> = names.collect();
        ids.sort();
        ids
    }

    /// Returns the directory of content-addressed files that containers mount.
    pub fn files(&self) -> PathBuf {
        self.root.join("files")
    }

    /// Returns the directory of what survives releases: in place, the project itself.
    pub fn shared(&self) -> PathBuf {
        self.in_place.clone().unwrap_or_else(|| self.root.join("shared"))
    }

    /// Returns the directory of backups: in place, the project's own.
    pub fn backups(&self) -> PathBuf {
        self.in_place.as_ref().unwrap_or(&self.root).join("backups")
    }

    /// Returns the directory of history records.
    pub fn history(&self) -> PathBuf {
        self.root.join("history")
    }

    /// Returns the directory of state.
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Returns the file on which the lease's lock lies.
    pub fn lease(&self) -> PathBuf {
        self.state().join("lease")
    }

    /// Returns the journal.
    pub fn journal(&self) -> PathBuf {
        self.state().join("journal.json")
    }

    /// Returns the directory that is DOCKER_CONFIG while images are pulled and built, and is not there otherwise.
    pub fn docker_config(&self) -> PathBuf {
        self.state().join("docker-config")
    }

    /// Returns the mark that says: somebody stopped this app on purpose.
    pub fn stopped(&self) -> PathBuf {
        self.state().join("stopped")
    }

    /// Returns the record of what the current release consists of, by which changes of others are seen.
    pub fn recorded(&self) -> PathBuf {
        self.state().join("recorded.json")
    }

    /// Returns the directory of kept agents, one directory a version.
    pub fn agents(&self) -> PathBuf {
        self.state().join("bin")
    }

    /// Returns the kept agent that this process runs, as a path below the root; empty when it runs another program.
    pub fn agent_of_this_process(&self) -> String {
        let program = std::env::current_exe().and_then(std::fs::canonicalize).unwrap_or_default();
        let root = std::fs::canonicalize(&self.root).unwrap_or_default();
        let home = program.parent().and_then(|home| home.strip_prefix(&root).ok());
        home.and_then(Path::to_str).unwrap_or_default().to_owned()
    }

    /// Returns the link to the kept agent that runs at boot.
    pub fn recovery_agent(&self) -> PathBuf {
        self.state().join("recover")
    }

    /// Returns the variables that the agent at boot runs with.
    pub fn recovery_environment(&self) -> PathBuf {
        self.state().join("recover.json")
    }

    /// Returns the file that is given up when the disk is full.
    pub fn ballast(&self) -> PathBuf {
        self.state().join("ballast")
    }

    /// Returns the directory of all jobs.
    pub fn jobs(&self) -> PathBuf {
        self.state().join("jobs")
    }

    /// Returns the directory of one job: its events, its cancel file.
    pub fn job(&self, id: &DeploymentId) -> PathBuf {
        self.jobs().join(id.as_str())
    }

    /// Returns the host's own, complete event log of a job.
    pub fn events(&self, id: &DeploymentId) -> PathBuf {
        self.job(id).join("events.jsonl")
    }

    /// Returns the file whose existence asks the worker to stop.
    pub fn cancel(&self, id: &DeploymentId) -> PathBuf {
        self.job(id).join("cancel")
    }

    /// Returns the file whose time of change is when the runner was last heard of.
    pub fn seen(&self, id: &DeploymentId) -> PathBuf {
        self.job(id).join("seen")
    }

    /// Returns the directory of those who wait for the lease.
    pub fn queue(&self) -> PathBuf {
        self.state().join("queue")
    }

    /// Returns the env file on the host that outranks the project's defaults (DESIGN section 6, variables).
    pub fn host_env_file(&self, environment: &EnvironmentName) -> PathBuf {
        self.shared().join(format!(".env.{environment}"))
    }

    /// Returns the id of the release that `current` names, when it is a link to one of ours.
    pub fn current_release(&self) -> Option<ReleaseId> {
        let target = std::fs::read_link(self.current()).ok()?;
        // Whoever mends it by hand may write the whole path.
        target.parent().filter(|above| *above == Path::new("releases") || *above == self.releases())?;
        target.file_name()?.to_str()?.parse().ok()
    }

    /// Makes the directories of a root, with their modes; those that exist keep theirs.
    ///
    /// # Errors
    /// One of them cannot be made.
    pub fn make(&self) -> Result<(), WriteError> {
        atomic::make_directory(&self.root, 0o755)?;
        for private in [self.state(), self.jobs(), self.releases(), self.history()] {
            atomic::make_directory(&private, 0o700)?;
        }
        match &self.in_place {
            Some(path) => self.hide_from_git(path),
            None => {
                atomic::make_directory(&self.backups(), 0o700)?;
                atomic::make_directory(&self.files(), 0o755)?;
                atomic::make_directory(&self.shared(), 0o755)
            }
        }
    }

    /// Keeps our state out of the project's `git status`.
    fn hide_from_git(&self, project: &Path) -> Result<(), WriteError> {
        let ignore = project.join(IN_PLACE_STATE).join(".gitignore");
        if ignore.exists() {
            return Ok(());
        }
        atomic::write(&ignore, b"*\n", 0o644)
    }
}

/// Returns the system's base when it is there or can be made, else the user's.
fn default_base() -> PathBuf {
    let system = PathBuf::from(SYSTEM_BASE);
    let usable = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    let parent = system.parent().is_some_and(usable);
    if usable(&system) || (!system.exists() && parent) {
        return system;
    }
    std::env::var_os("HOME").map_or(system, |home| PathBuf::from(home).join(USER_BASE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Profile;

    fn environment(placement: Placement) -> Environment {
        let name = "staging".parse().unwrap();
        Environment {
            name,
            profile: Profile::Staging,
            placement,
            backup: false,
            allow_network_root: false,
            recover_at_boot: true,
            on_lost: Default::default(),
            timeout: crate::model::TIMEOUT,
        }
    }

    #[test]
    fn a_root_and_a_project_in_place_keep_their_state_where_the_design_says() {
        let app = "shop".parse().unwrap();
        let rooted = Layout::of(&app, &environment(Placement::Root { base: Some("/srv".into()) }));
        assert_eq!(rooted.current(), Path::new("/srv/shop/staging/current"));
        assert_eq!(rooted.shared(), Path::new("/srv/shop/staging/shared"));
        let lying = Layout::of(&app, &environment(Placement::InPlace { path: "/home/u/shop".into() }));
        assert_eq!(lying.lease(), Path::new("/home/u/shop/.ffe-deploy/shop-staging/state/lease"));
        assert_eq!(lying.backups(), Path::new("/home/u/shop/backups"));
    }

    #[test]
    fn made_directories_have_their_modes_and_current_is_read_back() {
        use std::os::unix::fs::PermissionsExt;
        let base = tempfile::tempdir().unwrap();
        let placement = Placement::Root { base: Some(base.path().into()) };
        let layout = Layout::of(&"shop".parse().unwrap(), &environment(placement));
        layout.make().unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&layout.releases()), mode(&layout.shared())), (0o700, 0o755));
        assert_eq!(layout.current_release(), None);
        atomic::point(&layout.current(), Path::new("releases/deploy-1")).unwrap();
        atomic::point(&layout.current(), Path::new("releases/deploy-2")).unwrap();
        assert_eq!(layout.current_release().unwrap().as_str(), "deploy-2");
        atomic::point(&layout.current(), &layout.releases().join("deploy-1")).unwrap();
        assert_eq!(layout.current_release().unwrap().as_str(), "deploy-1");
        for elsewhere in ["/srv/other/releases/deploy-1", "deploy-1", "releases", "releases/a/deploy-1"] {
            atomic::point(&layout.current(), Path::new(elsewhere)).unwrap();
            assert_eq!(layout.current_release(), None, "{elsewhere}");
        }
    }
}
