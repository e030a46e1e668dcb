//! Durations as people write them: `500ms`, `120s`, `10m`, `1h`, `1m30s`.

use std::time::Duration;

/// Returns the duration that the text stands for; a number without unit stands for none.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut before = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        let unit_ms = match &rest[digits..end] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        if unit_ms >= before {
            return None;
        }
        before = unit_ms;
        total = total.checked_add(Duration::from_millis(number.checked_mul(unit_ms)?))?;
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(total)
}

/// Least and longest `timeout` of a deployment.
pub(super) const LEAST_TIMEOUT: Duration = Duration::from_secs(1);
pub(super) const MOST_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Reads `--timeout`.
///
/// # Errors
/// It is no duration, or not one from 1 s to 24 h.
pub fn timeout(text: &str) -> Result<Duration, String> {
    let given = parse(text).filter(|time| (LEAST_TIMEOUT..=MOST_TIMEOUT).contains(time));
    given
        .ok_or_else(|| format!("a duration from {} to {}, as `45m`", show(LEAST_TIMEOUT), show(MOST_TIMEOUT)))
}

/// Returns the shortest text that [`parse`] reads as this duration.
pub(super) fn show(time: Duration) -> String {
    let ms = time.as_millis();
    [(3_600_000, "h"), (60_000, "m"), (1_000, "s")]
        .into_iter()
        .find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit))
        .map_or_else(|| format!("{ms}ms"), |(unit, name)| format!("{}{name}", ms / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_forms_are_read_and_others_are_not() {
        for (text, ms) in [("500ms", 500), ("120s", 120_000), ("10m", 600_000), ("1m30s", 90_000)] {
            assert_eq!(parse(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in
            ["", "10", "s", "-1s", "1.5s", "1s2m", "1s1s", "99999999999999999999h", "9999999999999999h"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(show(Duration::from_secs(7200)), "2h");
    }
}
