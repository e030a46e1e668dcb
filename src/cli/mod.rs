//! The command line: arguments → library → exit code. One file per kind of verb.

mod ancestry;
mod answer;
mod args;
mod building;
#[cfg(test)]
mod documents;
mod drive;
mod fetch;
mod following;
mod github;
mod guide;
mod hooks;
mod init;
mod ledger;
mod line;
mod order;
mod own;
mod planned;
mod sarif;
mod schema;
mod shown;
mod signals;
mod slack;
mod stage;
mod surroundings;
mod survey;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::model::{Action, ErrorKind, Exit, FailureReport, LogQuery};
use crate::text::harmless_lines;
use args::{BackupVerb, Cli, Output, TargetArgs, Verb};
use order::Wish;

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(cli.verb)).into(),
        Err(error) => {
            eprintln!("ffe-deploy: the kernel gives no threads: {error}");
            Exit::Internal.into()
        }
    }
}

/// Help and version are answers; everything else is exit 2, and an unknown verb is told which ones there are.
fn usage(error: &clap::Error) -> ExitCode {
    // A closed stdout or stderr changes nothing about the exit code. What is wrong is quoted, and may be anything.
    if error.use_stderr() {
        eprintln!("{}", harmless_lines(&error.render().to_string()).trim_end());
    } else {
        error.print().ok();
    }
    if error.kind() == clap::error::ErrorKind::InvalidSubcommand {
        eprintln!("\nActions: {}", actions().join(", "));
    }
    if !error.use_stderr() {
        return Exit::Done.into();
    }
    tell_github(error);
    Exit::Invalid.into()
}

/// A job of GitHub hears of words that nobody understands, too. Nothing is printed on stdout then.
fn tell_github(error: &clap::Error) {
    let surroundings = surroundings::Surroundings::of_process();
    let github = github::Github::of(&surroundings, github::Front::Stdout, std::path::Path::new("."));
    let Some(github) = github else { return };
    let message = error.render().to_string();
    let message = message.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let failure = FailureReport::new(ErrorKind::ConfigurationError, "arguments", message)
        .hint("look at `ffe-deploy VERB --help`; nothing was touched");
    github.failed("ffe-deploy", &failure);
    github.ended(Exit::Invalid);
}

/// SARIF is a form of findings, and `validate` alone answers with findings.
fn no_findings(verb: &str) -> Exit {
    let words =
        format!("`--output sarif` is for `validate`; `{verb}` takes human or json\n\nNothing was touched.");
    usage(&Cli::command().error(clap::error::ErrorKind::InvalidValue, words));
    Exit::Invalid
}

/// Returns every verb, with its other name where it has one.
fn actions() -> Vec<String> {
    let command = Cli::command();
    let named = |verb: &clap::Command| {
        let aliases: Vec<&str> = verb.get_visible_aliases().collect();
        let name = verb.get_name();
        if aliases.is_empty() { name.to_owned() } else { format!("{name} ({})", aliases.join(", ")) }
    };
    command.get_subcommands().map(named).collect()
}

async fn run(verb: Verb) -> Exit {
    let wish = match verb {
        Verb::List(args) if args.config.log.output == Output::Sarif => return no_findings("list"),
        Verb::List(args) if args.ledger => return ledger::list(&args).await,
        Verb::List(args) => return answer::list(&args.config),
        Verb::Schema(args) => return schema::print(&args),
        Verb::Guide => return guide::print(),
        Verb::Ledger(args) => {
            let args::LedgerVerb::Sync(args) = args.verb;
            if args.target.reach.config.log.output == Output::Sarif {
                return no_findings("ledger sync");
            }
            return ledger::sync(&args).await;
        }
        Verb::Init(args) if args.output == Output::Sarif => return no_findings("init"),
        Verb::Init(args) => return init::init(&args),
        Verb::Deploy(args) => Wish::deploy(&args),
        Verb::Rollback(args) => Wish::operate(
            &args.operate,
            Action::Rollback { to: args.to.clone(), reason: args.reason.clone() },
        ),
        Verb::Up(args) => Wish::operate(&args, Action::Up),
        Verb::Down(args) => Wish::operate(&args, Action::Down),
        Verb::Restart(args) => Wish::operate(&args, Action::Restart),
        Verb::Clean(args) => Wish::operate(&args, Action::Clean),
        Verb::Build(args) => Wish::build(&args),
        Verb::Setup(args) => Wish::look(&args, Action::Setup),
        Verb::Prune(args) => Wish::operate(&args, Action::Prune),
        Verb::Recover(args) => Wish::look(&args, Action::Recover),
        Verb::Validate(args) if args.show_config => return shown::show(&args),
        Verb::Validate(args) => Wish::validate(&args),
        Verb::Status(args) => {
            Wish::look(&args.target, if args.follow { Action::Follow } else { Action::Status })
        }
        Verb::Health(args) => Wish::look(&args, Action::Health),
        Verb::History(args) if args.ledger && args.target.reach.config.log.output != Output::Sarif => {
            return ledger::history(&Wish::history(&args)).await;
        }
        Verb::History(args) => Wish::history(&args),
        Verb::Logs(args) => {
            let query = LogQuery { service: args.service.clone(), tail: args.tail, follow: args.follow };
            let target = TargetArgs { environment: args.environment, reach: args.reach };
            Wish::look(&target, Action::Logs(query))
        }
        Verb::Backup(args) => match args.verb {
            Some(BackupVerb::List(target)) => Wish::look(&target, Action::BackupList),
            Some(BackupVerb::Prune(target)) => Wish::look(&target, Action::BackupPrune),
            Some(BackupVerb::Create(target)) => Wish::look(&target, Action::Backup),
            None => Wish::look(&args.create, Action::Backup),
        },
    };
    if wish.reach.config.log.output == Output::Sarif && wish.action != Action::Validate {
        return no_findings(wish.action.verb());
    }
    if wish.action.changes() || wish.action.only_checks() || wish.action == Action::Follow {
        drive::drive(wish).await
    } else {
        answer::look(wish).await
    }
}
