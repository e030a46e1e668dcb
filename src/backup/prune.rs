//! Takes archives away that are older than they have to be kept: [`surplus`] chooses, [`prune`] acts.
//!
//! Only archives whose manifest names this app and environment are ours to take away. Never the youngest good ones.

use std::io;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use super::Listed;
use super::manifest::path_of;
use crate::host::atomic::{self, WriteError};
use crate::model::Retention;

/// What was taken away.
#[derive(Debug, Default)]
pub struct Pruned {
    /// The archives that are gone.
    pub archives: Vec<PathBuf>,
    /// Their bytes.
    pub bytes: u64,
    /// Those that could not be removed.
    pub failed: Vec<WriteError>,
}

/// Returns the archives that may go, youngest first; `listed` is what [`super::list`] returns, newest first.
///
/// The youngest `keep_last` good ones stay, however old they are, and so does what is not ours. A good archive is one
/// whose size is the one that its manifest names.
pub fn surplus(listed: &[Listed], retention: Retention, now: Timestamp) -> Vec<&Listed> {
    let longest = SignedDuration::from_hours(24 * i64::from(retention.days));
    let is_old = |archive: &Listed| archive.created_at.is_some_and(|at| now.duration_since(at) > longest);
    let mut good = 0;
    let mut goes = |archive: &&Listed| {
        good += u32::from(archive.manifest_ok);
        archive.is_ours && is_old(archive) && (!archive.manifest_ok || good > retention.keep_last)
    };
    listed.iter().filter(|archive| goes(archive)).collect()
}

/// Removes archives with their manifests, as far as that is possible.
pub fn prune(archives: &[&Listed]) -> Pruned {
    let mut pruned = Pruned::default();
    for archive in archives {
        // The manifest last: without it nobody would know any more that the archive is ours.
        let manifest = path_of(&archive.path);
        let removed =
            atomic::remove_file(&archive.path).and_then(|()| match atomic::remove_file(&manifest) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            });
        match removed {
            Ok(()) => {
                pruned.bytes += archive.size_bytes;
                pruned.archives.push(archive.path.clone());
            }
            Err(source) => pruned.failed.push(WriteError { path: archive.path.clone(), source }),
        }
    }
    pruned
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::ArchiveFormat;

    const NOW: i64 = 1_800_000_000;

    fn archive(days_old: i64, is_ours: bool, manifest_ok: bool) -> Listed {
        numbered(0, days_old, is_ours, manifest_ok)
    }

    fn numbered(number: usize, days_old: i64, is_ours: bool, manifest_ok: bool) -> Listed {
        let created_at = Timestamp::from_second(NOW - days_old * 86_400 - 1).ok();
        let path = format!("/b/ffe_backup_{days_old}_{number}.tar.zst").into();
        let (format, includes) = (ArchiveFormat::Zstd, Vec::new());
        Listed { path, created_at, size_bytes: 1, format, includes, is_ours, manifest_ok, note: None }
    }

    fn gone(listed: &[Listed], days: u32, keep_last: u32) -> Vec<&Listed> {
        surplus(listed, Retention { days, keep_last }, Timestamp::from_second(NOW).unwrap())
    }

    #[test]
    fn only_what_is_ours_and_old_goes_and_the_youngest_good_ones_stay() {
        let table = [
            // days old, ours, good; days, keep_last; which go
            (vec![(0, true, true), (1, true, true), (8, true, true)], (7, 1), vec![2]),
            (vec![(8, true, true), (9, true, true), (10, true, true)], (7, 3), vec![]),
            (vec![(8, true, true), (9, true, true), (10, true, true)], (7, 1), vec![1, 2]),
            // A damaged one does not count among the good ones, and goes when it is old.
            (vec![(0, true, false), (8, true, false), (9, true, true)], (7, 1), vec![1]),
            // Whose it is cannot be said: it stays.
            (vec![(0, true, true), (99, false, false)], (7, 1), vec![]),
            // Taken on a clock that was ahead.
            (vec![(-30, true, true), (9, true, true)], (7, 1), vec![1]),
        ];
        for (archives, (days, keep_last), expected) in table {
            let listed: Vec<Listed> = archives.iter().map(|(d, o, g)| archive(*d, *o, *g)).collect();
            let expected: Vec<&Listed> = expected.into_iter().map(|at: usize| &listed[at]).collect();
            assert_eq!(gone(&listed, days, keep_last), expected, "{archives:?}");
        }
    }

    #[test]
    fn an_archive_goes_with_its_manifest_and_what_cannot_go_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ffe_backup_20260101_000000.tar.zst");
        std::fs::write(&path, "x").unwrap();
        std::fs::write(path_of(&path), "{}").unwrap();
        let there = Listed { path: path.clone(), ..archive(9, true, true) };
        let missing = archive(9, true, true);
        let pruned = prune(&[&there, &missing]);
        assert_eq!((pruned.archives, pruned.bytes, pruned.failed.len()), (vec![path], 1, 1));
        assert_eq!(directory.path().read_dir().unwrap().count(), 0);
    }

    proptest! {
        #[test]
        fn the_youngest_good_archive_never_goes_nor_what_is_young_or_not_ours(
            archives in proptest::collection::vec((-5..40_i64, any::<bool>(), any::<bool>()), 0..20),
            days in 1..30_u32,
            keep_last in 1..5_u32,
        ) {
            let numbers = archives.into_iter().enumerate();
            let mut listed: Vec<Listed> =
                numbers.map(|(number, (days, ours, good))| numbered(number, days, ours, ours && good)).collect();
            listed.sort_by_key(|archive| std::cmp::Reverse(archive.created_at));
            let gone = gone(&listed, days, keep_last);
            let good: Vec<&Listed> = listed.iter().filter(|archive| archive.manifest_ok).collect();
            for spared in good.iter().take(keep_last as usize) {
                prop_assert!(!gone.contains(spared));
            }
            let week = Timestamp::from_second(NOW - i64::from(days) * 86_400).unwrap();
            prop_assert!(gone.iter().all(|archive| archive.is_ours && archive.created_at.unwrap() < week));
        }
    }
}
