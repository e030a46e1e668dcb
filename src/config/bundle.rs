//! Which files of the project belong to a release, and their digests.
//!
//! [`scan`] is the only entry. Where git knows the directory, its tracked files as they lie in the work tree; else
//! what `.gitignore` and `.dockerignore` let in. Knows nothing of releases or transports.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use ignore::WalkBuilder;
use sha2::{Digest, Sha256};

use crate::model::{BundleEntry, EntryKind, ErrorKind, FailureReport, Manifest};

use super::git::{self, Git};

/// Why there is no list of the bundle's files. Nothing was sent or changed.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file, directory or symlink could not be read.
    #[error("could not read `{path}` of the bundle")]
    Read {
        /// Relative to the app's directory.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A path is not UTF-8, and could not be named on the wire.
    #[error("the path `{path}` is not UTF-8")]
    NotUtf8 {
        /// With the bad bytes replaced.
        path: String,
    },
    /// A symlink leads out of the bundle.
    #[error("the symlink `{path}` leads out of the bundle, to `{target}`")]
    Outside {
        /// Relative to the app's directory.
        path: String,
        /// As the symlink says it.
        target: String,
    },
    /// A tracked file lies behind a directory that is a symlink now.
    #[error("`{path}` lies behind the symlink `{link}`")]
    BehindLink {
        /// Relative to the app's directory.
        path: String,
        /// The directory that is a symlink.
        link: String,
    },
    /// A submodule, socket, device or pipe.
    #[error("`{path}` is a {what}; a bundle holds files and symlinks only")]
    Unsupported {
        /// Relative to the app's directory.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// git's index has unmerged files.
    #[error("`{path}` has an unresolved merge conflict")]
    Unmerged {
        /// Relative to the app's directory.
        path: String,
    },
    /// A pattern of `bundle` or `bundle_exclude` is none.
    #[error("`{pattern}` is not a pattern")]
    Pattern {
        /// As it was written.
        pattern: String,
        /// Why.
        source: globset::Error,
    },
    /// git was there, but did not list the files.
    #[error("git could not list the files of {}", path.display())]
    Git {
        /// The app's directory.
        path: PathBuf,
    },
}

impl BundleError {
    /// Returns the failure as events and people read it.
    pub fn report(&self) -> FailureReport {
        let (code, hint) = match self {
            Self::Read { .. } => ("bundle.read", "make it readable, or name it under `bundle_exclude`"),
            Self::NotUtf8 { .. } => {
                ("bundle.path", "rename it, or name its directory under `bundle_exclude`")
            }
            Self::Outside { .. } => {
                ("bundle.symlink", "point it inside the app's directory, or name it under `bundle_exclude`")
            }
            Self::BehindLink { .. } => ("bundle.symlink", "commit the symlink, or put the directory back"),
            Self::Unsupported { .. } => (
                "bundle.type",
                "name it under `bundle_exclude`; of a submodule, name the files it has under `bundle`",
            ),
            Self::Unmerged { .. } => ("bundle.unmerged", "resolve the conflict and `git add` the file"),
            Self::Pattern { .. } => ("bundle.pattern", "write a glob such as `dist/**`"),
            Self::Git { .. } => ("bundle.git", "run `git status` there and repair what it says"),
        };
        let kind = if matches!(self, Self::Pattern { .. }) {
            ErrorKind::ConfigurationError
        } else {
            ErrorKind::ValidationError
        };
        let cause = std::error::Error::source(self).map(|cause| format!(": {cause}")).unwrap_or_default();
        FailureReport::new(kind, code, format!("{self}{cause}; nothing was sent")).hint(hint)
    }
}

/// Returns the files of a release: what git tracks below `app_dir`, as it lies there (a tracked file that is
/// missing is left out), plus what `include` matches, minus what `exclude` matches; never `.git`, `.ffe-deploy`,
/// or an env file (`.env`, `.env.*`) that git does not track.
///
/// Without git, or when git tracks nothing there: what `.gitignore` and `.dockerignore` let in (and Dockerfiles,
/// which Docker sends in spite of `.dockerignore`).
///
/// # Errors
/// See [`BundleError`].
pub fn scan(app_dir: &Path, include: &[String], exclude: &[String]) -> Result<Manifest, BundleError> {
    let excluded = patterns(exclude)?;
    let listed = match git::look(app_dir) {
        Git::Repository => tracked_files(app_dir)?,
        Git::NoRepository | Git::Missing => Vec::new(),
    };
    let from_git = !listed.is_empty();
    let listed = if from_git { listed } else { walk_ignoring(app_dir)? };
    let mut paths: BTreeMap<String, bool> = listed.into_iter().map(|path| (path, true)).collect();
    for path in included(app_dir, include)? {
        paths.entry(path).or_insert(!from_git);
    }
    paths.retain(|path, _| !is_ours(path) && !excluded.is_match(path));
    let entries = read_entries(app_dir, paths)?;
    Ok(Manifest {
        entries,
        from_git,
        dirty: from_git && is_dirty(app_dir),
        commit: if from_git { git::line(app_dir, &["rev-parse", "--verify", "HEAD"]) } else { None },
    })
}

/// Returns the glob that matches just this path.
pub(super) fn escaped(path: &str) -> String {
    globset::escape(path)
}

fn is_dirty(app_dir: &Path) -> bool {
    let changed = git::run(app_dir, &["status", "--porcelain", "--untracked-files=no", "--", "."]);
    changed.ok().flatten().is_some_and(|lines| !lines.is_empty())
}

fn is_ours(path: &str) -> bool {
    path.split('/').any(|part| part == ".git") || path.split('/').next() == Some(".ffe-deploy")
}

/// Whether this is the name of an env file that may hold secrets, and not a template.
fn is_env_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_template = ["example", "sample", "template", "dist"].iter().any(|word| name.ends_with(word));
    (name == ".env" || name.starts_with(".env.")) && !is_template
}

/// What git's index has below the directory.
fn tracked_files(app_dir: &Path) -> Result<Vec<String>, BundleError> {
    let failed = || BundleError::Git { path: app_dir.to_owned() };
    let listed = git::run(app_dir, &["ls-files", "-z", "--stage"]).ok().flatten().ok_or_else(failed)?;
    let mut paths = Vec::new();
    for record in listed.split(|byte| *byte == 0).filter(|record| !record.is_empty()) {
        let tab = record.iter().position(|byte| *byte == b'\t').ok_or_else(failed)?;
        let path = utf8(&record[tab + 1..])?;
        let facts = String::from_utf8_lossy(&record[..tab]);
        if !facts.ends_with(" 0") {
            return Err(BundleError::Unmerged { path });
        }
        paths.push(path);
    }
    Ok(paths)
}

fn utf8(bytes: &[u8]) -> Result<String, BundleError> {
    let text = String::from_utf8(bytes.to_vec());
    text.map_err(|_| BundleError::NotUtf8 { path: String::from_utf8_lossy(bytes).into_owned() })
}

/// What the ignore files let in, where git says nothing.
fn walk_ignoring(app_dir: &Path) -> Result<Vec<String>, BundleError> {
    let mut walk = WalkBuilder::new(app_dir);
    walk.standard_filters(false).git_ignore(true).require_git(false).follow_links(false);
    let mut paths = walked(app_dir, &walk)?;
    walk.add_custom_ignore_filename(".dockerignore");
    let without_docker = walked(app_dir, &walk)?;
    paths.retain(|path| without_docker.binary_search(path).is_ok() || is_dockers(path));
    paths.retain(|path| !is_env_file(path));
    Ok(paths)
}

/// Files that Docker reads in spite of `.dockerignore`.
fn is_dockers(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name == "Dockerfile" || name.starts_with("Dockerfile.") || name.ends_with(".dockerignore")
}

/// Everything but directories that a walk finds, sorted.
fn walked(app_dir: &Path, walk: &WalkBuilder) -> Result<Vec<String>, BundleError> {
    let mut paths = Vec::new();
    let mut walk = walk.clone();
    walk.filter_entry(|entry| {
        entry.depth() == 0 || !is_skipped(entry.file_name().as_encoded_bytes(), entry.depth())
    });
    for entry in walk.build() {
        let entry = entry.map_err(|error| unreadable(app_dir, error))?;
        if entry.file_type().is_some_and(|kind| !kind.is_dir())
            && let Ok(path) = entry.path().strip_prefix(app_dir)
        {
            paths.push(utf8(path.as_os_str().as_encoded_bytes())?);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

fn is_skipped(name: &[u8], depth: usize) -> bool {
    name == b".git" || (depth == 1 && name == b".ffe-deploy")
}

fn unreadable(app_dir: &Path, error: ignore::Error) -> BundleError {
    let mut path = String::from(".");
    if let ignore::Error::WithDepth { err, .. } = &error
        && let ignore::Error::WithPath { path: at, .. } = err.as_ref()
    {
        path = at.strip_prefix(app_dir).unwrap_or(at).display().to_string();
    }
    let source = error.into_io_error().unwrap_or_else(|| io::Error::other("the walk failed"));
    BundleError::Read { path, source }
}

/// Files that the patterns of `bundle` name, untracked ones too.
fn included(app_dir: &Path, include: &[String]) -> Result<Vec<String>, BundleError> {
    let wanted = patterns(include)?;
    let mut paths = Vec::new();
    for pattern in include {
        let base = app_dir.join(literal_prefix(pattern));
        if fs::symlink_metadata(&base).is_err() {
            continue;
        }
        let mut walk = WalkBuilder::new(&base);
        walk.standard_filters(false).follow_links(false);
        let found = walked(app_dir, &walk)?;
        paths.extend(found.into_iter().filter(|path| wanted.is_match(path) && !is_env_file(path)));
    }
    Ok(paths)
}

/// The directories of a pattern before its first special character, or the whole of it when it has none.
fn literal_prefix(pattern: &str) -> &str {
    match pattern.find(['*', '?', '[', '{', '\\']) {
        None => pattern,
        Some(special) => pattern[..special].rfind('/').map_or("", |slash| &pattern[..slash]),
    }
}

/// A pattern matches paths from the app's directory; one that names a directory matches all below it.
fn patterns(globs: &[String]) -> Result<GlobSet, BundleError> {
    let mut set = GlobSetBuilder::new();
    for written in globs {
        let bad = |source| BundleError::Pattern { pattern: written.clone(), source };
        let pattern = written.trim_start_matches("./").trim_end_matches('/');
        for pattern in [pattern.to_owned(), format!("{pattern}/**")] {
            let glob = GlobBuilder::new(&pattern).literal_separator(true).backslash_escape(true).build();
            set.add(glob.map_err(bad)?);
        }
    }
    let joined = || globs.join(", ");
    set.build().map_err(|source| BundleError::Pattern { pattern: joined(), source })
}

type EntryRead = Result<Option<(String, BundleEntry)>, BundleError>;

/// Reads all entries, on as many threads as there are cores: hashing is the work here.
fn read_entries(
    app_dir: &Path,
    paths: BTreeMap<String, bool>,
) -> Result<BTreeMap<String, BundleEntry>, BundleError> {
    let paths: Vec<(String, bool)> = paths.into_iter().collect();
    refuse_behind_links(app_dir, &paths)?;
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<EntryRead>> = Mutex::new(Vec::with_capacity(paths.len()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut mine = Vec::new();
                while let Some((path, tracked)) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    mine.push(read_entry(app_dir, path, *tracked));
                }
                done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(mine);
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.into_iter().filter_map(Result::transpose).collect()
}

/// One entry; nothing when it is missing in the work tree.
fn read_entry(app_dir: &Path, path: &str, tracked: bool) -> EntryRead {
    let full = app_dir.join(path);
    let failed = |source| BundleError::Read { path: path.to_owned(), source };
    let facts = match fs::symlink_metadata(&full) {
        Ok(facts) => facts,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let (kind, size_bytes) = if facts.is_symlink() {
        (EntryKind::Symlink(symlink_target(app_dir, path, &full)?), 0)
    } else if facts.is_file() {
        let (digest, size) = digest(&full).map_err(failed)?;
        (EntryKind::File(digest), size)
    } else {
        return Err(BundleError::Unsupported { path: path.to_owned(), what: kind_of(&facts) });
    };
    let is_executable = facts.is_file() && facts.permissions().mode() & 0o100 != 0;
    let mode = if is_executable { 0o755 } else { 0o644 };
    Ok(Some((path.to_owned(), BundleEntry { kind, mode, size_bytes, tracked })))
}

fn kind_of(facts: &Metadata) -> &'static str {
    if facts.is_dir() { "submodule or nested repository" } else { "socket, pipe or device" }
}

/// Returns the target of a symlink that stays inside, by its words and by what lies there.
fn symlink_target(app_dir: &Path, path: &str, full: &Path) -> Result<String, BundleError> {
    let target = fs::read_link(full).map_err(|source| BundleError::Read { path: path.to_owned(), source })?;
    let text = utf8(target.as_os_str().as_encoded_bytes())?;
    let outside = || BundleError::Outside { path: path.to_owned(), target: text.clone() };
    let mut depth = Path::new(path).components().count() - 1;
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => depth = depth.checked_sub(1).ok_or_else(outside)?,
            Component::RootDir | Component::Prefix(_) => return Err(outside()),
        }
    }
    if let (Ok(real), Ok(root)) = (full.canonicalize(), app_dir.canonicalize())
        && !real.starts_with(&root)
    {
        return Err(outside());
    }
    Ok(text)
}

/// A directory that became a symlink would bring files from elsewhere in.
fn refuse_behind_links(app_dir: &Path, paths: &[(String, bool)]) -> Result<(), BundleError> {
    let mut seen: BTreeMap<&str, bool> = BTreeMap::new();
    for (path, _) in paths {
        for (at, _) in path.match_indices('/') {
            let directory = &path[..at];
            let is_link = *seen.entry(directory).or_insert_with(|| {
                fs::symlink_metadata(app_dir.join(directory)).is_ok_and(|facts| facts.is_symlink())
            });
            if is_link {
                return Err(BundleError::BehindLink { path: path.clone(), link: directory.to_owned() });
            }
        }
    }
    Ok(())
}

/// SHA-256 in lower-case hex, and how many bytes were read.
fn digest(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 64 * 1024];
    let mut size = 0u64;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hex::encode(hasher.finalize()), size));
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::{Duration, Instant};

    use super::super::tests::Project;
    use super::*;

    fn globs(list: &[&str]) -> Vec<String> {
        list.iter().map(|glob| (*glob).to_owned()).collect()
    }

    fn names(manifest: &Manifest) -> Vec<&str> {
        manifest.entries.keys().map(String::as_str).collect()
    }

    #[test]
    fn tracked_files_travel_as_they_lie_and_globs_add_and_take() {
        let project = Project::new(&[
            ("a", "1"),
            ("gone", "x"),
            ("docs/b", "2"),
            ("sub/run.sh", "#!"),
            (".gitignore", "dist\n.env\n"),
        ]);
        project.commit();
        project.write("a", "changed");
        for path in ["dist/deep/x.js", "dist/.env", "untracked", ".env"] {
            project.write(path, "new");
        }
        fs::remove_file(project.path().join("gone")).unwrap();
        fs::set_permissions(project.path().join("sub/run.sh"), fs::Permissions::from_mode(0o744)).unwrap();
        symlink("../a", project.path().join("sub/link")).unwrap();
        project.git(&["add", "sub/link"]);
        let manifest = scan(project.path(), &globs(&["dist/**"]), &globs(&["docs"])).unwrap();
        assert_eq!(names(&manifest), [".gitignore", "a", "dist/deep/x.js", "sub/link", "sub/run.sh"]);
        assert!(manifest.from_git && manifest.dirty && manifest.commit.as_ref().unwrap().len() == 40);
        let entry = |path: &str| &manifest.entries[path];
        assert_eq!(entry("a").kind, EntryKind::File(hex::encode(Sha256::digest(b"changed"))));
        assert_eq!(entry("sub/link").kind, EntryKind::Symlink("../a".to_owned()));
        assert_eq!((entry("sub/run.sh").mode, entry("a").mode, entry("a").size_bytes), (0o755, 0o644, 7));
        assert!(entry("a").tracked && !entry("dist/deep/x.js").tracked);
    }

    #[test]
    fn a_directory_below_the_repository_is_its_own_bundle() {
        let project = Project::new(&[("apps/shop/compose.yml", "x"), ("other", "y")]);
        project.commit();
        assert_eq!(names(&scan(&project.path().join("apps/shop"), &[], &[]).unwrap()), ["compose.yml"]);
    }

    #[test]
    fn without_git_the_ignore_files_decide() {
        let project = Project::new(&[
            ("a", "1"),
            ("Dockerfile", "FROM scratch"),
            ("node_modules/x", "1"),
            ("secret/y", "1"),
            (".env", "A=1"),
            (".gitignore", "node_modules\n"),
            (".dockerignore", "secret\nDockerfile\n"),
            (".env.example", "A="),
            (".ffe-deploy/state", "1"),
        ]);
        let manifest = scan(project.path(), &[], &[]).unwrap();
        assert_eq!(names(&manifest), [".dockerignore", ".env.example", ".gitignore", "Dockerfile", "a"]);
        assert!(!manifest.from_git && !manifest.dirty && manifest.commit.is_none());
    }

    #[test]
    fn what_leads_out_or_is_no_file_is_refused() {
        for target in ["/etc/passwd", "../x", "sub/../../x"] {
            let project = Project::new(&[("a", "1")]);
            symlink(target, project.path().join("link")).unwrap();
            let error = scan(project.path(), &[], &[]).unwrap_err();
            assert!(matches!(&error, BundleError::Outside { path, .. } if path == "link"), "{error}");
            project.commit();
            assert_eq!(scan(project.path(), &[], &[]).unwrap_err().report().code, "bundle.symlink");
            assert!(scan(project.path(), &[], &globs(&["link"])).is_ok());
        }
        let behind = Project::new(&[("d/f", "1"), ("e/f", "2")]);
        behind.commit();
        fs::remove_dir_all(behind.path().join("d")).unwrap();
        symlink("e", behind.path().join("d")).unwrap();
        assert!(matches!(scan(behind.path(), &[], &[]).unwrap_err(), BundleError::BehindLink { .. }));
        let bad = scan(behind.path(), &globs(&["a[{"]), &[]).unwrap_err();
        assert!(matches!(bad, BundleError::Pattern { .. }));
    }

    #[test]
    fn names_that_are_no_text_are_refused() {
        use std::os::unix::ffi::OsStrExt as _;
        let project = Project::new(&[("a", "1")]);
        let name = std::ffi::OsStr::from_bytes(b"bad\xff");
        fs::write(project.path().join(name), "x").unwrap();
        assert!(matches!(scan(project.path(), &[], &[]).unwrap_err(), BundleError::NotUtf8 { .. }));
    }

    #[test]
    fn many_files_are_read_in_seconds() {
        let project = Project::new(&[]);
        let text = "x".repeat(10_000);
        for file in 0..4_000 {
            project.write(&format!("d{}/f{file}", file % 50), &text);
        }
        project.commit();
        let start = Instant::now();
        assert_eq!(scan(project.path(), &[], &[]).unwrap().entries.len(), 4_000);
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}
