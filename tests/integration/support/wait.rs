//! The one place that waits: ask again until it is so, and give up aloud.
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// Returns once `condition` holds; panics, naming `what`, when it does not within `limit`.
pub(crate) fn until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    until_some(limit, what, || condition().then_some(()));
}

/// Returns the first value that `question` gives; panics, naming `what`, when there is none within `limit`.
pub(crate) fn until_some<T>(limit: Duration, what: &str, question: impl FnMut() -> Option<T>) -> T {
    within(limit, question).unwrap_or_else(|| panic!("waited {limit:?} for {what}"))
}

/// Returns the first value that `question` gives within `limit`.
pub(crate) fn within<T>(limit: Duration, mut question: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = question() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}
