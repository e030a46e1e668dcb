//! Writes what was planned into the archive; for a thread that may wait.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;

use super::BackupError;
use super::archive::{Archive, Tally};
use super::manifest::{Included, IncludedKind};
use super::meter::Meter;
use super::paths::Excluded;
use super::plan::{Plan, Source, Way};
use super::relay::Relay;
use super::tree::Directory;
use super::volume::Helper;
use super::walk::{Archiver, Notes, walk};

/// All that the writing thread needs.
pub(super) struct Writing {
    pub(super) plan: Plan,
    pub(super) excluded: Excluded,
    pub(super) archive: Archive,
    pub(super) notes: Notes,
    pub(super) helper: Option<Helper>,
    pub(super) handle: Handle,
    pub(super) meter: Arc<Meter>,
    /// The base, when a missing path is an error.
    pub(super) explicit: Option<PathBuf>,
}

/// What the writing thread leaves.
pub(super) struct Written {
    pub(super) tally: Tally,
    pub(super) plan: Plan,
    pub(super) notes: Notes,
    pub(super) includes: Vec<Included>,
}

impl Writing {
    /// Gives the helper back in any case, so that it can be removed.
    pub(super) fn run(mut self) -> Result<(Option<Helper>, Result<Written, BackupError>), BackupError> {
        let includes = self.write_all();
        let written = includes.and_then(|includes| {
            let tally = self.archive.finish()?;
            Ok(Written { tally, plan: self.plan, notes: self.notes, includes })
        });
        Ok((self.helper, written))
    }

    fn write_all(&mut self) -> Result<Vec<Included>, BackupError> {
        let (mut includes, mut is_missing) = (Vec::new(), false);
        for source in std::mem::take(&mut self.plan.sources) {
            let (files, bytes) = (self.archive.tally().files, self.archive.tally().bytes);
            let Some(is_directory) = self.write(&source)? else {
                is_missing |= source.kind == IncludedKind::Path;
                self.plan.missing.push(source.name);
                continue;
            };
            let slash = if is_directory && source.kind == IncludedKind::Path { "/" } else { "" };
            includes.push(Included {
                kind: source.kind,
                name: source.name + slash,
                files: self.archive.tally().files - files,
                bytes: self.archive.tally().bytes - bytes,
            });
        }
        match &self.explicit {
            Some(base) if is_missing => {
                Err(BackupError::Missing { base: base.clone(), paths: self.plan.missing.clone() })
            }
            _ if includes.is_empty() => Err(BackupError::Nothing { missing: self.plan.missing.clone() }),
            _ => Ok(includes),
        }
    }

    /// Writes one source, and returns whether it is a directory; nothing when it is not there.
    fn write(&mut self, source: &Source) -> Result<Option<bool>, BackupError> {
        match &source.way {
            Way::Tree { base, path } => self.write_tree(source, base, path),
            Way::Helper { path } => self.write_stream(source, path),
        }
    }

    fn write_tree(&mut self, source: &Source, base: &Path, path: &Path) -> Result<Option<bool>, BackupError> {
        let directory = Directory::base(base).map_err(BackupError::reading(base))?;
        let entries = self.archive.tally().entries;
        let is_directory = directory.below(path).is_ok();
        let excluded = if source.kind == IncludedKind::Path { &self.excluded } else { &Excluded::default() };
        let mut archiver =
            Archiver { archive: &mut self.archive, prefix: &source.target, notes: &mut self.notes };
        walk(&directory, path, excluded, &mut archiver)?;
        Ok((self.archive.tally().entries > entries).then_some(is_directory))
    }

    fn write_stream(&mut self, source: &Source, path: &str) -> Result<Option<bool>, BackupError> {
        let Some(helper) = &self.helper else { return Ok(None) };
        let Some(stream) = helper.read(path, &self.handle, &self.meter)? else { return Ok(None) };
        let excluded = |path: &Path| source.kind == IncludedKind::Path && self.excluded.contains(path);
        let mut relay = Relay {
            archive: &mut self.archive,
            prefix: &source.target,
            excluded: &excluded,
            notes: &mut self.notes,
            what: &source.name,
        };
        relay.run(stream).map(Some)
    }
}
