//! Logins for registries, for as long as a [`DockerConfig`] lives: a DOCKER_CONFIG of our own for `docker` and its
//! plugins.
//!
//! The directory is private and holds no secret: its `config.json` is a symlink to a file in our memory (0600). So
//! nothing of a password ever lies on a disk, and when this process ends, however it does, the link leads nowhere. What
//! is left of the directory then is removed by [`sweep`]. Everything else of the user's own configuration goes on: their
//! logins for other registries, helpers, proxies, contexts, plugins and builders.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::atomic::{self, WriteError};
use super::memory_file::MemoryFile;
use super::process::Command;
use crate::model::{RegistryLogin, reference};

/// Name under which Docker's programs keep a login of Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// A DOCKER_CONFIG with logins; gone with this value.
#[derive(Debug)]
pub struct DockerConfig {
    directory: PathBuf,
    users: PathBuf,
    _content: MemoryFile,
}

impl DockerConfig {
    /// Makes `directory`, which nobody else uses, a configuration with these logins.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(directory: &Path, logins: &[RegistryLogin]) -> Result<Self, WriteError> {
        Self::over(&users_directory(), directory, logins)
    }

    fn over(users: &Path, directory: &Path, logins: &[RegistryLogin]) -> Result<Self, WriteError> {
        sweep(directory);
        let written =
            fs::read(users.join("config.json")).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let config = merged(written.unwrap_or_default(), users, logins);
        let text = serde_json::to_vec(&Value::Object(config)).unwrap_or_default();
        let content = MemoryFile::private(&text).map_err(WriteError::at(directory))?;
        atomic::make_directory(directory, 0o700)?;
        let made = Self { directory: directory.to_owned(), users: users.to_owned(), _content: content };
        made.link("config.json", &made._content.path())?;
        let contexts = users.join("contexts");
        if contexts.is_dir() {
            made.link("contexts", &contexts)?;
        }
        Ok(made)
    }

    fn link(&self, name: &str, target: &Path) -> Result<(), WriteError> {
        let link = self.directory.join(name);
        atomic::symlink(target, &link).map_err(WriteError::at(&link))
    }

    /// Lets a command log in with it. Builders stay the user's: buildx keeps them beside the configuration.
    #[must_use]
    pub fn used_by(&self, command: Command) -> Command {
        let command = command.env("DOCKER_CONFIG", self.directory.to_string_lossy());
        match std::env::var_os("BUILDX_CONFIG").is_none() && self.users.join("buildx").is_dir() {
            true => command.env("BUILDX_CONFIG", self.users.join("buildx").to_string_lossy()),
            false => command,
        }
    }
}

impl Drop for DockerConfig {
    fn drop(&mut self) {
        sweep(&self.directory);
    }
}

/// Removes what a process left there that was killed.
pub fn sweep(directory: &Path) {
    // It holds no secret, and is made anew when it is needed.
    atomic::remove_tree(directory).ok();
}

/// Returns the directory of the user's own configuration.
fn users_directory() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let usual = || variable("HOME").unwrap_or_else(|| PathBuf::from("/root")).join(".docker");
    variable("DOCKER_CONFIG").unwrap_or_else(usual)
}

/// Returns the user's configuration with our logins in it, which win over theirs for the same registries.
fn merged(mut config: Map<String, Value>, users: &Path, logins: &[RegistryLogin]) -> Map<String, Value> {
    let mut auths = taken_map(&mut config, "auths");
    let mut helpers = taken_map(&mut config, "credHelpers");
    // A store would be asked for every registry, ours too: the registries that it is known to have keep it.
    if let Some(store) = config.remove("credsStore") {
        for server in auths.keys() {
            helpers.entry(server.clone()).or_insert_with(|| store.clone());
        }
    }
    for login in logins {
        for map in [&mut auths, &mut helpers] {
            map.retain(|server, _| server_of(server) != login.server);
        }
        let pair = STANDARD.encode(format!("{}:{}", login.username, login.password));
        auths.insert(key_of(&login.server), json!({ "auth": pair }));
    }
    config.insert("auths".to_owned(), Value::Object(auths));
    config.insert("credHelpers".to_owned(), Value::Object(helpers));
    let mut plugins = match config.remove("cliPluginsExtraDirs") {
        Some(Value::Array(directories)) => directories,
        _ => Vec::new(),
    };
    plugins.push(json!(users.join("cli-plugins").to_string_lossy()));
    config.insert("cliPluginsExtraDirs".to_owned(), Value::Array(plugins));
    config
}

fn taken_map(config: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    match config.remove(key) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// The name of a registry in `auths`.
fn key_of(server: &str) -> String {
    if server == reference::DOCKER_HUB { HUB_KEY.to_owned() } else { server.to_owned() }
}

/// The registry that a key of `auths` or `credHelpers` is for.
fn server_of(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    match bare.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => reference::DOCKER_HUB,
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn login(server: &str) -> RegistryLogin {
        RegistryLogin { server: server.into(), username: "ci".into(), password: "hunter2".into() }
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn logins_are_added_to_what_the_user_has_and_leave_with_their_value() {
        let base = tempfile::tempdir().unwrap();
        let (users, directory) = (base.path().join("users"), base.path().join("ours"));
        fs::create_dir_all(users.join("contexts")).unwrap();
        let theirs = json!({
            "auths": { "ghcr.io": { "auth": "b2xk" }, "quay.io": { "auth": "cQ==" }, "kept.io": {} },
            "credsStore": "desktop", "credHelpers": { "https://ghcr.io": "gcloud" },
            "currentContext": "rootless", "proxies": { "default": { "httpProxy": "http://p" } },
        });
        fs::write(users.join("config.json"), theirs.to_string()).unwrap();
        let made = DockerConfig::over(&users, &directory, &[login("ghcr.io"), login("docker.io")]).unwrap();
        let file = directory.join("config.json");
        assert_eq!((mode(&directory), mode(&file)), (0o700, 0o600));
        let read: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let pair = STANDARD.encode("ci:hunter2");
        assert_eq!(
            read,
            json!({
                "currentContext": "rootless", "proxies": { "default": { "httpProxy": "http://p" } },
                "auths": {
                    "quay.io": { "auth": "cQ==" }, "kept.io": {}, "ghcr.io": { "auth": pair },
                    "https://index.docker.io/v1/": { "auth": pair },
                },
                "credHelpers": { "quay.io": "desktop", "kept.io": "desktop" },
                "cliPluginsExtraDirs": [users.join("cli-plugins")],
            })
        );
        assert!(directory.join("contexts").is_dir());
        // What is really there is a link, so that nothing is when this process is gone.
        assert!(fs::read_link(&file).unwrap().starts_with("/proc"));
        drop(made);
        assert!(!directory.exists());
    }

    #[test]
    fn a_user_without_configuration_and_one_with_a_broken_one_are_no_obstacle() {
        let base = tempfile::tempdir().unwrap();
        for text in [None, Some("{"), Some("[]")] {
            if let Some(text) = text {
                fs::write(base.path().join("config.json"), text).unwrap();
            }
            let directory = base.path().join("ours");
            let _made = DockerConfig::over(base.path(), &directory, &[login("127.0.0.1:5000")]).unwrap();
            let text = fs::read_to_string(directory.join("config.json")).unwrap();
            assert!(text.contains("\"127.0.0.1:5000\":{\"auth\":"), "{text}");
        }
    }
}
