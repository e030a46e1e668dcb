//! What is known of NATS, for those who ask after the service's health and its figures.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

/// State of the connection to NATS, as the publisher sees it.
#[derive(Debug, Default)]
pub struct NatsState {
    seen: Mutex<Seen>,
    published: AtomicU64,
}

#[derive(Clone, Debug, Default)]
enum Seen {
    /// No NATS is configured: the outbox is a feed.
    #[default]
    Absent,
    /// Connected; the last answer took so many milliseconds.
    Up(f64),
    /// Not connected, and why.
    Down(String),
}

impl NatsState {
    /// Notes that NATS answered, after so many milliseconds.
    pub fn up(&self, latency_ms: f64) {
        self.set(Seen::Up(latency_ms));
    }

    /// Notes that NATS does not answer, and why, without secrets.
    pub fn down(&self, error: impl Into<String>) {
        self.set(Seen::Down(error.into()));
    }

    /// Notes that so many events more are in the stream.
    pub fn published(&self, events: u64) {
        self.published.fetch_add(events, Ordering::Relaxed);
    }

    fn set(&self, seen: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether NATS answers, and how many events this process published; nothing when no NATS is configured.
    pub fn figures(&self) -> Option<(bool, u64)> {
        match self.seen() {
            Seen::Absent => None,
            seen => Some((matches!(seen, Seen::Up(_)), self.published.load(Ordering::Relaxed))),
        }
    }

    /// Returns the state as a check (R003-20); `latency_ms` is always there (C21).
    pub fn check(&self) -> Value {
        let (status, latency_ms, error) = match self.seen() {
            Seen::Absent => ("not_configured", 0.0, None),
            Seen::Up(latency_ms) => ("healthy", latency_ms, None),
            Seen::Down(error) => ("unhealthy", 0.0, Some(error)),
        };
        json!({ "name": "nats", "status": status, "latency_ms": latency_ms, "error": error })
    }
}
