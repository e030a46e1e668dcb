//! One connection to NATS, on which events are published in order.
//!
//! Many are under way at once, and still none overtakes another: each but the first of a batch names the event before
//! it (`Nats-Expected-Last-Msg-Id`), and the stream refuses it when that is not its last message. The first needs none,
//! as everything before it is acknowledged. What is sent twice, after a crash or by two ledgers, is known to the stream
//! by its id (`Nats-Msg-Id`), which it looks at before it looks at the order.

use std::time::Duration;

use async_nats::jetstream::context::{PublishAckFuture, PublishError};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{self, Context};
use async_nats::{Event, header};
use tokio::sync::watch;
use tokio::time::Instant;

use super::stream::{self, PREFIX, STREAM, SUBJECTS};
use super::{Address, NatsError};
use crate::ledger::store::OutboxEvent;

/// Longest wait for a connection, an answer, or an acknowledgement.
const PATIENCE: Duration = Duration::from_secs(5);
/// A connection on which nothing came for two of these is dead.
const PING: Duration = Duration::from_secs(5);
/// A CloudEvent in structured mode (CloudEvents' NATS binding, 3.2).
const CONTENT_TYPE: &str = "application/cloudevents+json";

/// A connection whose stream is there.
#[derive(Debug)]
pub(super) struct Link {
    context: Context,
    lost: watch::Receiver<bool>,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Sequence up to which the stream has all of them.
    pub(super) through: Option<i64>,
    /// How many it did not have before.
    pub(super) stored: u64,
    /// Why it has not the rest.
    pub(super) error: Option<NatsError>,
}

impl Link {
    /// Connects, and makes sure that the stream is there.
    ///
    /// # Errors
    /// When NATS does not answer or refuses, or the stream cannot do.
    pub(super) async fn open(address: &Address) -> Result<Self, NatsError> {
        let (gone, lost) = watch::channel(false);
        let options = address.options().await?;
        let client = options
            .name("ffe-ledger")
            .connection_timeout(PATIENCE)
            .ping_interval(PING)
            // Connecting anew is the publisher's, which then looks where the stream ends.
            .max_reconnects(address.servers().len())
            .event_callback(move |event| {
                if matches!(event, Event::Disconnected | Event::Closed) {
                    gone.send_replace(true);
                }
                std::future::ready(())
            })
            .connect(address.servers())
            .await
            .map_err(|error| NatsError::of_connect(address.shown(), error))?;
        let mut context = jetstream::new(client);
        context.set_timeout(PATIENCE);
        stream::ensure(&context).await?;
        Ok(Self { context, lost })
    }

    /// Waits until the connection ends.
    pub(super) async fn lost(&self) -> NatsError {
        let mut lost = self.lost.clone();
        // An error means that the connection's own task has ended.
        drop(lost.wait_for(|lost| *lost).await);
        NatsError::Lost
    }

    /// Asks for the stream, and returns how long the answer took.
    ///
    /// # Errors
    /// When NATS does not answer, or the stream is gone.
    pub(super) async fn ask(&self) -> Result<Duration, NatsError> {
        let asked = Instant::now();
        tokio::select! {
            answer = stream::look(&self.context) => answer.map(|()| asked.elapsed()),
            error = self.lost() => Err(error),
        }
    }

    /// Returns the id of the last event that the stream has, when it has one.
    ///
    /// # Errors
    /// When NATS does not answer.
    pub(super) async fn last_event(&self) -> Result<Option<String>, NatsError> {
        let what = "read the last message of the stream";
        let stream = self.context.get_stream_no_info(STREAM).await;
        let stream = stream.map_err(|error| NatsError::Other { what, source: error.into() })?;
        match stream.get_last_raw_message_by_subject(SUBJECTS).await {
            Ok(message) => Ok(message.headers.get(header::NATS_MESSAGE_ID).map(ToString::to_string)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(NatsError::Other { what, source: error.into() }),
        }
    }

    /// Publishes events that follow each other, and waits until the stream has said of each whether it has it.
    pub(super) async fn publish(&self, events: &[OutboxEvent]) -> Outcome {
        let mut outcome = Outcome::default();
        tokio::select! {
            () = self.publish_to(events, &mut outcome) => {}
            error = self.lost() => outcome.error = Some(error),
        }
        outcome
    }

    async fn publish_to(&self, events: &[OutboxEvent], outcome: &mut Outcome) {
        let mut sent = Vec::with_capacity(events.len());
        let mut before = None;
        for event in events {
            let one = self.send(event, before).await;
            let is_sent = one.is_ok();
            sent.push((event.sequence, one));
            if !is_sent {
                break;
            }
            before = Some(event.event_id.as_str());
        }
        for (sequence, one) in sent {
            let acknowledged = match one {
                Ok(future) => future.await,
                Err(error) => Err(error),
            };
            match acknowledged.map_err(NatsError::from) {
                Ok(known) if outcome.error.is_none() => {
                    outcome.through = Some(sequence);
                    outcome.stored += u64::from(!known.duplicate);
                }
                // Those after one that was refused are refused as well, unless the stream had them before.
                Ok(_) => {}
                Err(error @ NatsError::NotNext) => {
                    outcome.error.get_or_insert(error);
                }
                Err(error) => {
                    outcome.error.get_or_insert(error);
                    return;
                }
            }
        }
    }

    async fn send(
        &self,
        event: &OutboxEvent,
        before: Option<&str>,
    ) -> Result<PublishAckFuture, PublishError> {
        let mut message = PublishMessage::build()
            .payload(event.body.clone().into())
            .message_id(&event.event_id)
            .expected_stream(STREAM)
            .header("content-type", CONTENT_TYPE);
        if let Some(before) = before {
            message = message.expected_last_message_id(before);
        }
        self.context.send_publish(format!("{PREFIX}.{}", event.subject), message).await
    }
}
