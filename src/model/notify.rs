//! Which ends are told to people who do not watch the job.

use super::{Outcome, Status};

/// Which ends are told: `on` of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NotifyOn {
    /// Every end of a verb that changes.
    #[default]
    All,
    /// Every end but that of a success that had nothing to change.
    Changes,
    /// Every end but a success: also a cancelled deployment, and one whose host went out of sight.
    Failures,
}

impl NotifyOn {
    /// Returns whether an end is told.
    pub fn covers(self, outcome: Outcome, changed: bool) -> bool {
        let is_success = outcome.status() == Status::Success;
        match self {
            Self::All => true,
            Self::Changes => changed || !is_success,
            Self::Failures => !is_success,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_whatever_is_asked_for() {
        for outcome in [Outcome::RolledBack, Outcome::Refused, Outcome::Cancelled, Outcome::Lost] {
            for on in [NotifyOn::All, NotifyOn::Changes, NotifyOn::Failures] {
                assert!(on.covers(outcome, false), "{outcome} {on:?}");
            }
        }
    }

    #[test]
    fn a_success_is_told_by_what_it_changed() {
        let told = |on: NotifyOn| [true, false].map(|changed| on.covers(Outcome::Succeeded, changed));
        assert_eq!(told(NotifyOn::All), [true, true]);
        assert_eq!(told(NotifyOn::Changes), [true, false]);
        assert_eq!(told(NotifyOn::Failures), [false, false]);
    }
}
