//! The command line of `ffe-ledger`: arguments → service → exit code.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::dispatch::{GITHUB, GitHub, TokenSource, Workflow, api_address};
use super::import::{self, Import};
use super::log::{self, LogFiles};
use super::nats::{Address, AddressError};
use super::serve::serve;
use super::settings::Settings;
use super::store::{OnConflict, Store, StoreError};
use super::tokens::{self, TokenVerb};
use super::with_causes;
use crate::model::EnvironmentName;

/// The ledger: what runs where, and what became of each deployment.
#[derive(Debug, Parser)]
#[command(name = "ffe-ledger", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serves the API until it is told to end.
    Serve(Serve),
    /// Makes, lists and revokes tokens; the service need not run.
    #[command(subcommand)]
    Token(TokenVerb),
    /// Takes in what hosts remember of their deployments; the service need not run, and may.
    Import(Import),
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    database: Database,
    /// Address and port to listen on.
    #[arg(long, env = "FFE_LEDGER_LISTEN", default_value = "127.0.0.1:8350", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// What a change does while another one of its entity and environment is under way.
    #[arg(long, env = "FFE_LEDGER_ON_CONFLICT", value_enum, default_value = "wait")]
    on_conflict: OnConflict,
    /// Requests that one token may send in 60 s; 0 is no limit.
    #[arg(long, env = "FFE_LEDGER_RATE_LIMIT", default_value_t = 100, value_name = "REQUESTS")]
    rate_limit: u32,
    /// Largest body of a request, in KiB.
    #[arg(long, env = "FFE_LEDGER_BODY_LIMIT_KIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    body_limit_kib: u32,
    /// Longest time from a request to its answer, in seconds.
    #[arg(long, env = "FFE_LEDGER_REQUEST_TIMEOUT_S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    request_timeout_s: u64,
    /// Longest wait for a request on an open connection, and for the whole of its head, in seconds.
    // Proxies keep theirs for 60 s: who closes first must be they, or a request is sent into a connection that ends.
    #[arg(long, env = "FFE_LEDGER_IDLE_TIMEOUT_S", default_value_t = 75, value_parser = clap::value_parser!(u64).range(1..=3600))]
    idle_timeout_s: u64,
    /// How long requests that are under way may still take at the end, in seconds.
    #[arg(long, env = "FFE_LEDGER_GRACE_S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3600))]
    grace_s: u64,
    /// NATS with JetStream that events are published to: nats://HOST:4222 or tls://HOST:4222, several with commas. A
    /// password or token belongs into the variable, and is refused here.
    #[arg(long, env = "FFE_LEDGER_NATS", hide_env_values = true, value_name = "URL")]
    nats: Option<String>,
    /// File with NATS credentials (.creds), read at each connection.
    #[arg(long, env = "FFE_LEDGER_NATS_CREDENTIALS", value_name = "FILE")]
    nats_credentials: Option<PathBuf>,
    /// Directory for app_ENVIRONMENT.log, error_ENVIRONMENT.log and access_ENVIRONMENT.log, beside the log on stderr.
    #[arg(long, env = "FFE_LEDGER_LOG_DIR", value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// Where this service itself runs: names its log files.
    #[arg(long, env = "FFE_LEDGER_ENVIRONMENT", default_value = "development", value_name = "NAME")]
    environment: EnvironmentName,
    /// Workflow that the rollback button starts for an app, `*` for all others; several are separated by commas. The token
    /// is in FFE_LEDGER_GITHUB_TOKEN, or in the file that FFE_LEDGER_GITHUB_TOKEN_FILE names.
    #[arg(
        long,
        env = "FFE_LEDGER_ROLLBACK_WORKFLOWS",
        value_delimiter = ',',
        value_name = "APP=OWNER/REPOSITORY/FILE[@REF]"
    )]
    rollback_workflow: Vec<Workflow>,
    /// Address of GitHub's API; of GitHub Enterprise Server as https://HOST/api/v3.
    #[arg(long, env = "FFE_LEDGER_GITHUB_API", default_value = GITHUB, value_parser = api_address, value_name = "URL")]
    github_api: String,
    /// How the log on stderr is written.
    #[arg(long, env = "FFE_LEDGER_LOG_FORMAT", value_enum, default_value = "json")]
    log_format: LogFormat,
}

/// Which database, for every verb.
#[derive(Debug, Args)]
pub(super) struct Database {
    /// An SQLite file, or postgres://USER:PASSWORD@HOST/DATABASE; a password belongs into the variable, not here.
    #[arg(
        long,
        env = "FFE_LEDGER_DATABASE",
        hide_env_values = true,
        default_value = "ledger.db",
        value_name = "PATH|URL"
    )]
    database: String,
    /// Most connections to PostgreSQL at once.
    #[arg(long, env = "FFE_LEDGER_CONNECTIONS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=1000))]
    connections: u32,
}

impl Database {
    /// Opens it for a verb that asks little.
    pub(super) async fn open(&self) -> Result<Store, StoreError> {
        Store::open(&self.database, 2).await
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Lines for people.
    Human,
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    let matches = Arguments::command().get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match arguments.verb {
        Verb::Serve(verb) => run_serve(verb, matches.subcommand_matches("serve")),
        Verb::Import(verb) => {
            start_log(LogFormat::Human, None);
            run(async {
                let told = import::run(verb).await?;
                std::io::stdout().write_all(told.as_bytes())?;
                Ok(())
            })
        }
        Verb::Token(verb) => {
            start_log(LogFormat::Human, None);
            run(async {
                let told = tokens::run(verb).await?;
                std::io::stdout().write_all(told.as_bytes())?;
                Ok(())
            })
        }
    }
}

fn run_serve(verb: Serve, matches: Option<&ArgMatches>) -> ExitCode {
    let directory = verb.log_dir.filter(|directory| !directory.as_os_str().is_empty());
    let opened = directory.map(|directory| log::open(&directory, &verb.environment)).transpose();
    // Kept to the end of the program: what is logged last is written, too.
    let _written = match opened {
        Ok(opened) => {
            let (files, written) = opened.unzip();
            start_log(verb.log_format, files);
            written
        }
        Err(error) => {
            start_log(verb.log_format, None);
            return failed(&error);
        }
    };
    let given = matches.and_then(|matches| matches.value_source("nats"));
    let nats = match nats(verb.nats.as_deref(), verb.nats_credentials, given) {
        Ok(nats) => nats,
        Err(error) => return failed(&error),
    };
    let settings = Settings {
        listen: verb.listen,
        on_conflict: verb.on_conflict,
        rate_limit: verb.rate_limit,
        body_limit: verb.body_limit_kib as usize * 1024,
        request_timeout: Duration::from_secs(verb.request_timeout_s),
        idle_timeout: Duration::from_secs(verb.idle_timeout_s),
        grace: Duration::from_secs(verb.grace_s),
        nats,
        github: GitHub {
            api: verb.github_api,
            token: TokenSource::of_environment(),
            workflows: verb.rollback_workflow,
        },
    };
    run(async {
        serve(&verb.database.database, verb.database.connections, settings).await?;
        Ok(())
    })
}

/// Returns where NATS is, when it is said; an empty variable says nothing.
fn nats(
    text: Option<&str>,
    credentials: Option<PathBuf>,
    given: Option<ValueSource>,
) -> Result<Option<Address>, AddressError> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    let credentials = credentials.filter(|path| !path.as_os_str().is_empty());
    let address = Address::parse(text, credentials)?;
    if given == Some(ValueSource::CommandLine) && address.has_secret() {
        return Err(AddressError::Secret);
    }
    Ok(Some(address))
}

/// Runs a verb to its end, and says why it failed.
fn run(verb: impl Future<Output = Result<(), Box<dyn std::error::Error>>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error.as_ref()),
    }
}

/// Says the error with its causes; the exit code is 1.
fn failed(error: &dyn std::error::Error) -> ExitCode {
    tracing::error!("{}", with_causes(error));
    ExitCode::FAILURE
}

fn start_log(format: LogFormat, files: Option<LogFiles>) {
    // What the NATS client says of each attempt the publisher says once; whoever names it hears it all the same.
    let level = std::env::var("LOG_LEVEL").ok().filter(|level| !level.is_empty());
    let level = level.unwrap_or_else(|| "info".to_owned());
    let quiet = if level.contains("async_nats") { "" } else { ",async_nats=off" };
    let filter = EnvFilter::try_new(format!("{level}{quiet}"))
        .unwrap_or_else(|_| EnvFilter::new("info,async_nats=off"));
    let registry = tracing_subscriber::registry().with(filter).with(files);
    let stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Json => {
            let stderr = stderr.json().flatten_event(true).with_current_span(true).with_span_list(false);
            registry.with(stderr).init();
        }
        LogFormat::Human => registry.with(stderr.with_ansi(false)).init(),
    }
}
