//! The stages as a Mermaid Gantt chart, which GitHub draws in a summary.
//!
//! Every time is one of the first of January, 00:00 being the beginning of the run: Mermaid reads and writes times of the
//! reader's own zone, and any other way of saying "since the beginning" shows another time in each of them. Nothing
//! foreign gets into a chart but names, and of those only letters that Mermaid gives no meaning.

use crate::event::Origin;
use crate::model::StageOutcome;
use crate::report::story::StageTold;
use crate::report::{Story, words};

/// Narrowest bar, as a part of the whole: one that nobody sees would look like a stage that was left out.
const NARROWEST: u64 = 250;
/// Longest name that is shown, in characters.
const LONGEST_NAME: usize = 40;
/// Steps of the time axis, in milliseconds, and how Mermaid calls them.
const STEPS: [(u64, &str); 14] = [
    (50, "50millisecond"),
    (100, "100millisecond"),
    (250, "250millisecond"),
    (500, "500millisecond"),
    (1_000, "1second"),
    (2_000, "2second"),
    (5_000, "5second"),
    (10_000, "10second"),
    (30_000, "30second"),
    (60_000, "1minute"),
    (120_000, "2minute"),
    (300_000, "5minute"),
    (600_000, "10minute"),
    (1_800_000, "30minute"),
];
/// Most labels on the axis.
const MOST_LABELS: u64 = 8;

/// Returns the chart's lines; none when no stage took any time.
pub(super) fn chart(story: &Story) -> Option<Vec<String>> {
    let length_ms = story.timeline.length_ms();
    let shown: Vec<&StageTold> = story.timeline.stages().iter().filter(|told| is_shown(told)).collect();
    if shown.is_empty() || length_ms == 0 {
        return None;
    }
    let (step, tick) = step_of(length_ms);
    let mut lines = vec!["gantt".to_owned(), "    dateFormat YYYY-MM-DD HH:mm:ss.SSS".to_owned()];
    lines.push(format!("    axisFormat {}", if step < 1_000 { "%S.%L s" } else { "%M:%S" }));
    lines.push(format!("    tickInterval {tick}"));
    lines.push("    todayMarker off".to_owned());
    let mut section = None;
    for (at, told) in shown.iter().enumerate() {
        if section != Some(told.origin) {
            section = Some(told.origin);
            lines.push(format!("    section {}", section_name(story, told.origin)));
        }
        lines.push(task(at, told, length_ms));
    }
    Some(lines)
}

fn is_shown(told: &StageTold) -> bool {
    let is_marker = told.stage == crate::model::Stage::RolledBack;
    told.outcome != Some(StageOutcome::Skipped) && !is_marker
}

fn step_of(length_ms: u64) -> (u64, &'static str) {
    let fits = |(step, _): &&(u64, &str)| length_ms / step <= MOST_LABELS;
    STEPS.iter().find(fits).copied().unwrap_or(STEPS[STEPS.len() - 1])
}

fn section_name(story: &Story, origin: Origin) -> String {
    let host = story.host.as_deref().map(name).filter(|name| !name.is_empty());
    match (origin, host) {
        (Origin::Runner, _) => "this job".to_owned(),
        (Origin::Agent, Some(host)) => format!("on {host}"),
        (Origin::Agent, None) => "on the host".to_owned(),
    }
}

/// `verifying 4.3 s :crit, s3, 2026-01-01 00:00:01.250, 2026-01-01 00:00:05.550`
fn task(at: usize, told: &StageTold, length_ms: u64) -> String {
    let end = told.took_ms.map_or(length_ms, |took| told.began_ms.saturating_add(took));
    let took = match told.took_ms {
        Some(took) => words::duration_ms(took),
        None => "not ended".to_owned(),
    };
    let tag = match told.outcome {
        Some(StageOutcome::Failed) => "crit, ",
        Some(StageOutcome::Succeeded | StageOutcome::Skipped) => "",
        None => "active, ",
    };
    let end = end.max(told.began_ms.saturating_add(length_ms / NARROWEST).saturating_add(1));
    let stage = told.stage.as_str().replace('_', " ");
    format!("    {stage} {took} :{tag}s{at}, {}, {}", clock(told.began_ms), clock(end))
}

fn clock(ms: u64) -> String {
    let (seconds, rest) = (ms / 1_000, ms % 1_000);
    let (day, hour) = (1 + seconds / 86_400, seconds / 3_600 % 24);
    format!("2026-01-{:02} {hour:02}:{:02}:{:02}.{rest:03}", day.min(31), seconds / 60 % 60, seconds % 60)
}

/// Letters, digits, `-`, `_` and `.` of a name; a space for everything else.
fn name(text: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { ' ' };
    let plain: String = text.chars().take(LONGEST_NAME).map(plain).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, EventKind, Span, SpanStatus, examples};
    use crate::model::Stage;

    fn at(ms: i64, origin: Origin, stage: Stage, kind: EventKind) -> Event {
        let time = jiff::Timestamp::from_millisecond(1_790_000_000_000 + ms).unwrap();
        Event { timestamp: crate::event::timestamp(time), ..examples::event(1, origin, stage, kind) }
    }

    fn ended(outcome: StageOutcome, took_ms: u64) -> EventKind {
        let span = Span { name: "x".into(), duration_ms: took_ms, status: SpanStatus::Ok };
        EventKind::StageFinished { outcome, took_ms, reason: None, span }
    }

    fn story() -> Story {
        use Origin::{Agent, Runner};
        let mut story = Story::default();
        let begin = EventKind::StageStarted {};
        let took_over = EventKind::HostTookOver { previous_release: None, root: "/srv".into(), pid: 1 };
        for event in [
            at(0, Runner, Stage::Initializing, begin.clone()),
            at(40, Runner, Stage::Initializing, ended(StageOutcome::Succeeded, 40)),
            Event { host: "web:1, #x\n%%{init}".into(), ..at(50, Agent, Stage::Setup, took_over) },
            at(50, Agent, Stage::Pulling, begin.clone()),
            at(50, Agent, Stage::Pulling, ended(StageOutcome::Skipped, 0)),
            at(60, Agent, Stage::Verifying, begin.clone()),
            at(6_060, Agent, Stage::Verifying, ended(StageOutcome::Failed, 6_000)),
            at(6_070, Agent, Stage::RollingBack, begin),
            at(7_000, Agent, Stage::RollingBack, EventKind::CancelRequested { effect: "x".into() }),
        ] {
            story.hear(&event);
        }
        story
    }

    #[test]
    fn a_chart_has_every_stage_that_did_something_and_no_foreign_sign() {
        let expected = "gantt
    dateFormat YYYY-MM-DD HH:mm:ss.SSS
    axisFormat %M:%S
    tickInterval 1second
    todayMarker off
    section this job
    initializing 40 ms :s0, 2026-01-01 00:00:00.000, 2026-01-01 00:00:00.040
    section on web 1 x init
    verifying 6.0 s :crit, s1, 2026-01-01 00:00:00.060, 2026-01-01 00:00:06.060
    rolling back not ended :active, s2, 2026-01-01 00:00:06.070, 2026-01-01 00:00:07.000";
        assert_eq!(chart(&story()).unwrap().join("\n"), expected);
        assert_eq!(chart(&Story::default()), None);
    }

    #[test]
    fn the_axis_has_at_most_eight_steps_however_long_the_run() {
        assert_eq!(step_of(300).1, "50millisecond");
        assert_eq!(step_of(83_500).1, "10second");
        assert_eq!(step_of(20 * 60_000).1, "5minute");
        assert_eq!(step_of(u64::MAX).1, "30minute");
        assert_eq!(clock(3_725_042), "2026-01-01 01:02:05.042");
    }

    #[test]
    fn bars_of_no_time_are_wide_enough_to_be_seen() {
        let told = StageTold {
            stage: Stage::Setup,
            origin: Origin::Agent,
            began_ms: 10,
            took_ms: Some(0),
            outcome: Some(StageOutcome::Succeeded),
            reason: None,
        };
        assert!(task(0, &told, 25_000).ends_with("00:00:00.010, 2026-01-01 00:00:00.111"));
    }
}
