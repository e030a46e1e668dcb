//! Reader of the key group `health`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{Before, CheckProbe, CheckSpec, HealthSpec, Preset};

use super::app::is_service_name;
use super::reader::{Field, Problems, Section};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const KEYS: [&str; 10] = [
    "name",
    "http",
    "tcp",
    "command",
    "preset",
    "status",
    "timeout",
    "request_timeout",
    "optional",
    "optional_in",
];
const PROBES: [&str; 4] = ["http", "tcp", "command", "preset"];

pub(super) fn read(field: &Field<'_>, problems: &mut Problems) -> Option<HealthSpec> {
    let section = field.section(problems)?;
    section.only(&["timeout", "checks", "before"], &[], problems);
    let mut health = HealthSpec::default();
    if let Some(timeout) = section.get("timeout").and_then(|field| field.duration(SECOND, HOUR, problems)) {
        health.timeout = timeout;
    }
    if let Some(field) = section.get("before") {
        let words = [("warn", Before::Warn), ("require", Before::Require), ("skip", Before::Skip)];
        health.before = field.word(&words, &[], problems).unwrap_or_default();
    }
    let Some(checks) = section.get("checks") else { return Some(health) };
    let mut names = BTreeSet::new();
    for item in checks.items("a list of checks", problems)? {
        let Some(check) = read_check(&item, problems) else { continue };
        if !names.insert(check.name.clone()) {
            problems.add(
                item.problem(format!("is a second check named `{}`", check.name)).accepted("each name once"),
            );
        }
        health.checks.push(check);
    }
    Some(health)
}

fn read_check(field: &Field<'_>, problems: &mut Problems) -> Option<CheckSpec> {
    let section = field.section(problems)?;
    section.only(&KEYS, &[], problems);
    let probe = read_probe(field, &section, problems);
    let name = match (section.get("name"), &probe) {
        (Some(name), _) => name.text_that("a name of a-z A-Z 0-9 . _ -", is_service_name, problems),
        (None, Some(CheckProbe::Preset(preset))) => Some(preset.service().to_owned()),
        (None, _) => {
            problems.add(field.problem("has no `name`").accepted("name: …"));
            None
        }
    };
    let limits = (Duration::from_millis(100), Duration::from_secs(300));
    let timeout = section.get("timeout").and_then(|field| field.duration(SECOND, HOUR, problems));
    let request =
        section.get("request_timeout").and_then(|field| field.duration(limits.0, limits.1, problems));
    let optional = section.get("optional").and_then(|field| field.boolean(problems));
    let optional_in = section
        .get("optional_in")
        .and_then(|field| field.texts("an environment or a profile", is_service_name, problems));
    Some(CheckSpec {
        name: name?,
        probe: probe?,
        timeout: timeout.unwrap_or(Duration::from_secs(60)),
        request_timeout: request.unwrap_or(Duration::from_secs(10)),
        optional: optional.unwrap_or(false),
        optional_in: optional_in.unwrap_or_default(),
    })
}

/// What the check asks: exactly one of the four.
fn read_probe(field: &Field<'_>, section: &Section<'_>, problems: &mut Problems) -> Option<CheckProbe> {
    let written: Vec<&str> = PROBES.into_iter().filter(|key| section.get(key).is_some()).collect();
    let [kind] = written[..] else {
        let found = if written.is_empty() { "none".to_owned() } else { written.join(", ") };
        problems.add(field.problem("must ask exactly one thing").found(found).accepted(PROBES.join(", ")));
        return None;
    };
    let status = section.get("status");
    if let (Some(status), true) = (&status, kind != "http") {
        problems.add(status.problem("is only for `http` checks"));
    }
    let asked = section.get(kind)?;
    match kind {
        "http" => {
            let url = asked.text_that("an address that starts with http:// or https://", is_url, problems)?;
            let status = match status {
                Some(status) => Some(status.integer(100..=599, problems)?),
                None => None,
            };
            Some(CheckProbe::Http { url, status: status.and_then(|status| u16::try_from(status).ok()) })
        }
        "tcp" => Some(CheckProbe::Tcp { address: asked.text_that("host:port", is_host_port, problems)? }),
        "command" => read_command(&asked, problems),
        _ => {
            let presets = Preset::ALL.map(|preset| (preset.service(), preset));
            Some(CheckProbe::Preset(asked.word(&presets, &[], problems)?))
        }
    }
}

fn read_command(field: &Field<'_>, problems: &mut Problems) -> Option<CheckProbe> {
    let argv =
        field.texts("program and arguments, such as [\"./smoke.sh\", \"--fast\"]", |_| true, problems)?;
    if argv.is_empty() {
        return field.wrong("a list that is not empty", problems);
    }
    Some(CheckProbe::Command { argv })
}

fn is_url(text: &str) -> bool {
    let is_http = ["http://", "https://", "${"].iter().any(|start| text.starts_with(start));
    is_http && !text.contains(char::is_whitespace) && !text.contains(char::is_control)
}

fn is_host_port(text: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0) || port.ends_with('}');
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && is_port(port))
        && !text.contains(char::is_whitespace)
}
