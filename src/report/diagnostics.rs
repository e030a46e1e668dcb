//! Diagnostic log files behind `--log-dir`: Bunyan lines with the documents' keys besides (C13, R003-13 to R003-17).
//!
//! `tracing` carries what this program and its libraries say, [`Bridge`] adds every event. Each line is finished here:
//! the documents' keys are added under names that Bunyan leaves free, duplicates merged, secrets redacted.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};
use tracing::{Dispatch, Metadata};
use tracing_bunyan_formatter::{BunyanFormattingLayer, JsonStorageLayer};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::MakeWriterExt;
use tracing_subscriber::layer::SubscriberExt;

use super::{ReportError, Reporter};
use crate::event::{Event, EventKind, Level};
use crate::model::{CorrelationId, DeploymentId, EnvironmentName};
use crate::text::rotating::{LIMIT_BYTES, Rotating};
use crate::text::{Redactor, harmless_json};

/// Target of HTTP in and out, which has a file of its own (R003-17).
pub const ACCESS: &str = "access";
/// Field that carries a whole event to the finishing of its line.
const RECORD: &str = "record";
/// Keys of Bunyan that an event never replaces.
const BUNYAN_KEYS: [&str; 7] = ["v", "name", "msg", "level", "hostname", "pid", "time"];

/// What the log files of a run need to know.
#[derive(Clone, Debug)]
pub struct DiagnosticsSettings {
    /// Names the files: `app_<env>.log`, `error_<env>.log`, `access_<env>.log`.
    pub environment: EnvironmentName,
    /// Lightest record that is written (LOG_LEVEL).
    pub level: Level,
    /// On every line.
    pub deployment_id: DeploymentId,
    /// On every line.
    pub correlation_id: CorrelationId,
    /// Keeps secrets out.
    pub redactor: Redactor,
}

/// Says that this program asked something over HTTP, for the access log of whoever keeps one; no status: no answer came.
pub fn request(method: &str, host: &str, path: &str, status: Option<u16>) {
    tracing::info!(target: ACCESS, direction = "out", method, host, path, status, "{method} {host}");
}

/// Hands events to the log files.
pub struct Bridge {
    dispatch: Dispatch,
    level: Level,
}

/// Opens the three files in `directory`, which is made when it is missing (0700), and takes what the program and its
/// libraries say from now on, when nobody does yet.
///
/// # Errors
/// When the directory or a file cannot be made.
pub fn start(directory: &Path, settings: &DiagnosticsSettings) -> Result<Bridge, ReportError> {
    let bridge = Bridge::open(directory, settings)?;
    // One subscriber a process: a second run within it keeps its events, and the first keeps the libraries.
    tracing::dispatcher::set_global_default(bridge.dispatch.clone()).ok();
    Ok(bridge)
}

impl Bridge {
    /// Opens the files without taking what libraries say.
    ///
    /// # Errors
    /// As [`start`].
    pub fn open(directory: &Path, settings: &DiagnosticsSettings) -> Result<Self, ReportError> {
        let level = settings.level;
        let file = |kind: &str| Finisher::open(directory, kind, settings);
        let app = file("app")?.with_filter(move |meta| is_wanted(meta, level) && !is_access(meta));
        let error = file("error")?
            .with_filter(move |meta| is_wanted(meta, level) && *meta.level() == tracing::Level::ERROR);
        let access = file("access")?.with_filter(move |meta| is_wanted(meta, level) && is_access(meta));
        let subscriber = Registry::default()
            .with(LevelFilter::DEBUG)
            .with(JsonStorageLayer)
            .with(layer(app, settings))
            .with(layer(error, settings))
            .with(layer(access, settings));
        Ok(Self { dispatch: Dispatch::new(subscriber), level })
    }
}

fn layer<W: for<'a> MakeWriter<'a> + 'static>(
    writer: W,
    settings: &DiagnosticsSettings,
) -> BunyanFormattingLayer<W> {
    // Constant ids belong here: fields of a span are lost when its level is filtered.
    let constant = HashMap::from([
        ("deployment_id".to_owned(), Value::from(settings.deployment_id.as_str())),
        ("correlation_id".to_owned(), Value::from(settings.correlation_id.as_str())),
        ("environment".to_owned(), Value::from(settings.environment.as_str())),
    ]);
    BunyanFormattingLayer::with_default_fields("ffe-deploy".to_owned(), writer, constant)
}

/// Spans write no lines of their own; libraries are heard from warnings on.
fn is_wanted(meta: &Metadata<'_>, level: Level) -> bool {
    let lightest = match level {
        Level::Debug => tracing::Level::DEBUG,
        Level::Info => tracing::Level::INFO,
        Level::Warning => tracing::Level::WARN,
        Level::Error | Level::Critical => tracing::Level::ERROR,
    };
    let is_ours = meta.target().starts_with("ffe_deploy") || is_access(meta);
    let lightest = if is_ours { lightest } else { lightest.min(tracing::Level::WARN) };
    meta.is_event() && *meta.level() <= lightest
}

fn is_access(meta: &Metadata<'_>) -> bool {
    meta.target() == ACCESS
}

impl Reporter for Bridge {
    fn name(&self) -> &'static str {
        "log files"
    }

    fn on_event(&mut self, event: &Event) -> Result<(), ReportError> {
        if event.level < self.level {
            return Ok(());
        }
        let record = serde_json::to_string(event).map_err(|source| ReportError::Json { source })?;
        tracing::dispatcher::with_default(&self.dispatch, || {
            let message = event.message.as_str();
            match event.level {
                Level::Debug => tracing::debug!(target: "ffe_deploy::event", record, "{message}"),
                Level::Info => tracing::info!(target: "ffe_deploy::event", record, "{message}"),
                Level::Warning => tracing::warn!(target: "ffe_deploy::event", record, "{message}"),
                Level::Error | Level::Critical => {
                    tracing::error!(target: "ffe_deploy::event", record, "{message}");
                }
            }
            if is_request(event) {
                tracing::info!(target: ACCESS, direction = "out", record, "{message}");
            }
        });
        Ok(())
    }
}

/// A health check over HTTP is a request that went out.
fn is_request(event: &Event) -> bool {
    matches!(&event.kind, EventKind::CheckFinished { asked, .. } if asked.starts_with("GET "))
}

/// Finishes lines and adds them to a file.
struct Finisher {
    file: Arc<Mutex<Rotating>>,
    redactor: Redactor,
}

impl Finisher {
    fn open(directory: &Path, kind: &str, settings: &DiagnosticsSettings) -> Result<Self, ReportError> {
        let path = directory.join(format!("{kind}_{}.log", settings.environment));
        let failed = |source| ReportError::Open { place: path.display().to_string(), source };
        let file = Rotating::open(&path, LIMIT_BYTES).map_err(failed)?;
        Ok(Self { file: Arc::new(Mutex::new(file)), redactor: settings.redactor.clone() })
    }
}

impl<'a> MakeWriter<'a> for Finisher {
    type Writer = LineWriter<'a>;
    fn make_writer(&'a self) -> Self::Writer {
        LineWriter(self)
    }
}

/// Takes one whole line a write, as the formatter makes them.
struct LineWriter<'a>(&'a Finisher);

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let finished = finished(line, &self.0.redactor);
        self.0.file.lock().unwrap_or_else(PoisonError::into_inner).add(finished.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line with the documents' keys, without duplicates and secrets.
fn finished(line: &[u8], redactor: &Redactor) -> String {
    // The last of several equal keys wins, as in every lenient parser.
    let mut map: Map<String, Value> = serde_json::from_slice(line).unwrap_or_default();
    let carried = map.remove(RECORD).and_then(|record| serde_json::from_str(record.as_str()?).ok());
    let mut record: Map<String, Value> = carried.unwrap_or_default();
    for (key, value) in documents_keys(&map, &mut record) {
        map.insert(key.to_owned(), value);
    }
    record.retain(|key, _| !BUNYAN_KEYS.contains(&key.as_str()));
    map.extend(record);
    let mut value = Value::Object(map);
    redactor.redact_json(&mut value);
    format!("{}\n", harmless_json(&value.to_string()))
}

/// R003-13's keys: of the event when there is one, else of what `tracing` knows. `level` is Bunyan's number, so the
/// word is `severity`; `line` is Bunyan's own.
fn documents_keys(map: &Map<String, Value>, record: &mut Map<String, Value>) -> [(&'static str, Value); 6] {
    let of = |key: &str| map.get(key).cloned().unwrap_or_default();
    // A finding's own severity is another thing, under another name.
    if let Some(own) = record.remove("severity") {
        record.insert("finding_severity".to_owned(), own);
    }
    let word = record.remove("level").unwrap_or_else(|| Value::from(severity(of("level").as_u64())));
    record.remove("message");
    let time = of("time").as_str().and_then(|time| time.parse().ok());
    let mut either = |key: &str, otherwise: Value| record.remove(key).unwrap_or(otherwise);
    [
        ("timestamp", either("timestamp", time.map(crate::event::timestamp).into())),
        ("severity", word),
        ("logger", either("logger", of("target"))),
        ("message", of("msg")),
        ("module", either("module", of("target"))),
        ("function", either("function", Value::Null)),
    ]
}

fn severity(bunyan_level: Option<u64>) -> &'static str {
    match bunyan_level.unwrap_or(30) {
        0..=20 => Level::Debug.as_str(),
        21..=30 => Level::Info.as_str(),
        31..=40 => Level::Warning.as_str(),
        _ => Level::Error.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::event::examples;

    fn settings(level: Level) -> DiagnosticsSettings {
        DiagnosticsSettings {
            environment: "dev".parse().unwrap(),
            level,
            deployment_id: "deploy-1".parse().unwrap(),
            correlation_id: "github-1-1".parse().unwrap(),
            redactor: Redactor::new(["hunter22"]),
        }
    }

    /// Logs all examples and a few words of the program and a library; returns the lines of a file.
    fn logged(level: Level) -> impl Fn(&str) -> Vec<Map<String, Value>> {
        let dir = tempfile::tempdir().unwrap();
        let mut bridge = Bridge::open(&dir.path().join("logs"), &settings(level)).unwrap();
        examples::all().iter().for_each(|event| bridge.on_event(event).unwrap());
        tracing::dispatcher::with_default(&bridge.dispatch, || {
            let span = tracing::error_span!("stage", deployment_id = "from the span", stage = "span");
            let _entered = span.enter();
            tracing::error!(stage = "event", password = "hunter22", "##[error] of ours: hunter22");
            tracing::debug!("ours");
            tracing::info!(target: "hyper", "of a library");
        });
        move |kind| {
            let text = std::fs::read_to_string(dir.path().join(format!("logs/{kind}_dev.log"))).unwrap();
            assert!(!text.contains("hunter22") && !text.contains("##["), "{text}");
            text.lines().map(no_key_twice).collect()
        }
    }

    /// Parses a line, and fails when it says a key twice.
    fn no_key_twice(line: &str) -> Map<String, Value> {
        let map: Map<String, Value> = serde_json::from_str(line).unwrap();
        assert_eq!(
            Value::Object(map.clone()).to_string().len(),
            line.replace("\\u0023[", "#[").len(),
            "{line}"
        );
        map
    }

    #[test]
    fn three_files_of_bunyan_lines_have_the_documents_keys() {
        let lines = logged(Level::Debug);
        let (app, error, access) = (lines("app"), lines("error"), lines("access"));
        assert_eq!(app.len(), examples::all().len() + 2);
        assert_eq!(access.len(), 1);
        assert!(!error.is_empty());
        for line in app.iter().chain(&error).chain(&access) {
            assert!(line["severity"].as_str().unwrap().parse::<Level>().is_ok(), "{line:?}");
            for key in
                ["timestamp", "severity", "logger", "message", "module", "function", "line", "correlation_id"]
            {
                assert!(line.contains_key(key), "{key} in {line:?}");
            }
            for key in BUNYAN_KEYS {
                assert!(line.contains_key(key), "{key} in {line:?}");
            }
            assert!(line["level"].is_u64() && !line["message"].as_str().unwrap().ends_with("START]"));
        }
        assert_eq!(app[0]["event"], "deployment_started");
        assert_eq!(app[0]["timestamp"], "2026-11-21T06:40:01.250Z");
        assert_eq!(access[0]["asked"], "GET http://localhost:8000/health");
    }

    #[test]
    fn the_error_file_has_errors_and_what_is_worse_only() {
        let severities: BTreeSet<String> = logged(Level::Debug)("error")
            .iter()
            .map(|line| line["severity"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(severities, BTreeSet::from(["ERROR".to_owned()]));
    }

    #[test]
    fn a_level_filters_the_files_and_all_three_are_there_all_the_same() {
        let lines = logged(Level::Error);
        assert!(lines("app").iter().all(|line| line["severity"] == "ERROR"));
        assert_eq!(lines("access").len(), 0);
    }

    proptest::proptest! {
        #[test]
        fn any_text_and_any_field_make_one_line_of_json_without_a_key_twice(
            text in "(?s).{0,200}", field in "(?s).{0,80}", correlation in "[A-Za-z0-9._-]{1,40}"
        ) {
            let dir = tempfile::tempdir().unwrap();
            let settings =
                DiagnosticsSettings { correlation_id: correlation.parse().unwrap(), ..settings(Level::Debug) };
            let mut bridge = Bridge::open(dir.path(), &settings).unwrap();
            let kind = EventKind::LogLine { source: field.clone(), text: text.clone() };
            let stage = crate::model::Stage::Deploying;
            let event = examples::event(1, crate::event::Origin::Agent, stage, kind);
            bridge.on_event(&event).unwrap();
            tracing::dispatcher::with_default(&bridge.dispatch, || {
                let span = tracing::error_span!("span", text, level = field, msg = text);
                let _entered = span.enter();
                // Keys of Bunyan's, of the documents' and of the line's own, all of them taken.
                tracing::error!(level = field, time = text, msg = text, severity = field, line = text, pid = 1, "{text}");
                tracing::error!(timestamp = text, correlation_id = field, module = text, host = field, record = text, "{field}");
            });
            for kind in ["app", "error"] {
                let written = std::fs::read_to_string(dir.path().join(format!("{kind}_dev.log"))).unwrap();
                let lines: Vec<_> = written.lines().map(no_key_twice).collect();
                proptest::prop_assert_eq!(lines.len(), if kind == "app" { 3 } else { 2 });
                for line in &lines {
                    proptest::prop_assert!(line["level"].is_u64(), "{:?}", line);
                    proptest::prop_assert_eq!(&line["deployment_id"], if line.get("event").is_some_and(|event| event == "log_line") { event.deployment_id.as_str() } else { "deploy-1" });
                }
            }
        }
    }

    #[test]
    fn requests_of_this_program_are_in_the_access_log_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let bridge = Bridge::open(dir.path(), &settings(Level::Info)).unwrap();
        tracing::dispatcher::with_default(&bridge.dispatch, || {
            request("POST", "hooks.slack.com", "slack", Some(200));
            request("GET", "api.github.com", "/repos/o/r/compare/a...b", None);
        });
        let lines = |kind: &str| {
            let text = std::fs::read_to_string(dir.path().join(format!("{kind}_dev.log"))).unwrap();
            text.lines().map(no_key_twice).collect::<Vec<_>>()
        };
        assert!(lines("app").is_empty() && lines("error").is_empty());
        let told = lines("access");
        assert_eq!(
            (&told[0]["direction"], &told[0]["method"], &told[0]["status"]),
            (&"out".into(), &"POST".into(), &200.into())
        );
        assert_eq!((&told[1]["host"], told[1].get("status")), (&"api.github.com".into(), None));
        assert_eq!(told[0]["logger"], ACCESS);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Bridge::open(&file.path().join("logs"), &settings(Level::Info)).err().unwrap();
        assert!(error.to_string().contains("logs/app_dev.log"), "{error}");
    }
}
