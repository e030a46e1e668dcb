//! Content-addressed files that containers mount (DESIGN section 6, files): same content, same path, whatever release.
//!
//! A blob is a directory `files/<sha256>/` that holds one file or tree under its own name. Docker keeps the inode of
//! what it mounted, so a blob is never changed and is replaced by nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::host::atomic::{self, WriteError};
use crate::host::digest;
use crate::model::{BundleEntry, EntryKind};

/// A file or a tree of the bundle that containers mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// SHA-256 over names, modes and contents.
    pub digest: String,
    /// Path in the bundle; empty for the whole of it.
    pub source: String,
    /// Entries by path relative to `source`; a single file has the empty path.
    pub entries: BTreeMap<String, BundleEntry>,
}

impl Blob {
    /// Returns the blob of what the bundle has at `source`, or nothing when it has nothing there.
    pub fn of(source: &str, bundle: &BTreeMap<String, BundleEntry>) -> Option<Self> {
        let below = if source.is_empty() { String::new() } else { format!("{source}/") };
        let entries: BTreeMap<String, BundleEntry> = match bundle.get(source) {
            Some(entry) => BTreeMap::from([(String::new(), entry.clone())]),
            None => bundle
                .iter()
                .filter_map(|(path, entry)| Some((path.strip_prefix(&below)?.to_owned(), entry.clone())))
                .collect(),
        };
        let real = entries.keys().any(|path| !is_placeholder(path));
        real.then(|| Self {
            digest: digest_of(name_of(source), &entries),
            source: source.to_owned(),
            entries,
        })
    }

    /// Returns the blob of what lies at `source` in the directory of a release, or nothing when nothing is there.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of_release(source: &str, app: &Path) -> Result<Self, WriteError> {
        let (path, mut entries) = (app.join(source), BTreeMap::new());
        collect(&path, &path, &mut entries).map_err(WriteError::at(&path))?;
        Ok(Self { digest: digest_of(name_of(source), &entries), source: source.to_owned(), entries })
    }

    /// Returns whether it is one file.
    pub fn is_file(&self) -> bool {
        self.entries.contains_key("")
    }

    /// Returns where it lies below `files/`.
    pub fn path(&self, files: &Path) -> PathBuf {
        Self::place(files, &self.source, &self.digest)
    }

    /// Returns where the blob of a source lies below `files/`.
    pub fn place(files: &Path, source: &str, digest: &str) -> PathBuf {
        files.join(digest).join(name_of(source))
    }

    /// Copies it from the bundle's directory to `files/`, unless it is there.
    ///
    /// # Errors
    /// It cannot be read or written; nothing half made stays.
    pub fn put(&self, app: &Path, files: &Path) -> Result<(), WriteError> {
        let home = files.join(&self.digest);
        if home.exists() {
            return Ok(());
        }
        let beside = files.join(format!(".{}-{}", self.digest, std::process::id()));
        atomic::remove_tree(&beside).ok();
        let made = self.copy(app, &beside).and_then(|()| atomic::rename(&beside, &home));
        if made.is_err() {
            atomic::remove_tree(&beside).ok();
        }
        made.map_err(WriteError::at(&home))
    }

    fn copy(&self, app: &Path, to: &Path) -> io::Result<()> {
        atomic::make_directory(to, 0o755).map_err(|error| error.source)?;
        let from = app.join(&self.source);
        for (path, entry) in &self.entries {
            let top = to.join(name_of(&self.source));
            let target = if path.is_empty() { top } else { top.join(path) };
            make_parents(to, &target)?;
            let source = if path.is_empty() { from.clone() } else { from.join(path) };
            copy_entry(&source, &target, entry)?;
        }
        Ok(())
    }

    /// Returns the paths, relative to the project, whose content is no longer what the release brought: a container
    /// wrote to them. Nothing when the blob is whole, or is not there at all.
    pub fn written(
        files: &Path,
        source: &str,
        digest: &str,
        brought: &BTreeMap<String, EntryKind>,
    ) -> Vec<String> {
        let top = Self::place(files, source, digest);
        let mut entries = BTreeMap::new();
        if top.symlink_metadata().is_err() {
            return Vec::new();
        }
        let read = collect(&top, &top, &mut entries);
        if read.is_ok() && digest_of(name_of(source), &entries) == digest {
            return Vec::new();
        }
        let full = |path: &String| match (source.is_empty(), path.is_empty()) {
            (true, _) => path.clone(),
            (false, true) => source.to_owned(),
            (false, false) => format!("{source}/{path}"),
        };
        let now: BTreeMap<String, EntryKind> =
            entries.iter().map(|(path, entry)| (full(path), entry.kind.clone())).collect();
        let below = |path: &&String| source.is_empty() || Path::new(path).starts_with(source);
        let mut changed: Vec<String> = now
            .iter()
            .filter(|(path, kind)| brought.get(*path) != Some(kind))
            .map(|(p, _)| p.clone())
            .collect();
        changed.extend(brought.keys().filter(below).filter(|path| !now.contains_key(*path)).cloned());
        if changed.is_empty() { vec![source.to_owned()] } else { changed }
    }
}

/// A blob holds its source under its own name: an image may look for it by that.
fn name_of(source: &str) -> &str {
    source.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("app")
}

/// Git keeps no empty directories: these files stand for one, and make it no content.
fn is_placeholder(path: &str) -> bool {
    matches!(path.rsplit('/').next(), Some(".gitkeep" | ".gitignore")) && !path.is_empty()
}

fn digest_of(name: &str, entries: &BTreeMap<String, BundleEntry>) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{}\0{name}\0", name.len()));
    for (path, entry) in entries {
        let (kind, content) = match &entry.kind {
            EntryKind::File(digest) => ("file", digest),
            EntryKind::Symlink(target) => ("symlink", target),
        };
        hash.update(format!("{}\0{path}\0{kind}\0{}\0{content}\0", path.len(), entry.mode & 0o111));
    }
    hex::encode(hash.finalize())
}

fn make_parents(top: &Path, target: &Path) -> io::Result<()> {
    let parents: Vec<&Path> = target.ancestors().skip(1).take_while(|path| *path != top).collect();
    for parent in parents.into_iter().rev() {
        if !parent.exists() {
            atomic::make_new_directory(parent, 0o755)?;
        }
    }
    Ok(())
}

fn copy_entry(source: &Path, target: &Path, entry: &BundleEntry) -> io::Result<()> {
    match &entry.kind {
        EntryKind::Symlink(to) => atomic::symlink(Path::new(to), target),
        EntryKind::File(_) => {
            atomic::copy(source, target, Some(0o644 | (entry.mode & 0o111)))?;
            fs::File::open(target)?.sync_all()
        }
    }
}

/// Reads a tree back into the entries of which its digest was made.
fn collect(top: &Path, path: &Path, entries: &mut BTreeMap<String, BundleEntry>) -> io::Result<()> {
    let meta = path.symlink_metadata()?;
    let name = path.strip_prefix(top).ok().and_then(Path::to_str).unwrap_or_default().to_owned();
    if meta.is_dir() {
        for child in fs::read_dir(path)? {
            collect(top, &child?.path(), entries)?;
        }
        return Ok(());
    }
    let kind = if meta.is_symlink() {
        EntryKind::Symlink(fs::read_link(path)?.to_string_lossy().into_owned())
    } else {
        EntryKind::File(digest::of_file(path)?)
    };
    entries.insert(name, BundleEntry { kind, mode: meta.permissions().mode(), size_bytes: 0, tracked: true });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(app: &Path, files: &[(&str, &str)]) -> BTreeMap<String, BundleEntry> {
        let entry = |content: &str| BundleEntry {
            kind: EntryKind::File(hex::encode(Sha256::digest(content.as_bytes()))),
            mode: 0o644,
            size_bytes: content.len() as u64,
            tracked: true,
        };
        let mut entries = BTreeMap::new();
        for (path, content) in files {
            fs::create_dir_all(app.join(path).parent().unwrap()).unwrap();
            fs::write(app.join(path), content).unwrap();
            entries.insert((*path).to_owned(), entry(content));
        }
        entries
    }

    #[test]
    fn the_same_content_has_the_same_place_and_other_content_another() {
        let (app, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let entries = bundle(app.path(), &[("conf/a.yml", "a"), ("conf/sub/b.yml", "b"), ("other", "x")]);
        let tree = Blob::of("conf", &entries).unwrap();
        tree.put(app.path(), files.path()).unwrap();
        tree.put(app.path(), files.path()).unwrap();
        assert_eq!(fs::read_to_string(tree.path(files.path()).join("sub/b.yml")).unwrap(), "b");
        let file = Blob::of("conf/a.yml", &entries).unwrap();
        file.put(app.path(), files.path()).unwrap();
        assert!(file.is_file() && file.path(files.path()).ends_with("a.yml"));
        let entries = bundle(app.path(), &[("conf/a.yml", "a"), ("conf/z.yml", "a")]);
        let other = Blob::of("conf/z.yml", &entries).unwrap();
        assert_ne!(other.digest, file.digest, "the same content under another name would not be found there");
        let changed = bundle(app.path(), &[("conf/a.yml", "A"), ("conf/sub/b.yml", "b")]);
        assert_ne!(Blob::of("conf", &changed).unwrap().digest, tree.digest);
    }

    #[test]
    fn a_blob_that_a_container_wrote_to_is_found_with_what_it_wrote() {
        let (app, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let entries = bundle(app.path(), &[("conf/a.yml", "a"), ("conf/b.yml", "b"), ("other", "x")]);
        let tree = Blob::of("conf", &entries).unwrap();
        tree.put(app.path(), files.path()).unwrap();
        let brought = entries.iter().map(|(path, entry)| (path.clone(), entry.kind.clone())).collect();
        let written = || Blob::written(files.path(), "conf", &tree.digest, &brought);
        assert!(written().is_empty());
        fs::write(tree.path(files.path()).join("a.yml"), "written").unwrap();
        fs::write(tree.path(files.path()).join("new"), "written").unwrap();
        fs::remove_file(tree.path(files.path()).join("b.yml")).unwrap();
        assert_eq!(written(), ["conf/a.yml", "conf/new", "conf/b.yml"]);
        let again = Blob::of_release("conf", app.path()).unwrap();
        assert_eq!(again.digest, tree.digest);
    }

    #[test]
    fn a_directory_that_git_keeps_only_for_being_there_is_no_content() {
        let app = tempfile::tempdir().unwrap();
        let entries = bundle(app.path(), &[("data/.gitkeep", ""), ("logs/.gitignore", "*")]);
        assert_eq!(Blob::of("data", &entries), None);
        assert_eq!(Blob::of("logs", &entries), None);
        assert_eq!(Blob::of("missing", &entries), None);
    }
}
