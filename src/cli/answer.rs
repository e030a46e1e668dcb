//! Verbs that look: their answers on stdout, as tables or as JSON.

use std::io::Write;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::args::{ConfigArgs, Output};
use super::github::{Front, Github};
use super::init::Initialised;
use super::order::Wish;
use super::surroundings::Surroundings;
use crate::agent::protocol::Reply;
use crate::config::{self, Inputs};
use crate::event::{DeploymentResult, PlanAnswer};
use crate::model::{
    Action, DeploymentId, ErrorKind, Exit, FailureReport, Finding, FollowAnswer, HealthAnswer, HistoryEntry,
    Outcome, Overall, RecoverAnswer, RecoveredDeployment, ValidateAnswer,
};
use crate::remote::session::{Message, Session, SessionError};
use crate::remote::{self, Agents, How, Remote, RemoteError, Settings};
use crate::report::story::PrunedTold;
use crate::report::{found as table, human, json};
use crate::text::Redactor;

/// Looks at the target, and prints what is there.
pub(super) async fn look(wish: Wish) -> Exit {
    let surroundings = Surroundings::of_process();
    let config = &wish.reach.config;
    let front = match wish.action {
        Action::Logs(_) => Front::Stderr,
        _ => Front::beside(config.log.output),
    };
    let github = Github::of(&surroundings, front, &config.project_root);
    match ask(&wish, &surroundings, github.as_ref()).await {
        Ok(exit) => {
            if let Some(github) = &github {
                if exit != Exit::Done {
                    github.failed(wish.action.verb(), &unhealthy());
                }
                github.ended(exit);
            }
            exit
        }
        Err((exit, failure)) => fail(wish.action.verb(), &failure, exit, github.as_ref()),
    }
}

/// Adds what the runner found itself to the host's answer to `validate`.
pub(super) fn with_findings(answer: Value, own: Vec<Finding>) -> Value {
    let Ok(mut found) = serde_json::from_value::<ValidateAnswer>(answer.clone()) else { return answer };
    found.findings.extend(own);
    serde_json::to_value(ValidateAnswer::of(found.findings)).unwrap_or(answer)
}

async fn ask(
    wish: &Wish,
    surroundings: &Surroundings,
    github: Option<&Github>,
) -> Result<Exit, (Exit, FailureReport)> {
    let (remote, mut session) = asked(wish, surroundings, github).await?;
    let exit = listen(&mut session, wish).await?;
    session.ended().await;
    remote.close().await;
    Ok(exit)
}

/// Returns the history of the host, newest first.
///
/// # Errors
/// It cannot be had, and why.
pub(super) async fn history(
    wish: &Wish,
    surroundings: &Surroundings,
    github: Option<&Github>,
) -> Result<Vec<HistoryEntry>, (Exit, FailureReport)> {
    let (remote, mut session) = asked(wish, surroundings, github).await?;
    let entries = loop {
        match session.next().await {
            Message::Reply(reply) => match *reply {
                Reply::Answer { answer } => break typed(&answer).unwrap_or_default(),
                Reply::Refused { outcome, failure } => return Err((outcome.exit(), failure)),
                _ => {}
            },
            Message::End => return Err((Exit::Unreachable, session.lost().await.report())),
            Message::Event(_) | Message::Noise(_) => {}
        }
    };
    session.ended().await;
    remote.close().await;
    Ok(entries)
}

/// Reaches the target, and asks it.
async fn asked(
    wish: &Wish,
    surroundings: &Surroundings,
    github: Option<&Github>,
) -> Result<(Remote, Session), (Exit, FailureReport)> {
    let resolved = wish.resolve(surroundings).await.map_err(|error| (error.exit(), error.report()))?;
    let redactor = Redactor::new(resolved.secrets.iter().map(crate::text::Secret::reveal));
    github.iter().for_each(|github| github.mask_on_stderr(&redactor));
    let ids = (DeploymentId::generate(), surroundings.correlation_id());
    let job = wish.job(&resolved, ids, surroundings);
    let unreachable = |error: RemoteError| (error.outcome().exit(), error.report());
    let agents = Agents::found().map_err(unreachable)?;
    let mut remote = remote::connect(&resolved.target, Settings::new(agents)).await.map_err(unreachable)?;
    let channel = remote.attach().await.map_err(unreachable)?;
    let lost = |error: SessionError| (Exit::Unreachable, error.report());
    let mut session = Session::open(channel, redactor).await.map_err(lost)?;
    session.send_job(&job).await.map_err(lost)?;
    Ok((remote, session))
}

async fn listen(session: &mut Session, wish: &Wish) -> Result<Exit, (Exit, FailureReport)> {
    let output = wish.reach.config.log.output;
    // Lines that go on for ever are no document: with `--follow` they are printed as they come.
    let ends = matches!(&wish.action, Action::Logs(query) if !query.follow);
    let mut kept = (ends && output == Output::Json).then(Vec::new);
    loop {
        match session.next().await {
            Message::Reply(reply) => match *reply {
                Reply::Line { text } if kept.is_some() => {
                    kept.iter_mut().for_each(|kept| kept.push(text.clone()))
                }
                Reply::Answer { answer } => {
                    return Ok(show(wish, &answer, output));
                }
                Reply::Line { text } if writeln!(std::io::stdout().lock(), "{text}").is_err() => {
                    return Ok(Exit::Done);
                }
                Reply::Refused { outcome, failure } => return Err((outcome.exit(), failure)),
                _ => {}
            },
            Message::End => {
                if let Some(why) = session.not_greeted() {
                    return Err((Exit::Unreachable, why.report()));
                }
                // The agent ends by itself after the last line of a log, and only then without a last word.
                let ended = session.ended().await;
                let is_done = ended.as_ref().is_some_and(|ended| ended.how == How::Exited(0));
                if is_done && matches!(wish.action, Action::Logs(_)) {
                    if let Some(lines) = kept {
                        print(&serde_json::json!({ "lines": lines }), output, None);
                    }
                    return Ok(Exit::Done);
                }
                let last_lines = ended.map(|ended| ended.last_lines).unwrap_or_default();
                return Err((Exit::Unreachable, SessionError::Ended(last_lines).report()));
            }
            Message::Event(_) | Message::Noise(_) => {}
        }
    }
}

/// Prints an answer; its exit code says what it means.
fn show(wish: &Wish, answer: &Value, output: Output) -> Exit {
    let action = &wish.action;
    let table = match action {
        Action::Health => typed(answer).map(|found| human::health(&found, None)),
        Action::Status => typed(answer).map(|found| human::status(&found, None)),
        Action::History if wish.options.stats => typed(answer).map(|found| human::stats(&found, None)),
        Action::History => typed::<Vec<_>>(answer).map(|found| human::history(&found, None)),
        Action::BackupList => typed::<Vec<_>>(answer).map(|found| human::backups(&found, None)),
        _ => None,
    };
    print(answer, output, table);
    let unhealthy = || typed::<HealthAnswer>(answer).is_none_or(|found| found.status == Overall::Unhealthy);
    if *action == Action::Health && unhealthy() { Exit::Failed } else { Exit::Done }
}

/// The only answer that is no success; what it is about stands in the table.
fn unhealthy() -> FailureReport {
    let message = "not everything that is asked is healthy; the checks are in the job's log";
    let hint = "look at what failed with `ffe-deploy status` and `ffe-deploy logs`";
    FailureReport::new(ErrorKind::HealthCheckError, "health.unhealthy", message).hint(hint)
}

fn typed<T: DeserializeOwned>(answer: &Value) -> Option<T> {
    serde_json::from_value(answer.clone()).ok()
}

/// Prints JSON, or the table; what has no table is printed as JSON, too.
pub(super) fn print(answer: &Value, output: Output, table: Option<String>) {
    let text = table.filter(|_| output == Output::Human);
    // A reader that has seen enough (`| head`) is no error.
    let said = text.or_else(|| json::answer(answer).ok()).unwrap_or_default();
    write!(std::io::stdout().lock(), "{}", said).ok();
}

/// Prints the result of a deployment, where JSON was asked for; people read it on stderr.
pub(super) fn result(result: &DeploymentResult, output: Output) {
    if output == Output::Json {
        print(&serde_json::to_value(result).unwrap_or_default(), output, None);
    }
}

/// Prints the result of a verb that only takes things away, with what it took.
pub(super) fn pruned(result: &DeploymentResult, told: &PrunedTold, output: Output) {
    let mut answer = serde_json::to_value(result).unwrap_or_default();
    if let Some(keys) = answer.as_object_mut() {
        keys.insert("pruned".to_owned(), serde_json::to_value(told).unwrap_or_default());
    }
    let failed = result.outcome != Outcome::Succeeded && *told == PrunedTold::default();
    print(&answer, output, Some(if failed { String::new() } else { human::pruned(told) }));
}

/// Prints what `validate` found; SARIF is not for here.
pub(super) fn findings(found: &ValidateAnswer, output: Output) {
    if output == Output::Sarif {
        return;
    }
    let answer = serde_json::to_value(found).unwrap_or_default();
    print(&answer, output, Some(table::validate(found)));
}

/// Says what `init` wrote.
pub(super) fn initialised(done: &Initialised, output: Output) {
    let answer = serde_json::to_value(done).unwrap_or_default();
    let lines = [("made", &done.made), ("there already", &done.kept), ("next", &done.next)];
    let lines =
        lines.into_iter().flat_map(|(word, all)| all.iter().map(move |one| format!("  {word:<14} {one}\n")));
    print(&answer, output, Some(lines.collect()));
}

/// Prints a plan, with what was found before it was made.
pub(super) fn planned(found: &PlanAnswer, output: Output) {
    let answer = serde_json::to_value(found).unwrap_or_default();
    print(&answer, output, found.plan.as_ref().map(|plan| human::plan(plan, None)));
}

/// Says that there is nothing to follow, and how the last deployment ended.
pub(super) fn nothing_to_follow(answer: &Value, output: Output) {
    let last = typed::<FollowAnswer>(answer).and_then(|answer| answer.last_deployment);
    let last = last.map_or_else(
        || "none is in its history".to_owned(),
        |last| {
            let ended = last.ended_at.strftime("%Y-%m-%d %H:%M:%S UTC");
            format!(
                "the last one, {} ({} of {}), ended {ended}: {}",
                last.deployment_id, last.verb, last.version, last.outcome
            )
        },
    );
    print(answer, output, Some(format!("no deployment is under way; {last}\n")));
}

/// Says what was recovered, or that there was nothing, and returns it.
pub(super) fn recovered(answer: &Value, output: Output) -> Option<RecoveredDeployment> {
    let found: Option<RecoverAnswer> = serde_json::from_value(answer.clone()).ok();
    let found = found.and_then(|answer| answer.recovered);
    let words = match &found {
        Some(ended) => format!("{} was unfinished and is ended now: {}", ended.deployment_id, ended.outcome),
        None => "nothing to recover: the last deployment has ended\n".to_owned(),
    };
    print(answer, output, Some(words));
    found
}

/// Prints the apps and environments of the configuration.
pub(super) fn list(args: &ConfigArgs) -> Exit {
    let surroundings = Surroundings::of_process();
    let github = Github::of(&surroundings, Front::beside(args.log.output), &args.project_root);
    let inputs = Inputs {
        app: args.app.clone(),
        project_root: args.project_root.clone(),
        config_dir: args.config_dir.clone(),
        verb: config::Verb::Looks,
        job: surroundings.variables,
        ..Inputs::default()
    };
    match config::list(&inputs) {
        Ok(found) => {
            let answer = serde_json::to_value(&found).unwrap_or_default();
            print(&answer, args.log.output, Some(human::list(&found, None)));
            github.iter().for_each(|github| github.ended(Exit::Done));
            Exit::Done
        }
        Err(error) => fail("list", &error.report(), error.exit(), github.as_ref()),
    }
}

/// Says on stderr, and to a job of GitHub, why there is no answer, and returns the exit code.
pub(super) fn fail(verb: &str, failure: &FailureReport, exit: Exit, github: Option<&Github>) -> Exit {
    eprintln!("[ERROR] {}", failure.message);
    if let Some(hint) = &failure.hint {
        eprintln!("  next: {hint}");
    }
    if let Some(github) = github {
        github.failed(verb, failure);
        github.ended(exit);
    }
    exit
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::agent::protocol::Reply;
    use crate::event::examples;
    use crate::report::hostile::{many_harmful, nothing_is_obeyed};
    use crate::report::{found, human, json};
    use crate::text::Redactor;

    proptest! {
        #[test]
        fn answers_of_a_host_are_shown_and_do_nothing(texts in many_harmful()) {
            let mut place = 0;
            let mut next = || { place += 1; texts[place % texts.len()].clone() };
            let lines: Vec<String> = (0..3).map(|_| next()).collect();
            let mut answer = serde_json::json!({ next(): [next(), { next(): next() }], "healthy": next() });
            let mut reply = Reply::Answer { answer: answer.take() };
            reply.clean(&Redactor::default());
            if let Reply::Answer { answer } = &reply {
                nothing_is_obeyed("an answer in JSON", &json::answer(answer).unwrap())?;
            }
            for text in lines {
                let mut reply = Reply::Line { text };
                reply.clean(&Redactor::default());
                if let Reply::Line { text } = &reply {
                    nothing_is_obeyed("a line of a log", text)?;
                }
            }
            let mut result = examples::result();
            let finding = crate::model::Finding::warning("a.b", next(), next()).detail(&next(), next());
            let found = crate::model::ValidateAnswer::of(vec![finding]);
            nothing_is_obeyed("what validate found", &found::validate(&found))?;
            (result.verb, result.version, result.backup) = (next(), Some(next()), Some(next()));
            nothing_is_obeyed("a result", &human::result(&result))?;
        }
    }
}
