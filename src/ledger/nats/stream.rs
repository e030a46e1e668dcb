//! The stream that events are published to: made when there is none, and widened where it would not do.

use std::time::Duration;

use async_nats::jetstream::Context;
use serde_json::{Value, json};

use super::NatsError;
use crate::ledger::store::Told;

/// Name of the stream; it is fixed, so that consumers know it.
pub(super) const STREAM: &str = "FFE_LEDGER";
/// What the subjects begin with; the rest is the outbox's, such as `deployment.completed`.
pub(super) const PREFIX: &str = "ffe.ledger";
/// What the stream takes.
pub(super) const SUBJECTS: &str = "ffe.ledger.>";
/// How long the stream knows ids, and drops what comes twice.
const WINDOW: Duration = Duration::from_secs(24 * 60 * 60);
/// JetStream's code for a stream that is not there.
const NOT_FOUND: u64 = 10_059;

/// Makes sure that the stream is there and takes our events. Limits, replicas, and whatever else somebody chose stay.
///
/// # Errors
/// When NATS does not answer or refuses, or the stream cannot do.
pub(super) async fn ensure(context: &Context) -> Result<(), NatsError> {
    let asked = ask(context, "STREAM.INFO", "look at the stream", &json!({})).await;
    let found = match asked {
        Ok(found) => found,
        Err(No::Missing) => {
            make(context).await?;
            tracing::info!("made the stream {STREAM} of NATS for `{SUBJECTS}`");
            return Ok(());
        }
        Err(No::Other(error)) => return Err(error),
    };
    let config = &found["config"];
    if config["no_ack"] == true {
        return Err(NatsError::NoAcks);
    }
    let Some(wanted) = widened(config) else { return Ok(()) };
    match ask(context, "STREAM.UPDATE", "change the stream", &wanted).await {
        Ok(_) => {
            tracing::info!(
                "changed the stream {STREAM} of NATS: `{SUBJECTS}`, and the longest duplicate window up to 24 h"
            );
            Ok(())
        }
        Err(told) => cannot_change(config, told.into()),
    }
}

/// A stream that takes all events will do; its window only matters within its length after a crash.
fn cannot_change(config: &Value, refused: NatsError) -> Result<(), NatsError> {
    let told = crate::ledger::with_causes(&refused);
    match missing(config) {
        Some(missing) => Err(NatsError::Subjects { missing, told }),
        None => {
            tracing::warn!(
                "the duplicate window of the stream {STREAM} is shorter than 24 h, and could not be changed: {told}"
            );
            Ok(())
        }
    }
}

async fn make(context: &Context) -> Result<(), NatsError> {
    let config = json!({
        "name": STREAM,
        "description": "What became of deployments: CloudEvents of ffe-ledger",
        "subjects": [SUBJECTS],
        "retention": "limits",
        "discard": "old",
        "storage": "file",
        "num_replicas": 1,
        "duplicate_window": nanoseconds(WINDOW),
    });
    ask(context, "STREAM.CREATE", "make the stream", &config).await.map_err(NatsError::from)?;
    Ok(())
}

/// Returns the stream's configuration as it should be, when it is not; what we do not know in it stays.
fn widened(config: &Value) -> Option<Value> {
    let longest = match config["max_age"].as_u64() {
        Some(age) if age > 0 => nanoseconds(WINDOW).min(age),
        _ => nanoseconds(WINDOW),
    };
    let is_short = config["duplicate_window"].as_u64().unwrap_or_default() < longest;
    let is_missing = missing(config).is_some();
    if !is_short && !is_missing {
        return None;
    }
    let mut wanted = config.clone();
    if is_short {
        wanted["duplicate_window"] = longest.into();
    }
    if is_missing {
        // Subjects of one stream must not overlap.
        let theirs = config["subjects"].as_array().cloned().unwrap_or_default();
        let mut subjects: Vec<Value> = theirs
            .into_iter()
            .filter(|subject| !subject.as_str().is_some_and(|s| takes(SUBJECTS, s)))
            .collect();
        subjects.push(SUBJECTS.into());
        wanted["subjects"] = subjects.into();
    }
    Some(wanted)
}

/// Returns one of our subjects that the stream does not take.
fn missing(config: &Value) -> Option<&'static str> {
    let theirs: Vec<&str> =
        config["subjects"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let ours = [Told::Started, Told::Completed, Told::Failed, Told::RolledBack].map(Told::subject);
    ours.into_iter().find(|ours| !theirs.iter().any(|theirs| takes(theirs, &format!("{PREFIX}.{ours}"))))
}

/// Returns whether a subject with wildcards takes another one: `*` is one word, `>` at the end one or more.
fn takes(filter: &str, subject: &str) -> bool {
    let (mut filter, mut subject) = (filter.split('.'), subject.split('.'));
    loop {
        match (filter.next(), subject.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some("*"), Some(word)) if word != ">" => {}
            (Some(wanted), Some(word)) if wanted == word => {}
            _ => return false,
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What JetStream said no with.
enum No {
    Missing,
    Other(NatsError),
}

impl From<No> for NatsError {
    fn from(told: No) -> Self {
        match told {
            No::Missing => Self::Gone,
            No::Other(error) => error,
        }
    }
}

/// Asks JetStream in its own words: a type of ours would lose what a newer server has in a configuration.
async fn ask(context: &Context, verb: &str, what: &'static str, body: &Value) -> Result<Value, No> {
    let answer: Value = context
        .request(format!("{verb}.{STREAM}"), body)
        .await
        .map_err(|error| No::Other(NatsError::of_request(what)(error)))?;
    let error = &answer["error"];
    if error.is_null() {
        return Ok(answer);
    }
    let code = error["err_code"].as_u64().unwrap_or_default();
    if code == NOT_FOUND {
        return Err(No::Missing);
    }
    let told = format!("{} ({code})", error["description"].as_str().unwrap_or("no reason given"));
    Err(No::Other(NatsError::Refused { what, told }))
}

/// Asks for the stream, and that it is there.
///
/// # Errors
/// When NATS does not answer, or the stream is gone.
pub(super) async fn look(context: &Context) -> Result<(), NatsError> {
    ask(context, "STREAM.INFO", "look at the stream", &json!({})).await.map(drop).map_err(NatsError::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_take_what_nats_says() {
        for (filter, subject, taken) in [
            ("ffe.ledger.>", "ffe.ledger.deployment.failed", true),
            ("ffe.*.deployment.*", "ffe.ledger.deployment.failed", true),
            (">", "ffe.ledger.deployment.failed", true),
            ("ffe.ledger.deployment", "ffe.ledger.deployment.failed", false),
            ("ffe.ledger.deployment.failed.>", "ffe.ledger.deployment.failed", false),
            ("ffe.*", "ffe.>", false),
        ] {
            assert_eq!(takes(filter, subject), taken, "{filter} {subject}");
        }
    }

    #[test]
    fn a_stream_that_will_do_stays_as_it_is() {
        let day = nanoseconds(WINDOW);
        assert!(widened(&json!({"subjects": ["ffe.>"], "duplicate_window": day, "max_age": 0})).is_none());
        // A window cannot be longer than messages live.
        assert!(widened(&json!({"subjects": [SUBJECTS], "duplicate_window": 60, "max_age": 60})).is_none());
    }

    #[test]
    fn a_stream_that_will_not_do_is_widened_and_keeps_the_rest() {
        let config = json!({"subjects": ["a", "ffe.ledger.deployment.failed"], "duplicate_window": 1, "max_age": 0, "new": [1]});
        let wanted = widened(&config).unwrap();
        assert_eq!(
            wanted,
            json!({"subjects": ["a", SUBJECTS], "duplicate_window": nanoseconds(WINDOW), "max_age": 0, "new": [1]})
        );
    }
}
