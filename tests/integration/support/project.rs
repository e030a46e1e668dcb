//! A project to deploy: a git repository in a directory of its own.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::process::output;

/// A directory with files, usually a git repository; removed on drop.
pub(crate) struct Project {
    path: PathBuf,
    _dir: TempDir,
}

impl Project {
    /// Makes an empty repository in a directory called `name`.
    pub(crate) fn new(name: &str) -> Self {
        let project = Self::without_git(name);
        project.git(&["init", "--quiet", "--initial-branch=main"]);
        project
    }

    /// Makes an empty directory called `name`, with no git in it.
    pub(crate) fn without_git(name: &str) -> Self {
        let dir = open_temp_dir("project");
        let path = dir.path().join(name);
        fs::create_dir(&path).expect("make the project's directory");
        Self { path, _dir: dir }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file, with the directories above it.
    pub(crate) fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path.join(path);
        let parent = path.parent().expect("a file has a directory");
        fs::create_dir_all(parent).and_then(|()| fs::write(&path, content)).expect("write a project's file");
        self
    }

    /// Writes a file that can be run.
    pub(crate) fn executable(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        self.file(path, content);
        fs::set_permissions(self.path.join(path), fs::Permissions::from_mode(0o755))
            .expect("make it executable");
        self
    }

    /// Removes a file or a directory with all that is in it.
    pub(crate) fn remove(&self, path: &str) -> &Self {
        let path = self.path.join(path);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.unwrap_or_else(|error| panic!("remove {}: {error}", path.display()));
        self
    }

    /// Writes `.env.<environment>`, which git does not track, with each value in single quotes.
    pub(crate) fn env_file(&self, environment: &str, variables: &[(&str, &str)]) -> &Self {
        let name = format!(".env.{environment}");
        self.untracked(&name);
        let lines: String = variables.iter().map(|(key, value)| format!("{key}='{value}'\n")).collect();
        self.file(&name, lines)
    }

    /// Keeps git from tracking what matches `pattern`.
    pub(crate) fn untracked(&self, pattern: &str) -> &Self {
        let exclude = self.path.join(".git/info/exclude");
        if let Ok(lines) = fs::read_to_string(&exclude) {
            fs::write(&exclude, format!("{lines}{pattern}\n")).expect("exclude a file from git");
        }
        self
    }

    /// Commits everything as it lies, also when nothing has changed, and returns the commit's id.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Runs git here, as nobody's configuration but this one says, and returns its stdout.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.as_encoded_bytes().starts_with(b"GIT_")) {
            command.env_remove(key);
        }
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for role in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{role}_NAME"), "Test")
                .env(format!("GIT_{role}_EMAIL"), "test@example.com");
        }
        output(command.current_dir(&self.path).args(arguments))
    }
}

/// A temporary directory with a short path (sockets go below it) that other users may enter.
pub(crate) fn open_temp_dir(what: &str) -> TempDir {
    let everyone = fs::Permissions::from_mode(0o755);
    let prefix = format!("ffe-{what}-");
    tempfile::Builder::new()
        .prefix(&prefix)
        .permissions(everyone)
        .tempdir()
        .expect("make a temporary directory")
}
