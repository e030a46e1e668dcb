//! What a ledger says of a report, and what to do when it does not take it.

use serde::Deserialize;

use crate::model::lifecycle::DeploymentStatus;
use crate::report::delivery::{Answer, Unsent};

/// Who should answer, in words.
const LEDGER: &str = "a ledger";

/// What the ledger made of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whether it said something new.
    pub applied: bool,
    /// The highest sequence that it knows of this deployment.
    pub sequence: u32,
    /// Where the deployment stands there.
    pub status: DeploymentStatus,
}

impl Kept {
    /// Whether the deployment goes on, as far as the ledger knows.
    pub fn is_open(&self) -> bool {
        matches!(self.status, DeploymentStatus::Pending | DeploymentStatus::Deploying)
    }
}

/// Returns what an answer to a report means.
///
/// # Errors
/// It is no ledger's, or a refusal.
pub fn judged(answer: &Answer) -> Result<Kept, Unsent> {
    let is_taken = (200..=299).contains(&answer.status);
    let read = || serde_json::from_str::<KeptForm>(&answer.body).ok().and_then(KeptForm::read);
    is_taken.then(read).flatten().ok_or_else(|| answer.refusal(LEDGER))
}

/// Returns what stands for an answer whose form is no ledger's.
pub fn strange() -> Unsent {
    Unsent::Strange { service: LEDGER, words: String::new() }
}

/// Returns the next step, where there is one.
pub fn hint(why: &Unsent) -> Option<&'static str> {
    let status = match why {
        Unsent::Refused { status, .. } => *status,
        Unsent::Strange { .. } => return Some("look at `ledger.url`"),
        Unsent::Busy { .. } | Unsent::Away(_) | Unsent::Late(_) => return None,
    };
    match status {
        401 => Some("set the token's variable to one of `ffe-ledger token create NAME --scope report`"),
        403 => Some("its token wants the scope `report`: `ffe-ledger token create NAME --scope report`"),
        300..=399 => Some("set `ledger.url` to where it leads: a token is never sent on"),
        404 | 405 => Some("look at `ledger.url`: it is the address before `/api/v1`"),
        409 => Some("the ledger knows this id as that of another deployment"),
        413 => Some("let the ledger take larger bodies (`--body-limit-kib`)"),
        422 => Some("the ledger may be older than this program"),
        _ => None,
    }
}

/// As much of the ledger's answer as is looked at.
#[derive(Deserialize)]
struct KeptForm {
    applied: bool,
    sequence: i64,
    deployment: DeploymentForm,
}

#[derive(Deserialize)]
struct DeploymentForm {
    status: String,
}

impl KeptForm {
    fn read(self) -> Option<Kept> {
        let sequence = u32::try_from(self.sequence).ok()?;
        Some(Kept { applied: self.applied, sequence, status: self.deployment.status.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, retry_after: None, body: body.to_owned() }
    }

    #[test]
    fn what_a_ledger_says_is_read_and_what_another_says_is_strange() {
        let body =
            r#"{"applied": true, "sequence": 7, "report_id": "x", "deployment": {"status": "active"}}"#;
        let kept = judged(&answer(200, body)).unwrap();
        assert_eq!((kept.applied, kept.sequence, kept.is_open()), (true, 7, false));
        for strange in [
            "<html>",
            r#"{"applied": true}"#,
            r#"{"applied": true, "sequence": -1, "deployment": {"status": "x"}}"#,
        ] {
            let why = judged(&answer(200, strange)).unwrap_err();
            assert!(matches!(why, Unsent::Strange { .. }), "{why:?}");
            assert!(why.to_string().starts_with("something else than a ledger answered "), "{why}");
        }
    }

    #[test]
    fn what_stays_refused_has_a_next_step_and_what_passes_has_none() {
        for status in [302, 401, 403, 404, 405, 409, 413, 422] {
            let why = judged(&answer(status, "no")).unwrap_err();
            assert!(hint(&why).is_some() && !why.is_passing(), "{why}");
        }
        for status in [408, 425, 429, 503] {
            let why = judged(&answer(status, "")).unwrap_err();
            assert!(hint(&why).is_none() && why.is_passing(), "{why}");
        }
    }
}
