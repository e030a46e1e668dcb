//! One group of lines a stage in the job's log: opened when the stage begins, closed before its end is told, so that how
//! it ended is seen without opening it. What went wrong ends the group early: nobody looks for an error in a closed one.

use super::commands::{END_GROUP, group};
use crate::event::{Event, EventKind, Level};

/// Knows whether a group is open.
#[derive(Clone, Debug, Default)]
pub(in crate::report) struct Groups {
    is_open: bool,
}

impl Groups {
    /// Returns the lines of an event with the commands that belong around them.
    pub(in crate::report) fn around(&mut self, event: &Event, lines: String) -> String {
        match &event.kind {
            EventKind::StageStarted {} => {
                let begin = format!("{}{}\n", self.end(), group(&format!("▸ {}", event.stage)));
                self.is_open = true;
                begin
            }
            _ if ends_group(event) => self.end() + &lines,
            _ => lines,
        }
    }

    /// Returns the command that ends the group that is open, if one is.
    fn end(&mut self) -> String {
        let was_open = std::mem::take(&mut self.is_open);
        if was_open { format!("{END_GROUP}\n") } else { String::new() }
    }
}

fn ends_group(event: &Event) -> bool {
    let is_serious = matches!(
        event.kind,
        EventKind::StageFinished { .. }
            | EventKind::LogsCollected { .. }
            | EventKind::CancelRequested { .. }
            | EventKind::RecoveryStarted { .. }
            | EventKind::RollbackStarted { .. }
            | EventKind::DeploymentFinished { .. }
    );
    is_serious || event.level >= Level::Error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Origin, examples};
    use crate::model::Stage;

    #[test]
    fn groups_never_nest_and_hold_no_error_and_the_last_one_is_closed() {
        let mut groups = Groups::default();
        let mut log = String::new();
        let begin = |stage| examples::event(1, Origin::Runner, stage, EventKind::StageStarted {});
        let events =
            [begin(Stage::Initializing), begin(Stage::Validating)].into_iter().chain(examples::all());
        for event in events {
            log.push_str(
                &groups.around(&event, format!("{:?} {}\n", event.level, event.kind.sentence(event.stage))),
            );
        }
        let mut is_open = false;
        for line in log.lines() {
            match line {
                line if line.starts_with("::group::") => {
                    assert!(!std::mem::replace(&mut is_open, true), "nested: {log}");
                }
                END_GROUP => assert!(std::mem::replace(&mut is_open, false), "closed twice: {log}"),
                line => assert!(!is_open || !line.starts_with("Error"), "hidden: {line}"),
            }
        }
        assert!(!is_open && log.contains("::group::▸ validating\n"), "{log}");
    }
}
