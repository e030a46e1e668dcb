//! What a release has otherwise than the one that it replaces: told before the switch, for people who look at it later.

use std::collections::BTreeMap;

use super::run::Run;
use crate::event::{EventKind, FileChanges, ImageChange, ImageName};
use crate::here;
use crate::model::{EntryKind, PinnedImage, Release};

/// Most files of one kind that are named.
const NAMED: usize = 100;

impl Run {
    /// Tells what is otherwise in `release` than in the one `before`.
    pub(super) fn tell_changes(&self, release: &Release, before: Option<&Release>) {
        if before.is_some_and(|before| before.id == release.id) {
            return;
        }
        let compared = EventKind::ReleaseCompared {
            release: release.id.to_string(),
            previous_release: before.map(|before| before.id.to_string()),
            images: images(before.map(|before| &before.images), &release.images),
            files: files(before, &release.files),
        };
        self.emitter.emit(here!(), compared);
    }
}

type Images = BTreeMap<String, PinnedImage>;

/// Services whose image is another one, those that are new, and those that go.
fn images(before: Option<&Images>, after: &Images) -> Vec<ImageChange> {
    let none = Images::new();
    let before = before.unwrap_or(&none);
    let change = |service: &String| {
        let (old, new) = (before.get(service), after.get(service));
        let same = old.map(|image| &image.id) == new.map(|image| &image.id);
        let change = ImageChange { service: service.clone(), before: old.map(name), after: new.map(name) };
        (!same).then_some(change)
    };
    let new = after.keys().filter(|service| !before.contains_key(*service));
    before.keys().chain(new).filter_map(change).collect()
}

fn name(image: &PinnedImage) -> ImageName {
    ImageName {
        image: image.reference.clone(),
        image_id: image.id.clone(),
        digest: image.repo_digest.clone(),
    }
}

/// Files that come, change and go.
pub(super) fn files(before: Option<&Release>, after: &BTreeMap<String, EntryKind>) -> FileChanges {
    let none = BTreeMap::new();
    let before = before.map_or(&none, |before| &before.files);
    let in_both = |path: &&String| before.contains_key(*path);
    let added: Vec<_> = after.keys().filter(|path| !in_both(path)).collect();
    let changed: Vec<_> =
        after.iter().filter(|(path, kind)| before.get(*path).is_some_and(|old| old != *kind)).collect();
    let removed: Vec<_> = before.keys().filter(|path| !after.contains_key(*path)).collect();
    FileChanges {
        added_count: added.len() as u64,
        changed_count: changed.len() as u64,
        removed_count: removed.len() as u64,
        added: named(added),
        changed: named(changed.into_iter().map(|(path, _)| path)),
        removed: named(removed),
    }
}

fn named<'a>(paths: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    paths.into_iter().take(NAMED).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::untouched::tests::release;
    use super::*;

    fn image(id: &str) -> PinnedImage {
        PinnedImage {
            reference: "shop".into(),
            id: format!("sha256:{id}"),
            pin: String::new(),
            repo_digest: None,
            platform: String::new(),
            built: true,
            size_bytes: 1,
            user: String::new(),
        }
    }

    fn with_images(pairs: &[(&str, &str)]) -> Images {
        pairs.iter().map(|(service, id)| ((*service).to_owned(), image(id))).collect()
    }

    #[test]
    fn images_that_are_others_come_or_go_are_told_and_the_same_are_not() {
        let before = with_images(&[("same", "1"), ("other", "1"), ("gone", "1")]);
        let after = with_images(&[("same", "1"), ("other", "2"), ("new", "3")]);
        let told = images(Some(&before), &after);
        let short = |image: &Option<ImageName>| image.as_ref().map(|image| image.image_id.clone());
        let told: Vec<_> = told
            .iter()
            .map(|change| (change.service.as_str(), short(&change.before), short(&change.after)))
            .collect();
        let id = |id: &str| Some(format!("sha256:{id}"));
        assert_eq!(told, [("gone", id("1"), None), ("other", id("1"), id("2")), ("new", None, id("3"))]);
        assert_eq!(images(None, &after).len(), 3);
    }

    #[test]
    fn files_are_compared_by_what_is_in_them_and_counted_beyond_those_that_are_named() {
        let before = release(&[("same", "a"), ("other", "b"), ("gone", "c")]);
        let after = release(&[("same", "a"), ("other", "x"), ("new", "d")]);
        let told = files(Some(&before), &after.files);
        assert_eq!(
            (told.added, told.changed, told.removed),
            (vec!["new".to_owned()], vec!["other".to_owned()], vec!["gone".to_owned()])
        );
        let many: Vec<(String, &str)> = (0..300).map(|number| (format!("f{number}"), "x")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, text)| (name.as_str(), *text)).collect();
        let told = files(None, &release(&many).files);
        assert_eq!((told.added_count, told.added.len()), (300, NAMED));
    }
}
