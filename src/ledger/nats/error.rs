//! What can go wrong between the service and NATS; each says what to do.

use std::path::PathBuf;

use async_nats::jetstream::context::{PublishError, PublishErrorKind, RequestError, RequestErrorKind};
use async_nats::{ConnectError, ConnectErrorKind};

use super::stream::STREAM;

/// Why events are not published. None is lost: they wait in the outbox.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// The file of `--nats-credentials` cannot be used.
    #[error("could not read the credentials in {}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// NATS knows us not.
    #[error("NATS at {servers} refused the credentials: check FFE_LEDGER_NATS and --nats-credentials")]
    Denied {
        /// Hosts and ports.
        servers: String,
    },
    /// There is no connection.
    #[error("could not connect to NATS at {servers}")]
    Connect {
        /// Hosts and ports.
        servers: String,
        /// Why.
        source: ConnectError,
    },
    /// The connection ended.
    #[error("the connection to NATS was lost")]
    Lost,
    /// There is a NATS, and no JetStream.
    #[error("NATS has no JetStream here: start nats-server with `-js`, or enable JetStream for the account")]
    NoJetStream,
    /// It does not answer, or may not be asked.
    #[error(
        "NATS did not answer when it was asked to {what}: check that it is well, and that the account may use `$JS.API.>` and `ffe.ledger.>`"
    )]
    Silent {
        /// What it was asked to do.
        what: &'static str,
    },
    /// JetStream said no.
    #[error("NATS refused to {what}: {told}")]
    Refused {
        /// What it was asked to do.
        what: &'static str,
        /// What it said.
        told: String,
    },
    /// The stream does not take our subjects, and could not be changed.
    #[error("the stream {STREAM} does not take `{missing}`, and could not be changed: {told}")]
    Subjects {
        /// A subject that it does not take.
        missing: &'static str,
        /// What NATS said.
        told: String,
    },
    /// The stream never says that it has a message.
    #[error("the stream {STREAM} has `no_ack` set, so that nobody knows what it has: unset it")]
    NoAcks,
    /// The stream is not there any more.
    #[error("the stream {STREAM} is gone; it is made anew")]
    Gone,
    /// A message is larger than the server takes.
    #[error("an event is larger than NATS takes: raise `max_payload` of nats-server")]
    TooLarge(#[source] PublishError),
    /// The last message of the stream is not the event before this one.
    #[error("the last message of the stream {STREAM} is not the event before")]
    NotNext,
    /// Anything else.
    #[error("could not {what}")]
    Other {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl NatsError {
    /// Returns the error of a connection that did not come about.
    pub(super) fn of_connect(servers: String, source: ConnectError) -> Self {
        match source.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                Self::Denied { servers }
            }
            _ => Self::Connect { servers, source },
        }
    }

    /// Returns what makes an error of a request to JetStream: for `map_err`.
    pub(super) fn of_request(what: &'static str) -> impl Fn(RequestError) -> Self {
        move |source| match source.kind() {
            RequestErrorKind::NoResponders => Self::NoJetStream,
            RequestErrorKind::TimedOut => Self::Silent { what },
            _ => Self::Other { what, source: source.into() },
        }
    }
}

impl From<PublishError> for NatsError {
    fn from(error: PublishError) -> Self {
        let what = "publish an event";
        match error.kind() {
            PublishErrorKind::StreamNotFound => Self::Gone,
            PublishErrorKind::WrongLastMessageId => Self::NotNext,
            PublishErrorKind::TimedOut => Self::Silent { what },
            PublishErrorKind::BrokenPipe => Self::Lost,
            PublishErrorKind::MaxPayloadExceeded => Self::TooLarge(error),
            _ => match std::error::Error::source(&error) {
                Some(told) => Self::Refused { what, told: told.to_string() },
                None => Self::Other { what, source: error.into() },
            },
        }
    }
}
