//! Which deployment of the ledger a job's deployment is, and what is known of its end in the ledger's words.

use uuid::Uuid;

use super::lifecycle::{REPORT_SCHEMA, Report, ReportAction, ReportBackup, ReportRollback, ReportStatus};
use super::{AppName, DeploymentId, EnvironmentName, HistoryRecord, Outcome};

/// What stands for a version that nobody has said.
pub const UNKNOWN_VERSION: &str = "unknown";
/// Most characters of a version and of a name (the ledger's own limits).
const LONGEST_NAME: usize = 255;

/// Returns the key of a deployment in the ledger, which every job finds by itself: a UUIDv5 of its id, below that of its
/// app and environment, because ids that people give are unique there only. An id that we made says the first eight
/// digits (C01), and the UUID is a version 8 then (RFC 9562).
pub fn ledger_id(app: &AppName, environment: &EnvironmentName, id: &DeploymentId) -> Uuid {
    let place = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("ffe-deploy:{app}/{environment}").as_bytes());
    let key = Uuid::new_v5(&place, id.as_str().as_bytes());
    let Some(digits) = first_digits(id) else { return key };
    let mut bytes = key.into_bytes();
    bytes[..4].copy_from_slice(&digits.to_be_bytes());
    bytes[6] = bytes[6] & 0x0f | 0x80;
    Uuid::from_bytes(bytes)
}

/// The eight hex digits of `deploy-YYYYMMDDHHmmss-xxxxxxxx`.
fn first_digits(id: &DeploymentId) -> Option<u32> {
    let (time, digits) = id.as_str().strip_prefix("deploy-")?.split_once('-')?;
    let is_ours = time.len() == 14
        && time.bytes().all(|byte| byte.is_ascii_digit())
        && digits.len() == 8
        && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    u32::from_str_radix(digits, 16).ok().filter(|_| is_ours)
}

/// What an end is to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndOf {
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the release before was put back.
    pub is_back: bool,
    /// Whether the release stays live although something failed: a hook after its checks.
    pub stays: bool,
}

impl ReportStatus {
    /// Returns the status of a deployment that has ended so; nothing where it came to none: what was refused before
    /// anything was touched is no deployment, and of what goes on elsewhere nobody knows the end yet.
    pub fn of_end(end: EndOf) -> Option<Self> {
        match end.outcome {
            Outcome::Succeeded => Some(Self::Active),
            Outcome::RolledBack => Some(Self::RolledBack),
            Outcome::Failed if end.stays => Some(Self::Active),
            Outcome::Failed | Outcome::Aborted => Some(Self::Failed),
            Outcome::Cancelled => Some(if end.is_back { Self::RolledBack } else { Self::Failed }),
            Outcome::Invalid
            | Outcome::Refused
            | Outcome::Busy
            | Outcome::Unreachable
            | Outcome::Planned
            | Outcome::Lost => None,
        }
    }
}

impl Report {
    /// Returns what a record of the history says, as a report; nothing when it is of a verb that brings no release, or of
    /// a deployment that came to none.
    pub fn of_record(record: &HistoryRecord) -> Option<Self> {
        let action = match record.verb.as_str() {
            "deploy" => ReportAction::Deploy,
            "rollback" => ReportAction::Rollback,
            // In place `up` brings a release of its own.
            "up" if record
                .release
                .as_ref()
                .is_some_and(|release| release.as_str() == record.deployment_id.as_str()) =>
            {
                ReportAction::Deploy
            }
            _ => return None,
        };
        let stays = !record.errors.is_empty()
            && record.errors.iter().all(|error| error.code.starts_with("hook."))
            && record.rolled_back_to.is_none();
        let end = EndOf { outcome: record.outcome, is_back: record.rolled_back_to.is_some(), stays };
        let config = match &record.config {
            serde_json::Value::Object(keys) => keys.clone(),
            _ => serde_json::Map::new(),
        };
        Some(Self {
            schema: REPORT_SCHEMA,
            sequence: sequence_at(record.timestamp),
            app: record.app.clone(),
            environment: record.env.clone(),
            version: named(&record.version).unwrap_or_else(|| UNKNOWN_VERSION.to_owned()),
            deployment_id: record.deployment_id.clone(),
            action,
            status: ReportStatus::of_end(end)?,
            started_at: record.started_at,
            finished_at: Some(record.timestamp),
            deployed_by: named(&record.who).unwrap_or_else(|| "unknown".to_owned()),
            method: "ci".to_owned(),
            commit: record.commit.clone(),
            committed_at: None,
            ci_url: record.run_url.clone(),
            config,
            previous_version: None,
            validation: None,
            health_checks: record.checks.clone(),
            errors: record.errors.clone(),
            error_logs: None,
            backup: record.backup.as_deref().map(|path| ReportBackup {
                name: path.rsplit('/').next().unwrap_or(path).to_owned(),
                size_bytes: None,
                sha256: None,
            }),
            stages: Vec::new(),
            rollback: rollback_of(record, action),
            lines: Vec::new(),
        })
    }
}

fn rollback_of(record: &HistoryRecord, action: ReportAction) -> Option<ReportRollback> {
    let (release, version) = match (action, &record.rolled_back_to) {
        (_, Some(back)) => (back, None),
        (ReportAction::Rollback, None) => (record.release.as_ref()?, named(&record.version)),
        (ReportAction::Deploy, None) => return None,
    };
    let first = record.errors.first().map(|error| error.message.clone());
    let reason = match action {
        ReportAction::Rollback => {
            record.reason.clone().unwrap_or_else(|| "a rollback was asked for".to_owned())
        }
        ReportAction::Deploy => first.unwrap_or_else(|| "the release failed".to_owned()),
    };
    let target_deployment_id = release.as_str().parse().ok();
    Some(ReportRollback { reason, target_deployment_id, target_version: version })
}

/// Returns a name as the ledger takes one; nothing when it is empty.
pub fn named(text: &str) -> Option<String> {
    let name: String = text.trim().chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    Some(name).filter(|name| !name.is_empty())
}

/// Returns the sequence of a report that tells what was known then: seconds since 1970, so that a later job's is above an
/// earlier one's, whoever runs it.
pub fn sequence_at(time: jiff::Timestamp) -> u32 {
    u32::try_from(time.as_second().max(1)).unwrap_or(u32::MAX - 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(app: &str, environment: &str, id: &str) -> Uuid {
        ledger_id(&app.parse().unwrap(), &environment.parse().unwrap(), &id.parse().unwrap())
    }

    #[test]
    fn the_key_begins_with_the_digits_of_an_id_of_ours_and_depends_on_nothing_else_than_its_place() {
        let ours = key("shop", "staging", "deploy-20260101000000-0123abcd");
        assert!(ours.to_string().starts_with("0123abcd-"), "{ours}");
        assert_eq!((ours.get_version_num(), ours.get_variant()), (8, uuid::Variant::RFC4122));
        assert_eq!(ours, key("shop", "staging", "deploy-20260101000000-0123abcd"));
        assert_ne!(ours, key("shop", "staging", "deploy-20260101000001-0123abcd"));
        let given = key("shop", "staging", "nightly-1");
        assert_eq!(given.get_version_num(), 5);
        for other in [key("shop", "production", "nightly-1"), key("blog", "staging", "nightly-1")] {
            assert_ne!(given, other, "an id that people give is unique below its app and environment only");
        }
        assert_eq!(key("shop", "staging", "deploy-20260101000000-0123ABCD").get_version_num(), 5);
    }

    #[test]
    fn every_outcome_has_a_status_or_was_no_deployment() {
        let status = |outcome, is_back, stays| ReportStatus::of_end(EndOf { outcome, is_back, stays });
        assert_eq!(status(Outcome::Succeeded, false, false), Some(ReportStatus::Active));
        assert_eq!(status(Outcome::RolledBack, true, false), Some(ReportStatus::RolledBack));
        assert_eq!(status(Outcome::Failed, false, false), Some(ReportStatus::Failed));
        assert_eq!(status(Outcome::Failed, false, true), Some(ReportStatus::Active));
        assert_eq!(status(Outcome::Aborted, false, false), Some(ReportStatus::Failed));
        assert_eq!(status(Outcome::Cancelled, true, false), Some(ReportStatus::RolledBack));
        assert_eq!(status(Outcome::Cancelled, false, false), Some(ReportStatus::Failed));
        for none in [
            Outcome::Invalid,
            Outcome::Refused,
            Outcome::Busy,
            Outcome::Unreachable,
            Outcome::Planned,
            Outcome::Lost,
        ] {
            assert_eq!(status(none, false, false), None, "{none}");
        }
    }
}
