//! A witness of what every user of a machine can see: the arguments of all programs, as often as they can be read.
use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks from a thread of its own until it is asked or dropped.
pub(crate) struct Witness {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    ended: AtomicBool,
    seen: Mutex<BTreeSet<Vec<u8>>>,
}

impl Witness {
    /// Begins to look.
    pub(crate) fn start() -> Self {
        let state = Arc::new(State::default());
        let of_thread = Arc::clone(&state);
        let thread = Some(std::thread::spawn(move || of_thread.look()));
        Self { state, thread }
    }

    /// Ends, and returns each command line that was there at any look, its words one after the other.
    pub(crate) fn end(mut self) -> BTreeSet<Vec<u8>> {
        self.join();
        std::mem::take(&mut *self.state.seen.lock().expect("no thread panics"))
    }

    fn join(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no thread panics");
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.join();
    }
}

impl State {
    fn look(&self) {
        while !self.ended.load(Ordering::Relaxed) {
            let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
            let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
            self.seen.lock().expect("no thread panics").extend(lines.filter(|line| !line.is_empty()));
            std::thread::sleep(PAUSE);
        }
    }
}
