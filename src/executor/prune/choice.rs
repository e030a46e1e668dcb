//! Which of the old things on a host may go: a pure choice over facts.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::model::{Release, ReleaseId};

/// A release that lies on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its id, the name of its directory.
    pub id: ReleaseId,
    /// When it was made; orders those that never went live.
    pub created_at: Timestamp,
    /// What it needs; nothing when its record cannot be read.
    pub needs: Option<Needs>,
}

/// What a release needs on the host besides its directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Image ids by the tags under which it has them: our pins, and the author's names that a build or a pull of ours
    /// made.
    pub tags: BTreeMap<String, String>,
    /// Digests of files that its containers mount.
    pub files: BTreeSet<String>,
}

impl Kept {
    /// Returns what a release's record says.
    pub fn of(release: &Release) -> Self {
        let mut tags = BTreeMap::new();
        for image in release.images.values() {
            tags.insert(image.pin.clone(), image.id.clone());
            // What neither we built nor a registry has is its owner's, and could never be had again.
            if image.built || image.repo_digest.is_some() {
                tags.insert(image.reference.clone(), image.id.clone());
            }
        }
        let files = release.blobs.values().cloned().collect();
        let needs = Some(Needs { tags, files });
        Self { id: release.id.clone(), created_at: release.created_at, needs }
    }
}

/// What there is, and what must stay.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Releases on the host.
    pub releases: Vec<Kept>,
    /// Those that stay whatever the number: the current one, the one that a rollback goes to, those of an unfinished
    /// deployment, and one that may run although it is not current.
    pub protected: BTreeSet<ReleaseId>,
    /// Those that are good to go back to, youngest first.
    pub good: Vec<ReleaseId>,
    /// How many stay.
    pub keep: usize,
    /// Digests in `files/`.
    pub files: BTreeSet<String>,
    /// Paths that containers mount, of whatever project.
    pub mounted: Vec<String>,
    /// Ids of images that containers were made of, of whatever project.
    pub used_images: BTreeSet<String>,
    /// Kept agents, by the names of their directories.
    pub agents: BTreeSet<String>,
    /// Those of them that run.
    pub used_agents: BTreeSet<String>,
    /// Tags of ours for this project, with the ids of their images.
    pub pins: BTreeMap<String, String>,
    /// Releases that were begun and never finished.
    pub unfinished: BTreeSet<ReleaseId>,
}

/// What goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Releases, with the tags that go before them, with the image's id.
    pub releases: Vec<(ReleaseId, BTreeMap<String, String>)>,
    /// Digests in `files/`.
    pub files: BTreeSet<String>,
    /// Kept agents.
    pub agents: BTreeSet<String>,
    /// Tags of ours that no release names, with the ids of their images: of attempts that never became a release.
    pub pins: BTreeMap<String, String>,
    /// Releases that were begun and never finished.
    pub unfinished: BTreeSet<ReleaseId>,
}

impl Choice {
    /// Chooses. Good releases stay before those that failed, young ones before old ones. What a release needs that
    /// stays, or what a container has, stays; and while a release that stays cannot be read, nothing goes that it could need.
    pub fn of(facts: &Facts) -> Self {
        let sure = Self {
            agents: facts.agents.difference(&facts.used_agents).cloned().collect(),
            unfinished: facts.unfinished.difference(&facts.protected).cloned().collect(),
            ..Self::default()
        };
        let (mut stay, mut go) = ranked(facts);
        let held: Vec<&Kept> = go.extract_if(.., |release| is_held(release, &stay, facts)).collect();
        stay.extend(held);
        let Some(needed) = needs_of(&stay) else { return sure };
        let is_mounted = |digest: &&String| facts.mounted.iter().any(|path| path.contains(digest.as_str()));
        let unneeded = facts.files.difference(&needed.files).filter(|digest| !is_mounted(digest));
        let files = unneeded.cloned().collect();
        let releases: Vec<_> =
            go.into_iter().map(|release| (release.id.clone(), tags_of(release, &needed))).collect();
        let named = |tag: &String| {
            needed.tags.contains_key(tag) || releases.iter().any(|(_, tags)| tags.contains_key(tag))
        };
        let strays = facts.pins.iter().filter(|(tag, id)| !named(tag) && !facts.used_images.contains(*id));
        let pins = strays.map(|(tag, id)| (tag.clone(), id.clone())).collect();
        Self { releases, files, pins, ..sure }
    }

    /// Returns whether nothing goes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Returns the releases that stay by number, and those that do not.
fn ranked(facts: &Facts) -> (Vec<&Kept>, Vec<&Kept>) {
    let rank = |release: &&Kept| {
        let good = facts.good.iter().position(|id| *id == release.id);
        (
            !facts.protected.contains(&release.id),
            good.unwrap_or(usize::MAX),
            std::cmp::Reverse(release.created_at),
        )
    };
    let mut releases: Vec<&Kept> = facts.releases.iter().collect();
    releases.sort_by_key(rank);
    let protected = releases.iter().filter(|release| facts.protected.contains(&release.id)).count();
    let go = releases.split_off(facts.keep.max(protected).min(releases.len()));
    (releases, go)
}

/// A container that no release that stays explains was made of one of its images: somebody uses it.
fn is_held(release: &Kept, stay: &[&Kept], facts: &Facts) -> bool {
    let stays = |id: &String| stay.iter().any(|other| images_of(other).any(|image| image == id));
    images_of(release).any(|id| facts.used_images.contains(id) && !stays(id))
}

fn images_of(release: &Kept) -> impl Iterator<Item = &String> {
    release.needs.iter().flat_map(|needs| needs.tags.values())
}

fn needs_of(stay: &[&Kept]) -> Option<Needs> {
    let mut all = Needs::default();
    for release in stay {
        let needs = release.needs.as_ref()?;
        all.tags.extend(needs.tags.clone());
        all.files.extend(needs.files.iter().cloned());
    }
    Some(all)
}

fn tags_of(release: &Kept, needed: &Needs) -> BTreeMap<String, String> {
    let tags = release.needs.iter().flat_map(|needs| &needs.tags);
    tags.filter(|(tag, _)| !needed.tags.contains_key(*tag))
        .map(|(tag, id)| (tag.clone(), id.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u32) -> ReleaseId {
        format!("r{number}").parse().unwrap()
    }

    /// Release `number` with image `image`, which is as old as its number says.
    fn release(number: u32, image: u32) -> Kept {
        let tags = [format!("ffe-deploy/shop/web:{image}"), format!("shop:{number}")];
        let tags = tags.into_iter().map(|tag| (tag, format!("sha256:{image}"))).collect();
        let files = BTreeSet::from([format!("{image:064}")]);
        let created_at = Timestamp::from_second(i64::from(number)).unwrap();
        Kept { id: id(number), created_at, needs: Some(Needs { tags, files }) }
    }

    fn facts(releases: &[u32], protected: &[u32], good: &[u32], keep: usize) -> Facts {
        Facts {
            releases: releases.iter().map(|number| release(*number, *number)).collect(),
            protected: protected.iter().map(|number| id(*number)).collect(),
            good: good.iter().map(|number| id(*number)).collect(),
            keep,
            files: releases.iter().map(|number| format!("{number:064}")).collect(),
            ..Facts::default()
        }
    }

    fn gone(facts: &Facts) -> Vec<String> {
        let mut gone: Vec<_> =
            Choice::of(facts).releases.into_iter().map(|(id, _)| id.as_str().to_owned()).collect();
        gone.sort();
        gone
    }

    #[test]
    fn good_releases_stay_before_those_that_failed_and_young_ones_before_old_ones() {
        type Numbers = &'static [u32];
        type Row = (Numbers, Numbers, Numbers, usize, &'static [&'static str]);
        let table: [Row; 6] = [
            (&[1, 2, 3], &[3, 2], &[3, 2, 1], 5, &[]),
            (&[1, 2, 3, 4, 5, 6], &[6, 5], &[6, 5, 4, 3, 2, 1], 5, &["r1"]),
            // The last deployments failed: those that can be gone back to stay.
            (&[1, 2, 3, 4, 5, 6, 7], &[2, 1], &[2, 1], 3, &["r3", "r4", "r5", "r6"]),
            (&[1, 2, 3, 4, 5], &[3, 1], &[3, 1], 1, &["r2", "r4", "r5"]),
            // After a rollback the current one is not the youngest.
            (&[1, 2, 3, 4], &[2, 1], &[2, 1], 2, &["r3", "r4"]),
            (&[1], &[], &[], 1, &[]),
        ];
        for (releases, protected, good, keep, expected) in table {
            assert_eq!(gone(&facts(releases, protected, good, keep)), expected, "{releases:?} keep {keep}");
        }
    }

    #[test]
    fn what_a_release_that_stays_or_a_container_needs_stays() {
        let mut facts = facts(&[1, 2, 3], &[3], &[3, 2, 1], 1);
        // Releases 2 and 3 have one image, and a container mounts a file of release 1.
        facts.releases[1] = release(2, 3);
        facts.mounted = vec![format!("/srv/shop/files/{:064}/app.conf", 1)];
        facts.files.insert(format!("{:064}", 9));
        let choice = Choice::of(&facts);
        let tags: Vec<Vec<&str>> =
            choice.releases.iter().map(|(_, tags)| tags.keys().map(String::as_str).collect()).collect();
        assert_eq!(tags, [vec!["shop:2"], vec!["ffe-deploy/shop/web:1", "shop:1"]]);
        assert_eq!(
            choice.files.into_iter().collect::<Vec<_>>(),
            [format!("{:064}", 2), format!("{:064}", 9)]
        );
        // Somebody else made a container of the image of release 1.
        facts.used_images.insert("sha256:1".into());
        assert_eq!(gone(&facts), ["r2"]);
    }

    #[test]
    fn tags_of_ours_that_no_release_names_go_unless_a_container_was_made_of_their_images() {
        let mut facts = facts(&[1, 2], &[2], &[2, 1], 1);
        let pin = |image: u32| (format!("ffe-deploy/shop/web:{image}"), format!("sha256:{image}"));
        facts.pins = [1, 2, 3, 4].map(pin).into();
        facts.used_images.insert("sha256:4".into());
        facts.unfinished = [id(2), id(7)].into();
        let choice = Choice::of(&facts);
        assert_eq!(choice.pins, [pin(3)].into());
        assert!(choice.releases[0].1.contains_key(&pin(1).0), "it goes with its release");
        assert_eq!(choice.unfinished, [id(7)].into());
        facts.releases[1].needs = None;
        assert!(Choice::of(&facts).pins.is_empty(), "it may name any of them");
    }

    #[test]
    fn while_a_release_that_stays_cannot_be_read_only_agents_go() {
        let mut facts = facts(&[1, 2, 3], &[3], &[3, 2, 1], 1);
        facts.releases[2].needs = None;
        facts.agents = ["old", "this"].map(str::to_owned).into();
        facts.used_agents = ["this"].map(str::to_owned).into();
        let agents = ["old".to_owned()].into();
        assert_eq!(Choice::of(&facts), Choice { agents, ..Choice::default() });
        // One that goes anyway need not be read.
        facts.releases[2].needs = release(3, 3).needs;
        facts.releases[0].needs = None;
        assert_eq!(gone(&facts), ["r1", "r2"]);
    }

    proptest! {
        #[test]
        fn what_is_protected_and_what_it_needs_never_goes(
            images in proptest::collection::vec(1..6_u32, 1..12),
            protected in proptest::collection::vec(any::<bool>(), 12),
            good in proptest::collection::vec(any::<bool>(), 12),
            unreadable in proptest::collection::vec(proptest::bool::weighted(0.05), 12),
            used in proptest::collection::vec(proptest::bool::weighted(0.2), 6),
            keep in 1..6_usize,
        ) {
            let numbers: Vec<u32> = (1..=u32::try_from(images.len()).unwrap()).collect();
            let chosen = |flags: &[bool]| -> Vec<u32> {
                numbers.iter().copied().filter(|number| flags[*number as usize - 1]).collect()
            };
            let mut facts = facts(&numbers, &chosen(&protected), &chosen(&good), keep);
            for (release, image) in facts.releases.iter_mut().zip(&images) {
                release.needs = self::release(release.id.as_str()[1..].parse().unwrap(), *image).needs;
            }
            for number in chosen(&unreadable) {
                facts.releases[number as usize - 1].needs = None;
            }
            facts.used_images =
                (0..6).filter(|image| used[*image]).map(|image| format!("sha256:{image}")).collect();
            let choice = Choice::of(&facts);
            let goes = |release: &Kept| choice.releases.iter().any(|(id, _)| *id == release.id);
            let stay: Vec<&Kept> = facts.releases.iter().filter(|release| !goes(release)).collect();
            prop_assert!(facts.protected.iter().all(|id| stay.iter().any(|release| release.id == *id)));
            prop_assert!(stay.len() >= keep.min(facts.releases.len()));
            let tags: Vec<(&String, &String)> = choice.releases.iter().flat_map(|(_, tags)| tags).collect();
            for release in stay.iter().filter(|_| !choice.is_empty()) {
                let needs = release.needs.as_ref().expect("whatever stays can be read, or nothing goes");
                prop_assert!(tags.iter().all(|(tag, _)| !needs.tags.contains_key(*tag)));
                prop_assert!(needs.files.is_disjoint(&choice.files));
            }
            let kept_image = |id: &str| stay.iter().any(|release| images_of(release).any(|image| image == id));
            prop_assert!(tags.iter().all(|(_, id)| !facts.used_images.contains(*id) || kept_image(id)));
        }
    }
}
