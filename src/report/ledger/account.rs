//! The fold: every event goes in, and the report as it stands comes out.

use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::body::{self, Facts};
use super::lines::Lines;
use crate::event::{Event, EventKind, Origin};
use crate::model::lifecycle::{Report, ReportLine, ReportStatus};
use crate::model::reported::{ledger_id, sequence_at};
use crate::model::{AppName, DeploymentId, EnvironmentName, Outcome};
use crate::report::Story;
use crate::text::Redactor;

/// Keys with texts of others: events are without secrets already, what is known besides them is not. Names and words are
/// left as they are.
const TEXTS: [&str; 8] =
    ["config", "ci_url", "deployed_by", "validation", "errors", "error_logs", "rollback", "lines"];

/// What is known of a deployment besides its events.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Who asked for it.
    pub who: Option<String>,
    /// Address of the workflow's run.
    pub run_url: Option<String>,
    /// Commit of the release.
    pub commit: Option<String>,
    /// When it was made.
    pub committed_at: Option<Timestamp>,
    /// The app as it is configured, without secrets.
    pub config: Map<String, Value>,
    /// Why a rollback was asked for, when somebody said why.
    pub reason: Option<String>,
    /// Keeps secrets out of what is said.
    pub redactor: Redactor,
}

/// An earlier deployment that was ended by this run, or in its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Its key in the ledger.
    pub id: Uuid,
    /// Its id.
    pub deployment_id: DeploymentId,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
}

/// A report, and where it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// Key of the deployment in the ledger.
    pub id: Uuid,
    /// What is told.
    pub report: Report,
}

impl Letter {
    /// Returns the body of the request, without secrets.
    ///
    /// # Errors
    /// Never for reports that this program makes: they hold nothing that JSON cannot say.
    pub fn body(&self, redactor: &Redactor) -> Result<String, serde_json::Error> {
        let mut value = serde_json::to_value(&self.report)?;
        for key in TEXTS {
            value.get_mut(key).iter_mut().for_each(|text| redactor.redact_json(text));
        }
        serde_json::to_string(&value)
    }

    /// Whether it tells an end.
    pub fn is_last(&self) -> bool {
        self.report.status != ReportStatus::Deploying
    }
}

/// What the ledger is to know of a run.
#[derive(Debug, Default)]
pub struct Account {
    /// What is known besides the events.
    pub known: Known,
    story: Story,
    lines: Lines,
    /// Id of the deployment that the host has taken over.
    begun: Option<DeploymentId>,
    /// Release that was compared with what runs: all that is known of a rollback's before it has ended.
    coming: Option<String>,
    recovered: Vec<Recovered>,
}

impl Account {
    /// Takes one event in.
    pub fn hear(&mut self, event: &Event) {
        self.story.hear(event);
        self.lines.hear(event);
        if event.origin != Origin::Agent {
            return;
        }
        match &event.kind {
            EventKind::HostTookOver { .. } => self.begun = Some(event.deployment_id.clone()),
            EventKind::ReleaseCompared { release, .. } => self.coming = Some(release.clone()),
            EventKind::RecoveryFinished { unfinished, outcome } => {
                self.hear_of_end(event, unfinished, *outcome)
            }
            _ => {}
        }
    }

    fn hear_of_end(&mut self, event: &Event, unfinished: &str, outcome: Outcome) {
        let Ok(deployment_id) = unfinished.parse::<DeploymentId>() else { return };
        let (Some((app, environment)), Ok(at)) = (self.place(), event.timestamp.parse()) else { return };
        // What recovers itself has an end of its own.
        if self.begun.as_ref() != Some(&deployment_id) {
            let id = ledger_id(app, environment, &deployment_id);
            self.recovered.push(Recovered { id, deployment_id, outcome, at });
        }
    }

    fn place(&self) -> Option<(&AppName, &EnvironmentName)> {
        let result = self.story.result();
        let app = result.and_then(|result| result.app.as_ref()).or(self.story.app.as_ref())?;
        let environment = result.and_then(|result| result.environment.as_ref());
        Some((app, environment.or(self.story.environment.as_ref())?))
    }

    /// Returns the report as it stands, its sequence being that of now and above `after`; nothing while there is nothing to
    /// tell, and where no deployment came to be.
    pub fn letter(&self, after: u32) -> Option<Letter> {
        let sequence = sequence_at(crate::model::wall()).max(after.saturating_add(1));
        self.told(sequence)
    }

    /// Returns the last report of a run that is over, with the sequence of its end: the same one whenever it is asked for.
    pub fn last_letter(&self) -> Option<Letter> {
        let end = self.story.end.as_ref()?;
        self.told(sequence_at(end.result.end_time))
    }

    fn told(&self, sequence: u32) -> Option<Letter> {
        let (app, environment) = self.place()?;
        let facts = Facts {
            story: &self.story,
            known: &self.known,
            begun: self.begun.as_ref(),
            coming: self.coming.as_deref(),
        };
        let lines = self.lines.next(self.is_over());
        let report = body::report(&facts, (app, environment), sequence, lines)?;
        Some(Letter { id: ledger_id(app, environment, &report.deployment_id), report })
    }

    /// Returns whether lines wait.
    pub fn has_lines(&self) -> bool {
        !self.lines.is_empty(self.is_over())
    }

    fn is_over(&self) -> bool {
        self.story.end.is_some()
    }

    /// Forgets lines up to this one: the ledger has them.
    pub fn acknowledge(&mut self, line: u32) {
        self.lines.acknowledge(line);
    }

    /// Takes the lines that wait, for a report that is put aside.
    pub fn take_lines(&mut self) -> Vec<ReportLine> {
        self.lines.take()
    }

    /// Returns what was ended beside this run.
    pub fn recovered(&self) -> &[Recovered] {
        &self.recovered
    }
}

/// Returns the reports by which all lines travel that one report has not got the room for; the last words go with each.
pub fn in_portions(report: &Report) -> Vec<Report> {
    let mut lines = Lines::default();
    lines.put(report.lines.clone());
    let mut portions = Vec::new();
    loop {
        let next = lines.next(true);
        let last = next.last().map(|line| line.number);
        let sequence = report.sequence.saturating_add(u32::try_from(portions.len()).unwrap_or(0));
        portions.push(Report { sequence, lines: next, ..report.clone() });
        match last {
            Some(number) => lines.acknowledge(number),
            None => return portions,
        }
        if lines.is_empty(true) {
            return portions;
        }
    }
}
