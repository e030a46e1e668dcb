//! `docs/rules/`: one page a rule, and an index, made of the catalogue.

use std::fmt::Write as _;

use super::{Example, Group, Rule, Silence, all};

/// Returns the page of a rule, `docs/rules/<id>.md`.
pub fn of(rule: &Rule) -> String {
    let mut page = format!("# {}\n\n{}.\n\n", rule.id, capital(rule.title));
    let rows = [
        ("group", rule.group.as_str().to_owned()),
        ("severity", rule.weight.as_str().to_owned()),
        ("silencing", silencing(rule)),
    ];
    page.push_str("| | |\n|---|---|\n");
    for (name, value) in rows {
        // Writing to a string cannot fail.
        writeln!(page, "| {name} | {value} |").ok();
    }
    section(&mut page, "What it looks at", rule.looks_at);
    section(&mut page, "Why it matters", rule.why);
    section(&mut page, "What to do", rule.mend);
    section(&mut page, "What breaks it", &example(rule.breaks));
    section(&mut page, "What does not", &example(rule.keeps));
    if rule.silence == Silence::May {
        section(&mut page, "How to silence it", &how_to_silence(rule));
    }
    page.push_str("\n[All rules](README.md)\n");
    page
}

/// Returns the index, `docs/rules/README.md`.
pub fn index() -> String {
    let mut page = String::from(
        "# Rules\n\n`ffe-deploy validate ENVIRONMENT` asks all of these, and every verb that deploys asks them before \
         anything is touched. An error stops it (exit code 3); a warning does not. Each finding names its rule by the id \
         below, in the table, in JSON, in the event log (`finding_reported`) and in annotations.\n\nA rule is silenced by \
         its id with a reason, for an app in `deployments.yaml` or for an environment in `environments.yaml` \
         (`rules:`, see [configuration](../configuration.md)). What it found is then still listed, as `silenced`, with the \
         reason. Rules that protect what is not this deployment's cannot be silenced; their pages say why.\n\nThese pages \
         are made of the code (`src/model/rules/`): `FFE_BLESS=1 cargo test --lib rules` writes them.\n",
    );
    for group in Group::ALL {
        let rules: Vec<&Rule> = all().filter(|rule| rule.group == group).collect();
        if rules.is_empty() {
            continue;
        }
        writeln!(page, "\n## {}\n\n| rule | wants | severity |\n|---|---|---|", capital(group.as_str())).ok();
        for rule in rules {
            writeln!(page, "| [{0}]({0}.md) | {1} | {2} |", rule.id, rule.title, rule.weight.as_str()).ok();
        }
    }
    page
}

fn section(page: &mut String, heading: &str, text: &str) {
    write!(page, "\n## {heading}\n\n{text}\n").ok();
}

fn silencing(rule: &Rule) -> String {
    match rule.silence {
        Silence::May => "with a reason, see below".to_owned(),
        Silence::Never(why) => format!("cannot be silenced: {why}"),
    }
}

fn how_to_silence(rule: &Rule) -> String {
    format!(
        "For one app in `deployments.yaml` (or under `overrides.<app>` of an environment), or for every app of an \
         environment in `environments.yaml`:\n\n```yaml\nrules:\n  {}: {{ silence: \"why this is right here\" }}\n```",
        rule.id
    )
}

fn example(example: Example) -> String {
    match example {
        Example::Compose(text) => fenced("docker-compose.yml", "yaml", text),
        Example::Deployments(text) => fenced("deployments.yaml", "yaml", text),
        Example::Environments(text) => fenced("environments.yaml", "yaml", text),
        Example::Dockerfile(text) => fenced("Dockerfile", "dockerfile", text),
        Example::Console(text) => format!("```console\n{}\n```", text.trim_end()),
        Example::Words(text) => text.to_owned(),
    }
}

fn fenced(file: &str, language: &str, text: &str) -> String {
    format!("`{file}`:\n\n```{language}\n{}\n```", text.trim_end())
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use super::*;

    fn made() -> BTreeMap<String, String> {
        let pages = all().map(|rule| (format!("{}.md", rule.id), of(rule)));
        pages.chain([("README.md".to_owned(), index())]).collect()
    }

    fn committed(directory: &Path) -> BTreeMap<String, String> {
        let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let named = files.map(|file| {
            (
                file.file_name().to_string_lossy().into_owned(),
                std::fs::read_to_string(file.path()).unwrap_or_default(),
            )
        });
        named.collect()
    }

    #[test]
    fn the_committed_pages_of_the_rules_are_those_that_the_code_makes() {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/rules");
        let made = made();
        if std::env::var_os("FFE_BLESS").is_some() {
            std::fs::create_dir_all(&directory).unwrap();
            for name in committed(&directory).keys().filter(|name| !made.contains_key(*name)) {
                std::fs::remove_file(directory.join(name)).unwrap();
            }
            for (name, text) in &made {
                std::fs::write(directory.join(name), text).unwrap();
            }
        }
        let found = committed(&directory);
        let other: Vec<_> = made.iter().filter(|(name, text)| found.get(*name) != Some(text)).collect();
        let names: Vec<_> = other.iter().map(|(name, _)| name).collect();
        assert!(
            names.is_empty(),
            "{names:?} are not what the code makes; FFE_BLESS=1 cargo test writes them"
        );
        let extra: Vec<_> = found.keys().filter(|name| !made.contains_key(*name)).collect();
        assert!(extra.is_empty(), "{extra:?} belong to no rule");
    }
}
