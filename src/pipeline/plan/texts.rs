//! Texts that would change, in both forms, for whoever shows the difference; capped, and without secrets.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use super::Ground;
use crate::event::{FileChanges, Texts};
use crate::executor::variables::Resolved;
use crate::text::{Redactor, harmless_lines};

/// Largest text of which a difference is shown, in bytes.
const LARGEST: u64 = 64 * 1024;
/// Most bytes of all of them.
const ALL: usize = 1024 * 1024;

/// Returns the texts, by path; without those that are too large, no text, or not kept.
pub(super) fn of(ground: &Ground<'_>, files: &FileChanges, variables: &Resolved) -> BTreeMap<String, Texts> {
    let mut texts = BTreeMap::new();
    let Some(current) = ground.current else { return texts };
    let kept = ground.layout.release(&current.id);
    // A value that is no secret any more was one.
    let before = ground.executor.variables(current).unwrap_or_default();
    let secrets = before.secret_values().chain(variables.secret_values()).chain(ground.job.secret_values());
    let redactor = Redactor::new(secrets);
    let mut size = 0;
    for path in files.changed.iter().filter(|path| !is_private(path)) {
        let (old, new) = (text(&kept.join("app").join(path)), text(&ground.project_dir.join(path)));
        let (Some(old), Some(new)) = (old, new) else { continue };
        size += old.len() + new.len();
        if size > ALL {
            break;
        }
        let clean = |text: String| redactor.redact(&harmless_lines(&redactor.redact(&text))).into_owned();
        texts.insert(path.clone(), Texts { before: clean(old), after: clean(new) });
    }
    texts
}

/// Env files and keys are never shown, whoever tracks them.
fn is_private(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ending = name.rsplit('.').next().unwrap_or_default();
    name.starts_with(".env")
        || name.starts_with("id_")
        || matches!(ending, "env" | "pem" | "key" | "p12" | "pfx")
}

fn text(path: &Path) -> Option<String> {
    // A file that cannot be read is one whose difference is not shown.
    let meta = fs::symlink_metadata(path).ok().filter(|meta| meta.is_file() && meta.len() <= LARGEST)?;
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or_default());
    fs::File::open(path).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}
