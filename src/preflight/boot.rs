//! Is an unfinished deployment ended when the host comes up again (DESIGN section 6).

use super::Subject;
use crate::host::boot::{BootError, Unit};
use crate::model::Finding;

const RULE: &str = "host.boot-recovery";

/// `host.boot-recovery`: the unit is there, or the next deployment can install it.
pub(super) async fn check(subject: &Subject<'_>) -> Finding {
    if !subject.environment.recover_at_boot {
        return Finding::passed(
            RULE,
            "`recover_at_boot: false`: after a restart of the host the next deployment recovers",
        );
    }
    let found = match Unit::of(subject.root, &subject.app.name, &subject.environment.name) {
        Ok(unit) => unit.found().await,
        Err(error) => Err(error),
    };
    match found {
        Ok(Some(place)) => Finding::passed(RULE, format!("recovery at boot is installed: {place}")),
        Ok(None) => Finding::passed(RULE, "recovery at boot is installed by the next deployment"),
        Err(error) => warning(&error),
    }
}

fn warning(error: &BootError) -> Finding {
    let message = format!(
        "a deployment that a restart of this host interrupts is not ended at boot, but by the next one: {error}"
    );
    let hint = "install cron (`crontab`), or let init run `ffe-deploy recover` at boot; `recover_at_boot: false` in \
                environments.yaml says that this is wanted";
    Finding::warning(RULE, message, hint)
}
