//! The agent's end of the connection: frames come in, lines go out.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use zeroize::Zeroize;

use super::protocol::{self, Frame, FrameError, Greeting, HostFacts, PROTOCOL, Reply};
use crate::event::{Event, Sink};
use crate::model::{Job, wall};
use crate::text::{Redactor, harmless_json};

/// Frames that may wait; the bundle is the only one that comes in numbers.
const WAITING: usize = 4;
/// A runner that has said nothing for so long, not even a ping, is gone: a network that was cut says nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// Why the agent cannot talk to its runner.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// The runner is gone.
    #[error("the runner is gone")]
    Gone,
    /// It said something else than it should.
    #[error("the runner sent {found} where {wanted} was expected")]
    Unexpected {
        /// What came.
        found: &'static str,
        /// What should have come.
        wanted: &'static str,
    },
    /// It does not speak the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A payload is not what it should be.
    #[error("the runner sent a {what} that cannot be read")]
    Payload {
        /// Which payload.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

/// Frames from the runner, read in a task of their own so that waiting for one can be given up.
pub(super) struct Link {
    frames: mpsc::Receiver<Result<Frame, FrameError>>,
    /// How many frames have come, pings too.
    heard: Arc<AtomicU32>,
    /// Files that came before the job.
    ahead: Vec<u8>,
}

impl Link {
    /// Takes standard input over.
    pub(super) fn stdio() -> Self {
        let (sender, frames) = mpsc::channel(WAITING);
        let heard = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&heard);
        tokio::spawn(async move {
            let mut stdin = tokio::io::BufReader::new(tokio::io::stdin());
            loop {
                let received = tokio::time::timeout(SILENCE, protocol::receive(&mut stdin)).await;
                let Ok(Some(frame)) = received.map(Result::transpose) else { return };
                count.fetch_add(1, Ordering::Relaxed);
                if matches!(frame, Ok(Frame::Ping)) {
                    continue;
                }
                let broken = frame.is_err();
                if sender.send(frame).await.is_err() || broken {
                    return;
                }
            }
        });
        Self { frames, heard, ahead: Vec::new() }
    }

    /// Returns how often the runner has been heard, pings too.
    pub(super) fn heard(&self) -> u32 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Returns the next frame that is no ping.
    ///
    /// # Errors
    /// The runner is gone, or does not speak the protocol.
    pub(super) async fn next(&mut self) -> Result<Frame, LinkError> {
        self.frames.recv().await.map_or(Err(LinkError::Gone), |frame| Ok(frame?))
    }

    /// Answers the greeting; returns by how many seconds this clock is ahead of the runner's.
    ///
    /// # Errors
    /// The runner speaks another version of the protocol.
    pub(super) async fn greet(&mut self, facts: HostFacts) -> Result<i64, LinkError> {
        let Frame::Hello(payload) = self.next().await? else {
            return Err(LinkError::Unexpected { found: "another frame", wanted: "a greeting" });
        };
        let greeting: Greeting = serde_json::from_slice(&payload)
            .map_err(|source| LinkError::Payload { what: "greeting", source })?;
        if greeting.protocol != PROTOCOL {
            return Err(LinkError::Unexpected { found: "another protocol version", wanted: "this agent's" });
        }
        reply(&Reply::Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").into(), facts });
        Ok(greeting.now.map_or(0, |now| wall().as_second() - now.as_second()))
    }

    /// Waits for the job.
    ///
    /// # Errors
    /// Something else comes, or it cannot be read.
    pub(super) async fn job(&mut self) -> Result<Job, LinkError> {
        loop {
            match self.next().await? {
                Frame::Ahead(files) => self.ahead = files,
                Frame::Job(mut payload) => {
                    let job = serde_json::from_slice(&payload);
                    payload.zeroize();
                    return job.map_err(|source| LinkError::Payload { what: "job", source });
                }
                _ => return Err(LinkError::Unexpected { found: "another frame", wanted: "a job" }),
            }
        }
    }

    /// Takes the archive of files that came before the job; empty when none did.
    pub(super) fn ahead(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.ahead)
    }
}

/// Says something to the runner.
pub(super) fn reply(reply: &Reply) {
    if let Ok(line) = serde_json::to_string(reply) {
        say(&harmless_json(&line));
    }
}

/// Writes one line. A runner that is gone is noticed by its frames ending, not here.
pub(super) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()).ok();
}

/// Returns an event as the line that leaves this machine: redacted, and harmless to a runner.
pub(super) fn line_of(event: &Event, redactor: &Redactor) -> String {
    let mut value = serde_json::to_value(event).unwrap_or_default();
    redactor.redact_json(&mut value);
    harmless_json(&value.to_string()).into_owned()
}

/// Events before the start: told at once, and kept for the host's own log.
#[derive(Clone, Default)]
pub(super) struct Prelude {
    /// Lines so far.
    pub lines: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
    /// What must not be told.
    pub redactor: Redactor,
}

impl Sink for Prelude {
    fn take(&mut self, event: &Event) {
        let line = line_of(event, &self.redactor);
        say(&line);
        if let Ok(mut lines) = self.lines.lock() {
            lines.push(line);
        }
    }
}
