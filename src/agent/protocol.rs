//! What the two halves say to each other (DESIGN section 3): frames to the agent, lines from it.
//!
//! Frames: `u32` big-endian length of the payload, `u8` type, payload. Lines: NDJSON, each an event or a reply.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroize;

use crate::event::Cleaner;
use crate::model::{BuildOrders, DeploymentId, FailureReport, Finding, Outcome, ReleaseId};
use crate::text::Redactor;

/// Version of the protocol; both halves are of one release, so a difference is a defect of shipping.
pub const PROTOCOL: u32 = 1;
/// Longest payload of a frame: a job with a manifest of 100,000 files fits.
pub const LONGEST_FRAME: u32 = 64 * 1024 * 1024;
/// Longest line that the runner accepts as an event; answers may be longer.
pub const LONGEST_EVENT: usize = 1024 * 1024;
/// Size of the pieces in which a bundle travels.
pub const CHUNK: usize = 256 * 1024;

/// A message to the agent.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// The first one: JSON of [`Greeting`].
    Hello(Vec<u8>),
    /// JSON of [`crate::model::Job`].
    Job(Vec<u8>),
    /// A piece of the bundle (tar, zstd); an empty one is the end.
    Bundle(Vec<u8>),
    /// Files of the bundle (tar, zstd) before the job that they are for, in case the host lacks them: who has to ask for
    /// a file waits for a whole round trip.
    Ahead(Vec<u8>),
    /// Go. JSON of [`Start`].
    Start(Vec<u8>),
    /// Stop at the next safe point.
    Cancel,
    /// The runner is still there.
    Ping,
}

impl Frame {
    /// Wipes the payload from memory: a job holds secrets.
    pub fn wipe(&mut self) {
        match self {
            Self::Hello(payload)
            | Self::Job(payload)
            | Self::Bundle(payload)
            | Self::Ahead(payload)
            | Self::Start(payload) => payload.zeroize(),
            Self::Cancel | Self::Ping => {}
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => 1,
            Self::Job(_) => 2,
            Self::Bundle(_) => 3,
            Self::Start(_) => 4,
            Self::Cancel => 5,
            Self::Ping => 6,
            Self::Ahead(_) => 7,
        }
    }

    fn payload(&self) -> &[u8] {
        match self {
            Self::Hello(bytes)
            | Self::Job(bytes)
            | Self::Bundle(bytes)
            | Self::Ahead(bytes)
            | Self::Start(bytes) => bytes,
            Self::Cancel | Self::Ping => &[],
        }
    }

    /// Returns what travels before the payload.
    fn head(&self) -> Result<[u8; 5], FrameError> {
        let payload = self.payload();
        let length = u32::try_from(payload.len()).ok().filter(|length| *length <= LONGEST_FRAME);
        let Some(length) = length else {
            return Err(FrameError::Garbage(format!("a frame of {} bytes", payload.len())));
        };
        let mut head = [0; 5];
        head[..4].copy_from_slice(&length.to_be_bytes());
        head[4] = self.kind();
        Ok(head)
    }

    fn of(kind: u8, payload: Vec<u8>) -> Option<Self> {
        Some(match kind {
            1 => Self::Hello(payload),
            2 => Self::Job(payload),
            3 => Self::Bundle(payload),
            4 => Self::Start(payload),
            5 => Self::Cancel,
            6 => Self::Ping,
            7 => Self::Ahead(payload),
            _ => return None,
        })
    }
}

/// Who the runner is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// Version of the protocol.
    pub protocol: u32,
    /// Version of the program.
    pub version: String,
    /// The runner's clock.
    #[serde(default)]
    pub now: Option<Timestamp>,
}

/// What the runner has done meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Images that it has built and pushed, `repository@sha256:…` by service.
    #[serde(default)]
    pub built: BTreeMap<String, String>,
}

/// Why a stream of frames ended early.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream broke.
    #[error("the connection broke")]
    Broken(#[source] std::io::Error),
    /// A frame that cannot be.
    #[error("the peer does not speak this protocol: {0}")]
    Garbage(String),
}

/// Writes one frame.
///
/// # Errors
/// The stream is broken, or the payload is longer than [`LONGEST_FRAME`].
pub async fn send(stream: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> Result<(), FrameError> {
    stream.write_all(&frame.head()?).await.map_err(FrameError::Broken)?;
    stream.write_all(frame.payload()).await.map_err(FrameError::Broken)?;
    stream.flush().await.map_err(FrameError::Broken)
}

/// Reads one frame; nothing at a clean end of the stream.
///
/// # Errors
/// The stream ends within a frame, or holds something that is none.
pub async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>, FrameError> {
    let mut head = [0; 5];
    match stream.read_exact(&mut head[..1]).await {
        Ok(_) => {}
        Err(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(source) => return Err(FrameError::Broken(source)),
    }
    stream.read_exact(&mut head[1..]).await.map_err(FrameError::Broken)?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    if length > LONGEST_FRAME {
        return Err(FrameError::Garbage(format!("a frame of {length} bytes")));
    }
    let mut payload = Vec::new();
    let read = stream.take(u64::from(length)).read_to_end(&mut payload).await.map_err(FrameError::Broken)?;
    if read as u64 != u64::from(length) {
        return Err(FrameError::Broken(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Frame::of(head[4], payload)
        .map(Some)
        .ok_or_else(|| FrameError::Garbage(format!("a frame of type {}", head[4])))
}

/// What the agent says besides events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// Answer to [`Frame::Hello`].
    Hello {
        /// Version of the protocol.
        protocol: u32,
        /// Version of the agent.
        version: String,
        /// The host.
        facts: HostFacts,
    },
    /// Digests of the bundle that the host has not got.
    Lacks {
        /// SHA-256, hex.
        digests: Vec<String>,
    },
    /// What would be replaced, before [`Reply::Ready`]; not said where nothing runs that we deployed.
    Current {
        /// Its release.
        release: ReleaseId,
        /// Its label.
        version: String,
        /// The commit that it was made of, when that is known.
        commit: Option<String>,
    },
    /// All of the host's findings; nothing has been changed.
    Ready {
        /// Whether [`Frame::Start`] makes sense.
        passed: bool,
        /// What was found.
        findings: Vec<Finding>,
        /// What the runner is to build before the start, under `build: runner`.
        #[serde(default)]
        builds: BuildOrders,
        /// Whether this version with these files is what runs already, as far as can be said.
        #[serde(default)]
        is_same: bool,
    },
    /// The deployment runs, detached; events follow.
    Started {
        /// Whether it ran, or had ended, before this connection.
        following: bool,
        /// Which one it is: of a run that comes again not the one that it would have begun.
        deployment_id: DeploymentId,
    },
    /// Answer to a query.
    Answer {
        /// Its own form by action.
        answer: serde_json::Value,
    },
    /// A line of a log.
    Line {
        /// As the service wrote it.
        text: String,
    },
    /// It does not go on; nothing was changed by this job.
    Refused {
        /// How the job ends.
        outcome: Outcome,
        /// Why.
        failure: FailureReport,
    },
}

impl Reply {
    /// Makes every free text in it harmless, and keeps secrets out of them: a host may say anything.
    pub fn clean(&mut self, redactor: &Redactor) {
        let cleaner = Cleaner::new(redactor);
        match self {
            // What is to be built is judged by whoever builds it, and holds the values that are to be passed on.
            Self::Ready { findings, passed: _, builds: _, is_same: _ } => {
                findings.iter_mut().for_each(|finding| cleaner.finding(finding));
            }
            Self::Answer { answer } => cleaner.answer(answer),
            Self::Line { text } => cleaner.log_line(text),
            Self::Current { version, commit, release: _ } => {
                cleaner.log_line(version);
                commit.iter_mut().for_each(|commit| cleaner.log_line(commit));
            }
            Self::Refused { failure, outcome: _ } => cleaner.failure(failure),
            Self::Hello { version, facts, protocol: _ } => {
                let HostFacts { hostname, user, architecture } = facts;
                [version, hostname, user, architecture].into_iter().for_each(|text| cleaner.log_line(text));
            }
            Self::Lacks { .. } | Self::Started { .. } => {}
        }
    }
}

/// What the agent says of its host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Name of the machine.
    pub hostname: String,
    /// User who deploys.
    pub user: String,
    /// `x86_64`, `aarch64`, …
    pub architecture: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_out_as_they_went_in() {
        let (mut near, mut far) = tokio::io::duplex(1024 * 1024);
        let sent = [
            Frame::Hello(b"{}".to_vec()),
            Frame::Bundle(vec![7; 70_000]),
            Frame::Ahead(vec![8; 7]),
            Frame::Start(b"{}".to_vec()),
            Frame::Cancel,
        ];
        for frame in &sent {
            send(&mut near, frame).await.unwrap();
        }
        drop(near);
        for frame in &sent {
            assert!(receive(&mut far).await.unwrap().as_ref() == Some(frame));
        }
        assert!(receive(&mut far).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn garbage_and_torn_frames_are_errors_not_allocations() {
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0, 0, 1, 99, 0], &[0, 0, 0, 9, 2, 1]] {
            let mut stream = bytes;
            assert!(receive(&mut stream).await.is_err(), "{bytes:?}");
        }
    }
}
