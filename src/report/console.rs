//! The console: readable lines for people, or the events as lines of JSON (`--log-format`). Goes to stderr.
//!
//! What the lines say is in `lines`; here is when they are shown, in which colours, and that work goes on.

use std::io::Write;
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::lines::{Line, Narrator};
use super::{Muted, ReportError, Reporter, words};
use crate::event::{Event, EventKind, Level};
use crate::model::Stage;
use crate::text;

/// How long nothing may be said while a stage is running.
const QUIET: Duration = Duration::from_secs(10);

/// What `--log-format` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people on a terminal and on GitHub, JSON otherwise.
    #[default]
    Auto,
    /// Lines for people.
    Human,
    /// The events as they are, one a line.
    Json,
}

/// Why a word is not a [`LogFormat`] or a level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not accepted; write one of {accepted}")]
pub struct WordError {
    found: String,
    accepted: &'static str,
}

impl FromStr for LogFormat {
    type Err = WordError;
    fn from_str(word: &str) -> Result<Self, WordError> {
        match word {
            "auto" => Ok(Self::Auto),
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(WordError { found: text::harmless(word), accepted: "auto, human, json" }),
        }
    }
}

impl FromStr for Level {
    type Err = WordError;
    /// Takes the documents' words in any case, and `WARN` (C14).
    fn from_str(word: &str) -> Result<Self, WordError> {
        match word.to_ascii_uppercase().as_str() {
            "DEBUG" => Ok(Self::Debug),
            "INFO" => Ok(Self::Info),
            "WARNING" | "WARN" => Ok(Self::Warning),
            "ERROR" => Ok(Self::Error),
            "CRITICAL" => Ok(Self::Critical),
            _ => {
                let accepted = "DEBUG, INFO, WARNING, ERROR, CRITICAL";
                Err(WordError { found: text::harmless(word), accepted })
            }
        }
    }
}

/// How a console shows events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleSettings {
    /// Lines for people, not JSON.
    pub for_people: bool,
    /// Lightest event that is shown.
    pub level: Level,
    /// Whether words have colours.
    pub colours: bool,
    /// Where the event log is, to be named at the end.
    pub log_place: Option<String>,
}

impl ConsoleSettings {
    /// Returns the settings that fit the surroundings: `terminal` says whether the stream is one, `variable` reads a
    /// variable of the environment. Colours only on a terminal, without NO_COLOR and with another TERM than `dumb`.
    pub fn fitting(
        format: LogFormat,
        level: Level,
        terminal: bool,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
        let for_people = match format {
            LogFormat::Human => true,
            LogFormat::Json => false,
            LogFormat::Auto => terminal || is_set("GITHUB_ACTIONS"),
        };
        let dumb = variable("TERM").as_deref() == Some("dumb");
        let colours = for_people && terminal && !is_set("NO_COLOR") && !dumb;
        Self { for_people, level, colours, log_place: None }
    }
}

/// Shows events on a stream.
pub struct Console<W> {
    name: &'static str,
    out: W,
    settings: ConsoleSettings,
    narrator: Narrator,
    last_said: Instant,
    running: Option<(Stage, Instant)>,
}

impl<W: Write + Send> Console<W> {
    /// Returns a console on this stream.
    pub fn new(out: W, settings: ConsoleSettings) -> Self {
        let narrator = Narrator::new(settings.log_place.clone());
        Self { name: "console", out, settings, narrator, last_said: Instant::now(), running: None }
    }

    fn write(&mut self, text: &str) -> Result<(), ReportError> {
        self.last_said = Instant::now();
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(|source| ReportError::Write { place: format!("the {}", self.name), source })
    }

    fn write_lines(&mut self, lines: &[Line]) -> Result<(), ReportError> {
        let text: String = lines.iter().map(|line| painted(line, self.settings.colours)).collect();
        if text.is_empty() { Ok(()) } else { self.write(&text) }
    }

    /// Remembers which stage runs, for the sign that work goes on.
    fn follow_stage(&mut self, event: &Event) {
        match event.kind {
            EventKind::StageStarted {} => self.running = Some((event.stage, Instant::now())),
            EventKind::StageFinished { .. } | EventKind::DeploymentFinished { .. } => self.running = None,
            _ => {}
        }
    }
}

impl Console<std::fs::File> {
    /// Returns the reporter behind `--log-file`: what the console shows, as lines of JSON, added to the file (0600).
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn log_file(path: &std::path::Path, level: Level) -> Result<Self, ReportError> {
        let out = super::event_log::create_private(path, std::fs::OpenOptions::new().append(true))?;
        let settings = ConsoleSettings { for_people: false, level, colours: false, log_place: None };
        Ok(Self { name: "log file", ..Self::new(out, settings) })
    }
}

impl<W: Write + Send> Reporter for Console<W> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn on_event(&mut self, event: &Event) -> Result<(), ReportError> {
        self.follow_stage(event);
        if event.level < self.settings.level {
            return Ok(());
        }
        if self.settings.for_people {
            let lines = self.narrator.lines(event);
            return self.write_lines(&lines);
        }
        let mut line = event.to_line().map_err(|source| ReportError::Json { source })?;
        line.push('\n');
        self.write(&line)
    }

    fn tick(&mut self, now: Instant) -> Result<(), ReportError> {
        let Some((stage, since)) = self.running else { return Ok(()) };
        let quiet = now.saturating_duration_since(self.last_said) >= QUIET;
        if !quiet || !self.settings.for_people || self.settings.level > Level::Info {
            return Ok(());
        }
        let time = words::duration(Duration::from_secs(now.saturating_duration_since(since).as_secs()));
        self.write_lines(&[Line::first(Level::Info, format!("  … {stage} for {time}"))])?;
        self.last_said = now;
        Ok(())
    }

    fn on_muted(&mut self, muted: &Muted) -> Result<(), ReportError> {
        if !self.settings.for_people || self.settings.level > Level::Warning {
            return Ok(());
        }
        self.narrator.muted(muted.clone());
        let text =
            format!("the {} stopped: {}; the deployment goes on without it", muted.reporter, muted.cause);
        self.write_lines(&[Line::first(Level::Warning, text)])
    }
}

/// The line as it is written: `[WARN]  text`, made harmless once more, because nothing else stands behind it.
fn painted(line: &Line, colours: bool) -> String {
    let body = text::harmless(&line.text);
    let Some(level) = line.level else { return format!("        {body}\n") };
    let (word, colour) = match level {
        Level::Debug => ("[DEBUG]", "2"),
        Level::Info => ("[INFO]", "32"),
        Level::Warning => ("[WARN]", "33"),
        Level::Error => ("[ERROR]", "31"),
        Level::Critical => ("[CRIT]", "1;31"),
    };
    let gap = " ".repeat(8 - word.len());
    if !colours {
        return format!("{word}{gap}{body}\n");
    }
    let body = match level {
        Level::Debug => format!("\u{1b}[2m{body}\u{1b}[0m"),
        Level::Error | Level::Critical if line.is_headline => format!("\u{1b}[1;31m{body}\u{1b}[0m"),
        _ if line.is_headline => format!("\u{1b}[1m{body}\u{1b}[0m"),
        _ => body,
    };
    format!("\u{1b}[{colour}m{word}\u{1b}[0m{gap}{body}\n")
}
