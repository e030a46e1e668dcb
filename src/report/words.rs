//! Numbers and words as people read them.

use std::time::Duration;

use crate::model::{Outcome, Severity};

/// Returns a duration in at most two units: `340 ms`, `1.2 s`, `2 min 05 s`, `1 h 02 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..10 => format!("{}.{} s", seconds, time.subsec_millis() / 100),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Returns milliseconds as [`duration`] does.
pub fn duration_ms(milliseconds: u64) -> String {
    duration(Duration::from_millis(milliseconds))
}

/// Returns a number of things: `1 error`, `2 errors`.
pub fn count(number: usize, of: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {of}{plural}")
}

/// Returns a size in decimal units, as `docker images` shows it: `152.3 MB`.
pub fn size(bytes: u64) -> String {
    humansize::format_size(bytes, humansize::DECIMAL.decimal_places(1))
}

/// Returns the first 12 hex digits of a digest, as `docker` shows it.
pub fn short_digest(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.get(..12).unwrap_or(hex)
}

/// Returns what a verb has achieved, when it succeeded.
pub fn achieved(verb: &str, changed: bool) -> &'static str {
    match (verb, changed) {
        ("down", true) => "the services are stopped; volumes and releases stay",
        ("clean", true) => "the services, their volumes and their local images are gone; releases stay",
        ("down" | "clean", false) => "nothing ran",
        ("setup", _) => "the target is ready as far as this can make it; nothing was started",
        ("build", _) => "the images are built; nothing was started",
        ("backup", _) => "the backup is taken and was read back",
        ("validate", _) => "every check passed; nothing was touched",
        ("deploy --plan", _) => "a deploy would change nothing; nothing was touched",
        ("recover", true) => "the deployment that was left unfinished is ended",
        ("recover", false) => "there was nothing to recover",
        (_, false) => "it already ran and is healthy; nothing was changed",
        (_, true) => meaning(Outcome::Succeeded),
    }
}

/// Returns what an outcome means for what runs, and for what people have to do (DESIGN section 5).
pub fn meaning(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "the release is verified and current",
        Outcome::Invalid => "bad arguments, inputs or configuration; nothing was touched",
        Outcome::Refused => "refused before anything was touched",
        Outcome::RolledBack => "the new release failed; the previous one is back and verified",
        Outcome::Failed => "the new release failed and nothing could be put back: someone must look",
        Outcome::Busy => "another deployment of this app and environment is under way; nothing was touched",
        Outcome::Unreachable => "the target could not be reached; nothing was touched",
        Outcome::Cancelled => "cancelled; the host goes back to the previous release by itself",
        Outcome::Aborted => "stopped before the switch; the running release was not touched",
        Outcome::Planned => "there are changes; nothing was applied",
        Outcome::Lost => "contact was lost after the start; the host goes on by itself",
    }
}

/// Returns the mark before a finding.
pub fn mark(severity: Severity) -> &'static str {
    match severity {
        Severity::Passed => "✓",
        Severity::Silenced => "-",
        Severity::Warning => "!",
        Severity::Error => "✗",
    }
}

/// Returns how much a finding weighs, in a word.
pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Passed => "passed",
        Severity::Silenced => "silenced",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_short_and_have_their_unit() {
        let read = [0, 340, 1_250, 59_999, 125_000, 3_720_000].map(duration_ms);
        assert_eq!(read, ["0 ms", "340 ms", "1.2 s", "59 s", "2 min 05 s", "1 h 02 min"]);
        assert_eq!([999, 152_300_000].map(size), ["999 B", "152.3 MB"]);
    }
}
