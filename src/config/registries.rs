//! Reader of `registries`: which registries want a login, and whose (DESIGN sections 6 and 7).

use crate::model::{RegistryLogin, reference};
use crate::text::{SHORTEST_SECRET, Secret};

use super::environment::{NamedVariable, read_variable};
use super::interpolate::{Vars, fill, names};
use super::job_values;
use super::problem::Problem;
use super::reader::{Field, Problems, Section};
use super::yaml::{Node, Scalar, Style, Value};

const KEY: &str = "registries";
const ENTRY: &str = "{ server: ghcr.io, username: NAME, password: { env: VARIABLE } }";
const SERVER: &str =
    "the registry as it stands in names of images: `ghcr.io`, `registry.example.com:5000`, `docker.io`";
const USERNAME: &str = "a user's name without colon, spaces and control characters";
const PASSWORD: &str = "{ env: NAME }; a password stands only in a variable";

/// Returns the logins. Their variables must be set where `needed`; elsewhere what cannot be had is left out.
pub(super) fn read(
    node: Option<&Node>,
    job: &Vars,
    needed: bool,
    problems: &mut Problems,
) -> Vec<RegistryLogin> {
    let Some(mut node) = node.cloned().filter(|node| !matches!(node.value, Value::Null)) else {
        return Vec::new();
    };
    let mut found = Problems::default();
    fill(&mut node, KEY, job, &mut found);
    let field = Field { node: &node, key: KEY.to_owned() };
    let items = field.items(&format!("a list of {ENTRY}"), &mut found).unwrap_or_default();
    let mut logins: Vec<RegistryLogin> = Vec::new();
    for item in &items {
        let Some(login) = read_login(item, job, &mut found) else { continue };
        if logins.iter().any(|other| other.server == login.server) {
            let message = format!("names the registry `{}` a second time", login.server);
            let problem = Problem::at(&item.node.place, &item.key, message).accepted("each registry once");
            found.add(problem.suggest("remove one of the two"));
        }
        logins.push(login);
    }
    if needed {
        problems.0.append(&mut found.0);
    }
    logins
}

fn read_login(field: &Field<'_>, job: &Vars, problems: &mut Problems) -> Option<RegistryLogin> {
    if !matches!(field.node.value, Value::Map(_)) {
        return field.wrong(ENTRY, problems);
    }
    let section = field.section(problems)?;
    section.only(&["server", "username", "password"], &[], problems);
    let server = wanted(&section, "server", problems).and_then(|field| read_server(&field, problems));
    let username = wanted(&section, "username", problems)
        .and_then(|field| field.text_that(USERNAME, is_username, problems));
    let password =
        wanted(&section, "password", problems).and_then(|field| read_password(&field, job, problems));
    Some(RegistryLogin { server: server?, username: username?, password: password? })
}

fn wanted<'a>(section: &Section<'a>, key: &str, problems: &mut Problems) -> Option<Field<'a>> {
    let found = section.get(key);
    if found.is_none() {
        let problem = Problem::at(section.place(), &section.path(key), "is missing");
        problems.add(problem.accepted(ENTRY));
    }
    found
}

fn read_server(field: &Field<'_>, problems: &mut Problems) -> Option<String> {
    let text = field.text(problems)?;
    let host = host_of(&text);
    match normal(&text) {
        Some(server) => Some(server),
        None => {
            let problem = field.problem("is no registry").found(field.shown()).accepted(SERVER);
            let near = normal(host);
            problems.add(match near {
                Some(near) => problem.suggest(format!("`{near}`")),
                None => problem,
            });
            None
        }
    }
}

/// What is left of an address without its scheme and its path.
fn host_of(text: &str) -> &str {
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    bare.split('/').next().unwrap_or_default()
}

/// Returns a registry as it stands in references: without scheme and version of its API, and Docker Hub by one name.
fn normal(text: &str) -> Option<String> {
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let host = host.to_ascii_lowercase();
    let is_host = host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b))
        && host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
        && (host.contains(['.', ':']) || host == "localhost");
    let port = host.rsplit_once(':').filter(|(name, _)| !name.contains(':') || name.ends_with(']'));
    let is_port = port.is_none_or(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
    let is_api = matches!(path.trim_end_matches('/'), "" | "v1" | "v2");
    let is_hub = matches!(host.as_str(), "docker.io" | "index.docker.io" | "registry-1.docker.io");
    match is_host && is_port && is_api {
        true if is_hub => Some(reference::DOCKER_HUB.to_owned()),
        true => Some(host),
        false => None,
    }
}

fn is_username(name: &str) -> bool {
    name.len() <= 256 && !name.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control())
}

/// `{ env: NAME }`, or the same as `${NAME}`. A literal one was reported with all other literal secrets.
fn read_password(field: &Field<'_>, job: &Vars, problems: &mut Problems) -> Option<String> {
    let (value, name, problem) = match &field.node.value {
        Value::Scalar(Scalar { text, style: Style::Filled(written) }) => {
            (Some(Secret::new(text.as_str())), names(written).join(", "), field.problem(""))
        }
        // What is reported with all other literal secrets is not reported here.
        Value::Scalar(scalar) if !matches!(scalar.text.as_str(), "" | "true" | "false") => return None,
        Value::Broken => return None,
        Value::Map(_) => {
            let section = field.section(problems)?;
            section.only(&["env"], &[], problems);
            let NamedVariable { name, key, place } = read_variable(field, &section, problems)?;
            let found = job_values::value(job, &name).map_err(|why| {
                problems.add(Problem::at(&place, &key, format!("names the variable `{name}`, which {why}")));
            });
            (found.ok()?.map(|found| found.value), name, Problem::at(&place, &key, ""))
        }
        _ => {
            problems.add(field.problem("has the wrong value (it is not shown)").accepted(PASSWORD));
            return None;
        }
    };
    // A line's end after it is not meant, as with `docker login --password-stdin`.
    let password = value.as_ref().map(|value| job_values::trimmed(value.reveal())).unwrap_or_default();
    match password.chars().count() {
        0 => problems.add(missing(problem, &name)),
        1..SHORTEST_SECRET => problems.add(too_short(problem, &name)),
        _ => return Some(password.to_owned()),
    }
    None
}

fn missing(mut problem: Problem, name: &str) -> Problem {
    problem.message = format!("names the variable `{name}`, which is missing or empty in the job");
    problem
        .suggest(format!("pass `{name}` in the job's environment, as `${{{{ secrets.{name} }}}}` on GitHub"))
}

fn too_short(mut problem: Problem, name: &str) -> Problem {
    problem.message = format!("names `{name}`, whose value is too short to be masked (it is not shown)");
    problem.accepted("4 characters or more")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_have_the_name_that_stands_in_references() {
        for (written, server) in [
            ("ghcr.io", "ghcr.io"),
            ("https://ghcr.io", "ghcr.io"),
            ("GHCR.io/", "ghcr.io"),
            ("docker.io", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("registry-1.docker.io", "docker.io"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("http://localhost:5000/v2/", "localhost:5000"),
            ("localhost", "localhost"),
            ("[::1]:5000", "[::1]:5000"),
        ] {
            assert_eq!(normal(written).as_deref(), Some(server), "{written}");
        }
        for bad in
            ["", "org", "ghcr.io/org", "ghcr.io:0", "ghcr.io:x", "a b.c", "-x.y", "u@ghcr.io", "x:70000"]
        {
            assert_eq!(normal(bad), None, "{bad}");
        }
    }
}
