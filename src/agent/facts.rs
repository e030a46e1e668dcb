//! What this host is called, and who we are on it.

use super::protocol::HostFacts;
use crate::model::Finding;

/// Largest difference of two clocks that is none, in seconds: what a slow connection and a lazy NTP make.
const SAME_S: u64 = 60;

/// Returns the facts that the greeting carries.
pub(super) fn host() -> HostFacts {
    let uname = rustix::system::uname();
    HostFacts {
        hostname: uname.nodename().to_string_lossy().into_owned(),
        user: std::env::var("USER").unwrap_or_else(|_| rustix::process::geteuid().as_raw().to_string()),
        architecture: uname.machine().to_string_lossy().into_owned(),
    }
}

/// `host.clock`: names of records and backups, their age and every certificate go by the host's clock.
pub(super) fn clock(ahead_s: i64) -> Option<Finding> {
    let off_s = ahead_s.unsigned_abs();
    if off_s <= SAME_S {
        return None;
    }
    let (count, unit) = match off_s {
        0..=7199 => (off_s / 60, "min"),
        7200..=172_799 => (off_s / 3600, "h"),
        _ => (off_s / 86_400, "days"),
    };
    let side = if ahead_s > 0 { "ahead of" } else { "behind" };
    let message = format!(
        "the clock of this host is {count} {unit} {side} that of the runner; backups are kept as long as the earlier of both says"
    );
    let hint = "set the clock that is wrong, and keep it right by NTP (`timedatectl set-ntp true`)";
    Some(Finding::warning("host.clock", message, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_are_told_with_how_much_and_which_is_ahead() {
        assert!([0, 60, -60].into_iter().all(|ahead_s| clock(ahead_s).is_none()));
        for (ahead_s, said) in [
            (61, "1 min ahead of"),
            (-3 * 3600, "3 h behind"),
            (10 * 365 * 86_400, "3650 days ahead of"),
            (i64::MIN, "days behind"),
        ] {
            let finding = clock(ahead_s).unwrap();
            assert!(finding.message.contains(said), "{}", finding.message);
        }
    }
}
