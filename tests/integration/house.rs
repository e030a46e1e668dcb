//! The house keeps its shape: arrows between the rooms go one way, and the documents say what the code does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ffe_deploy::model::{Outcome, rules};

/// Reads readers of events only, and only the command line knows it.
const REPORT: &str = "report";

/// The service: it reads the same, is behind a feature of its own, and nothing here knows it.
const LEDGER: &str = "ledger";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Rooms in the order of docs/architecture.md: one may use those after it.
fn rooms() -> Vec<String> {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap_or_default();
    let table = page.split("| room | knows |").nth(1).unwrap_or_default();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| Some(row.split('`').nth(1)?.to_owned())).collect()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Top-level modules that a source names, in `crate::x` and in `use crate::{x, y::z}`.
fn used(text: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut used = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => used.extend(group_heads(group)),
            None => used.extend(first_word(rest)),
        }
    }
    used
}

fn first_word(text: &str) -> Option<String> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

/// First words of the members of a group, up to its closing brace.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut member, mut heads) = (0, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => heads.extend(first_word(std::mem::take(&mut member).trim())),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                member.push(c);
            }
        }
    }
    heads.extend(first_word(member.trim()));
    heads
}

/// Which room uses which, with a file that says so.
fn arrows() -> BTreeMap<(String, String), PathBuf> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let names: BTreeSet<String> = rooms().into_iter().chain([REPORT, LEDGER].map(str::to_owned)).collect();
    let mut arrows = BTreeMap::new();
    for file in files {
        let relative = file.strip_prefix(root().join("src")).unwrap_or(&file).to_path_buf();
        let first = relative.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned());
        let room = first.unwrap_or_default().trim_end_matches(".rs").to_owned();
        if !names.contains(&room) {
            continue;
        }
        for other in used(&fs::read_to_string(&file).unwrap_or_default()) {
            if other != room && names.contains(&other) {
                arrows.insert((room.clone(), other), relative.clone());
            }
        }
    }
    arrows
}

#[test]
fn every_room_of_the_crate_is_in_the_plan_of_the_house() {
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let modules = library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let modules: BTreeSet<String> = modules.map(str::to_owned).collect();
    let planned: BTreeSet<String> = rooms().into_iter().chain([REPORT, LEDGER].map(str::to_owned)).collect();
    assert_eq!(modules, planned);
}

#[test]
fn no_room_uses_one_above_it_so_there_are_no_cycles() {
    let rooms = rooms();
    let place = |name: &String| rooms.iter().position(|room| room == name);
    let arrows = arrows();
    assert!(arrows.len() > 30, "only {} arrows were found", arrows.len());
    let wrong: Vec<_> = arrows
        .iter()
        .filter(|((from, to), _)| match (place(from), place(to)) {
            (Some(from), Some(to)) => to < from,
            (None, _) => !["text", "event", "model"].contains(&to.as_str()),
            (Some(_), None) => from != "cli" || to == LEDGER,
        })
        .collect();
    assert!(wrong.is_empty(), "these run upwards, or into or out of `{REPORT}` or `{LEDGER}`: {wrong:#?}");
}

/// What changes files, where it is not said through `host/atomic.rs`.
const CHANGES: [&str; 19] = [
    "fs::write(",
    "fs::rename(",
    "fs::remove_file(",
    "fs::remove_dir",
    "fs::create_dir",
    "fs::hard_link(",
    "fs::copy(",
    "fs::set_permissions(",
    "unix::fs::symlink(",
    "unix::fs::chown(",
    "unix::fs::lchown(",
    "DirBuilder",
    "File::create",
    ".open(path)",
    ".create_dir(",
    "persist",
    "tempfile_in(",
    "create_container(",
    "remove_container(",
];

/// Files of the host's rooms that change something themselves, and why.
const CHANGE_BY_THEMSELVES: [(&str, &str); 8] = [
    ("host/atomic.rs", "it is where all others do it"),
    ("host/seam.rs", "the trace of a build with fault injection"),
    ("host/lease.rs", "only opens for reading; what it writes is announced"),
    ("agent/log.rs", "reads; its file is opened through host/atomic.rs"),
    ("history.rs", "a record takes the next name that is free: persist_noclobber, announced"),
    ("backup/store.rs", "an archive takes the next name that is free: persist_noclobber, announced"),
    ("backup/volume.rs", "a helper container, announced"),
    ("executor/compose/place.rs", "directories below shared/ by cap-std, never through a symlink; announced"),
];

#[test]
fn every_change_of_a_host_goes_through_the_seam() {
    let rooms = ["pipeline", "executor", "backup", "history.rs", "health", "preflight", "agent", "host"];
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let mut found = Vec::new();
    for file in files {
        let name = file.strip_prefix(root().join("src")).unwrap().display().to_string();
        // What the runner builds lies on the runner.
        let is_hosts =
            rooms.iter().any(|room| name.starts_with(room)) && !name.starts_with("executor/runner");
        let is_test = ["tests.rs", "testing.rs", "fixtures.rs"].iter().any(|end| name.ends_with(end));
        // The simulated host is made by its test.
        let is_test = is_test || name.starts_with("agent/schedules/");
        if !is_hosts || is_test || CHANGE_BY_THEMSELVES.iter().any(|(file, _)| *file == name) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("\n#[cfg(test)]\n").next().unwrap_or_default();
        let wrong = |line: &&str| CHANGES.iter().any(|change| line.contains(change));
        found.extend(code.lines().filter(wrong).map(|line| format!("{name}: {}", line.trim())));
    }
    assert!(found.is_empty(), "say it through host/atomic.rs, or name the file and why: {found:#?}");
}

#[test]
fn a_file_that_changes_something_itself_is_there_and_does() {
    for (file, reason) in CHANGE_BY_THEMSELVES {
        let text = fs::read_to_string(root().join("src").join(file)).unwrap();
        assert!(CHANGES.iter().any(|change| text.contains(change)), "{file} needs no exception: {reason}");
        let says = text.contains("seam::about_to") || text.contains("atomic::");
        assert!(says || file.starts_with("host/seam"), "{file}: {reason}");
    }
}

#[test]
fn groups_in_use_lines_are_taken_apart() {
    let text = "use crate::{a::{x, y}, b, c::*};\n// crate::d\nlet x = crate::e::f();";
    assert_eq!(used(text).into_iter().collect::<Vec<_>>(), ["a", "b", "c", "e"]);
}

#[test]
fn documented_exit_codes_are_those_of_the_outcomes() {
    let page = fs::read_to_string(root().join("docs/exit-codes.md")).unwrap();
    let mut documented = 0;
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (Ok(code), Some(word)) = (cells[1].parse::<u8>(), cells[2].strip_prefix('`')) else { continue };
        let word = serde_json::Value::from(word.trim_end_matches('`'));
        let outcome: Outcome = serde_json::from_value(word).unwrap();
        assert_eq!(outcome.exit().code(), code, "{outcome}");
        documented += 1;
    }
    assert_eq!(documented, 11);
}

#[test]
fn the_page_on_speed_has_every_part_that_the_benchmark_measures() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let parts = read("benches/parts.py") + &read("benches/ledger/parts.py");
    let page = read("docs/performance.md");
    let titles: Vec<&str> =
        parts.lines().filter_map(|line| line.strip_prefix("@part(\"")?.strip_suffix("\")")).collect();
    assert!(titles.len() > 5, "{titles:?}");
    for title in titles {
        assert!(
            page.contains(&format!("\n## {title}\n")),
            "docs/performance.md lacks `{title}`: scripts/bench"
        );
    }
}

/// Code of a source, without the tests at its foot.
fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned()
}

/// The literal that a text begins with.
fn literal(text: &str) -> Option<&str> {
    text.trim_start().strip_prefix('"')?.split('"').next()
}

/// Ids that findings are made with, where the code says them beside the constructor, or as a `const` of its file.
fn ids_of_findings(code: &str) -> BTreeSet<&str> {
    const MAKERS: [&str; 4] = ["Finding::passed(", "Finding::warning(", "Finding::error(", ".strict("];
    let direct = MAKERS.iter().flat_map(|maker| code.split(maker).skip(1)).filter_map(literal);
    let named = code.split(": &str = ").skip(1).filter_map(literal);
    direct.chain(named.filter(|word| is_id(word))).collect()
}

fn is_id(word: &str) -> bool {
    let groups: BTreeSet<&str> = rules::all().filter_map(|rule| rule.id.split('.').next()).collect();
    word.split_once('.').is_some_and(|(group, _)| groups.contains(group))
}

#[test]
fn every_id_that_a_finding_is_made_with_is_a_rule_of_the_catalogue_and_the_other_way_round() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let makes = |file: &PathBuf| {
        !file.ends_with("event/examples.rs") && !file.starts_with(root().join("src/model/rules"))
    };
    let codes: Vec<(PathBuf, String)> = files
        .into_iter()
        .filter(makes)
        .map(|file| {
            let code = code_of(&file);
            (file, code)
        })
        .collect();
    let finders = codes.iter().filter(|(_, code)| code.contains("Finding::"));
    let unknown: Vec<_> = finders
        .flat_map(|(file, code)| ids_of_findings(code).into_iter().map(move |id| (file, id)))
        .filter(|(_, id)| rules::find(id).is_none())
        .collect();
    assert!(unknown.is_empty(), "these are in no file of src/model/rules: {unknown:#?}");
    let is_made = |id: &str| codes.iter().any(|(_, code)| code.contains(&format!("\"{id}\"")));
    let unmade: Vec<_> = rules::all().map(|rule| rule.id).filter(|id| !is_made(id)).collect();
    assert!(unmade.is_empty(), "nothing finds these: {unmade:?}");
}
