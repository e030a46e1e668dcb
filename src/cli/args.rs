//! The command line (DESIGN section 8): doc comments are the help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::event::Level;
use crate::model::{Adopt, CorrelationId, DeploymentId, ReleaseId};
use crate::report::LogFormat;

/// Takes a Compose application from one release to the next, on this machine or over SSH, and brings it back when it
/// fails.
#[derive(Parser)]
#[command(name = "ffe-deploy", version, max_term_width = 100, disable_help_subcommand = true)]
pub(super) struct Cli {
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Subcommand)]
pub(super) enum Verb {
    /// Bring the project's release live: validate, back up, deploy, verify, and roll back if it fails
    Deploy(DeployArgs),
    /// Put the last successful release before the current one back
    Rollback(RollbackArgs),
    /// End a deployment that was left unfinished
    Recover(TargetArgs),
    /// Ask every check that comes before a deployment; change nothing
    Validate(ValidateArgs),
    /// Show what runs, whether it is healthy, and the last deployment
    Status(TargetArgs),
    /// Ask every health check once
    Health(TargetArgs),
    /// List the apps and environments of the configuration
    List(ConfigArgs),
    /// List earlier deployments
    History(TargetArgs),
    /// Print the last log lines of one service or of all
    Logs(LogsArgs),
    /// Start the services, verified
    #[command(visible_alias = "start")]
    Up(OperateArgs),
    /// Stop the services; volumes and releases stay
    #[command(visible_alias = "stop")]
    Down(OperateArgs),
    /// Stop the services, then start them, verified
    Restart(OperateArgs),
    /// Stop the services and delete their volumes and local images
    Clean(OperateArgs),
    /// Build the images; start nothing
    Build(BuildArgs),
    /// Take a backup, or list those there are
    Backup(Box<BackupArgs>),
}

/// Where the configuration is.
#[derive(Args, Clone)]
pub(super) struct ConfigArgs {
    /// Directory of the project
    #[arg(long, value_name = "DIR", default_value = ".", env = "FFE_DEPLOY_PROJECT_ROOT")]
    pub project_root: PathBuf,
    /// Directory of deployments.yaml and environments.yaml [default: deploy/, then the project root]
    #[arg(long, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
    /// App of deployments.yaml [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// How results are printed on stdout
    #[arg(long, value_enum, default_value_t = Output::Human, env = "FFE_DEPLOY_OUTPUT")]
    pub output: Output,
    #[command(flatten)]
    pub log: LogArgs,
}

/// What is said, and where.
#[derive(Args, Clone)]
pub(super) struct LogArgs {
    /// File for the event log, one JSON object a line [default: below $RUNNER_TEMP or the user's state directory]
    #[arg(long, value_name = "FILE", env = "FFE_DEPLOY_EVENT_LOG")]
    pub event_log: Option<PathBuf>,
    /// Directory for app_<env>.log, error_<env>.log and access_<env>.log, in Bunyan's form
    #[arg(long, value_name = "DIR", env = "FFE_DEPLOY_LOG_DIR")]
    pub log_dir: Option<PathBuf>,
    /// File to which what the console shows is added, as JSON
    #[arg(long, value_name = "FILE", env = "FFE_DEPLOY_LOG_FILE")]
    pub log_file: Option<PathBuf>,
    /// DEBUG, INFO, WARNING, ERROR or CRITICAL, for console and log files [default: INFO, DEBUG in dev]
    #[arg(long, value_name = "LEVEL", env = "FFE_DEPLOY_LOG_LEVEL")]
    pub log_level: Option<Level>,
    /// auto, human or json; auto is lines for people on a terminal and on GitHub, JSON otherwise
    #[arg(long, value_name = "FORMAT", default_value = "auto", env = "FFE_DEPLOY_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// Groups everything of one workflow run [default: github-<run>-<attempt>, else a new UUID]
    #[arg(long, value_name = "ID", env = "FFE_DEPLOY_CORRELATION_ID")]
    pub correlation_id: Option<CorrelationId>,
}

/// Where it goes.
#[derive(Args, Clone)]
pub(super) struct TargetArgs {
    /// Name of the environment
    #[arg(value_name = "ENVIRONMENT")]
    pub environment: Option<String>,
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// How the target is reached.
#[derive(Args, Clone)]
pub(super) struct ReachArgs {
    /// `local`, or the host to reach over SSH
    #[arg(long, value_name = "[USER@]HOST[:PORT]")]
    pub host: Option<String>,
    /// The host's key: a known_hosts line, a file of them, or a SHA256 fingerprint
    #[arg(long, value_name = "KEY")]
    pub host_key: Option<String>,
    /// Active Compose profile; may be given several times
    #[arg(long = "profile", value_name = "PROFILE")]
    pub profiles: Vec<String>,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Arguments of verbs that change what runs.
#[derive(Args, Clone)]
pub(super) struct OperateArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// Confirm, where the environment asks for it (production does)
    #[arg(long, env = "FFE_DEPLOY_YES")]
    pub yes: bool,
    /// Id of this run [default: deploy-<time>-<random>]; an id that was used returns its result again
    #[arg(long, value_name = "ID", env = "FFE_DEPLOY_DEPLOYMENT_ID")]
    pub deployment_id: Option<DeploymentId>,
}

/// Arguments of `deploy`.
#[derive(Args, Clone)]
pub(super) struct DeployArgs {
    #[command(flatten)]
    pub operate: OperateArgs,
    /// Version of the app; also VERSION and IMAGE_TAG for the compose file [default: git describe]
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// Build images without cache
    #[arg(long, env = "FFE_DEPLOY_NO_CACHE")]
    pub no_cache: bool,
    /// Take no backup
    #[arg(long, env = "FFE_DEPLOY_SKIP_BACKUP")]
    pub skip_backup: bool,
    /// Take over an app that runs already, recording it first as a release to return to
    #[arg(long, value_name = "no-rollback", num_args = 0..=1, require_equals = true, default_missing_value = "record")]
    pub adopt: Option<AdoptWord>,
}

/// Arguments of `validate`.
#[derive(Args, Clone)]
pub(super) struct ValidateArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// Version of the app; also VERSION and IMAGE_TAG for the compose file
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
}

/// Arguments of `build`.
#[derive(Args, Clone)]
pub(super) struct BuildArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// Version of the app; also VERSION and IMAGE_TAG for the compose file
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// Build images without cache
    #[arg(long, env = "FFE_DEPLOY_NO_CACHE")]
    pub no_cache: bool,
}

/// Arguments of `rollback`.
#[derive(Args, Clone)]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    pub operate: OperateArgs,
    /// Release to go back to [default: the last successful one before the current]
    #[arg(long, value_name = "ID")]
    pub to: Option<ReleaseId>,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// Arguments of `logs`.
#[derive(Args, Clone)]
pub(super) struct LogsArgs {
    /// Name of the environment
    #[arg(value_name = "ENVIRONMENT")]
    pub environment: Option<String>,
    /// Service whose lines are wanted, raw [default: all, each line with its service's name]
    #[arg(value_name = "SERVICE")]
    pub service: Option<String>,
    /// Last lines of each service
    #[arg(long, value_name = "LINES", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub tail: u32,
    /// Go on as lines come
    #[arg(long)]
    pub follow: bool,
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// Arguments of `backup`.
#[derive(Args, Clone)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct BackupArgs {
    /// What to do with backups
    #[command(subcommand)]
    pub verb: Option<BackupVerb>,
    #[command(flatten)]
    pub create: TargetArgs,
}

/// What to do with backups.
#[derive(Subcommand, Clone)]
pub(super) enum BackupVerb {
    /// Take one now
    Create(TargetArgs),
    /// List those of this app and environment
    List(TargetArgs),
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// Tables.
    Human,
    /// JSON.
    Json,
}

/// What `--adopt` may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AdoptWord {
    /// Record what runs as a release to return to
    Record,
    /// Its files are gone: there will be nothing to return to
    NoRollback,
}

impl From<AdoptWord> for Adopt {
    fn from(word: AdoptWord) -> Self {
        match word {
            AdoptWord::Record => Self::WithRollback,
            AdoptWord::NoRollback => Self::NoRollback,
        }
    }
}
