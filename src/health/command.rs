//! Runs a check's program in the app's directory; exit 0 is well.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use super::answer::Answer;
use super::http;
use crate::host::process::{self, Command, Finished, ProcessError};
use crate::text::{harmless, shortened};

/// Longest last line of output in an answer, in characters.
const SHOWN: usize = 200;

/// Makes one attempt. When `limit` passes the program's whole group is ended.
pub(super) async fn ask(
    argv: &[String],
    directory: &Path,
    env: &BTreeMap<String, String>,
    limit: Duration,
) -> Answer {
    let Some((program, args)) = argv.split_first() else {
        return Answer::Never("there is no program to run".to_owned());
    };
    let command = Command::new(program).args(args).directory(directory).deadline(limit);
    let command = env.iter().fold(command, |command, (name, value)| command.env(name, value));
    match process::run_unchecked(&command, |_, _| {}).await {
        Ok(finished) if finished.status.success() => Answer::Good("exited with 0".to_owned()),
        Ok(finished) => Answer::NotYet(failed(&finished)),
        Err(ProcessError::Deadline { .. }) => Answer::NotYet(http::no_answer(limit)),
        Err(error @ ProcessError::Missing { .. }) => Answer::Never(error.to_string()),
        Err(error) => Answer::Never(because(&error)),
    }
}

fn failed(finished: &Finished) -> String {
    let (ended, said) = (ended(finished.status), harmless(&finished.last_words()));
    if said.is_empty() { ended } else { format!("{ended}: {}", shortened(&said, SHOWN)) }
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

fn because(error: &ProcessError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    harmless(&format!("{error}{cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer_of(script: &str, limit: Duration) -> Answer {
        let argv = ["sh", "-c", script].map(str::to_owned);
        let env = BTreeMap::from([("WHERE".to_owned(), "here".to_owned())]);
        ask(&argv, Path::new("/"), &env, limit).await
    }

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn exit_0_is_well_and_it_sees_the_variables_of_the_release() {
        let answer = answer_of("test \"$WHERE\" = here && test \"$PWD\" = /", LIMIT).await;
        assert_eq!(answer, Answer::Good("exited with 0".to_owned()));
    }

    #[tokio::test]
    async fn another_exit_says_the_last_line_harmlessly() {
        let answer = answer_of("echo first; printf '\\033[31m##[error]no\\n'; exit 3", LIMIT).await;
        let Answer::NotYet(words) = answer else { panic!("{answer:?}") };
        assert!(words.starts_with("exited with 3: ") && words.ends_with("no"), "{words}");
        assert!(!words.contains("##[") && !words.contains('\u{1b}'), "{words:?}");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_ended_at_its_limit() {
        let answer = answer_of("exec sleep 600", Duration::from_millis(300)).await;
        assert_eq!(answer, Answer::NotYet("no answer within 300 ms".to_owned()));
    }

    #[tokio::test]
    async fn a_relative_program_is_found_from_the_directory_and_a_missing_one_is_final() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/bin/true", directory.path().join("smoke")).unwrap();
        let env = BTreeMap::new();
        let there = ask(&["./smoke".to_owned()], directory.path(), &env, LIMIT).await;
        assert_eq!(there, Answer::Good("exited with 0".to_owned()));
        let missing = ask(&["./none".to_owned()], directory.path(), &env, LIMIT).await;
        assert_eq!(missing, Answer::Never("`./none` is not installed or not on PATH".to_owned()));
    }
}
