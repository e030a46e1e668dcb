//! The host's half: the word that it is started with says which process it is.

use std::process::ExitCode;

use ffe_deploy::agent::{self, Role};

fn main() -> ExitCode {
    ffe_deploy::host::startup::prepare();
    let role = match std::env::args().nth(1).as_deref() {
        Some("attach") => Role::Attach,
        Some("launch") => Role::Launch,
        Some("guard") => Role::Guard,
        Some("work") => Role::Work,
        Some("recover") => Role::Recover,
        _ => {
            eprintln!("ffe-agent {} is started by ffe-deploy, not by hand", env!("CARGO_PKG_VERSION"));
            return ExitCode::from(2);
        }
    };
    agent::run(role).into()
}
