//! How long a deployment and each of its stages may take, and what is said when one takes longer.
//!
//! What puts things right again has no deadline of this kind: only its own programs and checks have theirs.

use std::time::Duration;

use super::stop::Stop;
use crate::host::clock::Moment;
use crate::host::process;
use crate::model::{ErrorKind, FailureReport, Stage};

/// What to do about a deployment that takes too long.
const MORE_TIME: &str =
    "look why that took so long, or give it more time: `--timeout`, or `timeout` of the environment";
const MINUTE: Duration = Duration::from_secs(60);

/// Until when a deployment has to have ended, and why then.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// Longest time for all of it.
    whole: Duration,
    due: Moment,
}

impl Deadline {
    /// Returns the deadline of a deployment that begins now.
    pub fn of(whole: Duration) -> Self {
        Self { whole, due: Moment::now().after(whole) }
    }

    /// Ends when the whole deployment has taken too long, with the reason to stop.
    pub(super) async fn of_whole(self) -> Stop {
        self.due.comes().await;
        let message =
            format!("the deployment did not end within {} (`timeout`){}", shown(self.whole), waiting());
        failure("deadline.deployment", message, MORE_TIME)
    }

    /// Ends when a stage that begins now has taken too long, with the reason to stop.
    pub(super) async fn passes(self, stage: Stage) -> Stop {
        let own = longest(stage);
        let due = Moment::now().after(own);
        if self.due < due {
            self.due.comes().await;
            let message = format!(
                "the deployment did not end within {} (`timeout`); it was in `{stage}`{}",
                shown(self.whole),
                waiting()
            );
            return failure("deadline.deployment", message, MORE_TIME);
        }
        due.comes().await;
        let message = format!("`{stage}` did not end within {}{}", shown(own), waiting());
        failure("deadline.stage", message, "look at what it waited for, then deploy again")
    }
}

/// Longest time of each stage; `deploying` is DESIGN section 6's, `verifying` outlasts the longest `health.timeout`.
fn longest(stage: Stage) -> Duration {
    match stage {
        Stage::Initializing | Stage::Validating | Stage::Setup | Stage::Deploying => 10 * MINUTE,
        Stage::Pulling | Stage::Building | Stage::BackingUp => 120 * MINUTE,
        Stage::Verifying => 65 * MINUTE,
        Stage::Complete | Stage::RollingBack | Stage::RolledBack | Stage::Failed => 30 * MINUTE,
    }
}

fn failure(code: &str, message: String, hint: &str) -> Stop {
    FailureReport::new(ErrorKind::DeploymentError, code, message).hint(hint).into()
}

/// The programs that run now, in the words that matter of their command lines.
fn waiting() -> String {
    let running: Vec<String> = process::running().iter().map(|shown| format!("`{}`", brief(shown))).collect();
    if running.is_empty() { String::new() } else { format!(" and waited for {}", running.join(", ")) }
}

/// A command line of Compose begins with where its files are, which says nothing here.
fn brief(shown: &str) -> String {
    const VERBS: [&str; 6] = ["up", "down", "build", "config", "stop", "ps"];
    let words: Vec<&str> = shown.split(' ').collect();
    let verb =
        words.iter().position(|word| VERBS.contains(word)).filter(|_| words.contains(&"--project-directory"));
    match verb {
        Some(verb) => format!("docker compose {}", words[verb..].join(" ")),
        None => shown.to_owned(),
    }
}

fn shown(time: Duration) -> String {
    match (time.as_secs() / 60, time.as_secs() % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_shorter_of_both_times_counts_and_is_named() {
        let stop = Deadline::of(Duration::ZERO).passes(Stage::Pulling).await;
        let failure = stop.failure();
        assert_eq!(failure.code, "deadline.deployment");
        assert!(
            failure
                .message
                .starts_with("the deployment did not end within 0 s (`timeout`); it was in `pulling`")
        );
        let pending = Deadline::of(Duration::MAX).passes(Stage::Deploying);
        assert!(tokio::time::timeout(Duration::from_millis(10), pending).await.is_err());
    }

    #[test]
    fn command_lines_and_times_are_short() {
        let compose = "docker compose -p shop --project-directory /srv/x -f a.yml up -d --no-build";
        assert_eq!(brief(compose), "docker compose up -d --no-build");
        assert_eq!(brief("docker pull ghcr.io/acme/up:1"), "docker pull ghcr.io/acme/up:1");
        assert_eq!([59, 600, 90].map(|s| shown(Duration::from_secs(s))), ["59 s", "10 min", "1 min 30 s"]);
    }
}
