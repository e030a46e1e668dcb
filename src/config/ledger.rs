//! Which ledger is told of deployments: `ledger` of `deployments.yaml`, and the job's variables.

use std::net::IpAddr;

use reqwest::Url;

use super::environment::read_variable;
use super::interpolate::{Unfilled, Vars, fill, fill_text, is_reference};
use super::job_values;
use super::reader::{Field, Problems, Section};
use super::yaml::{Node, Value};
use crate::text::Secret;

/// Variables of the job that count where no file says something else.
const URL: &str = "FFE_LEDGER_URL";
const TOKEN: &str = "FFE_LEDGER_TOKEN";
const ALLOW_HTTP: &str = "FFE_LEDGER_ALLOW_HTTP";

const ADDRESS: &str =
    "an address that begins with https:// (or http:// on loopback), without user and password";

/// The ledger that is told of deployments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Its address, without a slash at its end. It holds no secret.
    pub url: String,
    /// The token that reports go with; a ledger on loopback may want none.
    pub token: Option<Secret>,
}

/// The ledger, or why it cannot be told of anything, in words that hold no secret: that must not stop a deployment.
pub type LedgerFound = Result<Ledger, String>;

/// Returns what must not be printed.
pub(super) fn secrets(found: Option<&LedgerFound>) -> impl Iterator<Item = Secret> {
    found.and_then(|found| found.as_ref().ok()).and_then(|ledger| ledger.token.clone()).into_iter()
}

/// Reads `ledger` of the file for apps. Nothing written, and no variable set: there is none.
pub(super) fn read(deployments: Option<&Node>, job: &Vars, problems: &mut Problems) -> Option<LedgerFound> {
    let written = deployments.and_then(|root| read_written(root, job, problems)).unwrap_or_default();
    let url = match written.url {
        Some(url) => url?,
        None => said(job, URL)?,
    };
    let allow_http = written.allow_http.unwrap_or_else(|| said(job, ALLOW_HTTP).as_deref() == Some("true"));
    let token = written.token.unwrap_or_else(|| match job_values::value(job, TOKEN) {
        Ok(found) => Ok(found.map(|found| found.value)),
        Err(why) => Err(format!("`{TOKEN}` {why}")),
    });
    Some(usable(&url, token, allow_http))
}

fn said(job: &Vars, name: &str) -> Option<String> {
    job.get(name).map(|value| value.trim()).filter(|value| !value.is_empty()).map(str::to_owned)
}

/// A token goes over no line that others read.
fn usable(url: &str, token: Result<Option<Secret>, String>, allow_http: bool) -> LedgerFound {
    let address =
        checked(url).ok_or_else(|| format!("its address is wrong (it is not shown); write {ADDRESS}"))?;
    if address.scheme() == "http" && !is_loopback(&address) && !allow_http {
        return Err(
            "its address is http, and others could read the token on the way; use https, or allow it with \
                    `ledger.allow_http: true`"
                .to_owned(),
        );
    }
    let token =
        token?.map(|token| Secret::new(token.reveal().trim())).filter(|token| !token.reveal().is_empty());
    let is_header = |token: &Secret| token.reveal().bytes().all(|byte| byte.is_ascii_graphic());
    if token.as_ref().is_some_and(|token| !is_header(token)) {
        return Err(
            "its token is none (it is not shown): it has spaces or signs that no token has".to_owned()
        );
    }
    Ok(Ledger { url: address.as_str().trim_end_matches('/').to_owned(), token })
}

/// An address that can be asked, and that tells no secret.
fn checked(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let is_plain = url.username().is_empty() && url.password().is_none();
    (is_plain && url.has_host() && url.query().is_none() && url.fragment().is_none()).then_some(url)
}

/// Whether it stays on this machine.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What the file says.
#[derive(Default)]
struct Written {
    /// Absent when it does not say; nothing in it where its variable is not set.
    url: Option<Option<String>>,
    token: Option<Result<Option<Secret>, String>>,
    allow_http: Option<bool>,
}

fn read_written(root: &Node, job: &Vars, problems: &mut Problems) -> Option<Written> {
    let section = Section::of(root, "", problems)?.get("ledger")?.section(problems)?;
    section.only(&["url", "token", "allow_http"], &[], problems);
    let allow_http = section.get("allow_http").and_then(|field| {
        let mut node = field.node.clone();
        fill(&mut node, &field.key, job, problems);
        Field { node: &node, key: field.key }.boolean(problems)
    });
    let url = section.get("url").map(|field| read_url(&field, job, allow_http == Some(true), problems));
    let token = section.get("token").and_then(|field| read_token(&field, job, problems));
    Some(Written { url, token, allow_http })
}

/// A variable that is not set is silence, as where no file names one. What is written out is checked at once.
fn read_url(field: &Field<'_>, job: &Vars, allow_http: bool, problems: &mut Problems) -> Option<String> {
    if let Value::Scalar(scalar) = &field.node.value
        && is_reference(&scalar.text)
    {
        return match fill_text(&scalar.text, job) {
            Ok(url) => Some(url.trim().to_owned()).filter(|url| !url.is_empty()),
            Err(Unfilled::Unset(_) | Unfilled::Malformed) => None,
        };
    }
    let text = field.text(problems)?;
    match checked(&text) {
        Some(url) if url.scheme() == "https" || is_loopback(&url) || allow_http => Some(text),
        Some(_) => {
            let problem = field.problem("is http, and others could read the token on the way");
            problems.add(problem.accepted(ADDRESS).suggest("https://…, or `allow_http: true` beside it"));
            None
        }
        None => {
            problems.add(field.problem("is no address of a ledger (it is not shown)").accepted(ADDRESS));
            None
        }
    }
}

/// `{ env: NAME }`, or `${NAME}`. The token of a ledger that was named is missed: whoever named it wants it.
fn read_token(
    field: &Field<'_>,
    job: &Vars,
    problems: &mut Problems,
) -> Option<Result<Option<Secret>, String>> {
    let name = match &field.node.value {
        Value::Map(_) => {
            let section = field.section(problems)?;
            section.only(&["env"], &[], problems);
            read_variable(field, &section, problems)?.name
        }
        Value::Scalar(scalar) if is_reference(&scalar.text) => {
            let filled = fill_text(&scalar.text, job).ok().filter(|text| !text.trim().is_empty());
            return Some(
                filled.map(|text| Some(Secret::new(text))).ok_or_else(|| "its token is not set".to_owned()),
            );
        }
        Value::Broken => return None,
        _ => {
            let problem = field.problem("has the wrong value (it is not shown)");
            problems.add(problem.accepted("{ env: NAME }: the token stands in a variable"));
            return None;
        }
    };
    Some(match job_values::value(job, &name) {
        Ok(Some(found)) => Ok(Some(found.value)),
        Ok(None) => Err(format!("its token is missing: `{name}` is not set in the job")),
        Err(why) => Err(format!("`{name}` {why}")),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Project as OnDisk;
    use super::super::{ConfigError, Inputs, audience, resolve};

    const CANARY: &str = "ffel_abcdefghijklmnopqrstuvwxyz";

    fn project(ledger: &str) -> OnDisk {
        let file = format!("{ledger}\ndeployments:\n  shop: {{type: docker-compose}}\n");
        OnDisk::new(&[("deployments.yaml", &file), ("docker-compose.yml", "services: {web: {image: x}}\n")])
    }

    fn inputs(project: &OnDisk, job: &[(&str, &str)]) -> Inputs {
        Inputs {
            environment: Some("dev".to_owned()),
            project_root: project.path().to_owned(),
            job: job.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..Inputs::default()
        }
    }

    fn found(ledger: &str, job: &[(&str, &str)]) -> Option<Result<(String, Option<String>), String>> {
        let project = project(ledger);
        let resolved = resolve(&inputs(&project, job)).map_err(|error| error.to_string()).unwrap();
        let found = audience(&inputs(&project, job)).ledger?;
        let token = found.as_ref().ok().and_then(|ledger| ledger.token.clone());
        if let Some(token) = &token {
            assert!(
                resolved.secrets.iter().any(|secret| secret.reveal() == token.reveal()),
                "it is kept out of texts"
            );
        }
        Some(found.map(|ledger| (ledger.url, token.map(|token| token.reveal().to_owned()))))
    }

    fn problems(ledger: &str) -> String {
        match resolve(&inputs(&project(ledger), &[])) {
            Err(error @ ConfigError::Invalid(_)) => error.to_string(),
            other => panic!("{:?}", other.err()),
        }
    }

    #[test]
    fn variables_are_enough_and_the_files_word_counts() {
        assert_eq!(found("", &[]), None);
        assert_eq!(found("", &[("FFE_LEDGER_URL", " ")]), None);
        let job = [
            ("FFE_LEDGER_URL", "https://ledger.example.com/"),
            ("FFE_LEDGER_TOKEN", "ffel_1234\n"),
            ("OTHER", CANARY),
        ];
        assert_eq!(
            found("", &job),
            Some(Ok(("https://ledger.example.com".to_owned(), Some("ffel_1234".to_owned()))))
        );
        let named = "ledger: { url: 'https://x.example/base/', token: { env: OTHER } }";
        assert_eq!(
            found(named, &job),
            Some(Ok(("https://x.example/base".to_owned(), Some(CANARY.to_owned()))))
        );
        let filled = "ledger: { url: '${WHERE}', token: '${OTHER}' }";
        assert_eq!(found(filled, &job), None, "a variable that is not set is silence");
        let open = "ledger: { url: 'http://127.0.0.1:8350' }";
        assert_eq!(found(open, &[]), Some(Ok(("http://127.0.0.1:8350".to_owned(), None))));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token").display().to_string();
        std::fs::write(&file, format!("{CANARY}\n")).unwrap();
        let job = [("FFE_LEDGER_URL", "http://[::1]:1"), ("FFE_LEDGER_TOKEN_FILE", &file)];
        assert_eq!(found("", &job), Some(Ok(("http://[::1]:1".to_owned(), Some(CANARY.to_owned())))));
    }

    #[test]
    fn what_a_variable_has_wrong_stops_nothing_and_is_said_without_it() {
        for (job, wanted) in [
            (vec![("FFE_LEDGER_URL", "ffel_canary")], "its address is wrong"),
            (vec![("FFE_LEDGER_URL", "https://u:canary@x.example")], "its address is wrong"),
            (vec![("FFE_LEDGER_URL", "http://10.0.0.1:8350")], "allow_http"),
            (
                vec![("FFE_LEDGER_URL", "https://x.example"), ("FFE_LEDGER_TOKEN", "two canary")],
                "its token is none",
            ),
        ] {
            let why = found("", &job).unwrap().unwrap_err();
            assert!(why.contains(wanted) && !why.contains("canary"), "{why}");
        }
        let named = "ledger: { url: 'https://x.example', token: { env: NOT_SET } }";
        assert!(found(named, &[]).unwrap().unwrap_err().contains("`NOT_SET` is not set"));
        let allowed = [("FFE_LEDGER_URL", "http://10.0.0.1:8350"), ("FFE_LEDGER_ALLOW_HTTP", "true")];
        assert!(found("", &allowed).unwrap().is_ok());
        assert!(found("ledger: { url: 'http://ledger:8350', allow_http: true }", &[]).unwrap().is_ok());
    }

    #[test]
    fn what_is_wrong_in_the_file_is_told_with_its_place() {
        for (ledger, wanted) in [
            ("ledger: { adress: x }", "`ledger.adress` is not a known key; accepted: url, token, allow_http"),
            (
                "ledger: { url: 'http://ledger.example.com' }",
                "`ledger.url` is http, and others could read the token",
            ),
            ("ledger: { url: 'ftp://x' }", "`ledger.url` is no address of a ledger"),
            ("ledger: { url: 'https://u:hunter22@x.example' }", "`ledger.url` is no address of a ledger"),
            ("ledger: [a]", "deployments.yaml:1:9: `ledger` has the wrong value; found: a list"),
            ("ledger: { url: 'https://x.example', token: hunter22 }", "is a secret written into a file"),
        ] {
            let told = problems(ledger);
            assert!(told.contains(wanted), "{wanted}\n--- is not in\n{told}");
            assert!(!told.contains("hunter22"), "{told}");
        }
    }
}
