//! The single facts of a run, as plain data.

use std::path::PathBuf;

use serde::Serialize;

use crate::event::{DeploymentResult, ImageHow};
use crate::model::{CheckResult, Severity, Stage};

/// What was taken away, all together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PrunedTold {
    /// Ids of the releases.
    pub releases: Vec<String>,
    /// Tags of images.
    pub images: Vec<String>,
    /// Paths of the archives.
    pub backups: Vec<String>,
    /// How many of the release files that containers mount.
    pub files: u64,
    /// How many kept agents.
    pub agents: u64,
    /// Bytes of all these files on disk.
    pub freed_bytes: u64,
    /// Sizes of the images that went with their last tag; layers that other images share are counted, too.
    pub freed_image_bytes: u64,
}

/// What is known of a run besides its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// Who asked for it.
    pub who: Option<String>,
    /// Address of the workflow's run.
    pub run_url: Option<String>,
    /// Where the event log is.
    pub event_log: Option<String>,
    /// Directory of the app, absolute: the host names its files from there.
    pub app_dir: Option<PathBuf>,
    /// The words of a rollback in the same place, up to its release: `ffe-deploy rollback production --app shop`.
    pub rollback: Option<String>,
}

/// Something people should know that stopped nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Stable code.
    pub code: String,
    /// What.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Notice or warning.
    pub severity: Severity,
}

/// An image of the release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageTold {
    /// What the compose file says.
    pub image: String,
    /// Its id.
    pub image_id: String,
    /// Its digest in a registry.
    pub digest: Option<String>,
    /// Its size on disk.
    pub size_bytes: u64,
    /// How it came.
    pub how: ImageHow,
}

/// A health check's verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckTold {
    /// Stage in which it was asked: `verifying`, or `rolling_back`.
    pub stage: Stage,
    /// The verdict.
    pub result: CheckResult,
}

/// A backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupTold {
    /// Path on the host.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// What is in it.
    pub includes: Vec<String>,
    /// SHA-256 of the archive.
    pub sha256: String,
}

/// Last lines of a service that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogsTold {
    /// The service.
    pub service: String,
    /// Name of its container.
    pub container: String,
    /// Its state in words.
    pub state: String,
    /// The lines.
    pub lines: Vec<String>,
}

/// A rollback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollbackTold {
    /// The release that comes back.
    pub to_release: String,
    /// Why.
    pub reason: String,
}

/// How the run ended, as this job knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Whether this is the last word: else the host goes on.
    pub is_final: bool,
    /// All there is to say.
    pub result: DeploymentResult,
}

/// Whether an audience was told of the end, such as Slack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notified {
    /// Who: `Slack`.
    pub audience: String,
    /// Why it could not be told, in one harmless line without secrets; absent when it was.
    pub problem: Option<String>,
}
