//! What Slack is told of an end: a message of Block Kit, with its text for notifications and old clients.

use serde_json::{Value, json};

use super::super::story::End;
use super::super::{summary, words};
use super::text::{link, literal, literal_lines};
use crate::model::{CheckResult, Outcome, RecoveredDeployment, Requester};

/// Slack's own limits, in characters: of a header, of the text of a section, of one of its fields.
const HEADER: usize = 150;
const SECTION: usize = 3_000;
const FIELD: usize = 2_000;
/// Longest text for notifications; Slack cuts it at 40,000, people read less.
const FALLBACK: usize = 1_000;
/// Longest single problem, and most of them: what fits a section, whatever is escaped.
const PROBLEM: usize = 800;
const PROBLEMS: usize = 3;

/// The end of a run, as far as a channel is told.
pub struct Ended<'a> {
    /// How it ended.
    pub end: &'a End,
    /// The checks that failed and count, of the release that was asked for.
    pub failed_checks: Vec<&'a CheckResult>,
    /// What `recover` has ended; its end is the one that counts.
    pub recovered: Option<&'a RecoveredDeployment>,
    /// Who asked, and where the run can be read.
    pub requester: &'a Requester,
}

/// Returns the message.
pub fn message(ended: &Ended<'_>) -> Value {
    let result = &ended.end.result;
    let outcome = ended.recovered.map_or(result.outcome, |recovered| recovered.outcome);
    let title = format!("{} {}", mark(outcome), title(ended));
    let mut blocks = vec![
        json!({ "type": "header", "text": { "type": "plain_text", "emoji": false, "text": literal(&title, HEADER) } }),
        section(&literal(&meaning(ended), SECTION)),
        json!({ "type": "section", "fields": fields(ended) }),
    ];
    blocks.extend(problems(ended).map(|text| section(&text)));
    blocks.extend(
        result
            .next_step
            .as_deref()
            .map(|step| section(&format!("*Next*\n{}", literal_lines(step, SECTION - 10)))),
    );
    blocks.push(json!({ "type": "context", "elements": [markdown(&footer(ended))] }));
    json!({
        "text": literal(&format!("{title}. {}", meaning(ended)), FALLBACK),
        "mrkdwn": false,
        "unfurl_links": false,
        "unfurl_media": false,
        "blocks": blocks,
    })
}

/// One sign for each kind of end, so that a channel can be read from far away: only what was achieved is green.
fn mark(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded | Outcome::Planned => "✅",
        Outcome::RolledBack | Outcome::Aborted => "⚠️",
        Outcome::Failed | Outcome::Lost => "🔴",
        Outcome::Invalid | Outcome::Refused | Outcome::Busy | Outcome::Unreachable => "⛔",
        Outcome::Cancelled => "⏹️",
    }
}

/// The end in a few words. The outcome stands before everything that is not ours, so that no cut can take it away.
fn title(ended: &Ended<'_>) -> String {
    let result = &ended.end.result;
    let word = match (result.outcome, result.changed) {
        (Outcome::Succeeded, _) if ended.recovered.is_some() => "RECOVERED",
        (Outcome::Succeeded, true) => "Succeeded",
        (Outcome::Succeeded, false) => "Nothing changed",
        (Outcome::Planned, _) => "Planned, not applied",
        (Outcome::RolledBack, _) => "FAILED and rolled back",
        (Outcome::Failed, _) => "FAILED, someone must look",
        (Outcome::Invalid | Outcome::Busy | Outcome::Unreachable, _) => "NOT STARTED",
        (Outcome::Refused, _) => "REFUSED, nothing was touched",
        (Outcome::Aborted, _) => "STOPPED before the switch",
        (Outcome::Cancelled, _) => "CANCELLED",
        (Outcome::Lost, _) => "OUT OF SIGHT, still going on",
    };
    let version = result.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let app = result.app.as_ref().map(|app| format!(" of {app}")).unwrap_or_default();
    let place = result.environment.as_ref();
    let place = place.map(|name| format!(" {} {name}", summary::preposition(&result.verb)));
    format!("{word}: {}{app}{version}{}", result.verb, place.unwrap_or_default())
}

/// What the end means for what runs now.
fn meaning(ended: &Ended<'_>) -> String {
    let result = &ended.end.result;
    if let Some(RecoveredDeployment { deployment_id, outcome }) = ended.recovered {
        let meaning = words::meaning(*outcome);
        return format!("{deployment_id} had been left unfinished. It is ended now: {outcome}: {meaning}.");
    }
    match (result.outcome, &result.version, &result.previous_version) {
        (Outcome::RolledBack, Some(failed), Some(before)) if failed != before => {
            format!("{failed} failed and is not live. {before} is back and verified.")
        }
        (Outcome::Cancelled, ..) if ended.end.is_final => {
            let cause = result.errors.first().map(|failure| failure.message.as_str());
            cause.unwrap_or("cancelled").to_owned()
        }
        _ => summary::meaning(result).to_owned(),
    }
}

fn fields(ended: &Ended<'_>) -> Vec<Value> {
    let result = &ended.end.result;
    let unknown = || "unknown".to_owned();
    let name = |name: Option<String>| name.unwrap_or_else(unknown);
    let before = result.previous_version.as_ref().filter(|before| Some(*before) != result.version.as_ref());
    let before = before.map(|before| format!(" (before: {before})")).unwrap_or_default();
    let version = result.version.as_ref().or(result.previous_version.as_ref());
    let facts = [
        ("App", name(result.app.as_ref().map(ToString::to_string))),
        ("Environment", name(result.environment.as_ref().map(ToString::to_string))),
        ("Version", version.map_or_else(|| "none".to_owned(), |version| format!("{version}{before}"))),
        ("Outcome", format!("{} (exit {})", result.outcome, result.exit_code)),
        ("Took", words::duration(summary::time_taken(result))),
        ("By", ended.requester.who.clone()),
    ];
    facts.iter().map(|(name, value)| markdown(&headed(name, value, FIELD))).collect()
}

/// What went wrong, the check that failed first.
fn problems(ended: &Ended<'_>) -> Option<String> {
    let check = ended.failed_checks.first().map(|check| {
        let waited = words::duration_ms(check.waited_ms);
        let asked = format!("{}, asked {} times in {waited}", check.asked, check.attempts);
        format!("check {} failed: {} ({asked})", check.name, check.detail)
    });
    let errors =
        ended.end.result.errors.iter().map(|failure| format!("{} ({})", failure.message, failure.code));
    // A hook that stopped or failed the deployment is an error already.
    let is_told = ended.end.result.errors.iter().any(|failure| failure.code.starts_with("hook."));
    let hooks = ended.end.result.hooks.iter().filter(|hook| hook.has_failed() && !is_told);
    let hooks = hooks.map(|hook| {
        let why = hook.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        format!("{} hook {} {}{why}", hook.kind, hook.hook, hook.outcome.words())
    });
    let told: Vec<String> = check.into_iter().chain(errors).chain(hooks).take(PROBLEMS).collect();
    let lines: Vec<String> = told.iter().map(|text| format!("• {}", literal_lines(text, PROBLEM))).collect();
    (!lines.is_empty()).then(|| format!("*What went wrong*\n{}", lines.join("\n")))
}

fn footer(ended: &Ended<'_>) -> String {
    let run = ended.requester.run_url.as_deref().and_then(|address| link(address, "Open the run"));
    let id = literal(ended.end.result.deployment_id.as_str(), 200);
    run.map(|run| format!("{run} · {id}")).unwrap_or(id)
}

/// A word of ours above a text of others.
fn headed(heading: &str, text: &str, longest: usize) -> String {
    format!("*{heading}*\n{}", literal(text, longest - heading.len() - 3))
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": markdown(text) })
}

/// Text in which only what is ours is a link or a mention: `verbatim` keeps Slack from looking for others.
fn markdown(text: &str) -> Value {
    json!({ "type": "mrkdwn", "verbatim": true, "text": text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{DeploymentResult, examples};
    use crate::model::{ErrorKind, FailureReport};
    use crate::report::hostile::block_kit::seen;

    /// The example was rolled back; this is another end of it.
    fn result(outcome: Outcome, changed: bool) -> DeploymentResult {
        let rolled_back = outcome == Outcome::RolledBack;
        let example = examples::result();
        let errors = match outcome {
            Outcome::Succeeded | Outcome::Planned => Vec::new(),
            Outcome::RolledBack | Outcome::Failed => example.errors.clone(),
            _ => vec![FailureReport::new(ErrorKind::DeploymentError, "some.code", "the reason")],
        };
        DeploymentResult {
            outcome,
            status: outcome.status(),
            exit_code: outcome.exit().code(),
            changed,
            checks: if rolled_back { example.checks.clone() } else { Vec::new() },
            next_step: example.next_step.clone().filter(|_| !errors.is_empty()),
            errors,
            ..example
        }
    }

    fn requester() -> Requester {
        let run_url = Some("https://github.com/acme/shop/actions/runs/42".to_owned());
        Requester { who: "octocat".to_owned(), run_url }
    }

    fn told(result: DeploymentResult, is_final: bool) -> Value {
        told_by(result, is_final, None, &requester())
    }

    fn told_by(
        result: DeploymentResult,
        is_final: bool,
        recovered: Option<&RecoveredDeployment>,
        requester: &Requester,
    ) -> Value {
        let failed_checks = result.checks.clone();
        let end = End { is_final, result };
        message(&Ended { end: &end, failed_checks: failed_checks.iter().collect(), recovered, requester })
    }

    #[test]
    fn a_rollback_says_what_failed_what_is_back_and_what_to_do() {
        assert_eq!(
            seen(&told(result(Outcome::RolledBack, true), true)),
            "⚠️ FAILED and rolled back: deploy of shop 1.2.0 to production
1.2.0 failed and is not live. 1.1.0 is back and verified.
*App* shop
*Environment* production
*Version* 1.2.0 (before: 1.1.0)
*Outcome* rolled_back (exit 4)
*Took* 1 min 23 s
*By* octocat
*What went wrong* • check backend failed: connection refused (GET http://localhost:8000/health, asked 24 times in 1 min 00 s)
• `backend` did not become healthy within 60 s: connection refused (health.unhealthy)
*Next* run `ffe-deploy logs production backend`, mend it, and deploy again
<https://github.com/acme/shop/actions/runs/42|Open the run> · deploy-20261121064000-1b9d6bcd"
        );
    }

    #[test]
    fn every_outcome_has_words_that_cannot_be_taken_for_another() {
        use Outcome as O;
        let already = "it already ran and is healthy; nothing was changed";
        for (outcome, changed, is_final, title, means) in [
            (O::Succeeded, true, true, "✅ Succeeded", "the release is verified and current"),
            (O::Succeeded, false, true, "✅ Nothing changed", already),
            (O::Invalid, false, true, "⛔ NOT STARTED", "nothing was touched"),
            (O::Refused, false, true, "⛔ REFUSED, nothing was touched", "before anything was touched"),
            (O::RolledBack, true, true, "⚠️ FAILED and rolled back", "1.1.0 is back and verified"),
            (O::Failed, true, true, "🔴 FAILED, someone must look", "nothing could be put back"),
            (O::Busy, false, true, "⛔ NOT STARTED", "another deployment of this app and environment"),
            (O::Unreachable, false, true, "⛔ NOT STARTED", "could not be reached; nothing was touched"),
            (O::Cancelled, false, false, "⏹️ CANCELLED", "goes back to the previous release by itself"),
            (O::Cancelled, false, true, "⏹️ CANCELLED", "the reason"),
            (O::Aborted, false, true, "⚠️ STOPPED before the switch", "running release was not touched"),
            (O::Lost, false, false, "🔴 OUT OF SIGHT, still going on", "the host goes on by itself"),
        ] {
            let message = told(result(outcome, changed), is_final);
            let text = seen(&message);
            let mut lines = text.lines();
            assert_eq!(lines.next().unwrap(), format!("{title}: deploy of shop 1.2.0 to production"));
            assert!(lines.next().unwrap().contains(means), "{text}");
            assert!(
                text.contains(&format!("*Outcome* {outcome} (exit {})", outcome.exit().code())),
                "{text}"
            );
            assert!(message["text"].as_str().unwrap().starts_with(title), "{message}");
            let is_good = outcome == O::Succeeded;
            assert_eq!(text.contains('✅'), is_good, "{text}");
            assert_eq!(text.to_lowercase().contains("succe"), is_good, "{text}");
            assert_eq!(text.contains("*Next*"), !is_good, "{text}");
        }
    }

    #[test]
    fn what_was_recovered_is_told_by_how_that_ended() {
        let result =
            DeploymentResult { verb: "recover".into(), version: None, ..result(Outcome::Succeeded, true) };
        let id = "deploy-20261120230000-0c0ffee0".parse().unwrap();
        let recovered = RecoveredDeployment { deployment_id: id, outcome: Outcome::RolledBack };
        let text = seen(&told_by(result, true, Some(&recovered), &requester()));
        assert!(text.starts_with("⚠️ RECOVERED: recover of shop in production\n"), "{text}");
        assert!(text.contains("It is ended now: rolled_back: the new release failed"), "{text}");
    }

    #[test]
    fn a_run_of_which_nothing_is_known_is_told_all_the_same() {
        let result = DeploymentResult {
            app: None,
            environment: None,
            version: None,
            previous_version: None,
            duration_seconds: f64::NAN,
            ..result(Outcome::Invalid, false)
        };
        let requester = Requester { who: String::new(), run_url: None };
        let text = seen(&told_by(result, true, None, &requester));
        assert!(text.starts_with("⛔ NOT STARTED: deploy\n"), "{text}");
        for fact in ["*App* unknown", "*Version* none", "*By* -", "*Took* 0 ms"] {
            assert!(text.contains(fact), "{fact}: {text}");
        }
    }
}
