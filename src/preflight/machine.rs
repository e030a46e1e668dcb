//! Is the machine one that can run this: cores, inodes, architecture (R001-05, R001-06).

use std::path::Path;

use rustix::fs::statvfs;
use serde_json::Value;

use super::image::Images;
use super::{Subject, host};
use crate::model::Finding;
use crate::text::harmless;

/// Fewest cores without a warning (R001-05), and how many are recommended (R001-06).
const CORES: usize = 2;
const GOOD_CORES: usize = 4;
/// Files and directories that must be left: a release, its images and a backup need some thousand.
const INODES: u64 = 1000;
/// Share of the inodes below which there is a warning, in percent.
const INODES_PERCENT: u64 = 5;

pub(super) fn check(subject: &Subject<'_>, images: &Images<'_>) -> Vec<Finding> {
    let place = host::nearest_existing(subject.root);
    let mut findings = vec![cores(std::thread::available_parallelism().map_or(1, usize::from))];
    findings.extend(statvfs(place).ok().and_then(|found| inodes(place, found.f_favail, found.f_files)));
    findings.extend(architecture(subject, images));
    findings
}

/// `host.cores`.
fn cores(found: usize) -> Finding {
    let cores = if found == 1 { "core" } else { "cores" };
    if found < CORES {
        return Finding::warning(
            "host.cores",
            format!("{found} CPU {cores}, {CORES} wanted"),
            "use a host with more cores, or give this one more",
        );
    }
    let good = if found < GOOD_CORES { format!(" ({GOOD_CORES} are recommended)") } else { String::new() };
    Finding::passed("host.cores", format!("{found} CPU {cores}{good}"))
}

/// `host.inodes`; nothing on file systems that count none (btrfs).
fn inodes(place: &Path, free: u64, all: u64) -> Option<Finding> {
    if all == 0 {
        return None;
    }
    let message = format!("{free} of {all} inodes are free at {}", place.display());
    let hint = "remove what has many small files: `docker system df` and `sudo du --inodes -x / | sort -n | tail` say where";
    Some(if free < INODES {
        Finding::error("host.inodes", format!("{message}; no file can be made without one"), hint)
    } else if free.saturating_mul(100) < all.saturating_mul(INODES_PERCENT) {
        Finding::warning("host.inodes", message, hint)
    } else {
        Finding::passed("host.inodes", message)
    })
}

/// What Docker calls the architecture of this machine.
fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `host.architecture`: images, and `platform:` of services, against this machine.
fn architecture(subject: &Subject<'_>, images: &Images<'_>) -> Vec<Finding> {
    const RULE: &str = "host.architecture";
    let Some(model) = subject.known_model() else { return Vec::new() };
    let own = own_architecture();
    let mut findings = Vec::new();
    for name in model.services.keys() {
        let written = model.raw["services"][name].get("platform").and_then(Value::as_str);
        let written = written.and_then(|platform| platform.split('/').nth(1));
        let found = written.or_else(|| images.architecture(name));
        let Some(other) = found.filter(|found| *found != own) else { continue };
        let other = harmless(other);
        let message = format!(
            "service `{name}` is for {other}, and this host is {own}: it fails with `exec format error`, or is slow"
        );
        let hint = format!(
            "use an image for {own} (`platform: linux/{own}`, or a multi-platform tag), or a host that is {other}"
        );
        findings.push(Finding::warning(RULE, message, hint).detail("service", name));
    }
    if findings.is_empty() {
        findings
            .push(Finding::passed(RULE, format!("this host is {own}; no image is known to be for another")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, NO_ENGINE};
    use super::*;
    use crate::model::Severity;

    #[test]
    fn few_cores_are_a_warning_and_a_file_system_without_inodes_is_an_error() {
        let severities = [1, 2, 8].map(|found| cores(found).severity);
        assert_eq!(severities, [Severity::Warning, Severity::Passed, Severity::Passed]);
        let of = |free, all| inodes(Path::new("/x"), free, all).map(|found| found.severity);
        assert_eq!(of(999, 1_000_000), Some(Severity::Error));
        assert_eq!(of(49_999, 1_000_000), Some(Severity::Warning));
        assert_eq!(of(50_000, 1_000_000), Some(Severity::Passed));
        assert_eq!(of(0, 0), None);
    }

    async fn judged(bench: &Bench) -> Vec<Finding> {
        let subject = bench.subject();
        architecture(&subject, &Images::of(&subject, Err(&NO_ENGINE)).await)
    }

    #[tokio::test]
    async fn a_service_for_another_architecture_is_named() {
        let mut bench = Bench::new();
        let platform =
            |word: &str| format!(r#"{{"services": {{"a": {{"image": "x", "platform": "{word}"}}}}}}"#);
        bench.model(&platform("linux/s390x"));
        let found = judged(&bench).await;
        assert_eq!((found[0].severity, found[0].details["service"].as_str()), (Severity::Warning, "a"));
        bench.model(&platform(&format!("linux/{}", own_architecture())));
        assert_eq!(judged(&bench).await[0].severity, Severity::Passed);
    }
}
