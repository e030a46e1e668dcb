//! Lines to paste into a compose file.

use crate::model::Preset;
use crate::model::compose::Service;
use crate::model::reference;

/// How images of others say that they are well, by the end of their repository's name.
const KNOWN: [(&str, &str); 9] = [
    ("postgres", r#"["CMD-SHELL", "pg_isready -U \"$${POSTGRES_USER:-postgres}\""]"#),
    ("redis", r#"["CMD", "redis-cli", "ping"]"#),
    ("valkey", r#"["CMD", "valkey-cli", "ping"]"#),
    ("mysql", r#"["CMD", "mysqladmin", "ping", "-h", "127.0.0.1"]"#),
    ("mariadb", r#"["CMD", "healthcheck.sh", "--connect", "--innodb_initialized"]"#),
    ("mongo", r#"["CMD", "mongosh", "--quiet", "--eval", "db.adminCommand('ping').ok"]"#),
    ("rabbitmq", r#"["CMD", "rabbitmq-diagnostics", "-q", "ping"]"#),
    ("prometheus", r#"["CMD", "wget", "-qO-", "http://localhost:9090/-/healthy"]"#),
    ("grafana", r#"["CMD", "wget", "-qO-", "http://localhost:3000/api/health"]"#),
];

/// Returns what to do about a service without a healthcheck, with the lines for it. The figures are the documents'
/// (R003-09).
pub(super) fn healthcheck(name: &str, service: &Service) -> String {
    format!(
        "add to service `{name}` in the compose file:\n    healthcheck:\n      test: {}\n      interval: 30s\n      timeout: 10s\n      \
         retries: 3\n      start_period: 10s\nor a check named `{name}` under `health.checks` in deployments.yaml",
        test(name, service)
    )
}

fn test(name: &str, service: &Service) -> String {
    let image = service.image.as_deref().filter(|_| service.build.is_none()).unwrap_or_default();
    let last = reference::repository(image).rsplit('/').next().unwrap_or_default();
    if let Some((_, test)) = KNOWN.iter().find(|(known, _)| last == *known) {
        return (*test).to_owned();
    }
    let preset = Preset::ALL.into_iter().find(|preset| preset.service() == name);
    let path = preset.map_or("/", Preset::path);
    let port = service.ports.iter().find(|port| port.is_tcp()).map(|port| port.target);
    let port = port.or(preset.and_then(|preset| preset.container_ports().first().copied())).unwrap_or(8080);
    format!(r#"["CMD", "curl", "-f", "http://localhost:{port}{path}"]"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::compose::{Build, Port};

    fn of(name: &str, image: &str, port: Option<u16>) -> String {
        let ports = port.map(|target| Port { target, ..Port::default() }).into_iter().collect();
        test(name, &Service { image: Some(image.to_owned()), ports, ..Service::default() })
    }

    #[test]
    fn the_test_is_the_images_own_or_asks_the_services_port() {
        assert!(of("db", "docker.io/library/postgres:16", Some(5432)).contains("pg_isready"));
        assert!(of("x", "mine/app:1", Some(3000)).contains("http://localhost:3000/"));
        assert!(of("backend", "mine/app:1", None).contains("http://localhost:8000/health"));
        let built =
            Service { image: Some("redis".into()), build: Some(Build::default()), ..Service::default() };
        assert!(test("cache", &built).contains("curl"), "what is built under that name is something else");
        let hint = healthcheck("web", &built);
        assert!(
            hint.contains("\n    healthcheck:\n      test: [") && hint.contains("`health.checks`"),
            "{hint}"
        );
    }
}
