//! Getting what is to be said to a service: again while it is busy or away, within a limit, and otherwise in words why
//! not. What an answer means is the service's own affair ([`send`] takes it).

use std::cell::Cell;
use std::future::Future;
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable as _};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

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
    /// What telling an end may cost: 10 s in all.
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

impl Answer {
    /// Returns what the body says, for people: harmless, and not more than fits a line.
    pub fn words(&self) -> String {
        shortened(&harmless(self.body.trim()), SHOWN)
    }

    /// Returns why an answer that does not say yes is none: the server is busy, does not want it, or is another one than
    /// `service`.
    pub fn refusal(&self, service: &'static str) -> Unsent {
        let (status, words) = (self.status, self.words());
        match status {
            200..=299 => Unsent::Strange { service, words },
            408 | 425 | 429 | 500.. => {
                let wait = self.retry_after.as_deref().and_then(|text| wait_of(text, Timestamp::now()));
                Unsent::Busy { status, words, wait }
            }
            _ => Unsent::Refused { status, words },
        }
    }
}

/// Why something did not arrive, or may not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// The service does not want it, and never will like this.
    #[error("it answered {status}{}", said(words))]
    Refused {
        /// Status of HTTP.
        status: u16,
        /// What it said.
        words: String,
    },
    /// It succeeded, but not with the service's words.
    #[error("something else than {service} answered{}", said(words))]
    Strange {
        /// Who should have answered.
        service: &'static str,
        /// What was said.
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

    /// Returns how long the service asks to be left alone.
    pub fn wait(&self) -> Option<Duration> {
        if let Self::Busy { wait, .. } = self { *wait } else { None }
    }

    /// Returns it for people, with the next step where there is one.
    pub fn with_hint(&self, hint: Option<&str>) -> String {
        hint.map_or_else(|| self.to_string(), |hint| format!("{self}; {hint}"))
    }
}

fn said(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(" {words}") }
}

/// Sends by `put`, which makes one attempt and says in words why there was no answer; `judged` says what an answer means.
///
/// # Errors
/// Why it did not arrive: the last reason, when there were several.
pub async fn send<F, T>(
    mut put: impl FnMut() -> F,
    judged: impl Fn(&Answer) -> Result<T, Unsent>,
    limit: Limit,
) -> Result<T, Unsent>
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

/// `Retry-After`: seconds, or a date (RFC 9110).
fn wait_of(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const QUICK: Limit = Limit { time: Duration::from_secs(5), retries: 2 };

    fn answer(status: u16, retry_after: Option<&str>, body: &str) -> Result<Answer, String> {
        Ok(Answer { status, retry_after: retry_after.map(str::to_owned), body: body.to_owned() })
    }

    fn yes(answer: &Answer) -> Result<(), Unsent> {
        if answer.body.trim() == "ok" { Ok(()) } else { Err(answer.refusal("the service")) }
    }

    /// Sends to somebody who answers so, and returns how it ended, and what was left unasked.
    async fn sent(answers: &[Result<Answer, String>], limit: Limit) -> (Result<(), Unsent>, usize) {
        let mut left: VecDeque<_> = answers.iter().cloned().collect();
        let ask = || std::future::ready(left.pop_front().expect("not asked so often"));
        let ended = send(ask, yes, limit).await;
        (ended, left.len())
    }

    #[tokio::test]
    async fn what_passes_is_tried_again_and_what_stays_is_not() {
        let ok = answer(200, None, "ok\n");
        assert_eq!(sent(&[answer(500, None, ""), ok.clone()], QUICK).await, (Ok(()), 0));
        assert_eq!(sent(&[answer(429, Some("0"), ""), ok.clone()], QUICK).await, (Ok(()), 0));
        assert_eq!(sent(&[Err("connection refused".into()), ok.clone()], QUICK).await, (Ok(()), 0));
        for status in [400, 401, 403, 404, 409, 410, 413, 422] {
            let (ended, left) = sent(&[answer(status, None, "no\u{1b}[1m"), ok.clone()], QUICK).await;
            let reason = ended.unwrap_err();
            assert_eq!((reason.to_string(), left), (format!("it answered {status} no"), 1));
            assert!(!reason.is_passing());
        }
        let (ended, left) = sent(&[answer(302, None, ""), ok.clone()], QUICK).await;
        assert_eq!((ended.unwrap_err().to_string().as_str(), left), ("it answered 302", 1));
        let (ended, left) = sent(&[answer(200, None, "<html>\u{1b}[1m::error::log in"), ok], QUICK).await;
        let words = "something else than the service answered <html>::error::log in";
        assert_eq!((ended.unwrap_err().to_string().as_str(), left), (words, 1));
    }

    #[tokio::test]
    async fn it_gives_up_with_the_last_reason() {
        let broken = answer(503, None, "");
        let (ended, left) = sent(&[broken.clone(), broken.clone(), broken.clone(), broken], QUICK).await;
        assert_eq!((ended.unwrap_err().to_string().as_str(), left), ("it answered 503", 1));
    }

    #[tokio::test]
    async fn a_wait_that_does_not_fit_ends_it_at_once() {
        let far = answer(429, Some("60"), "rate_limited");
        let began = Instant::now();
        let (ended, left) = sent(&[far.clone(), far], QUICK).await;
        assert_eq!((ended.unwrap_err().to_string().as_str(), left), ("it answered 429 rate_limited", 1));
        assert!(began.elapsed() < QUICK.time);
    }

    #[tokio::test]
    async fn a_job_that_is_cancelled_tries_once() {
        let broken = answer(500, None, "");
        assert_eq!(sent(&[broken.clone(), broken], Limit { retries: 0, ..QUICK }).await.1, 1);
        let silent = Limit { time: Duration::from_millis(50), retries: 0 };
        let ended = send(std::future::pending::<Result<Answer, String>>, yes, silent).await;
        assert!(matches!(ended, Err(Unsent::Late(_))), "{ended:?}");
    }

    #[test]
    fn a_wait_is_in_seconds_or_a_date() {
        let now: Timestamp = "2026-11-21T06:40:00Z".parse().unwrap();
        let seconds = |text: &str| wait_of(text, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("30"), Some(30));
        assert_eq!(seconds("Sat, 21 Nov 2026 06:40:07 GMT"), Some(7));
        assert_eq!(seconds("Sat, 21 Nov 2026 06:39:00 GMT"), Some(0));
        assert_eq!(seconds("soon"), None);
    }
}
