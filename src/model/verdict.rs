//! Answers of checks, before a deployment (findings) and after it (health).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The answer to one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As wanted.
    Passed,
    /// Not as wanted.
    Failed,
    /// Not asked; the reason is in `detail`.
    Skipped,
}

impl Verdict {
    /// Returns the word used in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// How much a finding weighs, from nothing to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As wanted.
    Passed,
    /// Not as wanted, and the configuration says why that is right here.
    Silenced,
    /// Worth knowing; does not stop anything.
    Warning,
    /// Stops the deployment before anything is touched.
    Error,
}

/// Where something is written: in a file of the project, by its path from the app's directory or the project's root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// Path of the file, relative where it lies in the project.
    pub file: String,
    /// From 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// From 1, in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
}

/// Why a finding does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Silenced {
    /// How much it would weigh.
    pub was: Severity,
    /// Why that is right here, in the words of the configuration.
    pub reason: String,
}

/// What one preflight check found (R000-49).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Stable id of the rule, such as `docker.running`.
    pub rule: String,
    /// Whether it stops nothing: its severity is no error (R000-49).
    #[serde(default)]
    pub passed: bool,
    /// How much it weighs.
    pub severity: Severity,
    /// What was found and what is wanted.
    pub message: String,
    /// What to do; absent when passed.
    pub hint: Option<String>,
    /// The specific issues, by name (R000-67).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
    /// Where it is written, when it is about something in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Why it does not count, when the configuration says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silenced: Option<Silenced>,
}

impl Finding {
    /// Returns a finding of a check that is as wanted.
    pub fn passed(rule: &str, message: impl Into<String>) -> Self {
        Self::with(rule, Severity::Passed, message.into(), None)
    }

    /// Returns a warning with what to do about it.
    pub fn warning(rule: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::with(rule, Severity::Warning, message.into(), Some(hint.into()))
    }

    /// Returns an error with what to do about it.
    pub fn error(rule: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::with(rule, Severity::Error, message.into(), Some(hint.into()))
    }

    fn with(rule: &str, severity: Severity, message: String, hint: Option<String>) -> Self {
        Self {
            rule: rule.to_owned(),
            passed: severity != Severity::Error,
            severity,
            message,
            hint,
            details: BTreeMap::new(),
            place: None,
            silenced: None,
        }
    }

    /// Returns the finding with a named detail added.
    #[must_use]
    pub fn detail(mut self, name: &str, value: impl Into<String>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// Returns the finding, silenced when a reason is written for its rule; one that passed has nothing to silence.
    #[must_use]
    pub fn silenced_by(mut self, reasons: &BTreeMap<String, String>) -> Self {
        let counts = matches!(self.severity, Severity::Warning | Severity::Error);
        if let Some(reason) = reasons.get(&self.rule).filter(|_| counts) {
            self.silenced = Some(Silenced { was: self.severity, reason: reason.clone() });
            self.severity = Severity::Silenced;
            self.passed = true;
        }
        self
    }

    /// Returns the finding with the place that it is about.
    #[must_use]
    pub fn at(mut self, place: Option<Place>) -> Self {
        self.place = place.or(self.place);
        self
    }
}

/// The result of one health check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckResult {
    /// Name of the check: a service, or `checks[].name`.
    pub name: String,
    /// The answer.
    pub verdict: Verdict,
    /// Whether a failure only degrades.
    pub optional: bool,
    /// How long the last attempt took; always there, 0 when nothing was asked (C21).
    pub latency_ms: u64,
    /// From the first attempt to the verdict.
    pub waited_ms: u64,
    /// How often it was asked.
    pub attempts: u32,
    /// What was asked, such as `GET http://localhost:8000/health`.
    pub asked: String,
    /// The last answer, in words.
    pub detail: String,
}

/// All checks together (C25, C21).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overall {
    /// Every check passed or was skipped.
    Healthy,
    /// Only optional checks failed.
    Degraded,
    /// A check that counts failed.
    Unhealthy,
}

/// Results of all checks, and what they mean together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HealthReport {
    /// Results in the order of the configuration.
    pub checks: Vec<CheckResult>,
    /// What they mean together.
    pub overall: Overall,
}

impl HealthReport {
    /// Returns the report of these results: unhealthy if one that counts failed, degraded if only optional ones did.
    pub fn of(checks: Vec<CheckResult>) -> Self {
        let failed = |optional| checks.iter().any(|c| c.verdict == Verdict::Failed && c.optional == optional);
        let overall = match (failed(false), failed(true)) {
            (true, _) => Overall::Unhealthy,
            (false, true) => Overall::Degraded,
            (false, false) => Overall::Healthy,
        };
        Self { checks, overall }
    }

    /// Returns whether the release may stay (healthy or degraded).
    pub fn is_acceptable(&self) -> bool {
        self.overall != Overall::Unhealthy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silenced_finding_stays_with_the_reason_and_what_it_was() {
        let reasons = BTreeMap::from([("compose.latest".to_owned(), "pinned by the registry".to_owned())]);
        let found = Finding::error("compose.latest", "x", "y").silenced_by(&reasons);
        assert_eq!((found.severity, found.passed), (Severity::Silenced, true));
        assert!(!Finding::error("a.b", "x", "y").passed && Finding::warning("a.b", "x", "y").passed);
        let silenced = found.silenced.unwrap();
        assert_eq!((silenced.was, silenced.reason.as_str()), (Severity::Error, "pinned by the registry"));
        let other = Finding::error("compose.model", "x", "y");
        assert_eq!(other.clone().silenced_by(&reasons), other);
        let passed = Finding::passed("compose.latest", "x");
        assert_eq!(passed.clone().silenced_by(&reasons), passed);
    }
}
