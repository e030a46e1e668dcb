//! The command line (DESIGN section 8): doc comments are the help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::schema::SchemaArgs;
use crate::event::Level;
use crate::model::{Adopt, CorrelationId, DeploymentId, ReleaseId};
use crate::report::LogFormat;

/// What the exit codes say, below the list of verbs.
const EXIT_CODES: &str = "\
Exit codes:
  0 done        2 invalid      3 refused    4 rolled back  5 failed: look  6 busy  7 unreachable
  8 cancelled   9 stopped before the switch   10 planned   11 contact lost   1 a defect
  After 2, 3, 6, 7 and 9 the running release was not touched.

`ffe-deploy VERB --help` explains a verb.";

#[cfg(not(feature = "fault-injection"))]
const VERSION: &str = env!("CARGO_PKG_VERSION");
#[cfg(feature = "fault-injection")]
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (with fault injection: not for release)");

/// Takes a Compose application from one release to the next, on this machine or over SSH, and brings it back when it
/// fails.
#[derive(Parser)]
#[command(name = "ffe-deploy", version = VERSION, max_term_width = 110, disable_help_subcommand = true)]
#[command(subcommand_value_name = "VERB", after_help = EXIT_CODES)]
pub(super) struct Cli {
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Subcommand)]
pub(super) enum Verb {
    /// Bring the project live: check, back up, deploy, verify, and roll back by itself if that fails
    Deploy(DeployArgs),
    /// Bring an earlier release back, verified
    Rollback(RollbackArgs),
    /// End a deployment that was left unfinished, now
    Recover(TargetArgs),
    /// Make every check that comes before a deployment; change nothing
    Validate(ValidateArgs),
    /// Show what runs, whether it is healthy, and the last deployment
    Status(StatusArgs),
    /// Ask every health check once
    Health(TargetArgs),
    /// List the apps and environments of the configuration
    List(ListArgs),
    /// List earlier deployments, newest first
    History(HistoryArgs),
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
    /// Stop the services and delete their volumes and locally built images: their data is gone
    Clean(OperateArgs),
    /// Build the images; start nothing
    Build(BuildArgs),
    /// Make the target ready for a first deploy: directories, env files of their templates, databases, recovery at boot, images;
    /// what is there stays
    Setup(TargetArgs),
    /// Take away releases beyond `keep_releases` with their images and files, and what attempts left that were given up
    Prune(OperateArgs),
    /// Take a backup (`backup`, `backup create`), list those there are (`backup list`), or take old ones away (`backup prune`)
    Backup(Box<BackupArgs>),
    /// Send the ledger what it has not got (`ledger sync`)
    Ledger(LedgerArgs),
    /// Print the JSON Schemas (2020-12) of the configuration, of the event log and of the history's records
    Schema(SchemaArgs),
    /// Write deployments.yaml, environments.yaml and a workflow from what the project has; what is there stays
    Init(InitArgs),
    /// Print the deployment guide: first deploy, rollback, backup, restore, cancel, exit codes
    #[command(visible_alias = "help-guide")]
    Guide,
}

/// Where the configuration is.
#[derive(Args, Clone)]
#[command(next_help_heading = "Configuration")]
pub(super) struct ConfigArgs {
    /// Directory of the project
    #[arg(
        long,
        value_name = "DIR",
        default_value = ".",
        env = "FFE_DEPLOY_PROJECT_ROOT",
        hide_env_values = true
    )]
    pub project_root: PathBuf,
    /// Directory of deployments.yaml and environments.yaml [default: deploy/, then the project root]
    #[arg(long, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
    /// App of deployments.yaml [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    #[command(flatten)]
    pub log: LogArgs,
}

/// What is said, and where.
#[derive(Args, Clone)]
#[command(next_help_heading = "Output")]
pub(super) struct LogArgs {
    /// How the result is printed on stdout: human (tables), json, or sarif for code scanning (`validate` alone)
    #[arg(long, value_enum, value_name = "FORM", hide_possible_values = true)]
    #[arg(default_value_t = Output::Human, env = "FFE_DEPLOY_OUTPUT", hide_env_values = true)]
    pub output: Output,
    /// File for the event log, one JSON object a line [default: in $RUNNER_TEMP/ffe-deploy, else in the user's state
    /// directory]
    #[arg(long, value_name = "FILE", env = "FFE_DEPLOY_EVENT_LOG", hide_env_values = true)]
    pub event_log: Option<PathBuf>,
    /// Directory for app_<env>.log, error_<env>.log and access_<env>.log, in Bunyan's form
    #[arg(long, value_name = "DIR", env = "FFE_DEPLOY_LOG_DIR", hide_env_values = true)]
    pub log_dir: Option<PathBuf>,
    /// File to which what the console shows is appended, as JSON
    #[arg(long, value_name = "FILE", env = "FFE_DEPLOY_LOG_FILE", hide_env_values = true)]
    pub log_file: Option<PathBuf>,
    /// DEBUG, INFO, WARNING, ERROR or CRITICAL, for console and log files [default: INFO, DEBUG in dev]
    #[arg(long, value_name = "LEVEL", env = "FFE_DEPLOY_LOG_LEVEL", hide_env_values = true)]
    pub log_level: Option<Level>,
    /// Console: human, json, or auto, which is human on a terminal and on GitHub, json otherwise
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "auto",
        env = "FFE_DEPLOY_LOG_FORMAT",
        hide_env_values = true
    )]
    pub log_format: LogFormat,
    /// Groups everything of one workflow run [default: github-<run>-<attempt>, else a new UUID]
    #[arg(long, value_name = "ID", env = "FFE_DEPLOY_CORRELATION_ID", hide_env_values = true)]
    pub correlation_id: Option<CorrelationId>,
}

/// Where it goes.
#[derive(Args, Clone)]
pub(super) struct TargetArgs {
    /// Environment [default: the only one; `dev` for verbs that only look]
    #[arg(value_name = "ENVIRONMENT")]
    pub environment: Option<String>,
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// How the target is reached.
#[derive(Args, Clone)]
#[command(next_help_heading = "Target")]
pub(super) struct ReachArgs {
    /// Host to reach over SSH, or `local` for this machine [default: `host` of the environment]
    #[arg(long, value_name = "[USER@]HOST[:PORT]")]
    pub host: Option<String>,
    /// Key of the host: a known_hosts line, a file of them, or a SHA256 fingerprint [default: the user's known_hosts]
    #[arg(long, value_name = "KEY")]
    pub host_key: Option<String>,
    /// Compose profile to activate; may be given several times
    #[arg(long = "profile", value_name = "PROFILE")]
    pub profiles: Vec<String>,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Arguments of verbs that change what runs.
#[derive(Args, Clone)]
pub(super) struct OperateArgs {
    /// Confirm what is asked, where the environment wants it confirmed (production does)
    #[arg(long, env = "FFE_DEPLOY_YES", hide_env_values = true)]
    pub yes: bool,
    /// Id of this run; one that was used gives its result again [default: deploy-<time>-<random>]
    #[arg(long, value_name = "ID", env = "FFE_DEPLOY_DEPLOYMENT_ID", hide_env_values = true)]
    pub deployment_id: Option<DeploymentId>,
    /// Longest time of the whole deployment on the host, as `45m` [default: `timeout` of the environment, else 30m]
    #[arg(long, value_name = "TIME", env = "FFE_DEPLOY_TIMEOUT", hide_env_values = true)]
    #[arg(value_parser = crate::config::timeout)]
    pub timeout: Option<Duration>,
    #[command(flatten)]
    pub wait: WaitArgs,
    #[command(flatten)]
    pub target: TargetArgs,
}

/// What to do while another deployment is under way.
#[derive(Args, Clone)]
pub(super) struct WaitArgs {
    /// Wait so long, as `15m`, for another deployment of this app and environment that is under way, in the order in
    /// which the waiting came; without it that is exit 6 at once
    #[arg(long, value_name = "TIME", env = "FFE_DEPLOY_WAIT_FOR_LEASE", hide_env_values = true)]
    #[arg(value_parser = crate::config::timeout)]
    pub wait_for_lease: Option<Duration>,
}

/// What is refused unless it is said.
#[derive(Args, Clone, Copy)]
pub(super) struct AcceptArgs {
    /// Deploy although a newer commit runs
    #[arg(long, env = "FFE_DEPLOY_ALLOW_OLDER", hide_env_values = true)]
    pub allow_older: bool,
    /// Deploy although somebody changed the host behind the last recorded release; what they changed is replaced
    #[arg(long, env = "FFE_DEPLOY_ACCEPT_DRIFT", hide_env_values = true)]
    pub accept_drift: bool,
}

/// Arguments of `deploy`.
#[derive(Args, Clone)]
pub(super) struct DeployArgs {
    /// Version of the app; also VERSION and IMAGE_TAG for the compose file [default: git describe]
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// Only say what would change, and why: exit 10 when something would, 0 when nothing would, 3 when it would be refused
    #[arg(long, env = "FFE_DEPLOY_PLAN", hide_env_values = true)]
    pub plan: bool,
    /// Build images without cache
    #[arg(long, env = "FFE_DEPLOY_NO_CACHE", hide_env_values = true)]
    pub no_cache: bool,
    /// Do not run the tests of the app (`test` in deployments.yaml)
    #[arg(long, env = "FFE_DEPLOY_SKIP_TESTS", hide_env_values = true)]
    pub skip_tests: bool,
    /// Take no backup
    #[arg(long, env = "FFE_DEPLOY_SKIP_BACKUP", hide_env_values = true)]
    pub skip_backup: bool,
    /// Take over an app that already runs, recorded first as a release to return to; `=no-rollback` without that
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "record")]
    #[arg(hide_possible_values = true, env = "FFE_DEPLOY_ADOPT", hide_env_values = true)]
    pub adopt: Option<AdoptWord>,
    #[command(flatten)]
    pub accept: AcceptArgs,
    #[command(flatten)]
    pub operate: OperateArgs,
}

/// Arguments of `validate`.
#[derive(Args, Clone)]
pub(super) struct ValidateArgs {
    /// Print the configuration as it counts, without secrets, and where each value came from; check nothing else
    #[arg(long, env = "FFE_DEPLOY_SHOW_CONFIG", hide_env_values = true)]
    pub show_config: bool,
    /// Version of the app; also VERSION and IMAGE_TAG for the compose file
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// File to which what is found is written as SARIF 2.1.0, too, for code scanning
    #[arg(long, value_name = "FILE", env = "FFE_DEPLOY_SARIF", hide_env_values = true)]
    pub sarif: Option<PathBuf>,
    #[command(flatten)]
    pub accept: AcceptArgs,
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Arguments of `build`.
#[derive(Args, Clone)]
pub(super) struct BuildArgs {
    /// Version of the app; also VERSION and IMAGE_TAG for the compose file
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// Build images without cache
    #[arg(long, env = "FFE_DEPLOY_NO_CACHE", hide_env_values = true)]
    pub no_cache: bool,
    #[command(flatten)]
    pub wait: WaitArgs,
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Arguments of `rollback`.
#[derive(Args, Clone)]
pub(super) struct RollbackArgs {
    /// Release to go back to [default: the last successful one before the current]
    #[arg(long, value_name = "ID", env = "FFE_DEPLOY_TO", hide_env_values = true)]
    pub to: Option<ReleaseId>,
    /// Why, for the history
    #[arg(long, value_name = "TEXT", env = "FFE_DEPLOY_REASON", hide_env_values = true)]
    pub reason: Option<String>,
    #[command(flatten)]
    pub operate: OperateArgs,
}

/// Arguments of `status`.
#[derive(Args, Clone)]
pub(super) struct StatusArgs {
    /// Follow the deployment that runs now, from its beginning to its end, and end with its exit code; an interrupt ends
    /// only the following. With `--output json` its events go to stdout, one a line
    #[arg(long, env = "FFE_DEPLOY_FOLLOW", hide_env_values = true)]
    pub follow: bool,
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Arguments of `init`.
#[derive(Args, Clone)]
pub(super) struct InitArgs {
    /// Directory of the project
    #[arg(long, value_name = "DIR", default_value = ".", help_heading = "Configuration")]
    #[arg(env = "FFE_DEPLOY_PROJECT_ROOT", hide_env_values = true)]
    pub project_root: PathBuf,
    /// How the result is printed on stdout: human (tables) or json
    #[arg(long, value_enum, value_name = "FORM", hide_possible_values = true, help_heading = "Output")]
    #[arg(default_value_t = Output::Human, env = "FFE_DEPLOY_OUTPUT", hide_env_values = true)]
    pub output: Output,
}

/// Arguments of `list`.
#[derive(Args, Clone)]
pub(super) struct ListArgs {
    /// What runs where instead, as the ledger knows it
    #[arg(long, env = "FFE_DEPLOY_LEDGER", hide_env_values = true)]
    pub ledger: bool,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Arguments of `history`.
#[derive(Args, Clone)]
pub(super) struct HistoryArgs {
    /// Figures instead of records: how many deployments succeeded and failed, how long they took, which checks failed, how
    /// often a release was put back
    #[arg(long, env = "FFE_DEPLOY_STATS", hide_env_values = true)]
    pub stats: bool,
    /// Ask the ledger, not the host
    #[arg(long, env = "FFE_DEPLOY_LEDGER", hide_env_values = true)]
    pub ledger: bool,
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Arguments of `logs`.
#[derive(Args, Clone)]
pub(super) struct LogsArgs {
    /// Environment [default: the only one; `dev` for verbs that only look]
    #[arg(value_name = "ENVIRONMENT")]
    pub environment: Option<String>,
    /// Service, whose lines are then printed as they are [default: all, each line after its service's name]
    #[arg(value_name = "SERVICE")]
    pub service: Option<String>,
    /// Number of last lines of each service
    #[arg(long, value_name = "LINES", default_value_t = 50, env = "FFE_DEPLOY_TAIL", hide_env_values = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub tail: u32,
    /// Go on as lines come, until interrupted
    #[arg(long, env = "FFE_DEPLOY_FOLLOW", hide_env_values = true)]
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
    /// Take away those that are older than `backup.retention` says, never the youngest good ones
    Prune(TargetArgs),
}

/// Arguments of `ledger`.
#[derive(Args, Clone)]
pub(super) struct LedgerArgs {
    /// What to do with the ledger
    #[command(subcommand)]
    pub verb: LedgerVerb,
}

/// What to do with the ledger.
#[derive(Subcommand, Clone)]
pub(super) enum LedgerVerb {
    /// Send the reports that could not be sent; with ENVIRONMENT also what the host's history knows and the ledger does not
    Sync(Box<SyncArgs>),
}

/// Arguments of `ledger sync`.
#[derive(Args, Clone)]
pub(super) struct SyncArgs {
    /// A report that was kept, the event log of a run that has ended, or a directory with kept reports; may be given several
    /// times [default: the directories in which event logs lie]
    #[arg(long, value_name = "PATH", env = "FFE_DEPLOY_FROM", hide_env_values = true)]
    pub from: Vec<PathBuf>,
    #[command(flatten)]
    pub target: TargetArgs,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// Tables.
    Human,
    /// JSON.
    Json,
    /// SARIF 2.1.0: findings of `validate`.
    Sarif,
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
