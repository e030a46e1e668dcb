//! One event of every kind, for the tests of everything that reads events, and for `docs/events.md`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{
    DeploymentResult, Event, EventKind, FileChanges, ImageChange, ImageHow, ImageName, Origin, Plan,
    PlannedBackup, PlannedCheck, PlannedFile, PlannedFiles, PlannedHook, PlannedImage, PlannedService,
    PlannedTest, Reason, SCHEMA, ServiceChange, Span, SpanStatus, Why,
};
use crate::model::{
    Before, CheckResult, ErrorKind, FailureReport, Finding, HealthReport, HookKind, HookOutcome, HookResult,
    Outcome, Severity, Stage, StageOutcome, Verdict,
};

/// Returns an event of this kind, always the same but for its number.
pub(crate) fn event(seq: u64, origin: Origin, stage: Stage, kind: EventKind) -> Event {
    Event {
        schema: SCHEMA,
        origin,
        seq,
        timestamp: format!("2026-11-21T06:40:{:02}.250Z", seq % 60),
        level: kind.level(),
        logger: Cow::Borrowed("ffe_deploy"),
        message: crate::text::harmless(&kind.sentence(stage)),
        module: Cow::Borrowed("ffe_deploy::pipeline"),
        function: Cow::Borrowed("run"),
        line: 42,
        deployment_id: "deploy-20261121064000-1b9d6bcd".parse().unwrap(),
        correlation_id: "github-4711-1".parse().unwrap(),
        app: Some("shop".parse().unwrap()),
        environment: Some("production".parse().unwrap()),
        stage,
        host: "shop-1".into(),
        trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
        span_id: "b7ad6b7169203331".into(),
        kind,
    }
}

/// Returns one event of each kind, in an order that a rollback could have.
pub(crate) fn all() -> Vec<Event> {
    let kinds = kinds();
    let numbered = kinds.into_iter().zip(1..);
    numbered.map(|((origin, stage, kind), seq)| event(seq, origin, stage, kind)).collect()
}

fn kinds() -> Vec<(Origin, Stage, EventKind)> {
    let mut kinds = start();
    kinds.extend(switch());
    kinds.extend(end());
    kinds
}

fn start() -> Vec<(Origin, Stage, EventKind)> {
    use Origin::{Agent, Runner};
    let finding =
        Finding::warning("host.disk", "8.1 GB are free; 20 GB are recommended", "free space below /srv")
            .detail("free_gb", "8.1");
    vec![
        (
            Runner,
            Stage::Initializing,
            EventKind::DeploymentStarted {
                verb: "deploy".into(),
                version: Some("1.2.0".into()),
                target: "deploy@shop.example.com:22".into(),
                tool_version: "0.1.0".into(),
            },
        ),
        (Agent, Stage::Validating, EventKind::StageStarted {}),
        (Agent, Stage::Validating, EventKind::FindingReported { finding }),
        (
            Agent,
            Stage::Validating,
            EventKind::RecoveryStarted {
                unfinished: "deploy-20261120230000-0c0ffee0".into(),
                reached: "deploying".into(),
                decision: "undo".into(),
            },
        ),
        (
            Agent,
            Stage::Validating,
            EventKind::RecoveryFinished {
                unfinished: "deploy-20261120230000-0c0ffee0".into(),
                outcome: Outcome::RolledBack,
            },
        ),
        (Agent, Stage::Setup, EventKind::BundleReceived { files: 120, sent_files: 3, sent_bytes: 8_192 }),
        (
            Agent,
            Stage::Setup,
            EventKind::HostTookOver {
                previous_release: Some("deploy-20261120120000-7c9e6679".into()),
                root: "/srv/shop/production".into(),
                pid: 4711,
            },
        ),
        (
            Agent,
            Stage::Setup,
            EventKind::Noticed {
                code: "bundle.dirty".into(),
                notice: "tracked files differ from the commit".into(),
                hint: Some("commit them".into()),
                severity: Severity::Warning,
            },
        ),
        (
            Agent,
            Stage::Building,
            EventKind::LogLine {
                source: "docker compose build".into(),
                text: "#7 [backend 2/4] RUN pip install -r requirements.txt".into(),
            },
        ),
    ]
}

/// A plan with something of each kind.
pub(crate) fn plan() -> Plan {
    let reason = |why, name: &str| Reason { why, names: vec![name.into()] };
    let service = |service: &str, change, reasons| PlannedService {
        service: service.into(),
        change,
        reasons,
        if_image_differs: false,
    };
    let diff = "@@ -1 +1 @@\n-listen: 8000\n+listen: 8080";
    Plan {
        changes: true,
        version: "1.2.0".into(),
        previous_version: Some("1.1.0".into()),
        previous_release: Some("deploy-20261120120000-7c9e6679".into()),
        services: vec![
            service(
                "backend",
                ServiceChange::Recreated,
                vec![
                    reason(Why::Image, "ghcr.io/three-rivers-tech/shop-backend:1.4.0"),
                    reason(Why::Environment, "LOG_LEVEL"),
                ],
            ),
            service("db", ServiceChange::Unchanged, vec![]),
        ],
        images: vec![PlannedImage {
            image: "ghcr.io/three-rivers-tech/shop-backend:1.4.0".into(),
            services: vec!["backend".into()],
            how: ImageHow::Pulled,
            is_base: false,
            image_id: Some("sha256:9f86d081884c7d65".into()),
            size_bytes: Some(52_300_000),
            note: None,
        }],
        files: PlannedFiles {
            added_count: 1,
            changed_count: 1,
            removed_count: 0,
            added: vec!["config/new.yaml".into()],
            changed: vec![PlannedFile {
                path: "config/shop.yaml".into(),
                diff: Some(diff.into()),
                note: None,
            }],
            removed: vec![],
        },
        backup: PlannedBackup {
            directory: Some("/srv/shop/production/backups".into()),
            includes: vec!["data".into(), "volume db".into()],
            reason: None,
        },
        checks: vec![PlannedCheck {
            check: "backend".into(),
            asked: "GET http://localhost:8000/health".into(),
            optional: false,
            skipped: None,
        }],
        health_before: Before::Warn,
        test: Some(PlannedTest { command: vec!["./scripts/test.sh".into()], timeout_ms: 600_000 }),
        hooks: vec![PlannedHook {
            hook: "migrate".into(),
            kind: HookKind::PreDeploy,
            place: "service backend".into(),
            command: vec!["./manage.py".into(), "migrate".into()],
            timeout_ms: 300_000,
            on_error: None,
            only_if: None,
        }],
        notes: vec!["deploy-20261121063900-0c0ffee0 is under way".into()],
    }
}

fn switch() -> Vec<(Origin, Stage, EventKind)> {
    use Origin::Agent;
    vec![
        (
            Agent,
            Stage::Pulling,
            EventKind::ImageReady {
                service: "backend".into(),
                image: "ghcr.io/three-rivers-tech/shop-backend:1.4.0".into(),
                image_id: "sha256:9f86d081884c7d65".into(),
                size_bytes: 152_300_000,
                digest: Some("sha256:60303ae22b998861".into()),
                how: ImageHow::Pulled,
            },
        ),
        (
            Agent,
            Stage::BackingUp,
            EventKind::Pruned {
                releases: vec!["deploy-20261101120000-9b2f4c1d".into()],
                images: vec!["ffe-deploy/shop/backend:4f53cda18c2b".into()],
                backups: Vec::new(),
                files: 2,
                agents: 0,
                freed_bytes: 4_182_016,
                freed_image_bytes: 148_900_000,
            },
        ),
        (
            Agent,
            Stage::BackingUp,
            EventKind::BackupCreated {
                path: "/srv/shop/production/backups/ffe_backup_20261121_064012.tar.zst".into(),
                size_bytes: 1_048_576,
                sha256: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae".into(),
                includes: vec!["shared/".into(), "volume ffe-data".into()],
                retention_days: 7,
            },
        ),
        (
            Agent,
            Stage::BackingUp,
            EventKind::HookStarted {
                hook: "migrate".into(),
                kind: HookKind::PreDeploy,
                place: "service backend".into(),
                timeout_ms: 300_000,
            },
        ),
        (Agent, Stage::BackingUp, EventKind::HookFinished { result: hook() }),
        (Agent, Stage::Deploying, compared()),
        (Origin::Runner, Stage::Complete, EventKind::PlanMade { plan: Box::new(plan()) }),
        (
            Agent,
            Stage::Deploying,
            EventKind::ServiceChanged { service: "backend".into(), change: ServiceChange::Recreated },
        ),
        (
            Agent,
            Stage::Deploying,
            EventKind::StageFinished {
                outcome: StageOutcome::Succeeded,
                took_ms: 4_310,
                reason: None,
                span: Span { name: "deploying".into(), duration_ms: 4_310, status: SpanStatus::Ok },
            },
        ),
        (
            Agent,
            Stage::Verifying,
            EventKind::HealthAttempted {
                check: "backend".into(),
                attempt: 1,
                latency_ms: 12,
                detail: "connection refused".into(),
            },
        ),
        (
            Agent,
            Stage::Verifying,
            EventKind::CheckFinished {
                check: "backend".into(),
                verdict: Verdict::Failed,
                latency_ms: 12,
                waited_ms: 60_000,
                attempts: 24,
                asked: "GET http://localhost:8000/health".into(),
                detail: "connection refused".into(),
                optional: false,
            },
        ),
        (
            Agent,
            Stage::Verifying,
            EventKind::LogsCollected {
                service: "backend".into(),
                container: "shop-backend-1".into(),
                state: "exited with 1".into(),
                lines: vec!["Traceback (most recent call last):".into(), "KeyError: 'DB_URL'".into()],
            },
        ),
    ]
}

fn hook() -> HookResult {
    HookResult {
        hook: "migrate".into(),
        kind: HookKind::PreDeploy,
        place: "service backend".into(),
        outcome: HookOutcome::Succeeded,
        exit_code: Some(0),
        took_ms: 2_310,
        detail: None,
    }
}

fn compared() -> EventKind {
    let image =
        |id: &str| ImageName { image: "shop-backend".into(), image_id: format!("sha256:{id}"), digest: None };
    EventKind::ReleaseCompared {
        release: "deploy-20261121064000-1b9d6bcd".into(),
        previous_release: Some("deploy-20261120120000-7c9e6679".into()),
        images: vec![ImageChange {
            service: "backend".into(),
            before: Some(image("60303ae22b998861")),
            after: Some(image("9f86d081884c7d65")),
        }],
        files: FileChanges {
            changed_count: 1,
            changed: vec!["config/shop.yaml".into()],
            ..FileChanges::default()
        },
    }
}

fn end() -> Vec<(Origin, Stage, EventKind)> {
    use Origin::{Agent, Runner};
    vec![
        (
            Runner,
            Stage::Verifying,
            EventKind::CancelRequested {
                effect: "the host stops at the next safe point and goes back by itself".into(),
            },
        ),
        (Agent, Stage::Verifying, EventKind::Failed { failure: failure() }),
        (
            Agent,
            Stage::RollingBack,
            EventKind::RollbackStarted {
                from_release: Some("deploy-20261121064000-1b9d6bcd".into()),
                to_release: "deploy-20261120120000-7c9e6679".into(),
                reason: "backend is unhealthy".into(),
            },
        ),
        (
            Agent,
            Stage::RolledBack,
            EventKind::ReleaseCommitted {
                release: "deploy-20261120120000-7c9e6679".into(),
                previous_release: Some("deploy-20261120120000-7c9e6679".into()),
            },
        ),
        (
            Agent,
            Stage::RolledBack,
            EventKind::DeploymentFinished { is_final: true, result: Box::new(result()) },
        ),
    ]
}

fn failure() -> FailureReport {
    let message = "`backend` did not become healthy within 60 s: connection refused";
    FailureReport::new(ErrorKind::HealthCheckError, "health.unhealthy", message)
        .hint("read its last log lines, then run `ffe-deploy logs production backend`")
}

/// Returns the result of a deployment that was rolled back.
pub(crate) fn result() -> DeploymentResult {
    let check = CheckResult {
        name: "backend".into(),
        verdict: Verdict::Failed,
        optional: false,
        latency_ms: 12,
        waited_ms: 60_000,
        attempts: 24,
        asked: "GET http://localhost:8000/health".into(),
        detail: "connection refused".into(),
    };
    let healthy = CheckResult { verdict: Verdict::Passed, detail: "200".into(), ..check.clone() };
    DeploymentResult {
        deployment_id: "deploy-20261121064000-1b9d6bcd".parse().unwrap(),
        environment: Some("production".parse().unwrap()),
        app: Some("shop".parse().unwrap()),
        verb: "deploy".into(),
        stage: Stage::RolledBack,
        start_time: "2026-11-21T06:40:00.25Z".parse().unwrap(),
        end_time: "2026-11-21T06:41:23.75Z".parse().unwrap(),
        duration_seconds: 83.5,
        outcome: Outcome::RolledBack,
        status: Outcome::RolledBack.status(),
        exit_code: Outcome::RolledBack.exit().code(),
        changed: true,
        version: Some("1.2.0".into()),
        previous_version: Some("1.1.0".into()),
        release: Some("deploy-20261120120000-7c9e6679".into()),
        previous_release: Some("deploy-20261120120000-7c9e6679".into()),
        rolled_back_to: Some("deploy-20261120120000-7c9e6679".into()),
        backup: Some("/srv/shop/production/backups/ffe_backup_20261121_064012.tar.zst".into()),
        health: Some(HealthReport::of(vec![healthy])),
        checks: vec![check],
        services: BTreeMap::from([("backend".into(), ServiceChange::Recreated)]),
        hooks: vec![hook()],
        urls: BTreeMap::from([("backend".into(), "http://shop.example.com:8000".into())]),
        errors: vec![failure()],
        next_step: Some("run `ffe-deploy logs production backend`, mend it, and deploy again".into()),
    }
}
