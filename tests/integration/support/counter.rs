//! A client that writes numbers to an app and remembers which were acknowledged: none of those may be lost.
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::http;

/// Between two writes.
const PAUSE: Duration = Duration::from_millis(25);

/// Posts 1, 2, 3 … to `/count` of the shop, each until it is acknowledged, from a thread of its own; ends on drop.
pub(crate) struct Counter {
    address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    ended: AtomicBool,
    counted: Mutex<Counted>,
}

/// What was written so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    /// The last number that was acknowledged, and all before it were.
    pub(crate) acknowledged: u64,
    /// Longest time between two that were acknowledged.
    pub(crate) longest_gap: Duration,
}

impl Counter {
    /// Begins with the number after `last`.
    pub(crate) fn start(address: SocketAddr, last: u64) -> Self {
        let state = Arc::new(State::default());
        state.counted.lock().expect("no thread panics").acknowledged = last;
        let of_thread = Arc::clone(&state);
        let thread = Some(std::thread::spawn(move || of_thread.count(address)));
        Self { address, state, thread }
    }

    pub(crate) fn so_far(&self) -> Counted {
        self.state.counted.lock().expect("no thread panics").clone()
    }

    /// Ends the writing, and returns how far it came.
    pub(crate) fn end(mut self) -> Counted {
        self.join();
        self.so_far()
    }

    /// Acknowledged numbers that the app does not have; none when it does not answer.
    pub(crate) fn lost(&self) -> Option<Vec<u64>> {
        let acknowledged = self.so_far().acknowledged;
        let answer = http::request_at(self.address, "GET", "/count", "").ok()?;
        let written: BTreeSet<u64> = answer.body.lines().filter_map(|line| line.parse().ok()).collect();
        (answer.status == 200)
            .then(|| (1..=acknowledged).filter(|number| !written.contains(number)).collect())
    }

    fn join(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no thread panics");
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.join();
    }
}

impl State {
    fn count(&self, address: SocketAddr) {
        let mut last = Instant::now();
        while !self.ended.load(Ordering::Relaxed) {
            let next = self.counted.lock().expect("no thread panics").acknowledged + 1;
            let answer = http::request_at(address, "POST", "/count", &next.to_string());
            if answer.is_ok_and(|answer| answer.status == 200) {
                let mut counted = self.counted.lock().expect("no thread panics");
                counted.acknowledged = next;
                counted.longest_gap = counted.longest_gap.max(last.elapsed());
                last = Instant::now();
            }
            std::thread::sleep(PAUSE);
        }
    }
}
