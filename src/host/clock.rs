//! Time that goes on while the machine sleeps and that nobody can set: `CLOCK_BOOTTIME` (DESIGN section 6). What people
//! read as the time is [`wall`]: it may jump, so nothing waits by it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

pub use crate::model::wall;

/// Longest sleep between two looks at the clock: tokio's own clock stands still while the machine sleeps.
const LOOK: Duration = Duration::from_secs(1);

/// A moment, counted from the machine's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// Returns the present one.
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or_default();
        Self(Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), nanoseconds))
    }

    /// Returns the one that comes so much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    /// Returns how long it is until it comes; zero when it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_sub(Self::now().0)
    }

    /// Ends when it has come.
    pub async fn comes(self) {
        while !self.left().is_zero() {
            tokio::time::sleep(self.left().min(LOOK)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_moment_comes_not_before_its_time() {
        let begin = Moment::now();
        let moment = begin.after(Duration::from_millis(50));
        moment.comes().await;
        assert!(moment.left().is_zero() && Moment::now() >= moment);
        assert!(begin.after(Duration::MAX).left() > Duration::from_secs(1 << 40));
    }
}
