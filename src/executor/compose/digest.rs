//! Digests that say whether two releases are the same (DESIGN section 5: model, files, environment, build inputs,
//! image ids). Values go in and only their digest comes out.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::mounts::{Mounts, Source};
use crate::model::compose::{Build, ComposeModel};
use crate::model::{BundleEntry, EntryKind, PinnedImage};

/// Returns the digest of a text, lower-case hex.
pub fn of_text(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// Returns the digest of what the job gave: model, mounted files, environment, build inputs.
pub fn of_inputs(
    model: &ComposeModel,
    project: &Path,
    mounts: &Mounts,
    in_place: &BTreeMap<String, String>,
    build_inputs: &BTreeMap<String, String>,
) -> String {
    let mut raw = model.raw.clone();
    let directory = project.to_string_lossy().into_owned();
    relocate(&mut raw, &directory);
    let sources: BTreeMap<&String, String> =
        mounts.sources.iter().map(|(path, source)| (path, place_of(source))).collect();
    of_text(&format!("{raw}\n{sources:?}\n{in_place:?}\n{build_inputs:?}"))
}

/// Returns the digest of a whole release: its inputs, and the ids of its images.
pub fn of_release(inputs: &str, images: &BTreeMap<String, PinnedImage>) -> String {
    let ids: BTreeMap<&String, &String> =
        images.iter().map(|(service, image)| (service, &image.id)).collect();
    of_text(&format!("{inputs}\n{ids:?}"))
}

/// Returns the digest of what goes into an image: its definition and every file of the bundle below its context.
/// A `.dockerignore` is one of those files; what it leaves out only makes a build more often than needed.
pub fn of_build(
    build: &Build,
    raw: &Value,
    project: &Path,
    bundle: &BTreeMap<String, BundleEntry>,
    bases: &BTreeMap<String, String>,
) -> String {
    let mut definition = raw.clone();
    relocate(&mut definition, &project.to_string_lossy());
    let context = super::mounts::relative(&build.context, project).unwrap_or_default();
    let below = if context.is_empty() { String::new() } else { format!("{context}/") };
    let mut hash = Sha256::new();
    hash.update(format!("{definition}\n{bases:?}\n"));
    for (path, entry) in bundle.iter().filter(|(path, _)| path.starts_with(&below)) {
        let content = match &entry.kind {
            EntryKind::File(digest) | EntryKind::Symlink(digest) => digest,
        };
        hash.update(format!("{path}\0{}\0{content}\0", entry.mode & 0o111));
    }
    hex::encode(hash.finalize())
}

fn place_of(source: &Source) -> String {
    match source {
        Source::Release(blob) => blob.digest.clone(),
        Source::Shared(path) => format!("shared/{path}"),
    }
}

/// A release's directory has another name each time: paths below it become relative to it.
fn relocate(value: &mut Value, directory: &str) {
    match value {
        Value::String(text) => {
            if let Some(rest) = text.strip_prefix(directory)
                && (rest.is_empty() || rest.starts_with('/'))
            {
                *text = format!(".{rest}");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| relocate(item, directory)),
        Value::Object(map) => map.values_mut().for_each(|item| relocate(item, directory)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
