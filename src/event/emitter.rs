//! Numbers events, stamps them with what every event of a run has in common, and hands them on.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Event, EventKind, Origin, SCHEMA, clean::Cleaner, timestamp};
use crate::model::{AppName, CorrelationId, DeploymentId, EnvironmentName, Stage};
use crate::text::Redactor;

/// Where in the source something was said (R000-30).
#[derive(Clone, Copy, Debug)]
pub struct Here {
    /// `module_path!()`.
    pub module: &'static str,
    /// Name of the function.
    pub function: &'static str,
    /// `line!()`.
    pub line: u32,
}

/// Returns the place in the source where it stands, as [`crate::event::Here`].
#[macro_export]
macro_rules! here {
    () => {{
        fn place() {}
        fn name_of<T>(_: T) -> &'static str {
            std::any::type_name::<T>()
        }
        let path = name_of(place).trim_end_matches("::place").trim_end_matches("::{{closure}}");
        $crate::event::Here {
            module: module_path!(),
            function: path.rsplit("::").next().unwrap_or(path),
            line: line!(),
        }
    }};
}

/// Takes events where they are wanted. Called in order, from one thread at a time.
pub trait Sink: Send {
    /// Takes one event.
    fn take(&mut self, event: &Event);
}

/// What every event of a run has in common.
#[derive(Clone, Debug)]
pub struct Context {
    /// Which half speaks.
    pub origin: Origin,
    /// Id of the run.
    pub deployment_id: DeploymentId,
    /// Groups everything of one workflow run.
    pub correlation_id: CorrelationId,
    /// The app, once it is known.
    pub app: Option<AppName>,
    /// The environment, once it is known.
    pub environment: Option<EnvironmentName>,
    /// Name of this machine.
    pub host: String,
}

/// Numbers events, stamps them, and hands them to the sink. Cheap to clone; clones share the numbering.
#[derive(Clone)]
pub struct Emitter(Arc<Mutex<EmitterState>>);

struct EmitterState {
    context: Context,
    seq: u64,
    stage: Stage,
    sink: Box<dyn Sink>,
    redactor: Redactor,
}

impl Emitter {
    /// Returns an emitter whose next event has number `last_seq + 1`.
    pub fn new(context: Context, last_seq: u64, stage: Stage, sink: Box<dyn Sink>) -> Self {
        Self(Arc::new(Mutex::new(EmitterState {
            context,
            seq: last_seq,
            stage,
            sink,
            redactor: Redactor::default(),
        })))
    }

    /// Keeps these secrets out of every event from now on.
    pub fn redact_with(&self, redactor: Redactor) {
        self.lock().redactor = redactor;
    }

    /// Says that something happened. Texts are made harmless and redacted here, before any sink sees them.
    pub fn emit(&self, here: Here, kind: EventKind) {
        let mut state = self.lock();
        state.seq += 1;
        let event = state.event(here, kind);
        state.sink.take(&event);
    }

    /// Makes texts harmless and redacts them as [`Emitter::emit`] does, for those who say them otherwise, too.
    pub fn clean(&self, kind: &mut EventKind) {
        Cleaner(&self.lock().redactor).kind(kind);
    }

    /// Says in which stage the following events happen.
    pub fn enter(&self, stage: Stage) {
        self.lock().stage = stage;
    }

    /// Returns the stage in which events happen now.
    pub fn stage(&self) -> Stage {
        self.lock().stage
    }

    /// Returns the number of the last event.
    pub fn last_seq(&self) -> u64 {
        self.lock().seq
    }

    /// Names the app and the environment, once they are known.
    pub fn identify(&self, app: Option<AppName>, environment: Option<EnvironmentName>) {
        let mut state = self.lock();
        state.context.app = app;
        state.context.environment = environment;
    }

    /// A panic of another holder cannot leave the state half changed: it is counters and a sink.
    fn lock(&self) -> std::sync::MutexGuard<'_, EmitterState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EmitterState {
    fn event(&self, here: Here, mut kind: EventKind) -> Event {
        let cleaner = Cleaner(&self.redactor);
        cleaner.kind(&mut kind);
        let context = &self.context;
        let trace = trace_id(&context.deployment_id);
        Event {
            schema: SCHEMA,
            origin: context.origin,
            seq: self.seq,
            timestamp: timestamp(crate::model::wall()),
            level: kind.level(),
            logger: Cow::Borrowed("ffe_deploy"),
            message: crate::text::harmless(&kind.sentence(self.stage)),
            module: Cow::Borrowed(here.module),
            function: Cow::Borrowed(here.function),
            line: here.line,
            deployment_id: context.deployment_id.clone(),
            correlation_id: context.correlation_id.clone(),
            app: context.app.clone(),
            environment: context.environment.clone(),
            stage: self.stage,
            host: context.host.clone(),
            span_id: span_id(&trace, self.stage),
            trace_id: trace,
            kind,
        }
    }
}

/// Returns the trace of a deployment: a UUIDv5 of its id, so that both halves agree without talking.
fn trace_id(id: &DeploymentId) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, id.as_str().as_bytes()).simple().to_string()
}

fn span_id(trace: &str, stage: Stage) -> String {
    let name = format!("{trace}/{stage}");
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()).simple().to_string()[..16].to_owned()
}
