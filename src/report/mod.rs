//! Readers of the event stream: one reporter per audience, and the hub that feeds them.
//!
//! Enter by [`Hub`]. Knows events and answers only; what a reporter says never changes how a deployment ends.

use std::io;
use std::time::Instant;

use crate::event::{Event, EventKind, Sink};

pub mod console;
pub mod delivery;
pub mod diagnostics;
mod ending;
pub mod event_log;
pub mod found;
pub mod github;
#[cfg(test)]
pub(crate) mod hostile;
pub mod human;
pub mod json;
pub mod ledger;
mod lines;
mod plan_words;
pub mod sarif;
pub mod slack;
pub mod story;
pub mod summary;
pub mod words;

pub use console::{Console, ConsoleSettings, LogFormat, LogFormatError};
pub use diagnostics::{Bridge, DiagnosticsSettings};
pub use event_log::EventLog;
pub use story::{Notified, Setting, Story};

/// Shows events to one audience: a log, the pull request, a channel, the ledger.
pub trait Reporter: Send {
    /// Returns the name used when it is muted.
    fn name(&self) -> &'static str;

    /// Tells it one event.
    ///
    /// # Errors
    /// When its audience cannot be reached any more; it is not asked again.
    fn on_event(&mut self, event: &Event) -> Result<(), ReportError>;

    /// Tells it that time passed, about once a second, so that it can show that work goes on.
    ///
    /// # Errors
    /// As [`Reporter::on_event`].
    fn tick(&mut self, _now: Instant) -> Result<(), ReportError> {
        Ok(())
    }

    /// Tells it that the run is over, after its last event: here are all the facts.
    ///
    /// # Errors
    /// As [`Reporter::on_event`].
    fn on_end(&mut self, _story: &Story) -> Result<(), ReportError> {
        Ok(())
    }

    /// Tells it, after the end, whether an audience that is told by message got its message.
    ///
    /// # Errors
    /// As [`Reporter::on_event`].
    fn on_notified(&mut self, _notified: &Notified) -> Result<(), ReportError> {
        Ok(())
    }

    /// Tells it that another reporter was muted.
    ///
    /// # Errors
    /// As [`Reporter::on_event`].
    fn on_muted(&mut self, _muted: &Muted) -> Result<(), ReportError> {
        Ok(())
    }
}

/// Why a reporter cannot go on. It is muted; the deployment and the other reporters go on.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Its place could not be made.
    #[error("could not make {place}")]
    Open {
        /// File or directory.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// Its output could not be written.
    #[error("could not write to {place}")]
    Write {
        /// File or stream.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// An event could not be said in JSON.
    #[error("could not write an event as JSON")]
    Json {
        /// What serde said.
        source: serde_json::Error,
    },
}

/// A reporter that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Muted {
    /// Its name.
    pub reporter: &'static str,
    /// Why, in one line.
    pub cause: String,
}

/// Feeds every reporter, in the order in which they were added.
#[derive(Default)]
pub struct Hub {
    slots: Vec<Slot>,
    story: Story,
}

enum Slot {
    Live(Box<dyn Reporter>),
    Muted,
}

impl Hub {
    /// Returns a hub without reporters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a reporter. Add the console last: then it can still name those that fail on the last event.
    pub fn add(&mut self, reporter: impl Reporter + 'static) {
        self.slots.push(Slot::Live(Box::new(reporter)));
    }

    /// Adds a reporter before the others, so that the console, which is the last one, can still name its failure.
    pub fn add_first(&mut self, reporter: impl Reporter + 'static) {
        self.slots.insert(0, Slot::Live(Box::new(reporter)));
    }

    /// Tells every reporter, and at the end of the run the whole story. One that fails is muted and named; the
    /// deployment and the others go on.
    pub fn publish(&mut self, event: &Event) {
        self.story.hear(event);
        self.each(|reporter, _| reporter.on_event(event));
        if let EventKind::DeploymentFinished { .. } = event.kind {
            self.each(|reporter, story| reporter.on_end(story));
        }
    }

    /// Tells every reporter that time passed; call it about once a second.
    pub fn tick(&mut self, now: Instant) {
        self.each(|reporter, _| reporter.tick(now));
    }

    /// Tells every reporter whether an audience got its message.
    pub fn notified(&mut self, notified: Notified) {
        self.each(|reporter, _| reporter.on_notified(&notified));
        self.story.notified.push(notified);
    }

    /// Returns the facts so far.
    pub fn story(&self) -> &Story {
        &self.story
    }

    /// Takes in what is known besides the events.
    pub fn setting(&mut self) -> &mut Setting {
        &mut self.story.setting
    }

    /// Those that fail on being told of a failure are told of in turn; each can fail once, so this ends.
    fn each(&mut self, mut tell: impl FnMut(&mut dyn Reporter, &Story) -> Result<(), ReportError>) {
        let mut news = self.tell(&mut tell);
        while let Some(muted) = news.pop() {
            news.extend(self.tell(&mut |reporter, _| reporter.on_muted(&muted)));
        }
    }

    fn tell(
        &mut self,
        tell: &mut dyn FnMut(&mut dyn Reporter, &Story) -> Result<(), ReportError>,
    ) -> Vec<Muted> {
        let mut news = Vec::new();
        for slot in &mut self.slots {
            let Slot::Live(reporter) = slot else { continue };
            if let Err(cause) = tell(reporter.as_mut(), &self.story) {
                let muted = Muted { reporter: reporter.name(), cause: in_one_line(&cause) };
                news.push(muted.clone());
                self.story.muted.push(muted);
                *slot = Slot::Muted;
            }
        }
        news
    }
}

impl Sink for Hub {
    fn take(&mut self, event: &Event) {
        self.publish(event);
    }
}

/// An error and its causes, as one line.
fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    crate::text::harmless(&line)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::event::examples;

    /// Fails from its `lasts`-th event on.
    struct Frail {
        name: &'static str,
        lasts: usize,
        heard: Arc<Mutex<Vec<String>>>,
    }

    impl Reporter for Frail {
        fn name(&self) -> &'static str {
            self.name
        }

        fn on_event(&mut self, event: &Event) -> Result<(), ReportError> {
            self.heard.lock().unwrap().push(format!("{} {}", self.name, event.seq));
            self.lasts -= 1;
            if self.lasts > 0 {
                return Ok(());
            }
            let source = io::Error::other("::error::disk full");
            Err(ReportError::Write { place: "/dev/full".into(), source })
        }

        fn on_muted(&mut self, muted: &Muted) -> Result<(), ReportError> {
            self.heard.lock().unwrap().push(format!("{} hears of {}", self.name, muted.reporter));
            Ok(())
        }
    }

    #[test]
    fn a_reporter_that_fails_is_muted_and_named_and_the_others_go_on() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut hub = Hub::new();
        hub.add(Frail { name: "frail", lasts: 1, heard: heard.clone() });
        hub.add(Frail { name: "sound", lasts: 100, heard: heard.clone() });
        for event in &examples::all()[..2] {
            hub.publish(event);
        }
        assert_eq!(*heard.lock().unwrap(), ["frail 1", "sound 1", "sound hears of frail", "sound 2"]);
        let cause = "could not write to /dev/full: ::error::disk full".to_owned();
        assert_eq!(hub.story().muted, [Muted { reporter: "frail", cause }]);
    }

    #[test]
    fn a_full_disk_mutes_the_event_log_and_the_console_says_so() {
        let full = std::path::Path::new("/dev/full");
        let mut hub = Hub::new();
        hub.add(EventLog::create(full).unwrap());
        hub.publish(&examples::all()[0]);
        assert_eq!(hub.story().muted[0].reporter, "event log");
    }
}
