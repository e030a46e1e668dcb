//! Who is told of an end besides the job's own log: `notify` of `deployments.yaml`, and the job's variables.

use crate::model::{AppName, EnvironmentName, NotifyOn};
use crate::text::Secret;

use super::Inputs;
use super::environment::{NamedVariable, read_variable};
use super::interpolate::{Unfilled, Vars, fill, fill_text, is_reference};
use super::job_values;
use super::ledger::{self, LedgerFound};
use super::reader::{Field, Problems, Section};
use super::select::{Project, default_name};
use super::yaml::{Node, Value};

/// Variables of the job that hold the address where no file names one; the first that is not empty counts.
const USUAL: [&str; 2] = ["SLACK_WEBHOOK", "SLACK_WEBHOOK_URL"];
const ON: [(&str, NotifyOn); 3] =
    [("all", NotifyOn::All), ("changes", NotifyOn::Changes), ("failures", NotifyOn::Failures)];
/// Shortest part of an address that is kept out of every text by itself; shorter ones are words.
const SHORTEST_PART: usize = 16;

/// A channel of Slack, by its incoming webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slack {
    /// The address: whoever knows it can write there. Not checked yet, and where it cannot be had, why: neither must stop
    /// a deployment.
    pub webhook: Result<Secret, String>,
    /// Which ends are told.
    pub on: NotifyOn,
}

impl Slack {
    /// Returns what must not be printed: the address, and what of it would be enough to guess it.
    pub fn secrets(&self) -> Vec<Secret> {
        let address = self.webhook.as_ref().map_or("", Secret::reveal);
        let path = address.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
        let token = address.rsplit('/').next();
        let parts = [path, token].into_iter().flatten().filter(|part| part.len() >= SHORTEST_PART);
        // What is no address at all may be a word (`true`), which would be taken out of every text.
        let whole = Some(address)
            .filter(|address| !address.is_empty())
            .filter(|address| address.len() >= SHORTEST_PART || address.contains("://"));
        whole.into_iter().chain(parts).map(Secret::new).collect()
    }
}

/// What is known of a job whose configuration may be wrong: enough to tell people of it.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    /// The app, when its name is beyond doubt.
    pub app: Option<AppName>,
    /// The environment, likewise.
    pub environment: Option<EnvironmentName>,
    /// Where its end is told.
    pub slack: Option<Slack>,
    /// The ledger that keeps its reports.
    pub ledger: Option<LedgerFound>,
}

impl Audience {
    /// Returns what must not be printed of all of them.
    pub fn secrets(&self) -> Vec<Secret> {
        self.slack.iter().flat_map(Slack::secrets).chain(ledger::secrets(self.ledger.as_ref())).collect()
    }
}

/// Returns whom to tell, whatever else is wrong with the configuration: [`super::resolve`] reports that.
pub fn audience(inputs: &Inputs) -> Audience {
    let mut problems = Problems::default();
    let Ok(project) = Project::load(inputs, &mut problems) else {
        let ledger = ledger::read(None, &inputs.job, &mut problems);
        return Audience { slack: read(None, &inputs.job, &mut problems), ledger, ..Audience::default() };
    };
    let environment = project.choose_environment(inputs, &mut problems).map(|(name, _)| name);
    let app = match (project.choose_app(inputs, &mut problems), &project.files.deployments.name) {
        (Some(entry), _) => entry.key.parse().ok(),
        (None, Some(_)) => None,
        (None, None) => inputs
            .app
            .clone()
            .or_else(|| inputs.said("APP"))
            .unwrap_or_else(|| default_name(&project.root))
            .parse()
            .ok(),
    };
    let slack = read(project.files.deployments.root.as_ref(), &inputs.job, &mut problems);
    let ledger = ledger::read(project.files.deployments.root.as_ref(), &inputs.job, &mut problems);
    Audience { app, environment, slack, ledger }
}

/// Reads `notify` of the file for apps. Nothing written, and no variable set: nobody is told.
pub(super) fn read(deployments: Option<&Node>, job: &Vars, problems: &mut Problems) -> Option<Slack> {
    let written = deployments.and_then(|root| read_notify(root, job, problems)).unwrap_or_default();
    let webhook = match written.webhook {
        Some(Webhook::Here(address)) => Some(address),
        Some(Webhook::Nowhere) => None,
        None => USUAL.iter().find_map(|name| address_in(name, job)),
    };
    Some(Slack { webhook: webhook?, on: written.on.unwrap_or_default() })
}

/// What a file says of Slack.
#[derive(Default)]
struct Written {
    /// Absent when the file does not say.
    webhook: Option<Webhook>,
    on: Option<NotifyOn>,
}

/// An address, or why its file could not be read.
type Address = Result<Secret, String>;

enum Webhook {
    /// Or why it is not.
    Here(Address),
    /// The variable that the file names is not set, or empty.
    Nowhere,
}

fn read_notify(root: &Node, job: &Vars, problems: &mut Problems) -> Option<Written> {
    let section = Section::of(root, "", problems)?.get("notify")?.section(problems)?;
    section.only(&["slack"], &["webhook", "email", "teams", "discord"], problems);
    let section = section.get("slack")?.section(problems)?;
    section.only(&["webhook", "on"], &[], problems);
    let webhook = section.get("webhook").map(|field| read_webhook(&field, job, problems));
    let on = section.get("on").and_then(|field| {
        let mut node = field.node.clone();
        fill(&mut node, &field.key, job, problems);
        Field { node: &node, key: field.key }.word(&ON, &[], problems)
    });
    Some(Written { webhook, on })
}

/// A variable by its name, or `${NAME}`. A variable that is not set is silence, as where no file names one: jobs of
/// forks have no secrets.
fn read_webhook(field: &Field<'_>, job: &Vars, problems: &mut Problems) -> Webhook {
    let address = match &field.node.value {
        Value::Map(_) => read_named(field, problems).and_then(|named| address_in(&named.name, job)),
        Value::Scalar(scalar) if is_reference(&scalar.text) => match fill_text(&scalar.text, job) {
            Ok(address) => {
                Some(address.trim()).filter(|address| !address.is_empty()).map(Secret::new).map(Ok)
            }
            Err(Unfilled::Unset(_) | Unfilled::Malformed) => None,
        },
        Value::Broken => None,
        _ => {
            let message = "has the wrong value (it is not shown)";
            problems.add(field.problem(message).accepted("{ env: NAME }: the address stands in a variable"));
            None
        }
    };
    address.map_or(Webhook::Nowhere, Webhook::Here)
}

fn read_named(field: &Field<'_>, problems: &mut Problems) -> Option<NamedVariable> {
    let section = field.section(problems)?;
    section.only(&["env"], &[], problems);
    read_variable(field, &section, problems)
}

/// In the variable, or in the file that `<NAME>_FILE` names. Secrets of GitHub often end in a line break.
fn address_in(name: &str, job: &Vars) -> Option<Address> {
    match job_values::value(job, name) {
        Ok(found) => {
            let address = Secret::new(found?.value.reveal().trim());
            Some(Ok(address)).filter(|address| address.as_ref().is_ok_and(|found| !found.reveal().is_empty()))
        }
        Err(why) => Some(Err(format!("the webhook `{name}` {why}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Project as OnDisk;
    use super::super::{ConfigError, resolve};
    use super::*;

    const ADDRESS: &str = "https://hooks.slack.com/services/T0/B0/abcdefghijklmnopqrstuvwx";

    fn project(notify: &str) -> OnDisk {
        let file = format!("{notify}\ndeployments:\n  shop: {{type: docker-compose}}\n");
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

    fn slack(notify: &str, job: &[(&str, &str)]) -> Option<(String, NotifyOn)> {
        let project = project(notify);
        resolve(&inputs(&project, job)).map_err(|error| error.to_string()).unwrap();
        let slack = audience(&inputs(&project, job)).slack?;
        Some((slack.webhook.unwrap().reveal().to_owned(), slack.on))
    }

    fn problems(notify: &str) -> String {
        match resolve(&inputs(&project(notify), &[])) {
            Err(error @ ConfigError::Invalid(_)) => error.to_string(),
            other => panic!("{:?}", other.err()),
        }
    }

    #[test]
    fn either_variable_is_enough_and_none_is_silence() {
        let all = Some((ADDRESS.to_owned(), NotifyOn::All));
        assert_eq!(slack("", &[("SLACK_WEBHOOK", ADDRESS)]), all);
        assert_eq!(slack("", &[("SLACK_WEBHOOK", ""), ("SLACK_WEBHOOK_URL", &format!(" {ADDRESS}\n"))]), all);
        assert_eq!(slack("", &[("SLACK_WEBHOOK", " \n")]), None);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("slack").display().to_string();
        std::fs::write(&file, format!("{ADDRESS}\n")).unwrap();
        for name in ["SLACK_WEBHOOK_FILE", "SLACK_WEBHOOK_URL_FILE"] {
            assert_eq!(slack("", &[(name, &file)]), all);
        }
        let named = "notify: { slack: { webhook: { env: OPS_SLACK } } }";
        assert_eq!(slack(named, &[("OPS_SLACK_FILE", &file)]), all);
        let project = project("");
        for job in [
            &[("SLACK_WEBHOOK_FILE", "/nonexistent/slack")][..],
            &[("SLACK_WEBHOOK", ADDRESS), ("SLACK_WEBHOOK_FILE", &file)],
        ] {
            let found = audience(&inputs(&project, job)).slack.unwrap();
            let why = found.webhook.clone().unwrap_err();
            assert!(why.starts_with("the webhook `SLACK_WEBHOOK` ") && !why.contains(ADDRESS), "{why}");
            assert!(
                resolve(&inputs(&project, job)).is_ok() && found.secrets().is_empty(),
                "it stops nothing"
            );
        }
        assert_eq!(slack("", &[]), None);
    }

    #[test]
    fn a_file_says_which_variable_and_which_ends() {
        let job = [("SLACK_WEBHOOK", "https://other.example/"), ("OPS_SLACK", ADDRESS)];
        let named = "notify: { slack: { webhook: { env: OPS_SLACK }, on: failures } }";
        assert_eq!(slack(named, &job), Some((ADDRESS.to_owned(), NotifyOn::Failures)));
        assert_eq!(slack(named, &job[..1]), None, "the file's word counts");
        let filled = "notify: { slack: { webhook: '${OPS_SLACK}', on: '${ON:-changes}' } }";
        assert_eq!(slack(filled, &job), Some((ADDRESS.to_owned(), NotifyOn::Changes)));
        assert_eq!(slack(filled, &job[..1]), None);
        let on = slack("notify: { slack: { on: failures } }", &job);
        assert_eq!(on, Some(("https://other.example/".to_owned(), NotifyOn::Failures)));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_never_shows_an_address() {
        for (notify, wanted) in [
            (
                "notify: { slak: {} }",
                "deployments.yaml:1:11: `notify.slak` is not a known key; accepted: slack; try: `slack`",
            ),
            ("notify: { email: {} }", "`notify.email` is not built yet"),
            ("notify: [a]", "deployments.yaml:1:9: `notify` has the wrong value; found: a list"),
            (
                "notify: { slack: { hook: 1 } }",
                "`notify.slack.hook` is not a known key; accepted: webhook, on",
            ),
            ("notify: { slack: { on: never } }", "found: `never`; accepted: all, changes, failures"),
            (
                &format!("notify: {{ slack: {{ webhook: '{ADDRESS}' }} }}"),
                "deployments.yaml:1:29: `notify.slack.webhook` is a secret written into a file (it is not shown)",
            ),
            (
                &format!("notify: {{ slack: {{ webhook: {{ env: '{ADDRESS}' }} }} }}"),
                "`notify.slack.webhook.env` has the wrong value; found: a value that is not shown",
            ),
            ("notify: { slack: { webhook: { } } }", "`notify.slack.webhook` has no `env`"),
            ("notify: { slack: { webhook: true } }", "`notify.slack.webhook` has the wrong value"),
        ] {
            let told = problems(notify);
            assert!(told.contains(wanted), "{wanted}\n--- is not in\n{told}");
            assert!(!told.contains("hooks.slack.com") && !told.contains("abcdefgh"), "{told}");
        }
    }

    #[test]
    fn an_address_is_kept_out_of_every_text_in_whole_and_in_part() {
        let slack = Slack { webhook: Ok(Secret::new(ADDRESS)), on: NotifyOn::All };
        let secrets = slack.secrets();
        let parts: Vec<&str> = secrets.iter().map(Secret::reveal).collect();
        assert_eq!(parts, [ADDRESS, "/services/T0/B0/abcdefghijklmnopqrstuvwx", "abcdefghijklmnopqrstuvwx"]);
        let short = Slack { webhook: Ok(Secret::new("http://127.0.0.1:1/hook")), on: NotifyOn::All };
        assert_eq!(short.secrets().len(), 1);
        let job = [("SLACK_WEBHOOK", ADDRESS)];
        let resolved = resolve(&inputs(&project(""), &job)).unwrap();
        assert!(resolved.secrets.iter().any(|secret| secret.reveal() == ADDRESS));
    }

    #[test]
    fn whom_to_tell_is_known_even_when_the_configuration_is_wrong() {
        let project = project("notify: { slack: { on: changes, typo: 1 } }");
        let found = audience(&inputs(&project, &[("SLACK_WEBHOOK", ADDRESS)]));
        assert_eq!(found.app.map(|name| name.to_string()).as_deref(), Some("shop"));
        assert_eq!(found.environment.map(|name| name.to_string()).as_deref(), Some("dev"));
        assert_eq!(found.slack.map(|slack| slack.on), Some(NotifyOn::Changes));
    }
}
