//! Lines of the log that the ledger has not got yet, numbered so that whoever follows the same deployment gives the same
//! line the same number.

use std::collections::VecDeque;

use jiff::Timestamp;

use crate::event::{Event, EventKind, Level, Origin};
use crate::model::lifecycle::{REPORT_LINES, ReportLine};
use crate::text::shortened;

/// Numbers of the host's lines; the job's own are below them, and above them what it says once the host has begun.
const HOST: std::ops::RangeInclusive<u32> = 10_001..=90_000;
/// Most lines that wait: of more the oldest are given up, and stay in the event log.
const WAITING: usize = 20_000;
/// Longest line, in characters.
const LONGEST: usize = 2_000;
/// Most bytes of lines in a report: the ledger takes bodies of 1 MiB.
const ROOM: usize = 256 * 1024;

/// Lines that wait to be sent.
#[derive(Debug)]
pub(super) struct Lines {
    waiting: VecDeque<ReportLine>,
    /// What the job said after the host began: it is sent last, because a reader goes on after the highest number.
    late: VecDeque<ReportLine>,
    /// Number of the last line of the job before the host began, of the host, and of the job after that.
    last: [u32; 3],
}

impl Default for Lines {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), late: VecDeque::new(), last: [0, *HOST.start() - 1, *HOST.end()] }
    }
}

impl Lines {
    /// Takes in what an event says.
    pub(super) fn hear(&mut self, event: &Event) {
        let Ok(at) = event.timestamp.parse::<Timestamp>() else { return };
        match &event.kind {
            EventKind::LogLine { source, text } => self.add(event, at, &format!("{source} │ {text}")),
            EventKind::LogsCollected { service, container: _, state, lines } => {
                self.add(event, at, &format!("last lines of {service} ({state}):"));
                lines.iter().for_each(|line| self.add(event, at, &format!("{service} │ {line}")));
            }
            _ if event.level >= Level::Info => self.add(event, at, &event.message),
            _ => {}
        }
    }

    fn add(&mut self, event: &Event, at: Timestamp, text: &str) {
        let host_began = self.last[1] >= *HOST.start();
        let (place, end) = match event.origin {
            Origin::Agent => (1, *HOST.end()),
            Origin::Runner if host_began => (2, crate::model::lifecycle::LAST_LINE),
            Origin::Runner => (0, *HOST.start() - 1),
        };
        if self.last[place] >= end {
            return;
        }
        self.last[place] += 1;
        let (number, text) = (self.last[place], shortened(text, LONGEST));
        let line = ReportLine { number, at, stage: Some(event.stage), text };
        let queue = if place == 2 { &mut self.late } else { &mut self.waiting };
        queue.push_back(line);
        if queue.len() > WAITING {
            queue.pop_front();
        }
    }

    /// Returns the next ones, at most a report's; those of the job's end only when it has `ended`.
    pub(super) fn next(&self, ended: bool) -> Vec<ReportLine> {
        let mut room = ROOM;
        let late = self.late.iter().filter(|_| ended);
        let fits = |line: &&ReportLine| {
            room = room.saturating_sub(line.text.len() + 100);
            room > 0
        };
        self.waiting.iter().chain(late).take(REPORT_LINES).take_while(fits).cloned().collect()
    }

    /// Forgets those up to this number: the ledger has them.
    pub(super) fn acknowledge(&mut self, number: u32) {
        for queue in [&mut self.waiting, &mut self.late] {
            while queue.front().is_some_and(|line| line.number <= number) {
                queue.pop_front();
            }
        }
    }

    pub(super) fn is_empty(&self, ended: bool) -> bool {
        self.waiting.is_empty() && (!ended || self.late.is_empty())
    }

    /// Takes all that wait.
    pub(super) fn take(&mut self) -> Vec<ReportLine> {
        self.waiting.drain(..).chain(self.late.drain(..)).collect()
    }

    /// Puts lines in that waited elsewhere.
    pub(super) fn put(&mut self, lines: Vec<ReportLine>) {
        self.waiting = lines.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::examples;
    use crate::model::Stage;

    fn say(lines: &mut Lines, origin: Origin, text: &str) {
        let kind = EventKind::LogLine { source: "test".into(), text: text.into() };
        lines.hear(&examples::event(1, origin, Stage::Building, kind));
    }

    fn numbers(lines: &[ReportLine]) -> Vec<u32> {
        lines.iter().map(|line| line.number).collect()
    }

    #[test]
    fn a_line_of_the_host_has_the_same_number_whatever_the_job_said_before_it() {
        let mut lines = Lines::default();
        say(&mut lines, Origin::Runner, "a");
        say(&mut lines, Origin::Runner, "b");
        say(&mut lines, Origin::Agent, "c");
        say(&mut lines, Origin::Runner, "d");
        say(&mut lines, Origin::Agent, "e");
        assert_eq!(numbers(&lines.next(false)), [1, 2, 10_001, 10_002]);
        assert_eq!(numbers(&lines.next(true)), [1, 2, 10_001, 10_002, 90_001]);
        assert_eq!(lines.next(true)[0].text, "test │ a");
        lines.acknowledge(10_001);
        assert_eq!(numbers(&lines.next(true)), [10_002, 90_001]);
        lines.acknowledge(10_002);
        assert!(lines.is_empty(false) && !lines.is_empty(true));
        let mut follower = Lines::default();
        say(&mut follower, Origin::Agent, "c");
        assert_eq!(numbers(&follower.next(false)), [10_001]);
    }

    #[test]
    fn a_report_has_so_many_lines_and_bytes_and_a_flood_gives_up_the_oldest() {
        let mut lines = Lines::default();
        for _ in 0..WAITING + 10 {
            say(&mut lines, Origin::Agent, "x");
        }
        let next = numbers(&lines.next(false));
        assert_eq!((next.len(), next[0]), (REPORT_LINES, 10_011));
        let mut long = Lines::default();
        for _ in 0..REPORT_LINES {
            say(&mut long, Origin::Agent, &"ä".repeat(10_000));
        }
        let size: usize = long.next(false).iter().map(|line| line.text.len()).sum();
        assert!((100_000..=ROOM).contains(&size), "{size}");
        for _ in 0..100_000 {
            say(&mut long, Origin::Agent, "x");
        }
        assert_eq!(long.take().last().unwrap().number, *HOST.end());
    }
}
