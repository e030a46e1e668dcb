//! The console: readable lines for people, or the events as lines of JSON (`--log-format`). Goes to stderr.
//!
//! What the lines say is in `lines`; here is when they are shown, in which colours, and that work goes on.

use std::io::Write;
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::github::Groups;
use super::lines::{Line, Narrator};
use super::{Muted, Notified, ReportError, Reporter, Story, ending, summary, words};
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

/// Why a word is not a [`LogFormat`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a log format; write auto, human or json")]
pub struct LogFormatError {
    found: String,
}

impl FromStr for LogFormat {
    type Err = LogFormatError;
    fn from_str(word: &str) -> Result<Self, LogFormatError> {
        match word {
            "auto" => Ok(Self::Auto),
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(LogFormatError { found: text::harmless(word) }),
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
    /// Whether each stage is a group of GitHub's log.
    pub groups: bool,
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
        let on_github = super::github::is_active(&variable);
        let for_people = match format {
            LogFormat::Human => true,
            LogFormat::Json => false,
            LogFormat::Auto => terminal || on_github,
        };
        let dumb = variable("TERM").as_deref() == Some("dumb");
        let colours = for_people && terminal && !is_set("NO_COLOR") && !dumb;
        Self { for_people, level, colours, groups: for_people && on_github }
    }
}

/// Shows events on a stream.
pub struct Console<W> {
    name: &'static str,
    out: W,
    settings: ConsoleSettings,
    narrator: Narrator,
    groups: Groups,
    last_said: Instant,
    running: Option<(Stage, Instant)>,
}

impl<W: Write + Send> Console<W> {
    /// Returns a console on this stream.
    pub fn new(out: W, settings: ConsoleSettings) -> Self {
        let (narrator, groups) = (Narrator::default(), Groups::default());
        Self { name: "console", out, settings, narrator, groups, last_said: Instant::now(), running: None }
    }

    fn write(&mut self, text: &str) -> Result<(), ReportError> {
        self.last_said = Instant::now();
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(|source| ReportError::Write { place: format!("the {}", self.name), source })
    }

    fn write_lines(&mut self, lines: &[Line]) -> Result<(), ReportError> {
        let text = self.painted(lines);
        if text.is_empty() { Ok(()) } else { self.write(&text) }
    }

    fn painted(&self, lines: &[Line]) -> String {
        lines.iter().map(|line| painted(line, self.settings.colours)).collect()
    }

    fn tell_people(&mut self, event: &Event) -> Result<(), ReportError> {
        let lines = self.narrator.lines(event);
        let mut text = self.painted(&lines);
        if self.settings.groups {
            text = self.groups.around(event, text);
        }
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
        let settings = ConsoleSettings { for_people: false, level, colours: false, groups: false };
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
            if self.settings.level == Level::Info {
                self.narrator.count(event);
            }
            return Ok(());
        }
        if self.settings.for_people {
            return self.tell_people(event);
        }
        let mut line = event.to_line().map_err(|source| ReportError::Json { source })?;
        line.push('\n');
        self.write(&line)
    }

    fn on_end(&mut self, story: &Story) -> Result<(), ReportError> {
        let is_shown = story.level().is_some_and(|level| level >= self.settings.level);
        if self.settings.for_people && is_shown { self.write_lines(&ending::lines(story)) } else { Ok(()) }
    }

    fn on_notified(&mut self, notified: &Notified) -> Result<(), ReportError> {
        let Some(text) = summary::not_told(notified) else { return Ok(()) };
        if self.settings.level > Level::Warning {
            return Ok(());
        }
        if self.settings.for_people {
            return self.write_lines(&[Line::first(Level::Warning, text)]);
        }
        let line = serde_json::json!({ "level": Level::Warning, "logger": "ffe_deploy", "message": text });
        self.write(&format!("{}\n", text::harmless_json(&line.to_string())))
    }

    fn tick(&mut self, now: Instant) -> Result<(), ReportError> {
        let Some((stage, since)) = self.running else { return Ok(()) };
        let quiet = now.saturating_duration_since(self.last_said) >= QUIET;
        if !quiet || !self.settings.for_people || self.settings.level > Level::Info {
            return Ok(());
        }
        let time = words::duration(now.saturating_duration_since(since));
        self.write_lines(&[Line::first(Level::Info, format!("  … {stage} for {time}"))])?;
        self.last_said = now;
        Ok(())
    }

    fn on_muted(&mut self, muted: &Muted) -> Result<(), ReportError> {
        if !self.settings.for_people || self.settings.level > Level::Warning {
            return Ok(());
        }
        let text =
            format!("the {} stopped: {}; the deployment goes on without it", muted.reporter, muted.cause);
        self.write_lines(&[Line::first(Level::Warning, text)])
    }
}

/// The line as it is written: `[WARN]  text`, made harmless once more, because nothing else stands behind it.
fn painted(line: &Line, colours: bool) -> String {
    let body = text::harmless(&line.text);
    let Some(level) = line.level else { return format!("        {body}").trim_end().to_owned() + "\n" };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Origin, examples};
    use crate::model::{Outcome, StageOutcome};

    fn console(level: Level, for_people: bool, colours: bool) -> Console<Vec<u8>> {
        let settings = ConsoleSettings { for_people, level, colours, groups: false };
        Console::new(Vec::new(), settings)
    }

    /// Tells a console every example, and then the end of the story that they make.
    fn tell_all(console: &mut Console<Vec<u8>>) {
        for event in examples::all() {
            console.on_event(&event).unwrap();
        }
        console.on_end(&crate::report::story::tests::told()).unwrap();
    }

    fn said(console: &Console<Vec<u8>>) -> String {
        String::from_utf8(console.out.clone()).unwrap()
    }

    fn after(kind: EventKind) -> String {
        let mut console = console(Level::Debug, true, false);
        console.on_event(&examples::event(1, Origin::Agent, Stage::Verifying, kind)).unwrap();
        said(&console)
    }

    #[test]
    fn a_rollback_reads_well_at_three_in_the_morning() {
        let mut console = console(Level::Info, true, false);
        tell_all(&mut console);
        let story = said(&console);
        for part in [
            "[INFO]  ffe-deploy 0.1.0: deploy shop 1.2.0 to production\n",
            "[INFO]  ▸ validating\n",
            "[WARN]    ! host.disk: 8.1 GB are free; 20 GB are recommended\n",
            "            → free space below /srv\n",
            "              https://github.com/Three-Rivers-Tech/ffe-deploy/blob/main/docs/rules/host.disk.md\n",
            "[INFO]    docker compose build\n          │ #7 [backend 2/4] RUN pip install",
            "[INFO]    image of backend: ghcr.io/three-rivers-tech/shop-backend:1.4.0 pulled, 152.3 MB, 60303ae22b99\n",
            "[INFO]  ✓ deploying  4.3 s\n",
            "[ERROR]   ✗ backend is unhealthy\n",
            "its last 2 log lines:\n          │ Traceback (most recent call last):\n          │ KeyError: 'DB_URL'\n",
            "[WARN]  ↺ rolling back from deploy-20261121064000-1b9d6bcd to deploy-20261120120000-7c9e6679\n",
        ] {
            assert!(story.contains(part), "{part}\n--- is not in\n{story}");
        }
        let end = story.split("[ERROR] ✗ deploy of shop").nth(1).unwrap();
        assert_eq!(
            end,
            " to production: rolled_back (exit 4): the new release failed; the previous one is back and verified
          1. `backend` did not become healthy within 60 s: connection refused  (health.unhealthy)
            → read its last log lines, then run `ffe-deploy logs production backend`
          version       1.1.0 again; 1.2.0 failed
          release       deploy-20261120120000-7c9e6679
          backup        /srv/shop/production/backups/ffe_backup_20261121_064012.tar.zst  (1.0 MB)
          health        healthy
          took          1 min 23 s
          services      backend recreated
          image         backend: shop-backend 60303ae22b99 → shop-backend 9f86d081884c
          files         1 changed (config/shop.yaml)
          checks        ✗ backend
          url           http://shop.example.com:8000  (backend)
          deployment    deploy-20261121064000-1b9d6bcd
          event log     /tmp/ffe-deploy/deploy-1.jsonl
          Next: run `ffe-deploy logs production backend`, mend it, and deploy again
"
        );
    }

    #[test]
    fn checks_that_passed_are_counted_and_told_one_by_one_at_debug() {
        let passed = |rule: &str| {
            let finding = crate::model::Finding::passed(rule, "fine");
            examples::event(1, Origin::Agent, Stage::Validating, EventKind::FindingReported { finding })
        };
        let next = examples::event(2, Origin::Agent, Stage::Setup, EventKind::StageStarted {});
        let told = |level| {
            let mut console = console(level, true, false);
            for event in [passed("a.b"), passed("c.d"), next.clone()] {
                console.on_event(&event).unwrap();
            }
            said(&console)
        };
        assert_eq!(told(Level::Info), "[INFO]    ✓ 2 checks passed\n[INFO]  ▸ setup\n");
        assert!(told(Level::Debug).starts_with("[DEBUG]   ✓ a.b: fine\n[DEBUG]   ✓ c.d: fine\n"));
        assert_eq!(told(Level::Warning), "");
    }

    #[test]
    fn a_healthy_check_is_told_in_the_documents_words() {
        let kind = EventKind::CheckFinished {
            check: "backend".into(),
            verdict: crate::model::Verdict::Passed,
            latency_ms: 12,
            waited_ms: 3_200,
            attempts: 4,
            asked: "GET http://localhost:8000/health".into(),
            detail: "200".into(),
            optional: false,
        };
        assert_eq!(after(kind), "[INFO]    ✓ backend is healthy (200; 12 ms, after 3.2 s)\n");
    }

    #[test]
    fn texts_of_several_lines_stay_below_each_other() {
        let kind = EventKind::Noticed {
            code: "host.key".into(),
            notice: "one\ntwo".into(),
            hint: Some("three\nfour".into()),
            severity: crate::model::Severity::Warning,
        };
        let expected =
            "[WARN]  host.key: one\n                  two\n            → three\n              four\n";
        assert_eq!(after(kind), expected);
    }

    #[test]
    fn what_a_container_says_is_no_command_even_if_nobody_cleaned_it() {
        let text = "\u{1b}[2J::error::x ##[error]y";
        let shown = after(EventKind::LogLine { source: "::warning::".into(), text: text.into() });
        assert!(!shown.contains("##[") && !shown.contains('\u{1b}'), "{shown:?}");
        assert!(shown.lines().all(|line| !line.trim_start().starts_with("::")), "{shown:?}");
    }

    #[test]
    fn a_level_leaves_out_what_is_lighter_for_people_and_in_json() {
        for for_people in [true, false] {
            let mut quiet = console(Level::Error, for_people, false);
            let mut result = examples::result();
            (result.outcome, result.status) = (Outcome::Succeeded, Outcome::Succeeded.status());
            let end = EventKind::DeploymentFinished { is_final: true, result: Box::new(result) };
            quiet
                .on_event(&examples::event(1, Origin::Agent, Stage::Verifying, EventKind::StageStarted {}))
                .unwrap();
            quiet.on_event(&examples::event(2, Origin::Agent, Stage::Complete, end)).unwrap();
            quiet.tick(Instant::now() + QUIET * 2).unwrap();
            assert_eq!(said(&quiet), "");
        }
    }

    #[test]
    fn json_is_the_events_as_they_are() {
        let mut console = console(Level::Debug, false, true);
        let events = examples::all();
        for event in &events {
            console.on_event(event).unwrap();
        }
        let lines: Vec<Event> =
            said(&console).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), events.len());
    }

    #[test]
    fn a_silent_stage_shows_that_it_goes_on_every_ten_seconds_until_it_ends() {
        let mut console = console(Level::Info, true, false);
        let event = |kind| examples::event(1, Origin::Agent, Stage::Deploying, kind);
        console.on_event(&event(EventKind::StageStarted {})).unwrap();
        let start = Instant::now();
        for second in 1..=25 {
            console.tick(start + Duration::from_millis(second * 1000 + 100)).unwrap();
        }
        assert_eq!(
            said(&console),
            "[INFO]  ▸ deploying\n[INFO]    … deploying for 10 s\n[INFO]    … deploying for 20 s\n"
        );
        let span = crate::event::Span {
            name: "deploying".into(),
            duration_ms: 1,
            status: crate::event::SpanStatus::Ok,
        };
        let end =
            EventKind::StageFinished { outcome: StageOutcome::Succeeded, took_ms: 1, reason: None, span };
        console.on_event(&event(end)).unwrap();
        let length = console.out.len();
        console.tick(start + Duration::from_secs(90)).unwrap();
        assert_eq!(console.out.len(), length);
    }

    #[test]
    fn the_prefixes_have_the_documents_colours_on_a_terminal_only() {
        let mut console = console(Level::Debug, true, true);
        tell_all(&mut console);
        let shown = said(&console);
        for prefix in ["\u{1b}[32m[INFO]\u{1b}[0m", "\u{1b}[33m[WARN]\u{1b}[0m", "\u{1b}[31m[ERROR]\u{1b}[0m"]
        {
            assert!(shown.contains(prefix), "{prefix:?}");
        }
        assert!(
            shown.lines().all(|line| line.matches("\u{1b}[0m").count() * 2 == line.matches('\u{1b}').count())
        );
    }

    #[test]
    fn the_surroundings_decide_on_lines_and_colours() {
        let fitting = |format, terminal, set: &'static [&'static str]| {
            let settings = ConsoleSettings::fitting(format, Level::Info, terminal, |name| {
                set.contains(&name).then(|| "true".to_owned())
            });
            (settings.for_people, settings.colours)
        };
        assert_eq!(fitting(LogFormat::Auto, true, &[]), (true, true));
        assert_eq!(fitting(LogFormat::Auto, true, &["NO_COLOR"]), (true, false));
        assert_eq!(fitting(LogFormat::Auto, false, &[]), (false, false));
        assert_eq!(fitting(LogFormat::Auto, false, &["GITHUB_ACTIONS"]), (true, false));
        let on_github = |name: &str| (name == "GITHUB_ACTIONS").then(|| "true".to_owned());
        assert!(ConsoleSettings::fitting(LogFormat::Human, Level::Info, false, on_github).groups);
        assert!(!ConsoleSettings::fitting(LogFormat::Json, Level::Info, false, on_github).groups);
        assert_eq!(fitting(LogFormat::Json, true, &["GITHUB_ACTIONS"]), (false, false));
        assert_eq!(fitting(LogFormat::Human, false, &[]), (true, false));
        assert_eq!("yaml".parse::<LogFormat>().unwrap_err().to_string().matches("json").count(), 1);
    }

    #[test]
    fn a_log_file_is_private_and_added_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/deploy.log");
        for _ in 0..2 {
            let mut file = Console::log_file(&path, Level::Warning).unwrap();
            examples::all().iter().for_each(|event| file.on_event(event).unwrap());
        }
        let heavy = examples::all().iter().filter(|event| event.level >= Level::Warning).count();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), heavy * 2);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
