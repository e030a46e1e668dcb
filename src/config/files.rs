//! Where the two files are, and what they say together with their local overlays.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::problem::Problem;
use super::reader::Problems;
use super::yaml::{self, Node, Tags};

/// The two files as one tree each; absent when there is no such file, or it cannot be read.
#[derive(Default)]
pub(super) struct Files {
    pub(super) deployments: File,
    pub(super) environments: File,
}

/// One file with its overlay.
#[derive(Default)]
pub(super) struct File {
    /// Name for messages, when the file is there.
    pub(super) name: Option<String>,
    /// Its parts that were read, in the order in which they lie on each other.
    pub(super) read: Vec<String>,
    /// What it says; absent when it says nothing or could not be read.
    pub(super) root: Option<Node>,
}

/// Reads both files. Without `config_dir` they are looked for in `deploy/`, then in the project root.
pub(super) fn load(project_root: &Path, config_dir: Option<&Path>, problems: &mut Problems) -> Files {
    let directories = match config_dir {
        Some(directory) => vec![directory.to_owned()],
        None => vec![project_root.join("deploy"), project_root.to_owned()],
    };
    let mut read = |stem| find(project_root, &directories, stem, problems);
    let files = Files { deployments: read("deployments"), environments: read("environments") };
    let is_empty = files.deployments.name.is_none() && files.environments.name.is_none();
    if let (Some(directory), true) = (config_dir, is_empty) {
        let problem = Problem::of("--config-dir", "names a directory without configuration");
        let accepted = "a directory with `deployments.yaml` or `environments.yaml`";
        problems.add(problem.found(directory.display().to_string()).accepted(accepted));
    }
    files
}

fn find(root: &Path, directories: &[PathBuf], stem: &str, problems: &mut Problems) -> File {
    for directory in directories {
        let base = one_of(root, directory, stem, problems);
        let overlay = one_of(root, directory, &format!("{stem}.local"), problems);
        if base.is_some() || overlay.is_some() {
            return read_both(root, base, overlay, problems);
        }
    }
    File::default()
}

/// The file of this stem, `.yaml` or `.yml`. Both at once is a problem: nobody knows which one counts.
fn one_of(root: &Path, directory: &Path, stem: &str, problems: &mut Problems) -> Option<PathBuf> {
    let path = |ending| directory.join(format!("{stem}.{ending}"));
    let [yaml, yml] = ["yaml", "yml"].map(path);
    let is_there = |path: &PathBuf| fs::symlink_metadata(path).is_ok();
    match (is_there(&yaml), is_there(&yml)) {
        (true, true) => {
            let message = format!("stands beside {}", shown(root, &yml));
            problems.add(Problem::in_file(&shown(root, &yaml), message).accepted("one of the two"));
            Some(yaml)
        }
        (true, false) => Some(yaml),
        (false, true) => Some(yml),
        (false, false) => None,
    }
}

fn read_both(root: &Path, base: Option<PathBuf>, overlay: Option<PathBuf>, problems: &mut Problems) -> File {
    let name = base.as_ref().or(overlay.as_ref()).map(|path| shown(root, path));
    let mut tree: Option<Node> = None;
    let mut parts = Vec::new();
    for path in base.into_iter().chain(overlay) {
        let Some(over) = read(root, &path, problems) else { continue };
        parts.push(shown(root, &path));
        match &mut tree {
            Some(under) => yaml::overlay(under, over),
            None => tree = Some(over),
        }
    }
    File { name, read: parts, root: tree }
}

fn read(root: &Path, path: &Path, problems: &mut Problems) -> Option<Node> {
    let name = shown(root, path);
    // A document that is too long is not read to its end to say so.
    let bytes = fs::metadata(path).map_or(0, |metadata| metadata.len());
    if bytes > yaml::LARGEST as u64 {
        problems.add(yaml::too_long(&name, bytes));
        return None;
    }
    match read_text(path, yaml::LARGEST) {
        Ok(text) => {
            let parsed = yaml::parse(&text, &name, Tags::Refused);
            let is_empty = parsed.root.is_none() && parsed.problems.is_empty();
            if is_empty && !name.contains(".local.") {
                let problem = Problem::in_file(&name, "is empty");
                let key = if name.contains("deployments") { "deployments" } else { "environments" };
                problems
                    .add(problem.accepted(format!("a map `{key}:`")).suggest("fill it, or remove the file"));
            }
            problems.0.extend(parsed.problems);
            parsed.root
        }
        Err(error) => {
            problems.add(Problem::in_file(&name, format!("could not be read: {error}")));
            None
        }
    }
}

/// Reads a text file of at most `largest` bytes.
pub(super) fn read_text(path: &Path, largest: usize) -> io::Result<String> {
    use io::Read as _;
    let file = fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(largest as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > largest {
        return Err(io::Error::other(format!("it is larger than {largest} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| io::Error::other(not_utf8(error.as_bytes(), error.utf8_error())))
}

/// Where a text stops being UTF-8, and what it may be instead.
fn not_utf8(bytes: &[u8], error: std::str::Utf8Error) -> String {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return "it is UTF-16; save it as UTF-8".to_owned();
    }
    let before = &bytes[..error.valid_up_to()];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.len() - before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) + 1;
    format!("it is not UTF-8 (line {line}, byte {column}); save it as UTF-8")
}

/// A path as messages name it: from the project root when it lies there.
pub(super) fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}
