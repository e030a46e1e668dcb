//! Getting a report to the ledger: again while it is busy or away, within a limit, and otherwise in words why not.

use std::cell::Cell;
use std::future::Future;
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable as _};
use jiff::Timestamp;
use serde::Deserialize;

use crate::model::lifecycle::DeploymentStatus;
use crate::report::slack::send::{said, wait_of};
use crate::text::{harmless, shortened};

/// First wait between two attempts; it doubles, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// Most characters of an answer that are told.
const SHOWN: usize = 160;

/// How long and how often it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// For everything: connecting, waiting, reading.
    pub time: Duration,
    /// Attempts after the first one.
    pub retries: usize,
}

impl Limit {
    /// What the last report may cost: 10 s in all.
    pub const USUAL: Self = Self { time: Duration::from_secs(10), retries: 8 };
    /// What it may cost a job that is being cancelled: GitHub leaves 7.5 s, of which the host has 5.
    pub const CANCELLED: Self = Self { time: Duration::from_secs(2), retries: 0 };
}

/// What a server said to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status of HTTP.
    pub status: u16,
    /// `Retry-After`, as it came.
    pub retry_after: Option<String>,
    /// The body, or its beginning.
    pub body: String,
}

/// What the ledger made of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whether it said something new.
    pub applied: bool,
    /// The highest sequence that it knows of this deployment.
    pub sequence: u32,
    /// Where the deployment stands there.
    pub status: DeploymentStatus,
}

impl Kept {
    /// Whether the deployment goes on, as far as the ledger knows.
    pub fn is_open(&self) -> bool {
        matches!(self.status, DeploymentStatus::Pending | DeploymentStatus::Deploying)
    }
}

/// Why a report did not arrive, or may not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// The ledger does not want it, and never will like this.
    #[error("it answered {status}{}", said(words))]
    Refused {
        /// Status of HTTP.
        status: u16,
        /// What it said.
        words: String,
    },
    /// 200, but not with a ledger's words.
    #[error("something else than a ledger answered{}", said(words))]
    Strange {
        /// What it said.
        words: String,
    },
    /// It is busy or broken.
    #[error("it answered {status}{}", said(words))]
    Busy {
        /// Status of HTTP.
        status: u16,
        /// What it said.
        words: String,
        /// How long it asks to be left alone.
        wait: Option<Duration>,
    },
    /// There was no answer.
    #[error("{0}")]
    Away(String),
    /// The limit was over before an answer came.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
}

impl Unsent {
    /// Whether it may be otherwise in a moment.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Away(_) | Self::Late(_))
    }

    /// Returns how long the ledger asks to be left alone.
    pub fn wait(&self) -> Option<Duration> {
        if let Self::Busy { wait, .. } = self { *wait } else { None }
    }

    /// Returns the next step, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        let status = match self {
            Self::Refused { status, .. } => *status,
            Self::Strange { .. } => return Some("look at `ledger.url`"),
            Self::Busy { .. } | Self::Away(_) | Self::Late(_) => return None,
        };
        match status {
            401 => Some("set the token's variable to one of `ffe-ledger token create NAME --scope report`"),
            403 => Some("its token wants the scope `report`: `ffe-ledger token create NAME --scope report`"),
            300..=399 => Some("set `ledger.url` to where it leads: a token is never sent on"),
            404 | 405 => Some("look at `ledger.url`: it is the address before `/api/v1`"),
            409 => Some("the ledger knows this id as that of another deployment"),
            413 => Some("let the ledger take larger bodies (`--body-limit-kib`)"),
            422 => Some("the ledger may be older than this program"),
            _ => None,
        }
    }
}

/// Sends by `put`, which makes one attempt and says in words why there was no answer.
///
/// # Errors
/// Why it did not arrive: the last reason, when there were several.
pub async fn send<F>(mut put: impl FnMut() -> F, limit: Limit) -> Result<Kept, Unsent>
where
    F: Future<Output = Result<Answer, String>>,
{
    let end = Instant::now() + limit.time;
    let last = Cell::new(None);
    let attempt = || {
        let sent = put();
        async { sent.await.map_err(Unsent::Away).and_then(|answer| judged(&answer)) }
    };
    let gaps = ExponentialBuilder::default().with_min_delay(FIRST_WAIT).with_max_delay(LONGEST_WAIT);
    let sending = attempt
        .retry(gaps.with_max_times(limit.retries))
        .when(Unsent::is_passing)
        .notify(|reason, _| last.set(Some(reason.clone())))
        .adjust(|reason, gap| {
            let wait = gap?.max(reason.wait().unwrap_or_default());
            Instant::now().checked_add(wait).filter(|at| *at < end).map(|_| wait)
        });
    let sent = tokio::time::timeout(limit.time, sending).await;
    sent.unwrap_or_else(|_| Err(last.take().unwrap_or(Unsent::Late(limit.time))))
}

/// Returns what an answer means.
///
/// # Errors
/// It is no ledger's, or a refusal.
pub fn judged(answer: &Answer) -> Result<Kept, Unsent> {
    let words = || shortened(&harmless(answer.body.trim()), SHOWN);
    let status = answer.status;
    match status {
        200..=299 => serde_json::from_str::<KeptForm>(&answer.body)
            .ok()
            .and_then(KeptForm::read)
            .ok_or_else(|| Unsent::Strange { words: words() }),
        408 | 425 | 429 | 500.. => {
            let wait = answer.retry_after.as_deref().and_then(|text| wait_of(text, Timestamp::now()));
            Err(Unsent::Busy { status, words: words(), wait })
        }
        _ => Err(Unsent::Refused { status, words: words() }),
    }
}

/// As much of the ledger's answer as is looked at.
#[derive(Deserialize)]
struct KeptForm {
    applied: bool,
    sequence: i64,
    deployment: DeploymentForm,
}

#[derive(Deserialize)]
struct DeploymentForm {
    status: String,
}

impl KeptForm {
    fn read(self) -> Option<Kept> {
        let sequence = u32::try_from(self.sequence).ok()?;
        Some(Kept { applied: self.applied, sequence, status: self.deployment.status.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const QUICK: Limit = Limit { time: Duration::from_secs(5), retries: 2 };

    fn answer(status: u16, retry_after: Option<&str>, body: &str) -> Result<Answer, String> {
        Ok(Answer { status, retry_after: retry_after.map(str::to_owned), body: body.to_owned() })
    }

    fn kept() -> Result<Answer, String> {
        answer(
            200,
            None,
            r#"{"applied": true, "sequence": 7, "report_id": "x", "deployment": {"status": "active"}}"#,
        )
    }

    /// Sends to somebody who answers so, and returns how it ended, and what was left unasked.
    async fn sent(answers: &[Result<Answer, String>], limit: Limit) -> (Result<Kept, Unsent>, usize) {
        let mut left: VecDeque<_> = answers.iter().cloned().collect();
        let ended = send(|| std::future::ready(left.pop_front().expect("not asked so often")), limit).await;
        (ended, left.len())
    }

    #[tokio::test]
    async fn what_passes_is_tried_again_and_what_stays_is_not() {
        for passing in [answer(503, None, ""), answer(429, Some("0"), ""), Err("connection refused".into())] {
            let (ended, left) = sent(&[passing, kept()], QUICK).await;
            let ended = ended.unwrap();
            assert_eq!((ended.applied, ended.sequence, ended.is_open(), left), (true, 7, false, 0));
        }
        for status in [302, 401, 403, 404, 409, 413, 422] {
            let (ended, left) = sent(&[answer(status, None, "no\u{1b}[1m"), kept()], QUICK).await;
            let reason = ended.unwrap_err();
            assert_eq!((reason.to_string(), left), (format!("it answered {status} no"), 1));
            assert!(reason.hint().is_some() && !reason.is_passing(), "{reason}");
        }
        for strange in [
            "<html>",
            r#"{"applied": true}"#,
            r#"{"applied": true, "sequence": -1, "deployment": {"status": "x"}}"#,
        ] {
            let (ended, left) = sent(&[answer(200, None, strange), kept()], QUICK).await;
            assert!(matches!(ended, Err(Unsent::Strange { .. })) && left == 1, "{ended:?}");
        }
    }

    #[tokio::test]
    async fn it_gives_up_with_the_last_reason_and_a_wait_that_does_not_fit_ends_it_at_once() {
        let broken = answer(503, None, "");
        let (ended, left) =
            sent(&[broken.clone(), broken.clone(), broken.clone(), broken.clone()], QUICK).await;
        assert_eq!((ended.unwrap_err().to_string().as_str(), left), ("it answered 503", 1));
        let far = answer(429, Some("60"), "busy");
        assert_eq!(sent(&[far.clone(), far], QUICK).await.1, 1);
        assert_eq!(sent(&[broken.clone(), broken], Limit { retries: 0, ..QUICK }).await.1, 1);
        let silent = Limit { time: Duration::from_millis(50), retries: 0 };
        let ended = send(std::future::pending::<Result<Answer, String>>, silent).await;
        assert!(matches!(ended, Err(Unsent::Late(_))), "{ended:?}");
    }
}
