//! Asks programs of the runner for secrets: password managers and vaults by their own command lines.
//!
//! Each program runs once, several at a time, without a shell, with the variables of the job, before anything else is
//! done. What it prints on stdout is the secret and is shown nowhere; of stderr the last line is shown, redacted.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use crate::config::{self, Fetched, LARGEST_SECRET, SecretCommand, Unfetched};
use crate::host::process::{self, Command, ProcessError, Told};
use crate::text::{Redactor, SHORTEST_SECRET, Secret, harmless};

/// How many programs run at a time.
const AT_A_TIME: usize = 8;
/// Most that is read of a program: the largest secret, and the line breaks behind it.
const LONGEST: usize = LARGEST_SECRET + 1024;

/// Returns what the programs said, by the name of the secret.
pub(super) async fn fetch(commands: Vec<SecretCommand>, job: &BTreeMap<String, String>) -> Fetched {
    let room = Semaphore::new(AT_A_TIME);
    let asked = commands.into_iter().map(|command| async {
        // The semaphore is never closed.
        let _turn = room.acquire().await.ok();
        let said = ask(&command, job).await;
        (command.name, said)
    });
    join_all(asked).await.into_iter().collect()
}

async fn ask(command: &SecretCommand, job: &BTreeMap<String, String>) -> Result<Secret, Unfetched> {
    let Some((program, args)) = command.argv.split_first() else {
        return Err(Asked { command, program: "" }.unfetched("has no program"));
    };
    let asked = Asked { command, program };
    let run = Command::new(program).args(args).directory(&command.directory).deadline(command.timeout);
    let run = job.iter().fold(run, |run, (name, value)| run.env(name, value));
    let mut last_words = String::new();
    let told = process::ask(&run, LONGEST, |line| {
        if !line.trim().is_empty() {
            line.clone_into(&mut last_words);
        }
    });
    match told.await {
        Ok(told) => asked.judge(&told, &last_words, job),
        Err(ProcessError::Missing { .. }) => Err(Unfetched {
            why: format!("and its program `{}` is not installed or not on PATH", harmless(program)),
            hint: format!(
                "install `{}` on the runner, or pass `{}` in the job's environment",
                harmless(program),
                command.name
            ),
        }),
        Err(ProcessError::Deadline { deadline, .. }) => {
            Err(asked.unfetched(&format!("did not end within {} s", deadline.as_secs())))
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            Err(asked.unfetched(&format!("could not be started: {cause}")))
        }
    }
}

/// A program and the secret that it was asked for.
struct Asked<'a> {
    command: &'a SecretCommand,
    program: &'a str,
}

impl Asked<'_> {
    fn judge(
        &self,
        told: &Told,
        last_words: &str,
        job: &BTreeMap<String, String>,
    ) -> Result<Secret, Unfetched> {
        if told.stdout.len() > LONGEST {
            return Err(self.unfetched(&format!("printed more than {LARGEST_SECRET} bytes")));
        }
        let Ok(said) = std::str::from_utf8(&told.stdout) else {
            return Err(self.unfetched("printed what is no text"));
        };
        let value = said.trim_end_matches(['\n', '\r']);
        if !told.status.success() {
            let why = format!("failed ({})", told.status);
            let last_words = self.redacted(last_words, value, job);
            let words = if last_words.is_empty() { why } else { format!("{why}: {last_words}") };
            return Err(self.unfetched(&words));
        }
        match value {
            "" => Err(self.unfetched("printed nothing")),
            value if value.len() > LARGEST_SECRET => {
                Err(self.unfetched(&format!("printed more than {LARGEST_SECRET} bytes")))
            }
            value if value.contains('\0') => Err(self.unfetched("printed what is no text")),
            value => Ok(Secret::new(value)),
        }
    }

    /// What a program says of its failure may quote its input: the job's own secrets, or half of the answer.
    fn redacted(&self, last_words: &str, said: &str, job: &BTreeMap<String, String>) -> String {
        let named =
            job.iter().filter(|(name, _)| config::looks_secret(name)).map(|(_, value)| value.as_str());
        let values = named.chain([said]).filter(|value| value.len() >= SHORTEST_SECRET);
        harmless(&Redactor::new(values).redact(last_words)).chars().take(300).collect()
    }

    fn unfetched(&self, what: &str) -> Unfetched {
        let program = harmless(self.program);
        Unfetched {
            why: format!("and its program `{program}` {what}"),
            hint: format!(
                "run it by hand where the job runs (its arguments stand in the configuration), or pass `{}` in the job's \
                 environment",
                self.command.name
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn command(name: &str, script: &str) -> SecretCommand {
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        let directory = std::env::temp_dir();
        SecretCommand { name: name.to_owned(), argv, timeout: Duration::from_secs(20), directory }
    }

    fn why(said: &Result<Secret, Unfetched>) -> &str {
        &said.as_ref().err().unwrap().why
    }

    #[tokio::test]
    async fn programs_see_the_job_and_what_they_print_is_the_secret() {
        let job = BTreeMap::from([("VAULT_TOKEN".to_owned(), "token-of-vault".to_owned())]);
        let commands = vec![
            command("A", "printf '%s\\n' \"$VAULT_TOKEN\"; echo noise >&2"),
            command("LINES", "printf 'one\\ntwo\\n\\n'"),
            command("EMPTY", "true"),
            command("BINARY", "printf '\\377\\376'"),
            command("LONG", "head -c 70000 /dev/zero | tr '\\0' x"),
            command(
                "FAILS",
                "echo half-of-it; echo 'token-of-vault and half-of-it were refused' >&2; exit 3",
            ),
            SecretCommand { timeout: Duration::from_millis(50), ..command("HANGS", "sleep 600") },
            SecretCommand { argv: vec!["no-such-vault".to_owned()], ..command("MISSING", "") },
        ];
        let said = fetch(commands, &job).await;
        assert_eq!(said["A"].as_ref().unwrap().reveal(), "token-of-vault");
        assert_eq!(said["LINES"].as_ref().unwrap().reveal(), "one\ntwo");
        for (name, words) in [
            ("EMPTY", "`sh` printed nothing"),
            ("BINARY", "printed what is no text"),
            ("LONG", "printed more than 65536 bytes"),
            ("FAILS", "failed (exit status: 3): *** and *** were refused"),
            ("HANGS", "did not end within 0 s"),
            ("MISSING", "`no-such-vault` is not installed or not on PATH"),
        ] {
            assert!(why(&said[name]).contains(words), "{name}: {}", why(&said[name]));
        }
    }

    #[tokio::test]
    async fn programs_run_beside_each_other() {
        // Each waits for the other: one after the other they would never end.
        let directory = tempfile::tempdir().unwrap();
        let meet = |name: &str, other: &str| {
            let path = |name: &str| directory.path().join(name).display().to_string();
            let (own, other) = (path(name), path(other));
            command(name, &format!("touch {own}; until [ -e {other} ]; do sleep 0.01; done; echo met"))
        };
        let said = fetch(vec![meet("A", "B"), meet("B", "A")], &BTreeMap::new()).await;
        assert!(said.values().all(|said| said.as_ref().is_ok_and(|value| value.reveal() == "met")));
    }
}
