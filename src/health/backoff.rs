//! How long to wait between two attempts: 100 ms, doubling up to 3 s, each ±10 % (C09, R002-11).

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(3);
/// Largest part by which a gap is longer or shorter, so that checks side by side do not ask in step.
const JITTER: f64 = 0.1;

/// The gaps, without end. They grow strictly until the longest one is reached, whatever the jitter.
pub(super) struct Gaps {
    next: Duration,
}

impl Gaps {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    pub(super) fn next_gap(&mut self) -> Duration {
        let gap = self.next;
        self.next = (gap * 2).min(LONGEST);
        gap.mul_f64(1.0 + JITTER * chance())
    }
}

/// Returns a random number from -1 to 1.
fn chance() -> f64 {
    let random = uuid::Uuid::new_v4().as_u128() as u32;
    f64::from(random) / f64::from(u32::MAX) * 2.0 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_double_from_100_ms_to_3_s_within_a_tenth() {
        let mut gaps = Gaps::new();
        let wanted = [100, 200, 400, 800, 1600, 3000, 3000, 3000].map(Duration::from_millis);
        for wanted in wanted {
            let gap = gaps.next_gap();
            assert!(wanted.mul_f64(0.9) <= gap && gap <= wanted.mul_f64(1.1), "{gap:?}, wanted {wanted:?}");
        }
    }

    #[test]
    fn gaps_grow_until_the_longest_whatever_the_jitter() {
        for _ in 0..200 {
            let mut gaps = Gaps::new();
            let taken: Vec<Duration> = (0..6).map(|_| gaps.next_gap()).collect();
            assert!(taken.is_sorted_by(|a, b| a < b), "{taken:?}");
        }
    }

    #[test]
    fn jitter_differs_from_run_to_run() {
        let first: Vec<Duration> = (0..8).map(|_| Gaps::new().next_gap()).collect();
        assert!(first.iter().any(|gap| *gap != first[0]), "{first:?}");
    }
}
