//! Holds the documents against the program: every command line in them parses, and `docs/commands.md` is made from the
//! same definition as `--help`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory, Parser};

use super::args::Cli;

const DOCUMENTS: [&str; 15] = [
    "README.md",
    "docs/action.md",
    "docs/architecture.md",
    "docs/configuration.md",
    "docs/events.md",
    "docs/exit-codes.md",
    "docs/guide.md",
    "docs/hooks.md",
    "docs/layout.md",
    "docs/ledger.md",
    "docs/notifications.md",
    "docs/registries.md",
    "docs/releases.md",
    "docs/secrets.md",
    "examples/shop/README.md",
];

/// What stands above the verbs.
const HEAD: &str = "\
# Commands

\x20   ffe-deploy VERB [ENVIRONMENT] [flags]

The environment comes first. When it is not given it is that of `FFE_DEPLOY_ENVIRONMENT`, else the only one of the
configuration, else `dev` for verbs that only look; verbs that change something then end with 2 and the list. The only app is
the default for `--app`.

Every flag is also a variable; the flag wins. No verb ever asks: a confirmation that is missing is a refusal (exit 3) that names the
flag. The result goes to stdout (tables, or JSON with `--output json`), progress and diagnostics go to stderr.
[Exit codes](exit-codes.md) have a page of their own.
";

/// Flags whose variable the configuration reads, because a variable for one environment may stand between.
const READ_BY_CONFIG: [&str; 6] = ["host", "host-key", "profile", "config-dir", "app", "version"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Command lines in code: lines that start with the program, and `ffe-deploy …` in backticks.
fn command_lines(text: &str) -> Vec<String> {
    let spans = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).map(str::to_owned);
    let mut lines: Vec<String> = spans.collect();
    let mut fence = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), fence) {
            (Some(language), None) => fence = Some(language),
            (Some(_), Some(_)) => fence = None,
            (None, Some("sh" | "yaml")) => lines.push(command_of(line)),
            (None, None) if line.starts_with("    ") => lines.push(command_of(line)),
            (None, _) => {}
        }
    }
    lines.retain(|line| line.starts_with("ffe-deploy ") && !line.contains("VERB"));
    lines
}

/// The line without what stands around a command: indentation, a comment.
fn command_of(line: &str) -> String {
    line.trim().split(" # ").next().unwrap_or_default().to_owned()
}

/// Words of a shell line with nothing but double quotes in it.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('"').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[test]
fn every_command_line_of_the_documents_is_one_that_the_program_takes() {
    let mut seen = 0;
    for document in DOCUMENTS.into_iter().chain(["docs/commands.md"]) {
        for line in command_lines(&read(document)) {
            // What may be left out is left out.
            let words = words(&line).into_iter().filter(|word| !word.starts_with('['));
            if let Err(error) = Cli::try_parse_from(words) {
                assert!(!error.use_stderr(), "{document}: {line}\n{error}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 20, "only {seen} command lines were found");
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    for document in DOCUMENTS {
        let text = read(document);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
            let path = root().join(document).parent().unwrap().join(target.split('#').next().unwrap());
            assert!(path.exists(), "{document} links to {target}");
        }
    }
}

/// `FFE_BLESS=1` writes it anew.
#[test]
fn the_reference_of_commands_is_that_of_the_program() {
    let made = reference();
    let path = root().join("docs/commands.md");
    if std::env::var_os("FFE_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let command = "FFE_BLESS=1 cargo test --lib cli::documents";
    assert!(
        read("docs/commands.md") == made,
        "docs/commands.md is behind the program; write it anew: {command}"
    );
}

fn reference() -> String {
    let mut program = Cli::command();
    program.build();
    let mut page = HEAD.to_owned();
    for verb in program.get_subcommands() {
        if !verb.is_subcommand_required_set() {
            describe(&mut page, "ffe-deploy", verb);
        }
        let before = format!("ffe-deploy {}", verb.get_name());
        for verb in verb.get_subcommands() {
            describe(&mut page, &before, verb);
        }
    }
    let deploy = program.find_subcommand("deploy").unwrap();
    page.push_str("\n## Flags of every verb\n\nThe flags under *Target* are not those of `list`, which reaches no host; `init` has `--project-root` and `--output`, `guide` has none.\n");
    for heading in ["Target", "Configuration", "Output"] {
        write!(page, "\n### {heading}\n").unwrap();
        table(&mut page, deploy.get_arguments().filter(|arg| arg.get_help_heading() == Some(heading)));
    }
    page
}

fn describe(page: &mut String, before: &str, verb: &Command) {
    let positionals: String =
        verb.get_positionals().map(|arg| format!(" [{}]", arg.get_id().as_str().to_uppercase())).collect();
    write!(page, "\n## {}\n\n", format!("{before} {}", verb.get_name()).trim_start_matches("ffe-deploy "))
        .unwrap();
    write!(page, "{}.", verb.get_about().unwrap()).unwrap();
    for alias in verb.get_visible_aliases() {
        write!(page, " `{alias}` is the same.").unwrap();
    }
    write!(page, "\n\n```sh\n{before} {}{positionals}\n```\n", verb.get_name()).unwrap();
    let own = verb.get_arguments().filter(|arg| arg.get_help_heading().is_none() && arg.get_id() != "help");
    table(page, own.filter(|arg| arg.get_id() != "environment"));
}

fn table<'a>(page: &mut String, args: impl Iterator<Item = &'a Arg>) {
    let rows: Vec<String> = args.map(row).collect();
    if !rows.is_empty() {
        write!(page, "\n| | means | variable |\n|---|---|---|\n{}", rows.concat()).unwrap();
    }
}

fn row(arg: &Arg) -> String {
    let mut help = arg.get_help().unwrap().to_string().replace('|', "\\|").replace('<', "\\<");
    for default in arg.get_default_values().iter().filter(|_| arg.get_action().takes_values()) {
        write!(help, " [default: {}]", default.to_string_lossy()).unwrap();
    }
    let Some(long) = arg.get_long() else {
        return format!("| `{}` | {help} | |\n", arg.get_id().as_str().to_uppercase());
    };
    let value = match (arg.get_action().takes_values(), arg.get_value_names()) {
        (true, Some([name])) if arg.is_require_equals_set() => format!("[={name}]"),
        (true, Some([name])) => format!(" {name}"),
        _ => String::new(),
    };
    let variable = format!("FFE_DEPLOY_{}", long.replace('-', "_").to_uppercase());
    match arg.get_env() {
        Some(env) => assert_eq!(env, variable.as_str(), "--{long}"),
        None => assert!(READ_BY_CONFIG.contains(&long), "--{long} has no variable"),
    }
    format!("| `--{long}{value}` | {help} | `{variable}` |\n")
}
