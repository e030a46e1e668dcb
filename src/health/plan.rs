//! Makes questions of the configuration: a container check for each service, the documents' presets where their
//! service publishes its port, and the written checks (R000-24, R000-25, C24, C25).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use reqwest::Url;

use super::interpolate::{InterpolationError, interpolate};
use super::{Check, Probe};
use crate::model::{CheckProbe, CheckSpec, ErrorKind, FailureReport, HealthSpec, Preset, Profile};

/// Longest wait for a check that nobody wrote (R000-28), and for one answer (R000-23).
const TIMEOUT: Duration = Duration::from_secs(60);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for all checks when nobody says (R000-29).
const ALL_TIMEOUT: Duration = Duration::from_secs(120);

/// A service of the compose model, as resolved with the release's variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFacts {
    /// Its name.
    pub name: String,
    /// Its TCP ports on this machine.
    pub published: Vec<PublishedPort>,
    /// Whether it is to exit 0 instead of running on (DESIGN section 6).
    pub one_shot: bool,
    /// How many containers it is to have; 0 when it is scaled away.
    pub replicas: usize,
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

/// Why no questions can be made of the configuration. Nothing was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.iter().map(Problem::sentence).collect::<Vec<_>>().join("; "))]
pub struct HealthError {
    /// All of them.
    pub problems: Vec<Problem>,
}

/// What is wrong with one written check.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Its address names a variable that is not there.
    #[error("check `{check}` cannot be asked")]
    Unresolved {
        /// Its name.
        check: String,
        /// Why.
        source: InterpolationError,
    },
    /// Its `http` is no URL.
    #[error("check `{check}`: `{written}` is not an http or https URL with a host")]
    NotAUrl {
        /// Its name.
        check: String,
        /// As it was written, before variables are put in.
        written: String,
    },
    /// Its `tcp` is no address.
    #[error("check `{check}`: `{written}` is not `host:port` with a port from 1 to 65535")]
    NotAnAddress {
        /// Its name.
        check: String,
        /// As it was written, before variables are put in.
        written: String,
    },
    /// Its preset has no port to ask.
    #[error("check `{check}`: no service `{service}` publishes container port {}", either(.ports))]
    NotPublished {
        /// Its name.
        check: String,
        /// Service of the preset.
        service: &'static str,
        /// Ports of the preset.
        ports: &'static [u16],
    },
}

fn either(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" or ")
}

impl Problem {
    fn sentence(&self) -> String {
        let cause = std::error::Error::source(self).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{self}{cause}")
    }
}

impl HealthError {
    /// Returns the failure with its next step.
    pub fn report(&self) -> FailureReport {
        let hint = match self.problems.first() {
            Some(Problem::Unresolved { .. }) => {
                "give the variable a value in the app's variables, or write `${NAME:-default}`"
            }
            Some(Problem::NotPublished { .. }) => {
                "publish the port in the compose file, or write the check with `http:`"
            }
            _ => "correct `health.checks` in deployments.yaml",
        };
        FailureReport::new(ErrorKind::ConfigurationError, "health.checks", self.to_string()).hint(hint)
    }
}

/// Returns the checks in the order in which results are shown: containers, presets, written ones.
///
/// The container check of a service is named as the service, unless another check has that name: then it is
/// `<service>/container`, and as optional or skipped as that one. `variables` are the release's.
///
/// # Errors
/// A written check names a variable without value, an address that is none, or a preset whose port nobody publishes.
pub fn plan_checks(
    spec: &HealthSpec,
    services: &[ServiceFacts],
    project: &str,
    environment: &str,
    profile: Profile,
    variables: &BTreeMap<String, String>,
    app_dir: &Path,
) -> Result<Vec<Check>, HealthError> {
    let planner = Planner { spec, services, project, environment, profile, variables, app_dir };
    let mut problems = Vec::new();
    let mut asked = planner.presets();
    for written in &spec.checks {
        match planner.written(written) {
            Ok(check) => asked.push(check),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(HealthError { problems });
    }
    let mut checks: Vec<Check> = services.iter().map(|service| planner.container(service, &asked)).collect();
    checks.append(&mut asked);
    Ok(checks)
}

struct Planner<'a> {
    spec: &'a HealthSpec,
    services: &'a [ServiceFacts],
    project: &'a str,
    environment: &'a str,
    profile: Profile,
    variables: &'a BTreeMap<String, String>,
    app_dir: &'a Path,
}

impl Planner<'_> {
    /// Presets of services that publish their port, unless a check of that name is written.
    fn presets(&self) -> Vec<Check> {
        let unwritten =
            Preset::ALL.into_iter().filter(|p| self.spec.checks.iter().all(|c| c.name != p.service()));
        unwritten
            .filter_map(|preset| {
                let service = self.service(preset.service())?;
                Some(Check {
                    name: service.name.clone(),
                    probe: preset_probe(preset, service)?,
                    service: Some(service.name.clone()),
                    timeout: self.implicit_timeout(),
                    request_timeout: REQUEST_TIMEOUT,
                    optional: false,
                    skip: self.preset_skip(preset),
                })
            })
            .collect()
    }

    fn written(&self, spec: &CheckSpec) -> Result<Check, Problem> {
        let skip = self.skip(spec);
        let probe = if skip.is_some() { self.unasked(&spec.probe) } else { self.probe(spec)? };
        Ok(Check {
            name: spec.name.clone(),
            service: self.service_behind(spec, &probe),
            probe,
            timeout: spec.timeout,
            request_timeout: spec.request_timeout,
            optional: spec.optional,
            skip,
        })
    }

    fn container(&self, service: &ServiceFacts, asked: &[Check]) -> Check {
        let mut name = service.name.clone();
        while asked.iter().any(|check| check.name == name) {
            name.push_str("/container");
        }
        let speaker = asked.iter().find(|check| check.name == service.name);
        let scaled_away = || (service.replicas == 0).then(|| "it is to have no containers".to_owned());
        Check {
            name,
            probe: Probe::Container {
                project: self.project.to_owned(),
                service: service.name.clone(),
                one_shot: service.one_shot,
                replicas: service.replicas,
            },
            service: Some(service.name.clone()),
            timeout: self.implicit_timeout().max(speaker.map_or(Duration::ZERO, |check| check.timeout)),
            request_timeout: REQUEST_TIMEOUT,
            optional: speaker.is_some_and(|check| check.optional),
            skip: speaker.and_then(|check| check.skip.clone()).or_else(scaled_away),
        }
    }

    fn probe(&self, spec: &CheckSpec) -> Result<Probe, Problem> {
        let check = || spec.name.clone();
        let resolved = |text: &str| {
            interpolate(text, self.variables).map_err(|source| Problem::Unresolved { check: check(), source })
        };
        match &spec.probe {
            CheckProbe::Http { url, status } => {
                let not_a_url = || Problem::NotAUrl { check: check(), written: url.clone() };
                let url = Some(resolved(url)?).filter(|url| is_url(url)).ok_or_else(not_a_url)?;
                Ok(Probe::Http { url, status: *status })
            }
            CheckProbe::Tcp { address } => {
                let wrong = || Problem::NotAnAddress { check: check(), written: address.clone() };
                let address = Some(resolved(address)?).filter(|a| port_of(a).is_some()).ok_or_else(wrong)?;
                Ok(Probe::Tcp { address })
            }
            CheckProbe::Command { .. } => Ok(self.unasked(&spec.probe)),
            CheckProbe::Preset(preset) => {
                let named = [spec.name.as_str(), preset.service()].into_iter();
                let mut found = named.filter_map(|name| preset_probe(*preset, self.service(name)?));
                let (service, ports) = (preset.service(), preset.container_ports());
                found.next().ok_or_else(|| Problem::NotPublished { check: check(), service, ports })
            }
        }
    }

    /// The question as it was written, for checks that are not asked, and for programs, which have no variables in them.
    fn unasked(&self, probe: &CheckProbe) -> Probe {
        match probe {
            CheckProbe::Http { url, status } => Probe::Http { url: url.clone(), status: *status },
            CheckProbe::Tcp { address } => Probe::Tcp { address: address.clone() },
            CheckProbe::Command { argv } => Probe::Command {
                argv: argv.clone(),
                directory: self.app_dir.to_owned(),
                env: self.variables.clone(),
            },
            CheckProbe::Preset(preset) => {
                let port = preset.container_ports()[0];
                Probe::Http { url: format!("http://localhost:{port}{}", preset.path()), status: None }
            }
        }
    }

    fn skip(&self, spec: &CheckSpec) -> Option<String> {
        let here = [self.environment, self.profile.as_str()];
        let named = spec.optional_in.iter().find(|word| here.contains(&word.as_str()));
        named.map(|word| format!("optional in {word}")).or_else(|| match spec.probe {
            CheckProbe::Preset(preset) => self.preset_skip(preset),
            CheckProbe::Http { .. } | CheckProbe::Tcp { .. } | CheckProbe::Command { .. } => None,
        })
    }

    fn preset_skip(&self, preset: Preset) -> Option<String> {
        preset.is_skipped_in(self.profile).then(|| format!("optional in {}", self.profile.as_str()))
    }

    /// A higher `health.timeout` than the default gives checks that nobody wrote more time, too.
    fn implicit_timeout(&self) -> Duration {
        if self.spec.timeout > ALL_TIMEOUT { self.spec.timeout } else { TIMEOUT }
    }

    fn service(&self, name: &str) -> Option<&ServiceFacts> {
        self.services.iter().find(|service| service.name == name)
    }

    /// The service of the check's name, else of its preset, else the one that publishes the local port that is asked.
    fn service_behind(&self, spec: &CheckSpec, probe: &Probe) -> Option<String> {
        let of_preset = || match spec.probe {
            CheckProbe::Preset(preset) => self.service(preset.service()),
            CheckProbe::Http { .. } | CheckProbe::Tcp { .. } | CheckProbe::Command { .. } => None,
        };
        let of_port = || {
            let port = local_port(probe)?;
            self.services.iter().find(|service| service.published.iter().any(|p| p.published == port))
        };
        let found = self.service(&spec.name).or_else(of_preset).or_else(of_port);
        found.map(|service| service.name.clone())
    }
}

fn preset_probe(preset: Preset, service: &ServiceFacts) -> Option<Probe> {
    let published =
        |wanted: &u16| service.published.iter().find(|p| p.container == *wanted && p.published != 0);
    let port = preset.container_ports().iter().find_map(published)?;
    let url = format!("http://{}:{}{}", host_of(port), port.published, preset.path());
    Some(Probe::Http { url, status: None })
}

/// What is bound to every address is asked on loopback.
fn host_of(port: &PublishedPort) -> String {
    match port.host_ip.as_deref().unwrap_or_default() {
        "" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        ip if ip.contains(':') && !ip.starts_with('[') => format!("[{ip}]"),
        ip => ip.to_owned(),
    }
}

fn is_url(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn port_of(address: &str) -> Option<u16> {
    let (host, port) = address.rsplit_once(':')?;
    port.parse().ok().filter(|port| *port != 0 && !host.is_empty())
}

fn local_port(probe: &Probe) -> Option<u16> {
    let (host, port) = match probe {
        Probe::Http { url, .. } => {
            let url = Url::parse(url).ok()?;
            (url.host_str()?.to_owned(), url.port_or_known_default()?)
        }
        Probe::Tcp { address } => (address.rsplit_once(':')?.0.to_owned(), port_of(address)?),
        Probe::Command { .. } | Probe::Container { .. } => return None,
    };
    (host == "localhost" || host == "[::1]" || host.starts_with("127.")).then_some(port)
}
