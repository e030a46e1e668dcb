//! The health of what runs, asked once before a deployment that would replace it (`health.before`, R002-09).

use crate::executor::compose as compose_executor;
use crate::health;
use crate::host::compose::Compose;
use crate::host::docker::Docker;
use crate::host::layout::Layout;
use crate::model::{Before, CheckResult, Finding, HealthReport, Job, Release, Verdict};

/// Id of the rule.
const RULE: &str = "health.before";

/// Returns what was found; nothing when nobody wants it asked.
pub(super) async fn asked(
    job: &Job,
    layout: &Layout,
    docker: &Docker,
    compose: &Compose,
    current: Option<&Release>,
) -> Option<Finding> {
    let wanted = job.app.health.before;
    if wanted == Before::Skip {
        return None;
    }
    let Some(release) = current else { return Some(Finding::passed(RULE, "nothing is deployed here yet")) };
    if layout.stopped().exists() {
        return Some(Finding::passed(RULE, "the app is stopped on purpose: there is nothing to ask"));
    }
    let version = &release.version;
    Some(match report_of(job, layout, docker, compose, release).await {
        Ok(report) if report.is_acceptable() => {
            Finding::passed(RULE, format!("{version}, which runs now, is healthy"))
        }
        Ok(report) => unwell(wanted, &format!("{version}, which runs now, is not healthy"), &report),
        Err(why) => {
            let message = format!("the checks of {version}, which runs now, could not be asked: {why}");
            unwell(wanted, &message, &HealthReport::of(Vec::new()))
        }
    })
}

/// Asks the checks of the release that runs, each once.
async fn report_of(
    job: &Job,
    layout: &Layout,
    docker: &Docker,
    compose: &Compose,
    release: &Release,
) -> Result<HealthReport, String> {
    let scene = compose_executor::of_current(compose, layout, release.clone()).await;
    let scene = scene.map_err(|error| error.report().message)?;
    let model = scene.model.as_ref().map_err(|error| error.report().message)?;
    let app = &release.app;
    let checks = scene.site.checks(&app.health, model, &app.one_shot, &job.environment, &scene.variables);
    let checks = checks.map_err(|error| error.report().message)?;
    Ok(health::ask_once(&checks, docker).await)
}

fn unwell(wanted: Before, what: &str, report: &HealthReport) -> Finding {
    let failed: Vec<&CheckResult> =
        report.checks.iter().filter(|check| check.verdict == Verdict::Failed && !check.optional).collect();
    let words: Vec<String> =
        failed.iter().map(|check| format!("`{}` ({}): {}", check.name, check.asked, check.detail)).collect();
    let why = if words.is_empty() { String::new() } else { format!(": {}", words.join("; ")) };
    let finding = match wanted {
        Before::Require => {
            let hint = "mend it first (`ffe-deploy health` asks again, `ffe-deploy restart` starts it anew), or set \
                        `health.before: warn` when this deployment is what mends it";
            Finding::error(RULE, format!("{what}{why}"), hint)
        }
        Before::Warn | Before::Skip => {
            let hint = "the deployment goes on; if it fails, this is what it goes back to";
            Finding::warning(RULE, format!("{what}{why}"), hint)
        }
    };
    failed.iter().fold(finding, |finding, check| finding.detail(&check.name, check.detail.clone()))
}
