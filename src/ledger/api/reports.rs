//! `/api/v1/reports`: what CI jobs tell of their deployments (`model::lifecycle::Report`).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::answers::{Failure, WrongId, WrongIdOrBody};
use super::error::{ApiError, ErrorBody, Problem, json_answer};
use super::extract::{Body, Id};
use super::fields::{DEPTH, depth, uuid_of_path};
use crate::ledger::Shared;
use crate::ledger::store::{Deployment, Json, ReportError, time_text};
use crate::model::lifecycle::{LAST_LINE, LINE_LENGTH, REPORT_LINES, REPORT_SCHEMA, Report, ReportLine};

/// Longest `error_logs`, in bytes; what is longer is refused, not cut.
const LOGS: usize = 64 * 1024;

/// Stands for [`Report`] in the OpenAPI document, which gets its form from the type itself (`docs.rs`).
#[derive(ToSchema)]
#[schema(as = Report)]
#[expect(dead_code, reason = "a name in the OpenAPI document")]
pub(super) struct ReportForm {
    schema: u32,
}

/// What became of a report.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReportKept {
    /// Its id, which is that of the deployment.
    #[schema(format = Uuid)]
    report_id: String,
    /// Sequence of the latest report that is known.
    sequence: i64,
    /// Whether it said something newer; otherwise nothing was changed.
    applied: bool,
    /// The deployment as it is now.
    deployment: Deployment,
}

/// The latest report of a deployment.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReportShown {
    /// Its id, which is that of the deployment.
    #[schema(format = Uuid)]
    report_id: String,
    /// Its sequence.
    sequence: i64,
    /// When the first report came; UTC.
    #[schema(value_type = String, format = DateTime)]
    created_at: String,
    /// When this one came; UTC.
    #[schema(value_type = String, format = DateTime)]
    updated_at: String,
    /// What came, letter by letter.
    #[schema(value_type = Object)]
    report: Json,
    /// The deployment as it is now.
    deployment: Deployment,
}

/// Keeps what a CI job reports. The same report again, or an older one, changes nothing.
#[utoipa::path(put, path = "/reports/{report_id}", tag = "Reports", params(
    ("report_id" = String, Path, format = Uuid),
), request_body = ReportForm, responses(
    (status = 200, description = "It is kept, or was known", body = ReportKept),
    (status = 201, description = "It is the first of its deployment", body = ReportKept),
    (status = 409, description = "The id is another deployment's", body = ErrorBody),
    WrongIdOrBody,
    Failure,
))]
pub(super) async fn put(
    State(ledger): State<Shared>,
    Id(id): Id,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let id = uuid_of_path("report_id", &id)?;
    let report = read(&body)?;
    let text = String::from_utf8_lossy(&body).into_owned();
    let raw = Json::new(text).map_err(|error| wrong(None, error.to_string()))?;
    let kept = ledger.store.put_report(id, &report, &raw).await.map_err(|error| match error {
        ReportError::Store(error) => error.into(),
        foreign @ ReportError::Foreign(_) => {
            ApiError::new(StatusCode::CONFLICT, format!("{foreign}; nothing was changed"))
        }
    })?;
    let status = if kept.is_first { StatusCode::CREATED } else { StatusCode::OK };
    let answer = ReportKept {
        report_id: id.to_string(),
        sequence: kept.sequence,
        applied: kept.is_applied,
        deployment: kept.deployment,
    };
    Ok(json_answer(status, &answer))
}

/// Returns the latest report of a deployment.
#[utoipa::path(get, path = "/reports/{report_id}", tag = "Reports", params(
    ("report_id" = String, Path, format = Uuid),
), responses(
    (status = 200, description = "The report", body = ReportShown),
    (status = 404, description = "No such report", body = ErrorBody),
    WrongId,
    Failure,
))]
pub(super) async fn one(State(ledger): State<Shared>, Id(id): Id) -> Result<Response, ApiError> {
    let id = uuid_of_path("report_id", &id)?;
    let Some(kept) = ledger.store.report(id).await? else { return Err(ApiError::not_found("Report", id)) };
    let answer = ReportShown {
        report_id: id.to_string(),
        sequence: kept.sequence,
        created_at: time_text(kept.created_at),
        updated_at: time_text(kept.updated_at),
        report: kept.body,
        deployment: kept.deployment,
    };
    Ok(json_answer(StatusCode::OK, &answer))
}

fn read(body: &[u8]) -> Result<Report, ApiError> {
    let mut value: Value = serde_json::from_slice(body).map_err(|error| wrong(None, error.to_string()))?;
    if depth(&value) > DEPTH {
        return Err(wrong(None, format!("Input should be nested at most {DEPTH} deep")));
    }
    whole(&mut value);
    let report: Report = serde_json::from_value(value).map_err(|error| wrong(None, error.to_string()))?;
    if report.schema != REPORT_SCHEMA {
        let text = format!("Input should be {REPORT_SCHEMA}: this ledger is older than the job, or newer");
        return Err(wrong(Some("schema"), text));
    }
    let texts = [
        ("version", &report.version, 255),
        ("deployed_by", &report.deployed_by, 255),
        ("method", &report.method, 50),
    ];
    for (name, text, most) in texts {
        if !(1..=most).contains(&text.chars().count()) || text.contains('\0') {
            return Err(wrong(Some(name), format!("String should have 1 to {most} characters, and no NUL")));
        }
    }
    if report.error_logs.as_ref().is_some_and(|logs| logs.len() > LOGS) {
        return Err(wrong(Some("error_logs"), format!("String should have at most {LOGS} bytes")));
    }
    check_lines(&report.lines)?;
    Ok(report)
}

/// Makes `1.0` a `1`, as JSON Schema has it, but for the configuration, which is kept as it came.
fn whole(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let whole =
                number.as_f64().filter(|float| !number.is_i64() && !number.is_u64() && float.fract() == 0.0);
            // Up to here every whole number is one of its own (2^53).
            if let Some(float) = whole.filter(|float| float.abs() <= 9_007_199_254_740_992.0) {
                *number = (float as i64).into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole),
        Value::Object(members) => {
            members.iter_mut().filter(|(name, _)| *name != "config").for_each(|(_, value)| whole(value))
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn check_lines(lines: &[ReportLine]) -> Result<(), ApiError> {
    if lines.len() > REPORT_LINES {
        return Err(wrong(Some("lines"), format!("List should have at most {REPORT_LINES} items")));
    }
    for line in lines {
        if !(1..=LAST_LINE).contains(&line.number) {
            return Err(wrong(Some("lines"), format!("The number of a line should be 1 to {LAST_LINE}")));
        }
        if line.text.chars().count() > LINE_LENGTH {
            let text = format!("Line {} should have at most {LINE_LENGTH} characters", line.number);
            return Err(wrong(Some("lines"), text));
        }
    }
    Ok(())
}

fn wrong(name: Option<&str>, msg: String) -> ApiError {
    let loc = [Some("body"), name].into_iter().flatten().map(Value::from).collect();
    ApiError::problems(&[Problem { kind: "value_error".into(), loc, msg, input: Value::Null }])
}
