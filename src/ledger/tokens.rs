//! `ffe-ledger token`: making, listing and revoking tokens; the service need not run.

use clap::Subcommand;

use super::cli::Database;
use super::guard::{Scope, new_token};
use super::store::{KeptToken, Store, StoreError, time_text};

#[derive(Debug, Subcommand)]
pub(super) enum TokenVerb {
    /// Makes a token, and prints it: it is shown this once.
    Create {
        /// What it is called, such as the repository that uses it.
        #[arg(value_parser = name)]
        name: String,
        /// What it allows; may be given more than once.
        #[arg(long, value_enum, required = true)]
        scope: Vec<Scope>,
        #[command(flatten)]
        database: Database,
    },
    /// Lists tokens, without themselves.
    List {
        #[command(flatten)]
        database: Database,
    },
    /// Ends a token; a running service knows it within seconds.
    Revoke {
        /// What it is called.
        name: String,
        #[command(flatten)]
        database: Database,
    },
}

/// Why a token was not made or revoked; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("there is a token `{0}` already, be it revoked; nothing was changed: take another name")]
    Taken(String),
    #[error("there is no token `{0}` that could be revoked: see `ffe-ledger token list`")]
    Absent(String),
    #[error("the kernel gave no random bits; nothing was changed")]
    Random(#[source] std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Does what is asked for, and returns what to print.
pub(super) async fn run(verb: TokenVerb) -> Result<String, TokenError> {
    match verb {
        TokenVerb::Create { name, scope, database } => create(&database, name, &scope).await,
        TokenVerb::List { database } => {
            let tokens = database.open().await?.tokens().await?;
            let lines: String = tokens.iter().map(line).collect();
            Ok(format!("name\tscopes\tcreated\trevoked\n{lines}"))
        }
        TokenVerb::Revoke { name, database } => {
            let is_revoked = database.open().await?.revoke_token(&name).await?;
            if is_revoked { Ok(format!("revoked {name}\n")) } else { Err(TokenError::Absent(name)) }
        }
    }
}

async fn create(database: &Database, name: String, scopes: &[Scope]) -> Result<String, TokenError> {
    let store: Store = database.open().await?;
    let (token, hash) = new_token().map_err(TokenError::Random)?;
    let words: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    match store.add_token(&name, &hash, &words.join(" ")).await {
        Ok(()) => Ok(format!("{token}\n")),
        Err(StoreError::Unique) => Err(TokenError::Taken(name)),
        Err(error) => Err(error.into()),
    }
}

fn line(token: &KeptToken) -> String {
    let ended = token.revoked_at.map_or_else(|| "-".to_owned(), time_text);
    format!("{}\t{}\t{}\t{ended}\n", token.name, token.scopes, time_text(token.created_at))
}

/// Checks the name of a token: it stands in logs and messages.
fn name(text: &str) -> Result<String, String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "._/@-".contains(c);
    if (1..=100).contains(&text.len()) && text.chars().all(is_good) {
        return Ok(text.to_owned());
    }
    Err("1 to 100 of A-Z a-z 0-9 . _ / @ -".to_owned())
}
