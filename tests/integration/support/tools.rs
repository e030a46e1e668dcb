//! What must be on the machine for a test, and what happens when it is not.
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};

/// Returns from the test, aloud, when one of the named tools is missing here: `needs!("docker", "sshd")`.
macro_rules! needs {
    ($($tool:literal),+ $(,)?) => { $( if !$crate::support::require($tool) { return; } )+ };
}
pub(crate) use needs;

/// Says whether `tool` can be used here. `docker` means an engine that answers, with Compose v2; `dockerd` that a
/// second engine can be started; `machine` that a whole machine can; `sshd` that one can be started; `root` that we are
/// root; else a program of that name.
///
/// # Panics
/// When the tool is missing and `FFE_TEST_REQUIRE` (names, with commas) lists it.
pub(crate) fn require(tool: &str) -> bool {
    if usable(tool) {
        return true;
    }
    let required = std::env::var("FFE_TEST_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|name| name.trim() == tool),
        "`{tool}` cannot be used here, and FFE_TEST_REQUIRE lists it: run scripts/services"
    );
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!(
        "SKIPPED {test}: `{tool}` cannot be used here; scripts/services installs and starts what is missing"
    );
    false
}

fn usable(tool: &str) -> bool {
    static DOCKER: OnceLock<bool> = OnceLock::new();
    match tool {
        "docker" => *DOCKER.get_or_init(|| {
            succeeds("docker", &["version", "--format", "{{.Server.Version}}"])
                && succeeds("docker", &["compose", "version"])
        }),
        "sshd" => find("sshd").is_some() && find("ssh").is_some() && Path::new("/run/sshd").is_dir(),
        "dockerd" => is_root() && find("dockerd").is_some() && find("ip").is_some(),
        "machine" => {
            let programs =
                ["dockerd", "ip", "iptables", "unshare", "nsenter", "losetup", "mkfs.ext4", "sshd"];
            usable("docker") && is_root() && programs.iter().all(|program| find(program).is_some())
        }
        "root" => is_root(),
        program => find(program).is_some(),
    }
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Finds a program on PATH, or where Debian keeps those of root.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    find_except(program, Path::new("/nonexistent"))
}

/// Finds a program as [`find`] does, but not in `except`.
pub(crate) fn find_except(program: &str, except: &Path) -> Option<PathBuf> {
    std::env::split_paths(&search_path())
        .filter(|dir| dir != except)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// The PATH of everything that tests start: also what scripts/services has put among the user's own state.
pub(crate) fn search_path() -> String {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let state = match variable("XDG_STATE_HOME") {
        unset if unset.is_empty() => format!("{}/.local/state", variable("HOME")),
        state => state,
    };
    let own = own_tools().display();
    format!("{own}:{}:/usr/local/sbin:/usr/sbin:/sbin:{state}/ffe-deploy-dev/bin", variable("PATH"))
}

/// A crontab for each home, and no systemd: what a deployment installs for the next boot must not become the machine's.
const OWN_TOOLS: [(&str, &str); 3] = [
    (
        "crontab",
        r#"#!/bin/sh
file="$HOME/.crontab"
case "$1" in
-l) cat "$file" 2>/dev/null || { echo "no crontab for this user" >&2; exit 1; } ;;
-) cat >"$file.new" && mv "$file.new" "$file" ;;
*) exit 2 ;;
esac
"#,
    ),
    ("systemctl", "#!/bin/sh\necho 'no systemd for tests' >&2\nexit 1\n"),
    ("loginctl", "#!/bin/sh\necho 'no systemd for tests' >&2\nexit 1\n"),
];

/// Directory of [`OWN_TOOLS`], for every user.
fn own_tools() -> &'static Path {
    static OWN: OnceLock<PathBuf> = OnceLock::new();
    OWN.get_or_init(|| {
        let dir = cache_dir().join("own-tools");
        let _guard = machine_lock("own-tools");
        fs::create_dir_all(&dir).expect("make the directory of own tools");
        for (name, text) in OWN_TOOLS {
            let (path, fresh) = (dir.join(name), dir.join("fresh"));
            if !fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
                fs::write(&fresh, text).expect("write a tool");
                fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).expect("make it a program");
                fs::rename(&fresh, &path).expect("put a tool in its place");
            }
        }
        dir
    })
}

/// Directory for what is made once a machine and user: images' contents, lock files.
pub(crate) fn cache_dir() -> PathBuf {
    let dir = std::env::temp_dir().join(format!("ffe-test-cache-{}", rustix::process::geteuid().as_raw()));
    std::fs::create_dir_all(&dir).expect("make the cache directory");
    dir
}

/// Held by one process of the machine at a time, until the file is dropped.
pub(crate) fn machine_lock(name: &str) -> File {
    let file = File::create(cache_dir().join(format!("{name}.lock"))).expect("open the lock file");
    flock(&file, FlockOperation::LockExclusive).expect("take the lock");
    file
}

/// Directory of the user's Compose and buildx plugins, when they are not in one of the system: a copy, as other users
/// may not look into our home.
pub(crate) fn shared_plugins() -> Option<PathBuf> {
    let config = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let config =
        config.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker")))?;
    let plugins = fs::read_dir(config.join("cli-plugins")).ok()?;
    let shared = cache_dir().join("cli-plugins");
    let _guard = machine_lock("cli-plugins");
    fs::create_dir_all(&shared).expect("make the directory of plugins");
    for plugin in plugins.flatten() {
        let (from, to) = (plugin.path(), shared.join(plugin.file_name()));
        let is_there = to.exists() && fs::metadata(&from).ok()?.len() == fs::metadata(&to).ok()?.len();
        if !is_there {
            let fresh = shared.join("fresh");
            fs::copy(&from, &fresh).and_then(|_| fs::rename(&fresh, &to)).expect("copy a plugin");
        }
    }
    Some(shared)
}
