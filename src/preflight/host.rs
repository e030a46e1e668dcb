//! Has the host room, and is the root a place of ours (R000-58, R000-59, DESIGN section 6).

use std::path::Path;

use rustix::fs::{Access, access, statfs, statvfs};

use super::Subject;
use crate::model::Finding;

/// Free disk below which there is a warning when nothing is written, in decimal GB (R000-58).
const DISK_GB: f64 = 20.0;
/// Memory below which there is a warning when nothing is written, in decimal GB (R000-59).
const MEMORY_GB: f64 = 4.0;
const GB: f64 = 1e9;
/// The documents' remedies (R001-64, R001-65).
const FREE_DISK: &str = "free disk space: `docker system df` says what images take, data that only grows (`data/decisions`) can \
                         go after 30 days, Prometheus keeps less with `--storage.tsdb.retention.time=15d`";

pub(super) fn check(subject: &Subject<'_>) -> Vec<Finding> {
    let place = nearest_existing(subject.root);
    let mut findings = vec![disk(subject, place), memory(subject)];
    findings.extend(root(subject, place));
    findings
}

/// The path itself, or the nearest directory above it that is there.
pub(super) fn nearest_existing(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"))
}

/// `host.disk`: free space at the root for users who are not root.
fn disk(subject: &Subject<'_>, place: &Path) -> Finding {
    let wanted = subject.app.requirements.disk_gb;
    match statvfs(place) {
        Ok(found) => {
            let free_gb = gigabytes(found.f_bavail.saturating_mul(found.f_frsize));
            let room = Room {
                rule: "host.disk",
                what: "free disk space",
                key: "disk_gb",
                at: Some(place),
                found: free_gb,
            };
            room.judged(wanted, DISK_GB, FREE_DISK)
        }
        Err(cause) => Finding::warning(
            "host.disk",
            format!("could not ask how much space is free at {}: {cause}", place.display()),
            "check by hand: `df -h`",
        ),
    }
}

/// `host.memory`: MemTotal, as the kernel says it in KiB.
fn memory(subject: &Subject<'_>) -> Finding {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    let Some(kib) = kib else {
        return Finding::warning(
            "host.memory",
            "could not read how much memory there is",
            "check by hand: `free -h`",
        );
    };
    let room = Room {
        rule: "host.memory",
        what: "memory",
        key: "memory_gb",
        at: None,
        found: gigabytes(kib.saturating_mul(1024)),
    };
    let order = "`docker stats` shows who uses the memory; use a host with more";
    room.judged(subject.app.requirements.memory_gb, MEMORY_GB, order)
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / GB
}

/// What was measured.
struct Room<'a> {
    rule: &'static str,
    what: &'static str,
    key: &'static str,
    at: Option<&'a Path>,
    found: f64,
}

impl Room<'_> {
    /// Below what is written: an error. Below the documents' figure with nothing written: a warning.
    fn judged(&self, written: Option<f64>, usual: f64, order: &str) -> Finding {
        let wanted = written.unwrap_or(usual);
        let at = self.at.map(|path| format!(" at {}", path.display())).unwrap_or_default();
        let message = format!("{:.1} GB {}{at}, {wanted:.1} GB wanted", self.found, self.what);
        let hint = format!("{order}, or lower `requirements.{}` in deployments.yaml", self.key);
        if self.found >= wanted {
            return Finding::passed(self.rule, message);
        }
        if written.is_some() {
            return Finding::error(self.rule, message, hint);
        }
        Finding::warning(self.rule, message, hint)
    }
}

/// `host.root`: ours, writable, on a disk of this machine.
fn root(subject: &Subject<'_>, place: &Path) -> Vec<Finding> {
    let shown = subject.root.display();
    let mut findings = Vec::new();
    if let Some(foreign) = of_another_user(subject.root) {
        findings.push(foreign);
    } else if let Err(cause) = access(place, Access::WRITE_OK | Access::EXEC_OK) {
        findings.push(Finding::error(
            "host.root",
            format!("{shown} cannot be made or written: {} at {}", cause, place.display()),
            format!("make it this user's (`sudo install -d -o \"$USER\" {shown}`), or set another `root:`"),
        ));
    }
    if let Some(kind) = network_filesystem(place).filter(|_| !subject.environment.allow_network_root) {
        findings.push(Finding::error(
            "host.root",
            format!("{shown} is on {kind}, where locks and renames do not keep what a deployment relies on"),
            "set `root:` to a directory on a local disk, or `allow_network_root: true` in environments.yaml",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::passed("host.root", format!("{shown} is this user's to write")));
    }
    findings
}

/// `host.root` of a root that is there and belongs to somebody else.
pub(super) fn of_another_user(root: &Path) -> Option<Finding> {
    let (owner, shown) = (foreign_owner(root)?, root.display());
    let name = name_of(owner).map(|name| format!("`{name}`, ")).unwrap_or_default();
    Some(Finding::error(
        "host.root",
        format!("{shown} belongs to another user ({name}uid {owner}), not to this one (uid {})", own_uid()),
        "deploy as the user that owns it, or set another `root:` in environments.yaml",
    ))
}

/// Name of a user of this machine's own, from passwd(5).
fn name_of(uid: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = users.lines().map(|line| line.split(':'));
    let name = fields.find_map(|mut line| line.next().filter(|_| line.nth(1) == Some(&uid.to_string())))?;
    Some(crate::text::harmless(name))
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Uid of who owns the root, when it is there and somebody else's.
fn foreign_owner(root: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(root).ok().map(|meta| meta.uid()).filter(|uid| *uid != own_uid())
}

fn network_filesystem(place: &Path) -> Option<&'static str> {
    // The low 32 bits: `f_type` has another width and sign on each architecture.
    let magic = statfs(place).ok()?.f_type as u64 & 0xffff_ffff;
    network_name(magic)
}

/// Source: statfs(2) and `linux/magic.h`.
fn network_name(magic: u64) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => "CIFS",
        0x0102_1997 => "9p",
        0x6573_5546 => "FUSE",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;
    use crate::model::Severity;

    #[test]
    fn room_is_an_error_where_written_and_a_warning_where_not() {
        let room = Room { rule: "host.disk", what: "free disk space", key: "disk_gb", at: None, found: 10.0 };
        assert_eq!(room.judged(Some(12.5), 20.0, "free some").severity, Severity::Error);
        assert_eq!(room.judged(None, 20.0, "free some").severity, Severity::Warning);
        assert_eq!(room.judged(Some(10.0), 20.0, "free some").severity, Severity::Passed);
        assert_eq!(room.judged(Some(12.5), 20.0, "x").message, "10.0 GB free disk space, 12.5 GB wanted");
    }

    #[test]
    fn disk_and_memory_of_this_machine_are_measured_before_the_root_exists() {
        let mut bench = Bench::new();
        bench.root = bench.root.join("not/yet");
        bench.app.requirements.disk_gb = Some(1e9);
        bench.app.requirements.memory_gb = Some(0.001);
        let found = check(&bench.subject());
        assert_eq!(found[0].severity, Severity::Error, "{found:?}");
        assert!(found[0].hint.as_ref().unwrap().contains("requirements.disk_gb"));
        assert_eq!(found[1].severity, Severity::Passed, "{found:?}");
        assert_eq!(found[2].severity, Severity::Passed, "{found:?}");
    }

    #[test]
    fn a_root_of_another_user_is_refused() {
        if own_uid() != 0 {
            eprintln!("SKIPPED: only root can give a directory away");
            return;
        }
        let bench = Bench::new();
        std::os::unix::fs::chown(&bench.root, Some(12345), None).unwrap();
        let found = check(&bench.subject());
        assert_eq!((found[2].severity, found[2].rule.as_str()), (Severity::Error, "host.root"));
        assert!(found[2].message.contains("uid 12345"));
    }

    #[test]
    fn file_systems_of_other_machines_are_known_by_their_numbers() {
        assert_eq!(network_name(0x6969), Some("NFS"));
        assert_eq!(network_name(0xff53_4d42), Some("CIFS"));
        assert_eq!(network_name(0xef53), None);
    }
}
