//! Makes questions of the configuration: a container check for each service, the documents' presets where their
//! service publishes its port, and the written checks (R000-24, R000-25, C24, C25).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use reqwest::Url;

use super::interpolate::{InterpolationError, interpolate};
use super::services::ServiceFacts;
use super::{Check, Probe};
use crate::model::{CheckProbe, CheckSpec, ErrorKind, FailureReport, HealthSpec, Preset, Profile};

/// Longest wait for a check that nobody wrote (R000-28), and for one answer (R000-23).
const TIMEOUT: Duration = Duration::from_secs(60);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for all checks when nobody says (R000-29).
const ALL_TIMEOUT: Duration = Duration::from_secs(120);

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
                    probe: service.preset_probe(preset)?,
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
                lifetime: service.lifetime,
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
                let mut found = named.filter_map(|name| self.service(name)?.preset_probe(*preset));
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

#[cfg(test)]
mod tests {
    use super::super::services::{Lifetime, PublishedPort};
    use super::*;

    fn service(name: &str, ports: &[(u16, Option<&str>, u16)]) -> ServiceFacts {
        let published = ports.iter().map(|(container, host_ip, published)| PublishedPort {
            container: *container,
            host_ip: host_ip.map(str::to_owned),
            published: *published,
        });
        ServiceFacts {
            name: name.to_owned(),
            published: published.collect(),
            lifetime: Lifetime::Lasting,
            replicas: 1,
        }
    }

    fn written(name: &str, probe: CheckProbe) -> CheckSpec {
        let (timeout, request_timeout) = (TIMEOUT, REQUEST_TIMEOUT);
        let (optional, optional_in) = (false, Vec::new());
        CheckSpec { name: name.to_owned(), probe, timeout, request_timeout, optional, optional_in }
    }

    fn http(url: &str) -> CheckProbe {
        CheckProbe::Http { url: url.to_owned(), status: None }
    }

    fn plan(
        checks: Vec<CheckSpec>,
        services: &[ServiceFacts],
        profile: Profile,
    ) -> Result<Vec<Check>, HealthError> {
        let spec = HealthSpec { checks, ..HealthSpec::default() };
        let variables = BTreeMap::from([("BACKEND_PORT".to_owned(), "8002".to_owned())]);
        plan_checks(&spec, services, "shop", profile.as_str(), profile, &variables, Path::new("/app"))
    }

    fn told(checks: &[Check]) -> Vec<(&str, String)> {
        checks.iter().map(|check| (check.name.as_str(), check.probe.asked())).collect()
    }

    fn find<'a>(checks: &'a [Check], name: &str) -> &'a Check {
        checks.iter().find(|check| check.name == name).unwrap()
    }

    #[test]
    fn presets_follow_the_published_port_and_its_address() {
        let services = [
            service("backend", &[(8000, Some("0.0.0.0"), 8002)]),
            service("db", &[]),
            service("frontend", &[(443, None, 443), (80, Some("192.0.2.7"), 8080)]),
            service("grafana", &[(3000, Some("::"), 3001)]),
            service("prometheus", &[(9090, None, 0)]),
        ];
        let checks = plan(Vec::new(), &services, Profile::Staging).unwrap();
        let wanted = [
            ("backend/container", "container of backend"),
            ("db", "container of db"),
            ("frontend/container", "container of frontend"),
            ("grafana/container", "container of grafana"),
            ("prometheus", "container of prometheus"),
            ("backend", "GET http://127.0.0.1:8002/health"),
            ("frontend", "GET http://192.0.2.7:8080/"),
            ("grafana", "GET http://[::1]:3001/api/health"),
        ];
        assert_eq!(told(&checks), wanted.map(|(name, asked)| (name, asked.to_owned())));
    }

    #[test]
    fn dev_leaves_prometheus_and_grafana_out_with_their_containers() {
        let services = [service("backend", &[(8000, None, 8000)]), service("grafana", &[(3001, None, 3001)])];
        let checks = plan(Vec::new(), &services, Profile::Dev).unwrap();
        let skipped: Vec<&str> =
            checks.iter().filter(|check| check.skip.is_some()).map(|check| check.name.as_str()).collect();
        assert_eq!(skipped, ["grafana/container", "grafana"]);
        assert_eq!(find(&checks, "grafana").skip.as_deref(), Some("optional in dev"));
    }

    #[test]
    fn a_written_check_speaks_for_its_service_instead_of_the_preset() {
        let services = [service("backend", &[(8000, None, 8000)])];
        let mut own = written("backend", http("http://localhost:${BACKEND_PORT}/ready"));
        (own.optional, own.timeout) = (true, Duration::from_secs(90));
        let checks = plan(vec![own], &services, Profile::Production).unwrap();
        let wanted = ["backend/container", "backend"];
        assert_eq!(checks.iter().map(|check| check.name.as_str()).collect::<Vec<_>>(), wanted);
        assert_eq!(checks[1].probe.asked(), "GET http://localhost:8002/ready");
        assert!(checks[0].optional, "the container of an optional service only degrades, too");
        assert_eq!(checks[0].timeout, Duration::from_secs(90));
    }

    #[test]
    fn the_service_behind_a_check_is_found_by_name_preset_or_port() {
        let services = [service("backend", &[(8000, None, 8000)]), service("db", &[(5432, None, 5432)])];
        let checks = vec![
            written("api", http("http://localhost:8000/x")),
            written("storage", CheckProbe::Tcp { address: "127.0.0.1:5432".to_owned() }),
            written("ours", CheckProbe::Preset(Preset::Backend)),
            written("away", http("https://shop.example.com:8000/")),
        ];
        let checks = plan(checks, &services, Profile::Production).unwrap();
        let behind = |name| find(&checks, name).service.as_deref();
        assert_eq!(
            ["api", "storage", "ours", "away"].map(behind),
            [Some("backend"), Some("db"), Some("backend"), None]
        );
    }

    #[test]
    fn optional_in_names_environments_or_profiles_and_nothing_is_resolved_there() {
        let mut check = written("smoke", http("http://localhost:${NOT_THERE}/"));
        check.optional_in = vec!["qa".to_owned(), "testing".to_owned()];
        let checks = plan(vec![check.clone()], &[], Profile::Testing).unwrap();
        assert_eq!(checks[0].skip.as_deref(), Some("optional in testing"));
        assert!(plan(vec![check], &[], Profile::Production).is_err());
    }

    #[test]
    fn everything_wrong_is_said_at_once_without_values() {
        let checks = vec![
            written("a", http("http://localhost:${NOT_THERE}/")),
            written("b", http("ftp://x/")),
            written("c", CheckProbe::Tcp { address: "db".to_owned() }),
            written("d", CheckProbe::Preset(Preset::Grafana)),
        ];
        let error = plan(checks, &[], Profile::Production).unwrap_err();
        assert_eq!(
            error.to_string(),
            "check `a` cannot be asked: variable `NOT_THERE` is not set, or empty; check `b`: `ftp://x/` is not an \
             http or https URL with a host; check `c`: `db` is not `host:port` with a port from 1 to 65535; check \
             `d`: no service `grafana` publishes container port 3001 or 3000"
        );
        assert_eq!(error.report().code, "health.checks");
    }

    #[test]
    fn a_command_gets_the_variables_and_never_shows_them() {
        let command = CheckProbe::Command { argv: vec!["./smoke.sh".to_owned(), "-q".to_owned()] };
        let checks = plan(vec![written("smoke", command)], &[], Profile::Production).unwrap();
        let Probe::Command { directory, env, .. } = &checks[0].probe else { panic!("{checks:?}") };
        assert_eq!((directory.as_path(), env["BACKEND_PORT"].as_str()), (Path::new("/app"), "8002"));
        assert!(!format!("{checks:?}").contains("8002"));
    }
}
