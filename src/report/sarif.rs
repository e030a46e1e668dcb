//! What `validate` found as SARIF 2.1.0, the form that code scanning reads (`--output sarif`).
//!
//! Enter by [`of_findings`], or by [`of_failures`] when there was nothing to look at. What is as wanted is left out: code
//! scanning shows what is wrong, and takes away what it no longer hears of. Each result has a place, because GitHub drops
//! those without; what is about no file stands at the file that [`About::stand_in`] names.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::github::Sources;
use crate::model::rules::{self, Group, Rule};
use crate::model::{
    AppName, EnvironmentName, Exit, FailureReport, Finding, Outcome, Place, Profile, Severity,
};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");
/// What stays as it is in the path of a relative reference (RFC 3986, 3.3).
const NOT_IN_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b':');

/// What a document is about, besides what was found.
pub struct About<'a> {
    /// The app, as far as it is known.
    pub app: Option<&'a AppName>,
    /// The environment, as far as it is known.
    pub environment: Option<&'a EnvironmentName>,
    /// Where files are in the checkout.
    pub sources: &'a Sources,
    /// Directory from which findings name files; absent: the project's root.
    pub app_dir: Option<&'a std::path::Path>,
    /// File, from the project's root, at which stands what is about no file.
    pub stand_in: String,
    /// How the run ended.
    pub exit: Exit,
}

/// One result, before it is one.
struct Told {
    rule: String,
    severity: Severity,
    message: String,
    hint: Option<String>,
    place: Option<Place>,
    /// What it is about, where a message alone would not tell two apart.
    subject: String,
    /// Why it does not count, when the configuration says so.
    reason: Option<String>,
}

/// Returns the document of what was found.
pub fn of_findings(findings: &[Finding], about: &About<'_>) -> Value {
    let wrong = findings.iter().filter(|finding| finding.severity != Severity::Passed);
    let told = wrong.map(|finding| Told {
        rule: finding.rule.clone(),
        severity: finding.silenced.as_ref().map_or(finding.severity, |silenced| silenced.was),
        reason: finding.silenced.as_ref().map(|silenced| silenced.reason.clone()),
        message: finding.message.clone(),
        hint: finding.hint.clone(),
        place: finding.place.as_ref().and_then(|place| about.sources.in_checkout(place, about.app_dir)),
        subject: finding.details.get("service").cloned().unwrap_or_default(),
    });
    document(told.collect(), None, about)
}

/// Returns the document of a run that ended before anything was found: problems of the configuration and refusals are
/// results, each at its place; that a host could not be reached is told of the run.
pub fn of_failures(failures: &[FailureReport], outcome: Outcome, about: &About<'_>) -> Value {
    if !matches!(outcome, Outcome::Invalid | Outcome::Refused) {
        return document(Vec::new(), Some(failures), about);
    }
    document(failures.iter().flat_map(|failure| of_failure(failure, about)).collect(), None, about)
}

/// One for each thing that a failure is about; else one.
fn of_failure(failure: &FailureReport, about: &About<'_>) -> Vec<Told> {
    let told = |message: &str, place: Option<Place>| Told {
        rule: failure.code.clone(),
        severity: Severity::Error,
        message: message.to_owned(),
        hint: failure.hint.clone(),
        place,
        subject: String::new(),
        reason: None,
    };
    if failure.particulars.is_empty() {
        return vec![told(&failure.message, None)];
    }
    // The configuration names its files from the project's root, a rule the app's files from the app's directory.
    let app_dir = about.app_dir.filter(|_| rules::find(&failure.code).is_some());
    let each = failure.particulars.iter().map(|particular| {
        let place = particular.place.as_ref().and_then(|place| about.sources.in_checkout(place, app_dir));
        told(&particular.message, place)
    });
    each.collect()
}

fn document(told: Vec<Told>, failures: Option<&[FailureReport]>, about: &About<'_>) -> Value {
    let mut ids: Vec<&str> = told.iter().map(|told| told.rule.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut seen = BTreeMap::new();
    let results: Vec<Value> = told.iter().map(|told| result(told, &ids, &mut seen, about)).collect();
    let mut invocation = json!({ "executionSuccessful": failures.is_none(), "exitCode": about.exit.code() });
    if let Some(failures) = failures {
        let notifications = failures.iter().map(|failure| {
            json!({
                "descriptor": { "id": failure.code },
                "level": "error",
                "message": { "text": with_hint(&failure.message, failure.hint.as_deref()) },
            })
        });
        invocation["toolExecutionNotifications"] = notifications.collect();
    }
    let name = |name: Option<&str>| name.unwrap_or("unknown").to_owned();
    let category = format!(
        "ffe-deploy/{}/{}/",
        name(about.app.map(AppName::as_str)),
        name(about.environment.map(EnvironmentName::as_str))
    );
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "ffe-deploy",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "informationUri": REPOSITORY,
                "rules": ids.iter().map(|id| descriptor(id)).collect::<Vec<_>>(),
            } },
            "automationDetails": { "id": category },
            "columnKind": "unicodeCodePoints",
            "invocations": [invocation],
            "results": results,
        }],
    })
}

fn descriptor(id: &str) -> Value {
    let Some(rule) = rules::find(id) else {
        let words = "what a command says and the configuration holds is as it must be";
        return json!({
            "id": id,
            "shortDescription": { "text": words },
            "helpUri": format!("{REPOSITORY}/blob/main/docs/configuration.md"),
            "defaultConfiguration": { "level": "error" },
        });
    };
    let url = rule.url();
    let markdown = format!(
        "{}\n\n**Why it matters:** {}\n\n**What to do:** {}\n\n[{id}]({url})",
        rule.looks_at, rule.why, rule.mend
    );
    json!({
        "id": id,
        "shortDescription": { "text": rule.title },
        "fullDescription": { "text": rule.why },
        "help": { "text": rule.mend, "markdown": markdown },
        "helpUri": url,
        "defaultConfiguration": { "level": usual_level(rule) },
        "properties": { "tags": tags(rule) },
    })
}

fn usual_level(rule: &Rule) -> &'static str {
    let severity = rule.weight.in_profile(Profile::Production).unwrap_or(Severity::Warning);
    level(severity)
}

fn tags(rule: &Rule) -> Vec<&'static str> {
    let is_security = matches!(rule.group, Group::Image | Group::Secrets);
    std::iter::once(rule.group.as_str()).chain(is_security.then_some("security")).collect()
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Passed | Severity::Silenced => "none",
    }
}

fn result(told: &Told, ids: &[&str], seen: &mut BTreeMap<String, u32>, about: &About<'_>) -> Value {
    let stand_in = || Place { file: about.stand_in.clone(), line: None, column: None };
    let place =
        told.place.clone().or_else(|| about.sources.in_checkout(&stand_in(), None)).unwrap_or_else(stand_in);
    let mut region = json!({ "startLine": place.line.unwrap_or(1) });
    if let (Some(_), Some(column)) = (place.line, place.column) {
        region["startColumn"] = column.into();
    }
    let uri = utf8_percent_encode(&place.file, NOT_IN_PATHS).to_string();
    let mut result = json!({
        "ruleId": told.rule,
        "ruleIndex": ids.iter().position(|id| *id == told.rule),
        "level": level(told.severity),
        "message": { "text": with_hint(&told.message, told.hint.as_deref()) },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": uri, "uriBaseId": "%SRCROOT%" },
            "region": region,
        } }],
        "partialFingerprints": { "primaryLocationLineHash": fingerprint(told, &place.file, seen) },
    });
    if let Some(reason) = &told.reason {
        result["suppressions"] =
            json!([{ "kind": "external", "status": "accepted", "justification": reason }]);
    }
    result
}

/// What stays the same when lines move or figures change, so that an alert stays the same alert; alike ones are counted.
fn fingerprint(told: &Told, file: &str, seen: &mut BTreeMap<String, u32>) -> String {
    let mut hash = Sha256::new();
    let message: String = told.message.chars().filter(|c| !c.is_ascii_digit()).collect();
    for part in [told.rule.as_str(), file, &told.subject, &message] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let hash = hex::encode(hash.finalize())[..16].to_owned();
    let count = seen.entry(hash.clone()).and_modify(|count| *count += 1).or_insert(1);
    format!("{hash}:{count}")
}

fn with_hint(message: &str, hint: Option<&str>) -> String {
    hint.map_or_else(|| message.to_owned(), |hint| format!("{message}\nNext: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ErrorKind, Particular};

    fn validator() -> jsonschema::Validator {
        let text = include_str!("../../tests/fixtures/sarif-schema-2.1.0.json");
        // One of its patterns is none, by a bracket too many; its errata say what is meant.
        let (wrong, right) = ("^[a-zA-Z]{2}|^[a-zA-Z]{2}-[a-zA-Z]{2}]?$", "^[a-zA-Z]{2}(-[a-zA-Z]{2})?$");
        let schema: Value = serde_json::from_str(&text.replace(wrong, right)).unwrap();
        jsonschema::validator_for(&schema).unwrap()
    }

    fn valid(document: &Value) {
        let problems: Vec<_> = validator()
            .iter_errors(document)
            .map(|error| format!("{error} at {}", error.instance_path()))
            .collect();
        assert!(problems.is_empty(), "{problems:#?}");
    }

    fn sources() -> Sources {
        Sources { workspace: Some("/w".into()), project_root: "/w/shops/one".into() }
    }

    fn about<'a>(sources: &'a Sources, names: &'a (AppName, EnvironmentName)) -> About<'a> {
        About {
            app: Some(&names.0),
            environment: Some(&names.1),
            sources,
            app_dir: Some("/w/shops/one/app".as_ref()),
            stand_in: "deploy/deployments.yaml".to_owned(),
            exit: Exit::Refused,
        }
    }

    fn names() -> (AppName, EnvironmentName) {
        ("shop".parse().unwrap(), "production".parse().unwrap())
    }

    fn place(file: &str) -> Place {
        Place { file: file.into(), line: Some(3), column: Some(5) }
    }

    #[test]
    fn findings_are_results_at_their_place_with_the_rules_that_they_are_of() {
        let (sources, names) = (sources(), names());
        let findings = [
            Finding::error("image.user", "service `web` is root", "put USER").at(Some(place("web/my file"))),
            Finding::warning("host.disk", "8.1 GB are free", "make room"),
            Finding::passed("docker.running", "it runs"),
        ];
        let told = of_findings(&findings, &about(&sources, &names));
        valid(&told);
        let run = &told["runs"][0];
        assert_eq!(run["automationDetails"]["id"], "ffe-deploy/shop/production/");
        assert_eq!(run["invocations"][0]["exitCode"], 3);
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), 2, "what passed is left out");
        let location = |at: usize| &results[at]["locations"][0]["physicalLocation"];
        assert_eq!(location(0)["artifactLocation"]["uri"], "shops/one/app/web/my%20file");
        assert_eq!(location(0)["region"], json!({"startLine": 3, "startColumn": 5}));
        assert_eq!(location(1)["artifactLocation"]["uri"], "shops/one/deploy/deployments.yaml");
        assert_eq!(results[0]["level"], "error");
        assert_eq!(results[0]["message"]["text"], "service `web` is root\nNext: put USER");
        for result in results {
            let rule = &run["tool"]["driver"]["rules"]
                [usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
            assert_eq!(rule["id"], result["ruleId"]);
            let page = format!("/docs/rules/{}.md", rule["id"].as_str().unwrap());
            assert!(rule["helpUri"].as_str().unwrap().ends_with(&page));
        }
    }

    #[test]
    fn what_is_silenced_is_suppressed_with_its_reason() {
        let (sources, names) = (sources(), names());
        let reasons = BTreeMap::from([("host.disk".to_owned(), "it is small on purpose".to_owned())]);
        let finding = Finding::warning("host.disk", "8.1 GB are free", "x").silenced_by(&reasons);
        let told = of_findings(&[finding], &about(&sources, &names));
        valid(&told);
        let result = &told["runs"][0]["results"][0];
        assert_eq!(result["level"], "warning");
        assert_eq!(result["suppressions"][0]["justification"], "it is small on purpose");
    }

    #[test]
    fn fingerprints_outlive_figures_and_lines_and_tell_alike_ones_apart() {
        let (sources, names) = (sources(), names());
        let prints = |findings: &[Finding]| -> Vec<String> {
            let told = of_findings(findings, &about(&sources, &names));
            valid(&told);
            let print = |result: &Value| result["partialFingerprints"]["primaryLocationLineHash"].to_string();
            told["runs"][0]["results"].as_array().unwrap().iter().map(print).collect()
        };
        let disk = |free: &str| Finding::warning("host.disk", format!("{free} GB are free"), "x");
        assert_eq!(prints(&[disk("8.1")]), prints(&[disk("17.25")]));
        let twice = prints(&[disk("8.1"), disk("8.1")]);
        assert_ne!(twice[0], twice[1]);
        let of = |service: &str| disk("1").detail("service", service);
        assert_ne!(prints(&[of("a")]), prints(&[of("b")]));
    }

    #[test]
    fn problems_of_the_configuration_are_results_and_a_host_that_is_away_is_told_of_the_run() {
        let (sources, names) = (sources(), names());
        let about = About { exit: Exit::Invalid, ..about(&sources, &names) };
        let failure = FailureReport::new(ErrorKind::ConfigurationError, "config.invalid", "2 problems")
            .about([
                Particular { message: "`a` is no".into(), place: Some(place("deploy/deployments.yaml")) },
                Particular { message: "`--host` is empty".into(), place: None },
            ]);
        let told = of_failures(&[failure.hint("correct it")], Outcome::Invalid, &about);
        valid(&told);
        let results = told["runs"][0]["results"].as_array().unwrap();
        assert_eq!(results.len(), 2);
        let at =
            |result: &Value| result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].clone();
        assert_eq!(
            [at(&results[0]), at(&results[1])],
            ["shops/one/deploy/deployments.yaml"; 2].map(Value::from)
        );
        assert_eq!(results[0]["ruleId"], "config.invalid");

        let away =
            FailureReport::new(ErrorKind::DeploymentError, "ssh.refused", "no connection").hint("look");
        let told = of_failures(&[away], Outcome::Unreachable, &about);
        valid(&told);
        let run = &told["runs"][0];
        assert_eq!(run["results"], json!([]));
        assert_eq!(run["invocations"][0]["executionSuccessful"], false);
        assert_eq!(
            run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"],
            "no connection\nNext: look"
        );
    }

    #[test]
    fn a_finding_of_every_rule_is_valid() {
        let (sources, names) = (sources(), names());
        let findings: Vec<Finding> =
            rules::all().map(|rule| Finding::error(rule.id, "found", "do").at(Some(place("x")))).collect();
        valid(&of_findings(&findings, &about(&sources, &names)));
    }
}
