//! What the service is told when it starts.

use std::net::SocketAddr;
use std::time::Duration;

use super::dispatch::GitHub;
use super::nats::Address;
use super::store::OnConflict;

/// How the service behaves; every value has a flag and a variable (docs/ledger.md).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens; 127.0.0.1:8350 by default (R004-02).
    pub listen: SocketAddr,
    /// What a change does while another one of its entity and environment is under way.
    pub on_conflict: OnConflict,
    /// Requests that one token may send in 60 s; 0 is no limit (R001-52).
    pub rate_limit: u32,
    /// Largest body of a request, in bytes.
    pub body_limit: usize,
    /// Longest time from a request to its answer.
    pub request_timeout: Duration,
    /// How long a connection may lie idle, and how long the head of a request may take.
    pub idle_timeout: Duration,
    /// How long requests that are under way may still take when the service is told to end.
    pub grace: Duration,
    /// NATS that events are published to; without one the outbox is a feed.
    pub nats: Option<Address>,
    /// Where the rollback button starts workflows.
    pub github: GitHub,
}
