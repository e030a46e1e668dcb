//! `schema`: the published schemas, for editors and programs.

use std::io::Write;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::config::schema;
use crate::event;
use crate::model::{Exit, history_schema};

/// Arguments of `schema`.
#[derive(Args, Clone)]
pub(super) struct SchemaArgs {
    /// Which one: deployments, environments, events or history [default: all of them, by name in one object]
    #[arg(value_name = "NAME", value_enum, hide_possible_values = true)]
    pub name: Option<Name>,
}

/// What there is a schema of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Name {
    /// `deployments.yaml`.
    Deployments,
    /// `environments.yaml`.
    Environments,
    /// One line of the event log.
    Events,
    /// One record of the history.
    History,
}

/// Prints one schema or all.
pub(super) fn print(args: &SchemaArgs) -> Exit {
    let of = |name| match name {
        Name::Deployments => schema::deployments(),
        Name::Environments => schema::environments(),
        Name::Events => event::schema(),
        Name::History => history_schema(),
    };
    let answer: Value = match args.name {
        Some(name) => of(name),
        None => json!({
            "deployments": of(Name::Deployments),
            "environments": of(Name::Environments),
            "events": of(Name::Events),
            "history": of(Name::History),
        }),
    };
    let text = serde_json::to_string_pretty(&answer).unwrap_or_default();
    // A reader that has seen enough (`| head`) is no error.
    writeln!(std::io::stdout().lock(), "{text}").ok();
    Exit::Done
}
