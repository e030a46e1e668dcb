//! Log files behind `--log-dir`: what the service says, its errors, and a line for each request, in files of their own
//! with the documents' keys (R003-13 to R003-17).
//!
//! [`open`] is the way in. A request hands its line to a thread and goes on: no request waits for a disk, unless
//! [`WAITING`] lines already do.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::store::{now, time_text};
use crate::model::EnvironmentName;
use crate::text::rotating::{LIMIT_BYTES, Rotating};

/// Target of the lines about requests (R003-17).
pub(super) const ACCESS: &str = "access";
/// Field that names a request, on its own line and in the span of what happens meanwhile.
const REQUEST_ID: &str = "request_id";
/// How many lines may wait for the disk.
const WAITING: usize = 8192;

/// A log file cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("could not make the log file {}", path.display())]
pub(super) struct LogError {
    path: PathBuf,
    source: io::Error,
}

/// Which files a line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Files {
    app: bool,
    error: bool,
    access: bool,
}

impl Files {
    fn of(target: &str, level: Level) -> Self {
        let access = target == ACCESS;
        Self { app: !access, error: level == Level::ERROR, access }
    }
}

enum Order {
    Write(Files, String),
    End,
}

/// Hands what is logged to the thread that writes the files.
#[derive(Debug)]
pub(super) struct LogFiles(SyncSender<Order>);

/// Waits on drop until everything is written.
#[derive(Debug)]
pub(super) struct Written(SyncSender<Order>, Option<JoinHandle<()>>);

impl Drop for Written {
    fn drop(&mut self) {
        // When the thread is gone there is nothing to wait for.
        if self.0.send(Order::End).is_ok()
            && let Some(thread) = self.1.take()
        {
            drop(thread.join());
        }
    }
}

/// Opens `app_<environment>.log`, `error_…` and `access_…` in a directory, which is made when it is missing (0700).
///
/// # Errors
/// When one of them cannot be made.
pub(super) fn open(directory: &Path, environment: &EnvironmentName) -> Result<(LogFiles, Written), LogError> {
    let file = |kind: &str| {
        let path = directory.join(format!("{kind}_{environment}.log"));
        Rotating::open(&path, LIMIT_BYTES).map_err(|source| LogError { path, source })
    };
    let mut files =
        Writer { app: file("app")?, error: file("error")?, access: file("access")?, is_failing: false };
    let (sender, orders) = sync_channel(WAITING);
    let thread =
        std::thread::Builder::new().name("log-files".to_owned()).spawn(move || files.write_all(&orders));
    let thread = thread.map_err(|source| LogError { path: directory.to_owned(), source })?;
    Ok((LogFiles(sender.clone()), Written(sender, Some(thread))))
}

/// The files, in the thread that alone writes them.
struct Writer {
    app: Rotating,
    error: Rotating,
    access: Rotating,
    is_failing: bool,
}

impl Writer {
    fn write_all(&mut self, orders: &Receiver<Order>) {
        while let Ok(Order::Write(files, line)) = orders.recv() {
            let written = self.write(files, line.as_bytes());
            if let Err(error) = &written
                && !self.is_failing
            {
                // Not through `tracing`, which would come back here. Nobody is left to tell when stderr is gone, too.
                drop(writeln!(
                    io::stderr(),
                    "the log files cannot be written: {error}; lines are on stderr alone until they can"
                ));
            }
            self.is_failing = written.is_err();
        }
    }

    fn write(&mut self, files: Files, line: &[u8]) -> io::Result<()> {
        for (is_for_it, file) in
            [(files.app, &mut self.app), (files.error, &mut self.error), (files.access, &mut self.access)]
        {
            if is_for_it {
                file.add(line)?;
            }
        }
        Ok(())
    }
}

/// The id of a request, kept with its span.
struct RequestId(Value);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogFiles {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(request), Some(span)) = (fields.0.remove(REQUEST_ID), context.span(id)) {
            span.extensions_mut().insert(RequestId(request));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let request = fields.0.get(REQUEST_ID).cloned().or_else(|| {
            let mut spans = context.event_scope(event)?;
            spans.find_map(|span| span.extensions().get::<RequestId>().map(|id| id.0.clone()))
        });
        let files = Files::of(event.metadata().target(), *event.metadata().level());
        // When the thread is gone the lines are on stderr still.
        drop(self.0.send(Order::Write(files, line(event, fields.0, request))));
    }
}

/// A line of JSON with the documents' keys (R003-13), and the event's own fields after them.
fn line(event: &Event<'_>, mut fields: Map<String, Value>, request: Option<Value>) -> String {
    let meta = event.metadata();
    let mut record = Map::new();
    let mut put = |key: &str, value: Value| drop(record.insert(key.to_owned(), value));
    put("timestamp", time_text(now()).into());
    put("level", word(*meta.level()).into());
    put("logger", meta.target().into());
    put("message", fields.remove("message").unwrap_or_default());
    put("module", meta.module_path().into());
    // `tracing` does not know it; the key is the documents'.
    put("function", Value::Null);
    put("line", meta.line().into());
    if let Some(request) = request {
        put("correlation_id", request);
    }
    for (key, value) in fields {
        record.entry(key).or_insert(value);
    }
    let mut text = Value::Object(record).to_string();
    text.push('\n');
    text
}

/// The documents' words (C14).
fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

/// Fields of an event as JSON.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Writing to a String fails only when the value's own formatting does; what it wrote by then is kept.
        let _ = write!(text, "{value:?}");
        self.put(field, text);
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn each_line_is_in_its_files_with_the_documents_keys() {
        let directory = tempfile::tempdir().unwrap();
        let logs = directory.path().join("logs");
        let (layer, written) = open(&logs, &"staging".parse().unwrap()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(target: ACCESS, request_id = "r1", status = 200, route = Option::<&str>::None, "GET /x");
            let span = tracing::error_span!("request", request_id = "r2");
            let _entered = span.enter();
            tracing::error!(level = "mine", cause = ?"a\nb", "it broke");
            tracing::warn!("careful");
        });
        drop(written);
        let lines = |kind: &str| {
            let text = std::fs::read_to_string(logs.join(format!("{kind}_staging.log"))).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
        };
        let (app, error, access) = (lines("app"), lines("error"), lines("access"));
        assert_eq!((app.len(), error.len(), access.len()), (2, 1, 1));
        assert_eq!(error[0], app[0]);
        assert_eq!((&access[0]["correlation_id"], &access[0]["status"]), (&"r1".into(), &200.into()));
        assert_eq!((&app[0]["correlation_id"], &app[0]["level"]), (&"r2".into(), &"ERROR".into()));
        assert_eq!((&app[0]["message"], &app[1]["level"]), (&"it broke".into(), &"WARNING".into()));
        for line in app.iter().chain(&access) {
            for key in
                ["timestamp", "level", "logger", "message", "module", "function", "line", "correlation_id"]
            {
                assert!(line.get(key).is_some(), "{key} in {line}");
            }
        }
        assert_eq!(access[0]["logger"], ACCESS);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = open(&file.path().join("logs"), &"staging".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("logs/app_staging.log"), "{error}");
    }
}
