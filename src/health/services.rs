//! What checks need to know of the services of a compose model: where they can be asked, and how long they live.

use super::Probe;
use crate::model::Preset;
use crate::model::compose::{ComposeModel, Condition, Port, Service};

/// A service of the compose model, as resolved with the release's variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFacts {
    /// Its name.
    pub name: String,
    /// Its TCP ports on this machine.
    pub published: Vec<PublishedPort>,
    /// How long its containers are to live.
    pub lifetime: Lifetime,
    /// How many containers it is to have; 0 when it is scaled away.
    pub replicas: usize,
}

/// How long a container is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// It runs on; when it exits it has failed.
    Lasting,
    /// It is to exit with 0: `one_shot:` names it, or another service waits for its successful end.
    OneShot,
    /// One-shot only by its looks (no restart policy that keeps it up, no ports, no healthcheck), as are workers and
    /// databases of many compose files: both to run on and to exit with 0 is well.
    Unsaid,
}

/// A TCP port of a container that this machine publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedPort {
    /// Port in the container.
    pub container: u16,
    /// Address of this machine that it is bound to; absent, empty or unspecified: every one.
    pub host_ip: Option<String>,
    /// Port on this machine; 0: Docker chooses, so no preset can ask there.
    pub published: u16,
}

impl ServiceFacts {
    /// Returns the services of a model; `one_shot` are the names that the app's configuration says.
    pub fn of_model(model: &ComposeModel, one_shot: &[String]) -> Vec<Self> {
        let facts = |(name, service): (&String, &Service)| Self {
            name: name.clone(),
            published: service.ports.iter().filter(|port| port.is_tcp()).map(PublishedPort::of).collect(),
            lifetime: lifetime(model, name, one_shot),
            replicas: usize::try_from(service.replicas()).unwrap_or(usize::MAX),
        };
        model.services.iter().map(facts).collect()
    }

    /// Returns the question of a preset, where the service publishes one of its ports.
    pub(super) fn preset_probe(&self, preset: Preset) -> Option<Probe> {
        let published =
            |wanted: &u16| self.published.iter().find(|p| p.container == *wanted && p.published != 0);
        let port = preset.container_ports().iter().find_map(published)?;
        let url = format!("http://{}:{}{}", port.host(), port.published, preset.path());
        Some(Probe::Http { url, status: None })
    }
}

fn lifetime(model: &ComposeModel, name: &str, one_shot: &[String]) -> Lifetime {
    let mut others = model.services.values().filter_map(|other| other.depends_on.get(name));
    let waited_for = others.any(|dependency| dependency.condition == Condition::CompletedSuccessfully);
    if waited_for || one_shot.iter().any(|named| named == name) {
        Lifetime::OneShot
    } else if model.is_one_shot(name, one_shot) {
        Lifetime::Unsaid
    } else {
        Lifetime::Lasting
    }
}

impl PublishedPort {
    fn of(port: &Port) -> Self {
        let only = port.published.filter(|range| range.first == range.last);
        Self {
            container: port.target,
            host_ip: port.host_ip.clone(),
            published: only.map_or(0, |range| range.first),
        }
    }

    /// What is bound to every address is asked on loopback.
    fn host(&self) -> String {
        match self.host_ip.as_deref().unwrap_or_default() {
            "" | "0.0.0.0" => "127.0.0.1".to_owned(),
            "::" => "[::1]".to_owned(),
            ip if ip.contains(':') && !ip.starts_with('[') => format!("[{ip}]"),
            ip => ip.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_says_where_services_are_asked_and_how_long_they_live() {
        let model = ComposeModel::from_json(
            r#"{"name": "shop", "services": {
                "backend": {"restart": "always", "depends_on": {"migrate": {"condition": "service_completed_successfully"}},
                            "ports": [{"target": 8000, "published": "8002", "host_ip": "127.0.0.1", "protocol": "tcp"},
                                      {"target": 8001, "protocol": "tcp"}, {"target": 53, "published": "53", "protocol": "udp"}]},
                "db": {}, "migrate": {"restart": "no"}, "seed": {}, "web": {"restart": "unless-stopped", "scale": 2}}}"#,
        )
        .unwrap();
        let facts = ServiceFacts::of_model(&model, &["seed".to_owned()]);
        let told: Vec<_> = facts.iter().map(|f| (f.name.as_str(), f.lifetime, f.replicas)).collect();
        let wanted = [
            ("backend", Lifetime::Lasting, 1),
            ("db", Lifetime::Unsaid, 1),
            ("migrate", Lifetime::OneShot, 1),
            ("seed", Lifetime::OneShot, 1),
            ("web", Lifetime::Lasting, 2),
        ];
        assert_eq!(told, wanted);
        let ports: Vec<_> = facts[0].published.iter().map(|p| (p.container, p.published)).collect();
        assert_eq!(ports, [(8000, 8002), (8001, 0)]);
    }
}
