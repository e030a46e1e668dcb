//! The stages of a deployment along its time: a table whose bars show again what its words say.

use maud::{Markup, html};

use super::words::{duration, short, sign};
use crate::model::StageOutcome;
use crate::model::lifecycle::{Report, ReportStage, ReportStatus};

/// Width of a bar's drawing, in its own units.
const WIDTH: u64 = 1000;
/// Narrowest bar that can be seen.
const NARROWEST: u64 = 6;

/// Returns the timeline of a report; `now` is in microseconds, UTC.
pub(super) fn timeline(report: &Report, now: i64) -> Markup {
    let ms = |micros: i64| u64::try_from(micros / 1000).unwrap_or(0);
    let began =
        report.stages.first().map_or(report.started_at, |stage| stage.started_at.min(report.started_at));
    let begun = began.as_microsecond();
    let is_running = report.status == ReportStatus::Deploying;
    let last = report.stages.iter().map(|stage| {
        ms(stage.started_at.as_microsecond() - begun).saturating_add(stage.took_ms.unwrap_or(0))
    });
    let told = report.finished_at.map(|time| ms(time.as_microsecond() - begun));
    let until_now = is_running.then(|| ms(now - begun));
    let total = last.chain(told).chain(until_now).max().unwrap_or(0).max(1);
    html! {
        table.stages {
            caption.unseen { "Stages in order, with how each ended and how long it took" }
            thead.unseen { tr { th scope="col" { "Stage" } th scope="col" { "When" } th scope="col" { "Took" } } }
            tbody {
                @for stage in &report.stages {
                    (row(stage, ms(stage.started_at.as_microsecond() - begun), total, is_running))
                }
            }
        }
    }
}

fn row(stage: &ReportStage, began_ms: u64, total_ms: u64, is_running: bool) -> Markup {
    let (class, word) = match stage.outcome {
        Some(StageOutcome::Succeeded) => ("good", "succeeded"),
        Some(StageOutcome::Failed) => ("bad", "failed"),
        Some(StageOutcome::Skipped) => ("past", "skipped"),
        None if is_running => ("runs", "under way"),
        None => ("past", "did not end"),
    };
    let took_ms = stage.took_ms.or(is_running.then(|| total_ms.saturating_sub(began_ms)));
    let (x, width) = bar(began_ms, took_ms.unwrap_or(0), total_ms);
    html! {
        tr class={ "stage " (class) } {
            th scope="row" { (sign(class)) span { (stage.stage.as_str().replace('_', " ")) } span.unseen { ", " (word) } }
            td.when {
                svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
                    rect.rail width="1000" height="10" {}
                    @if stage.outcome != Some(StageOutcome::Skipped) { rect.span x=(x) width=(width) height="10" {} }
                }
                @if let Some(reason) = &stage.reason { p.reason { (short(reason, 500)) } }
            }
            td.took {
                @match (stage.outcome, took_ms) {
                    (Some(StageOutcome::Skipped), _) => "skipped",
                    (_, Some(took_ms)) => { (duration(took_ms)) },
                    (_, None) => { (word) },
                }
            }
        }
    }
}

/// Where a bar begins and how wide it is.
fn bar(began_ms: u64, took_ms: u64, total_ms: u64) -> (u64, u64) {
    let part =
        |ms: u64| u64::try_from(u128::from(ms) * u128::from(WIDTH) / u128::from(total_ms)).unwrap_or(WIDTH);
    let width = part(took_ms).clamp(NARROWEST, WIDTH);
    (part(began_ms).min(WIDTH - width), width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_lie_within_their_drawing_whatever_a_job_says() {
        assert_eq!(bar(0, 500, 1000), (0, 500));
        assert_eq!(bar(999, 0, 1000), (994, 6));
        assert_eq!(bar(5000, u64::MAX, 1000), (0, 1000));
    }
}
