//! What a run changed, in a summary: containers, images with their digests, files.

use super::page::{folded, last_lines, table};
use crate::event::{FileChanges, ImageChange, ImageName};
use crate::report::{Story, words};
use crate::text::markdown_code;

/// Services, images with their digests, and files.
pub(super) fn changes(story: &Story) -> String {
    let services = story.services();
    let services: Vec<[String; 2]> = services
        .into_iter()
        .map(|(service, change)| [markdown_code(service), change.as_str().to_owned()])
        .collect();
    let images: Vec<[String; 3]> = story.image_changes.iter().map(image_row).collect();
    let files = files(&story.files);
    let parts = [
        table(["Service", "Container"], services),
        table(["Image of", "Before", "Now"], images),
        digests(&story.image_changes),
        files,
    ];
    let parts: Vec<&String> = parts.iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return String::new();
    }
    let heading = match story.rollback {
        Some(_) => "### What it changed, before it was rolled back",
        None => "### What changed",
    };
    parts.iter().fold(format!("{heading}\n"), |text, part| format!("{text}\n{part}"))
}

fn image_row(change: &ImageChange) -> [String; 3] {
    let shown = |image: &Option<ImageName>| image.as_ref().map_or_else(|| "—".to_owned(), image_cell);
    [markdown_code(&change.service), shown(&change.before), shown(&change.after)]
}

fn image_cell(image: &ImageName) -> String {
    // A registry's digest says more than an id, which is this engine's.
    let digest = image.digest.as_deref().unwrap_or(&image.image_id);
    format!("{}<br>{}", markdown_code(&image.image), markdown_code(words::short_digest(digest)))
}

/// The digests whole, to be copied.
fn digests(changes: &[ImageChange]) -> String {
    let line = |word: &str, service: &str, image: &Option<ImageName>| {
        let image = image.as_ref()?;
        let digest = image.digest.as_deref().unwrap_or(&image.image_id);
        Some(format!("{service} {word}: {} {digest}", image.image))
    };
    let lines: Vec<String> = changes
        .iter()
        .flat_map(|change| {
            [line("before", &change.service, &change.before), line("now", &change.service, &change.after)]
        })
        .flatten()
        .collect();
    if lines.is_empty() { String::new() } else { folded("Digests", &last_lines(&lines)) }
}

fn files(files: &FileChanges) -> String {
    let kinds = [
        ("added", files.added_count, &files.added),
        ("changed", files.changed_count, &files.changed),
        ("removed", files.removed_count, &files.removed),
    ];
    let counts: Vec<String> = kinds
        .iter()
        .filter(|(_, count, _)| *count > 0)
        .map(|(word, count, _)| {
            format!("{} {word}", words::count(usize::try_from(*count).unwrap_or(usize::MAX), "file"))
        })
        .collect();
    if counts.is_empty() {
        return String::new();
    }
    let rows = kinds.iter().flat_map(|(word, count, names)| {
        let more = count.saturating_sub(names.len() as u64);
        let more = (more > 0).then(|| [format!("and {more} more"), (*word).to_owned()]);
        names.iter().map(|name| [markdown_code(name), (*word).to_owned()]).chain(more)
    });
    folded(&counts.join(", "), &table(["File", "Change"], rows))
}
