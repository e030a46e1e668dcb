//! In place the sources stay as the author left them: going back to a release says which of them it had otherwise.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::run::Run;
use crate::event::EventKind;
use crate::here;
use crate::host::digest;
use crate::model::{EntryKind, Release, Severity};

/// Most files that are named.
const SHOWN: usize = 10;

impl Run {
    /// Tells which files of a project in place are not as they were in `release`, which was put back in the place of
    /// `from`.
    pub(super) fn tell_untouched(&self, release: &Release, from: Option<&Release>) {
        let Some(project) = self.layout.in_place() else { return };
        let changed = changed(project, release, from);
        if changed.is_empty() {
            return;
        }
        let shown = changed.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
        let more = changed.len().saturating_sub(SHOWN);
        let shown = if more == 0 { shown } else { format!("{shown} and {more} more") };
        let notice = format!("deployed in place: these files of the project were not put back: {shown}");
        let hint = Some("put them back with git, or set `root:` to deploy whole releases".to_owned());
        let code = "inplace.files".to_owned();
        self.emitter.emit(here!(), EventKind::Noticed { code, notice, hint, severity: Severity::Warning });
    }
}

fn changed<'a>(project: &Path, release: &'a Release, from: Option<&'a Release>) -> Vec<&'a str> {
    let differs = |path: &str, kind: &EntryKind| {
        let path = project.join(path);
        match kind {
            EntryKind::File(digest) => digest::of_file(&path).is_ok_and(|found| found != *digest),
            EntryKind::Symlink(target) => fs::read_link(&path).is_ok_and(|found| found != Path::new(target)),
        }
    };
    let gone = |path: &str| project.join(path).symlink_metadata().is_err();
    let other = release.files.iter().filter(|(path, kind)| gone(path) || differs(path, kind));
    let new = from.iter().flat_map(|from| from.files.keys());
    let new = new.filter(|path| !release.files.contains_key(*path) && !gone(path));
    let paths: BTreeSet<&str> = other.map(|(path, _)| path.as_str()).chain(new.map(String::as_str)).collect();
    let kept = |path: &&str| release.app.compose_files.iter().any(|file| file == path);
    paths.into_iter().filter(|path| !kept(path)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    pub(in super::super) fn release(files: &[(&str, &str)]) -> Release {
        let job = crate::model::example_job();
        let kind = |content: &str| EntryKind::File(crate::executor::compose::digest::of_text(content));
        Release {
            schema: 1,
            id: "deploy-1".parse().unwrap(),
            version: "1".into(),
            commit: None,
            digest: String::new(),
            inputs_digest: String::new(),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            source: crate::model::ReleaseSource::Deployed,
            app: job.app,
            project: "shop".into(),
            images: BTreeMap::new(),
            services: Vec::new(),
            files: files.iter().map(|(path, content)| ((*path).to_owned(), kind(content))).collect(),
            blobs: BTreeMap::new(),
            build_inputs: BTreeMap::new(),
            variables: Vec::new(),
            secrets: Vec::new(),
            adopted: None,
        }
    }

    #[test]
    fn changed_missing_and_new_files_are_named_and_compose_files_are_not() {
        let project = tempfile::tempdir().unwrap();
        for (path, content) in [("same", "a"), ("other", "b"), ("new", "c"), ("compose.yml", "d")] {
            fs::write(project.path().join(path), content).unwrap();
        }
        let before = release(&[("same", "a"), ("other", "x"), ("gone", "y"), ("compose.yml", "z")]);
        let from = release(&[("same", "a"), ("other", "b"), ("new", "c"), ("never", "n")]);
        assert_eq!(changed(project.path(), &before, Some(&from)), ["gone", "new", "other"]);
        assert_eq!(changed(project.path(), &before, None), ["gone", "other"]);
    }
}
