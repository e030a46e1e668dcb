//! How the pages say what they show: a status, health, a time. Never by colour alone.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::ledger::store::Json;
use crate::model::lifecycle::DeploymentStatus;
use crate::model::{CheckResult, HealthReport, Overall};
use crate::text::harmless;

/// Returns a status with its sign and its word.
pub fn status(status: DeploymentStatus) -> Markup {
    let (class, word) = match status {
        DeploymentStatus::Pending => ("waits", "pending"),
        DeploymentStatus::Deploying => ("runs", "deploying"),
        DeploymentStatus::Active => ("good", "active"),
        DeploymentStatus::Inactive => ("past", "inactive"),
        DeploymentStatus::Failed => ("bad", "failed"),
        DeploymentStatus::RolledBack => ("back", "rolled back"),
    };
    html! { span class={ "status " (class) } { (sign(class)) (word) } }
}

/// Returns the sign of a class of states; whoever does not see it has the word beside it.
pub fn sign(class: &str) -> Markup {
    html! { svg.sign width="14" height="14" aria-hidden="true" { use href={ "#sign-" (class) } {} } }
}

/// What the signs are drawn of; a page has each of them once.
const SIGNS: [(&str, &str); 7] = [
    ("good", "M3.5 8.5l3 3 6-7"),
    ("bad", "M4 4l8 8M12 4l-8 8"),
    ("warn", "M8 3v6M8 12.5v.5"),
    ("back", "M7 3L3.5 6.5 7 10M4 6.5h5a3.5 3.5 0 0 1 0 7H6"),
    ("runs", "M8 2.5a5.5 5.5 0 1 1-5.5 5.5"),
    ("waits", "M8 2.5a5.5 5.5 0 1 0 .01 0M8 5.5V8l1.5 1"),
    ("past", "M4 8h8"),
];

/// Returns the drawings that [`sign`] uses.
pub(super) fn signs() -> Markup {
    html! {
        svg.unseen aria-hidden="true" focusable="false" {
            @for (class, path) in SIGNS { symbol id={ "sign-" (class) } viewBox="0 0 16 16" { path d=(path) {} } }
        }
    }
}

/// Returns a state of health with its sign: of what runs, by its last checks.
pub fn health(overall: Option<Overall>) -> Markup {
    let (class, word) = match overall {
        Some(Overall::Healthy) => ("good", "healthy"),
        Some(Overall::Degraded) => ("warn", "degraded"),
        Some(Overall::Unhealthy) => ("bad", "unhealthy"),
        None => ("past", "health not known"),
    };
    html! { span class={ "health " (class) } { (sign(class)) (word) } }
}

/// Returns what results of checks mean together; nothing when there are none, or none that a job reported.
pub fn overall(checks: &Json) -> Option<Overall> {
    let checks: Vec<CheckResult> = serde_json::from_str(checks.text()).ok()?;
    (!checks.is_empty()).then(|| HealthReport::of(checks).overall)
}

/// Returns a time as how long ago it was, with the time itself for machines and for whoever points at it.
pub fn ago(micros: i64, now: i64) -> Markup {
    let (exact, machine) = (exact(micros), machine(micros));
    html! { time datetime=(machine) title=(exact) data-ago { (age((now - micros) / 1_000_000)) } }
}

/// Returns a time in full.
pub fn at(micros: i64) -> Markup {
    html! { time datetime=(machine(micros)) { (exact(micros)) } }
}

/// Returns the time of a day, to the second.
pub fn clock(micros: i64) -> String {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH).strftime("%H:%M:%S").to_string()
}

fn machine(micros: i64) -> String {
    crate::ledger::store::time_text(micros)
}

fn exact(micros: i64) -> String {
    // Such a time is made by this program only.
    let time = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Seconds in words; the script says later ages in the same ones.
fn age(seconds: i64) -> String {
    match seconds {
        ..10 => "just now".to_owned(),
        10..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        172_800..5_184_000 => format!("{} days ago", seconds / 86_400),
        5_184_000..63_072_000 => format!("{} months ago", seconds / 2_592_000),
        _ => format!("{} years ago", seconds / 31_536_000),
    }
}

/// Returns a duration in words.
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match ms {
        ..1000 => format!("{ms} ms"),
        1000..10_000 => format!("{}.{} s", seconds, ms % 1000 / 100),
        10_000..60_000 => format!("{seconds} s"),
        60_000..3_600_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Returns foreign text of several lines, with what stands between backticks as code.
pub fn prose(text: &str) -> Markup {
    let text = crate::text::harmless_lines(text);
    let parts: Vec<&str> = text.split('`').collect();
    // An odd number of backticks closes nothing: then they are text.
    let is_paired = parts.len() % 2 == 1;
    html! {
        @if is_paired {
            @for (index, part) in parts.iter().enumerate() { @if index % 2 == 1 { code { (part) } } @else { (part) } }
        } @else { (text) }
    }
}

/// Returns a foreign name, which is a link's text: never nothing.
pub fn name(text: &str) -> String {
    let name = short(text, 100);
    if name.trim().is_empty() { "(no name)".to_owned() } else { name }
}

/// Returns one line of foreign text: without a terminal's sequences, and not longer than a person reads.
pub fn short(text: &str, longest: usize) -> String {
    crate::text::shortened(&harmless(text), longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_durations_are_in_the_unit_that_fits() {
        let ages = [3, 59, 61, 7200, 180_000, 86_400 * 70, 86_400 * 800].map(age);
        let said =
            ["just now", "59 s ago", "1 min ago", "2 h ago", "2 days ago", "2 months ago", "2 years ago"];
        assert_eq!(ages, said);
        let durations = [900, 1234, 59_999, 61_000, 3_660_000].map(duration);
        assert_eq!(durations, ["900 ms", "1.2 s", "59 s", "1 min 1 s", "1 h 1 min"]);
        assert_eq!(exact(1_000_000), "1970-01-01 00:00:01 UTC");
    }

    #[test]
    fn backticks_become_code_in_pairs_only() {
        assert_eq!(prose("a `<b>` c").into_string(), "a <code>&lt;b&gt;</code> c");
        assert_eq!(prose("a ` b").into_string(), "a ` b");
    }

    #[test]
    fn health_is_that_of_checks_which_a_job_reported() {
        let check = r#"{"name":"a","verdict":"failed","optional":true,"latency_ms":1,"waited_ms":1,"attempts":1,"asked":"x","detail":"y"}"#;
        let of = |text: String| overall(&Json::new(text).unwrap());
        assert_eq!(of(format!("[{check}]")), Some(Overall::Degraded));
        assert_eq!((of("[]".to_owned()), of(r#"[{"other":1}]"#.to_owned())), (None, None));
    }
}
