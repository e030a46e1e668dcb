//! How the program comes to the runner: the release with its digest checked, from the tool cache, or built from source.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{outputs, program, step};
use crate::support::{Ended, Host, Project, Running, Shim, find, free_port, get, needs, output, until};

const REPOSITORY: &str = "acme/ffe-deploy";
const ARCHIVE: &str = "ffe-deploy-x86_64-unknown-linux-gnu.tar.gz";

/// A host of releases, such as github.com.
struct Releases {
    files: Project,
    server: Child,
    port: u16,
}

impl Drop for Releases {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

impl Releases {
    /// With the release of this version, whose program only tells its version.
    fn open() -> Self {
        let files = Project::without_git("releases");
        let port = free_port();
        let server = Command::new(find("busybox").expect("busybox is there"))
            .args(["httpd", "-f", "-p", &format!("127.0.0.1:{port}"), "-h"])
            .arg(files.path())
            .stdin(Stdio::null())
            .spawn()
            .expect("start busybox httpd");
        until(Duration::from_secs(10), "the server", || get(port, "/").is_some());
        Self { files, server, port }
    }

    fn publish(self, version: &str) -> Self {
        let said = format!("#!/bin/sh\necho ffe-deploy {version}\n");
        self.files.executable("made/ffe-deploy", said);
        self.files.file(&Self::path("SHA256SUMS"), "");
        let archive = self.files.path().join(Self::path(ARCHIVE));
        let made = self.files.path().join("made");
        output(Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(made).arg("ffe-deploy"));
        self.sums()
    }

    /// Writes the digests of what lies there.
    fn sums(self) -> Self {
        let archive = self.files.path().join(Self::path(ARCHIVE));
        let sum = output(Command::new("sha256sum").arg(&archive));
        let digest = sum.split(' ').next().unwrap_or_default();
        self.files.file(
            &Self::path("SHA256SUMS"),
            format!("{}  other.tar.gz\n{digest}  {ARCHIVE}\n", "0".repeat(64)),
        );
        self
    }

    fn path(file: &str) -> String {
        format!("{REPOSITORY}/releases/download/v{}/{file}", env!("CARGO_PKG_VERSION"))
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Runs the first step of the action, with this host of releases.
fn install(host: &Host, server: &str, more: &[(&str, &str)]) -> crate::support::Run {
    let mut known = vec![("github.action_repository", REPOSITORY)];
    known.extend(more);
    let mut command = step(host, "install", &known);
    command.env("GITHUB_SERVER_URL", server).env("RUNNER_ARCH", "X64");
    Running::start(command, host.dir().join("none")).wait()
}

/// A cargo that builds a program in no time.
fn cargo(host: Host) -> (Host, Shim) {
    let shim = Shim::new();
    shim.fake(
        "cargo",
        "while (($#)); do [[ $1 != --target ]] || target=$2; shift; done\n\
         dir=$CARGO_TARGET_DIR/$target/release\n/bin/mkdir -p \"$dir\"\n\
         printf '#!/bin/sh\\necho built\\n' >\"$dir/ffe-deploy\"\n/bin/chmod 755 \"$dir/ffe-deploy\"\n",
    );
    let target = host.dir().join("target");
    (host.with_path_first(shim.path()).with_env("CARGO_TARGET_DIR", target), shim)
}

fn installed(host: &Host) -> PathBuf {
    PathBuf::from(&outputs(host)["binary"])
}

#[track_caller]
fn refused(host: &Host, ended: &Ended, outcome: &str, says: &str) {
    assert!(ended.stdout.contains("::error title=ffe-deploy::"), "{}", ended.told());
    assert!(ended.stdout.contains(says), "{}", ended.told());
    let told = outputs(host);
    assert_eq!((told["status"].as_str(), told["outcome"].as_str()), ("failure", outcome));
    assert!(!told.contains_key("binary"), "nothing is there to be run: {told:?}");
}

#[test]
fn a_release_is_checked_unpacked_and_the_next_time_already_there() {
    needs!("curl");
    let (host, shim) = cargo(Host::local());
    let releases = Releases::open().publish(env!("CARGO_PKG_VERSION"));
    let url = releases.url();
    install(&host, &url, &[]).exits(0);
    let program = installed(&host);
    assert!(program.starts_with(host.dir().join("tools")), "{}", program.display());
    assert_eq!(output(&mut Command::new(&program)), format!("ffe-deploy {}\n", env!("CARGO_PKG_VERSION")));
    drop(releases);
    let warm = install(&host, &url, &[]).exits(0);
    assert_eq!(installed(&host), program);
    assert!(warm.stdout.is_empty(), "{}", warm.told());
    // What lies there spoilt is brought again.
    fs::write(&program, "half").expect("spoil the program");
    let ended = install(&host, &url, &[]).exits(7);
    assert!(ended.stdout.contains("could not be downloaded"), "{}", ended.told());
    assert!(shim.calls().is_empty(), "no release is replaced by the source");
}

#[test]
fn what_is_not_what_was_published_is_an_error_and_never_run() {
    needs!("curl");
    let version = env!("CARGO_PKG_VERSION");
    let marked = |releases: &Releases| releases.files.path().join(Releases::path(ARCHIVE));
    // Other bytes, half of them, no line for them, an archive without the program, and another version.
    for (spoil, says) in [("swap", "is not what was published"), ("cut", "is not what was published")] {
        let (host, shim) = cargo(Host::local());
        let releases = Releases::open().publish(version);
        let mut bytes = fs::read(marked(&releases)).expect("read the archive");
        if spoil == "cut" {
            bytes.truncate(bytes.len() / 2)
        } else {
            bytes.push(0)
        }
        fs::write(marked(&releases), bytes).expect("spoil the archive");
        refused(&host, &install(&host, &releases.url(), &[]).exits(3), "refused", says);
        assert!(shim.calls().is_empty() && !host.dir().join("tools/ffe-deploy/acme+ffe-deploy").exists());
    }
    let host = Host::local();
    let releases = Releases::open().publish(version);
    releases.files.file(&Releases::path("SHA256SUMS"), format!("{}  other.tar.gz\n", "0".repeat(64)));
    refused(&host, &install(&host, &releases.url(), &[]).exits(3), "refused", "has no line for");
    let other = Releases::open().publish("9.9.9");
    refused(&host, &install(&host, &other.url(), &[]).exits(3), "refused", "is not ffe-deploy");
}

#[test]
fn without_a_release_and_in_its_own_repository_the_action_is_built_from_source() {
    needs!("curl");
    let releases = Releases::open();
    for (repository, why) in [(REPOSITORY, "has no release v"), ("", "used from its own repository")] {
        let (host, shim) = cargo(Host::local());
        let ended = install(&host, &releases.url(), &[("github.action_repository", repository)]).exits(0);
        assert!(ended.stdout.contains(why), "{}", ended.told());
        let built = ["build", "--locked", "--release", "--bin", "ffe-deploy", "--bin", "ffe-agent"];
        assert_eq!(shim.count(&built), 1, "{:?}", shim.calls());
        assert_eq!(output(&mut Command::new(installed(&host))), "built\n");
    }
    let host = Host::local();
    let bare = Shim::new();
    for tool in ["bash", "uname", "mkdir", "realpath"] {
        bare.wrap(tool);
    }
    let host = host.with_path_first(bare.path());
    let mut command = step(&host, "install", &[]);
    command.env("PATH", bare.path());
    let ended = Running::start(command, host.dir().join("none")).wait().exits(2);
    refused(&host, &ended, "invalid", "there is no cargo here");
}

#[test]
fn a_server_that_is_away_is_told_after_some_attempts() {
    needs!("curl");
    let (host, shim) = cargo(Host::local());
    let away = format!("http://127.0.0.1:{}", free_port());
    let ended = install(&host, &away, &[]).exits(7);
    refused(&host, &ended, "unreachable", "could not be downloaded in 3 attempts");
    assert!(shim.calls().is_empty(), "what cannot be reached is not built from source");
}

#[test]
fn a_program_of_ones_own_is_used_as_it_is_and_other_platforms_are_refused() {
    let host = Host::local();
    install(&host, "http://127.0.0.1:9", &[("inputs.binary", program())]).exits(0);
    assert_eq!(installed(&host), fs::canonicalize(program()).expect("the program"));
    let host = Host::local().with_env("FFE_DEPLOY_BINARY", program());
    install(&host, "http://127.0.0.1:9", &[]).exits(0);
    let host = Host::local();
    let missing = [("inputs.binary", "/nonexistent/ffe-deploy")];
    refused(&host, &install(&host, "http://127.0.0.1:9", &missing).exits(2), "invalid", "no program at");
    for (os, arch) in [("Windows", "X64"), ("macOS", "ARM64"), ("Linux", "ARM")] {
        let host = Host::local();
        let mut command = step(&host, "install", &[]);
        command.env("RUNNER_OS", os).env("RUNNER_ARCH", arch);
        let ended = Running::start(command, host.dir().join("none")).wait().exits(2);
        refused(&host, &ended, "invalid", &format!("this runner is {os} {arch}"));
    }
}
