//! Is Docker here, running, and ours to use (R000-50, R000-52, R001-07).

use crate::host::distribution::Distribution;
use crate::host::docker::{Docker, DockerError};
use crate::host::process;
use crate::model::Finding;
use crate::text::harmless;

/// Oldest engine that serves (R001-07).
const OLDEST: (u32, u32) = (20, 10);

/// `docker.installed`: the CLI, which every change goes through.
pub(super) fn installed() -> Vec<Finding> {
    vec![cli(process::is_installed("docker"))]
}

fn cli(there: bool) -> Finding {
    if there {
        return Finding::passed("docker.installed", "the Docker CLI is installed");
    }
    let hint = Distribution::of_this_machine().install_docker();
    Finding::error("docker.installed", "Docker is not installed: there is no `docker` on PATH", hint)
}

/// `docker.running`, `docker.permission`, `docker.version`.
pub(super) async fn engine(engine: Result<&Docker, &DockerError>) -> Vec<Finding> {
    let docker = match engine {
        Ok(docker) => docker,
        Err(error) => {
            let report = error.report();
            return vec![Finding::error(&report.code, report.message, report.hint.unwrap_or_default())];
        }
    };
    match docker.client().version().await {
        Ok(answer) => vec![version(&answer.version.unwrap_or_default())],
        Err(_) => vec![Finding::error(
            "docker.running",
            "the Docker daemon does not answer what version it is",
            "look at the daemon's log: `journalctl -u docker`",
        )],
    }
}

fn version(found: &str) -> Finding {
    let mut numbers = found.split(['.', '-', '+']).map_while(|number| number.parse::<u32>().ok());
    let known = numbers.next().zip(numbers.next());
    let found = harmless(found);
    match known {
        Some(numbers) if numbers < OLDEST => Finding::error(
            "docker.version",
            format!("Docker Engine is version {found}, and {}.{} or newer is needed", OLDEST.0, OLDEST.1),
            "update Docker Engine: https://docs.docker.com/engine/install/",
        ),
        // Podman and builds of one's own call themselves otherwise; they answered, and that counts.
        _ => Finding::passed("docker.running", format!("Docker Engine {found} is running")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Severity;

    #[test]
    fn a_missing_cli_is_named_with_the_way_to_install_it() {
        let finding = cli(false);
        assert_eq!(finding.severity, Severity::Error);
        assert!(finding.message.starts_with("Docker is not installed"));
        assert!(finding.hint.unwrap().contains("install"));
    }

    #[test]
    fn an_old_engine_is_refused_and_an_odd_one_is_not() {
        for (found, severity) in [
            ("19.03.8", Severity::Error),
            ("20.10.24+dfsg1", Severity::Passed),
            ("28.5.2", Severity::Passed),
            ("dev", Severity::Passed),
        ] {
            assert_eq!(version(found).severity, severity, "{found}");
        }
    }

    #[tokio::test]
    async fn a_daemon_that_is_not_there_and_one_that_is_forbidden_are_told_apart() {
        let host = "unix:///nonexistent.sock".to_owned();
        let gone = engine(Err(&DockerError::NotRunning { host: host.clone() })).await;
        let forbidden = engine(Err(&DockerError::Permission { host })).await;
        assert_eq!(gone[0].rule, "docker.running");
        assert!(gone[0].message.contains("/nonexistent.sock"));
        assert_eq!(forbidden[0].rule, "docker.permission");
    }
}
