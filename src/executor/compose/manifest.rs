//! What a registry says of an image before it is pulled: which one it is, and how large.

use std::time::Duration;

use serde_json::Value;

use crate::host::docker_config::DockerConfig;
use crate::host::process::{self, Command};
use crate::model::{ImageFacts, reference};
use crate::text::harmless;

/// Longest wait for a registry's answer.
const ANSWER: Duration = Duration::from_secs(30);

/// An image as its registry has it, for this machine's platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Digest of its configuration, which is its id here.
    pub(super) id: String,
    /// Digest of the manifest itself.
    pub(super) digest: String,
    /// Bytes of its layers, compressed.
    pub(super) size_bytes: u64,
}

impl Manifest {
    /// Returns whether this is the image that is on the host.
    pub(super) fn is(&self, facts: &ImageFacts) -> bool {
        let known = |digest: &String| digest.split_once('@').is_some_and(|(_, hex)| hex == self.digest);
        facts.id == self.id || facts.id == self.digest || facts.repo_digests.iter().any(known)
    }
}

/// Asks a registry for an image. Nothing is downloaded.
///
/// # Errors
/// What was said instead of an answer.
pub(super) async fn ask(image: &str, login: Option<&DockerConfig>) -> Result<Manifest, String> {
    let mut command = Command::new("docker").args(["manifest", "inspect", "--verbose"]);
    // Docker trusts registries on this machine without TLS; here it has to be told.
    if is_loopback(reference::registry(image)) {
        command = command.arg("--insecure");
    }
    let command = command.arg(image).deadline(ANSWER);
    let command = login.map_or(command.clone(), |login| login.used_by(command));
    let said = process::output(&command).await.map_err(|error| super::images::last(&error))?;
    read(&said, architecture()).ok_or_else(|| "its manifest says no size".to_owned())
}

fn is_loopback(server: &str) -> bool {
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    host == "localhost"
        || host == "[::1]"
        || host.parse().is_ok_and(|at: std::net::Ipv4Addr| at.is_loopback())
}

/// Docker's word for this machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Reads what `docker manifest inspect --verbose` prints: one manifest, or a list with one for each platform.
fn read(text: &str, architecture: &str) -> Option<Manifest> {
    let said: Value = serde_json::from_str(text).ok()?;
    let of_platform = |one: &&Value| {
        let platform = &one["Descriptor"]["platform"];
        platform["architecture"] == architecture && platform["os"] == "linux"
    };
    let one = match &said {
        Value::Array(all) => all.iter().find(of_platform)?,
        one => one,
    };
    let manifest = ["SchemaV2Manifest", "OCIManifest"].into_iter().find_map(|form| one.get(form))?;
    let layers = manifest["layers"].as_array()?;
    let sizes = layers.iter().map(|layer| layer["size"].as_u64());
    Some(Manifest {
        id: harmless(manifest["config"]["digest"].as_str()?),
        digest: harmless(one["Descriptor"]["digest"].as_str()?),
        size_bytes: sizes.sum::<Option<u64>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_of_this_platform_is_read_and_its_layers_are_counted() {
        let one = |architecture: &str, form: &str, config: &str| {
            format!(
                r#"{{"Descriptor": {{"digest": "sha256:d{config}", "platform": {{"architecture": "{architecture}", "os": "linux"}}}},
                    "{form}": {{"config": {{"digest": "sha256:{config}"}}, "layers": [{{"size": 3}}, {{"size": 4}}]}}}}"#
            )
        };
        let expected = Manifest { id: "sha256:1".into(), digest: "sha256:d1".into(), size_bytes: 7 };
        assert_eq!(read(&one("amd64", "SchemaV2Manifest", "1"), "amd64"), Some(expected.clone()));
        let list = format!("[{}, {}]", one("arm64", "OCIManifest", "2"), one("amd64", "OCIManifest", "1"));
        assert_eq!(read(&list, "amd64"), Some(expected));
        for nothing in ["", "{}", "[]", "[1]", r#"{"SchemaV2Manifest": {"layers": [{}]}}"#] {
            assert_eq!(read(nothing, "amd64"), None, "{nothing}");
        }
    }

    #[test]
    fn only_registries_of_this_machine_are_asked_without_tls() {
        for (server, expected) in [
            ("127.0.0.1:5000", true),
            ("localhost:5000", true),
            ("ghcr.io", false),
            ("registry.example:5000", false),
        ] {
            assert_eq!(is_loopback(server), expected, "{server}");
        }
    }
}
