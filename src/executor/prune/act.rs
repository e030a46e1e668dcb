//! Looks at what there is on the host, and takes away what was chosen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Choice, Facts, Kept};
use crate::executor::compose::{ComposeExecutor, ExecutorError, images};
use crate::host::atomic;
use crate::host::change::Change;
use crate::host::process::ProcessError;
use crate::model::ReleaseId;

/// What is being removed is called so first: a release that is half gone must not be found.
const GOING: &str = ".going-";
/// What `docker image rm` says of an image that went with its last tag.
const DELETED: &str = "Deleted: ";

/// What was taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Releases that are gone.
    pub releases: Vec<ReleaseId>,
    /// Tags that are gone.
    pub tags: Vec<String>,
    /// How many of `files/` are gone.
    pub files: u64,
    /// How many kept agents are gone.
    pub agents: u64,
    /// Bytes of the files of all that.
    pub bytes: u64,
    /// Sizes of images that went with their last tag; layers that other images share are counted, too.
    pub image_bytes: u64,
    /// What could not be taken away, and why.
    pub failed: Vec<String>,
}

impl ComposeExecutor {
    /// Returns what there is to choose from; `known` says whether a release whose record cannot be read was ours.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn old_things(
        &self,
        project: &str,
        known: impl Fn(&ReleaseId) -> bool,
    ) -> Result<Facts, ExecutorError> {
        let use_of = self.docker.in_use().await?;
        let ids = self.layout.kept_releases().into_iter();
        let mut unfinished = BTreeSet::new();
        let mut releases = Vec::new();
        for id in ids {
            match self.load(&id) {
                Ok(release) => releases.push(Kept { id, ..Kept::of(&release) }),
                Err(_) if known(&id) => {
                    releases.push(Kept { id, created_at: jiff::Timestamp::MIN, needs: None });
                }
                Err(_) if !self.layout.release(&id).join("release.json").exists() => {
                    unfinished.insert(id);
                }
                // Perhaps of a newer version of ours.
                Err(_) => {}
            }
        }
        let home = self.layout.files();
        let homes = [home.canonicalize().unwrap_or_else(|_| home.clone()), home];
        // Files of another root have the same name when they have the same content.
        let is_ours = |source: &String| homes.iter().any(|home| Path::new(source).starts_with(home));
        let files = names(&self.layout.files()).into_iter().filter(|name| is_digest(name));
        let agents: BTreeSet<String> = names(&self.layout.agents()).into_iter().collect();
        Ok(Facts {
            releases,
            unfinished,
            pins: self.pins(project, &use_of.roots).await?,
            files: files.collect(),
            mounted: use_of.mounted.into_iter().filter(is_ours).collect(),
            used_images: use_of.images,
            used_agents: agents
                .iter()
                .filter(|name| runs_from(&self.layout.agents().join(name)))
                .cloned()
                .collect(),
            agents,
            ..Facts::default()
        })
    }

    /// Returns the tags of ours for a project, with the ids of their images; none while containers of another root have
    /// a project of this name, whose tags are called the same.
    async fn pins(
        &self,
        project: &str,
        roots: &[(String, PathBuf)],
    ) -> Result<BTreeMap<String, String>, ExecutorError> {
        let prefix = images::pin_prefix(project);
        let is_other =
            |(of, root): &(String, PathBuf)| root != self.layout.root() && images::pin_prefix(of) == prefix;
        if roots.iter().any(is_other) {
            return Ok(BTreeMap::new());
        }
        let listed = self.docker.tags(&prefix).await;
        listed.map_err(|source| ExecutorError::Tool { what: "list images", source })
    }

    /// Removes tags of ours that no release names any more.
    pub async fn untag_strays(&self, choice: &Choice) -> Pruned {
        let mut pruned = Pruned::default();
        self.untag(&choice.pins, &mut pruned).await;
        pruned
    }

    /// Takes away what was chosen, as far as that is possible: what needs a release goes before its record.
    pub async fn prune(&self, choice: &Choice) -> Pruned {
        let mut pruned = self.untag_strays(choice).await;
        for id in &choice.unfinished {
            if pruned.take(&self.layout.release(id)) {
                pruned.releases.push(id.clone());
            }
        }
        for (id, tags) in &choice.releases {
            if self.untag(tags, &mut pruned).await && pruned.take(&self.layout.release(id)) {
                pruned.releases.push(id.clone());
            }
        }
        for digest in &choice.files {
            pruned.files += u64::from(pruned.take(&self.layout.files().join(digest)));
        }
        for agent in &choice.agents {
            pruned.agents += u64::from(pruned.take(&self.layout.agents().join(agent)));
        }
        for directory in [self.layout.releases(), self.layout.files(), self.layout.agents()] {
            sweep(&directory);
        }
        pruned
    }

    /// Removes tags that still name the images that they named; returns whether none of them is left.
    async fn untag(&self, tags: &BTreeMap<String, String>, pruned: &mut Pruned) -> bool {
        let mut all_gone = true;
        for (tag, id) in tags {
            let Ok(found) = self.docker.image(tag).await else { return false };
            let Some(image) = found.filter(|image| image.id == *id) else { continue };
            match self.quietly(&Change::Untag(tag)).await {
                Ok(finished) => {
                    let is_gone = finished.stdout.lines().any(|line| line.strip_prefix(DELETED) == Some(id));
                    pruned.image_bytes += if is_gone { image.size_bytes } else { 0 };
                    pruned.tags.push(tag.clone());
                }
                Err(error) => {
                    all_gone = false;
                    pruned.failed.push(format!("image `{tag}`: {}", words_of(&error)));
                }
            }
        }
        all_gone
    }
}

impl Pruned {
    /// Returns whether nothing was taken away.
    pub fn is_empty(&self) -> bool {
        let count = self.files + self.agents;
        self.releases.is_empty() && self.tags.is_empty() && count == 0
    }

    /// Removes a directory; returns whether it is gone.
    fn take(&mut self, directory: &Path) -> bool {
        let bytes = size_of(directory);
        match remove(directory) {
            Ok(()) => {
                self.bytes += bytes;
                true
            }
            Err(error) => {
                self.failed.push(format!("{}: {error}", directory.display()));
                false
            }
        }
    }
}

fn words_of(error: &ProcessError) -> String {
    match error {
        ProcessError::Failed { finished, .. } => crate::text::harmless(&finished.last_words()),
        other => other.to_string(),
    }
}

fn remove(directory: &Path) -> io::Result<()> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let going = directory.with_file_name(format!("{GOING}{name}"));
    atomic::rename(directory, &going)?;
    atomic::remove_tree(&going)
}

/// Removes what was being removed when a process died; what cannot be removed is tried again the next time.
fn sweep(directory: &Path) {
    for name in names(directory).into_iter().filter(|name| name.starts_with(GOING)) {
        atomic::remove_tree(&directory.join(name)).ok();
    }
}

/// Names in a directory; one that is not there or cannot be read has none.
fn names(directory: &Path) -> Vec<String> {
    let listing = fs::read_dir(directory).into_iter().flatten().flatten();
    listing.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Bytes that a tree takes on disk (`st_blocks` counts 512 bytes, stat(2)).
fn size_of(path: &Path) -> u64 {
    let Ok(meta) = path.symlink_metadata() else { return 0 };
    let below = if meta.is_dir() { names(path) } else { Vec::new() };
    meta.blocks() * 512 + below.iter().map(|name| size_of(&path.join(name))).sum::<u64>()
}

/// Returns whether a process runs a program of this directory, as far as this user may see.
fn runs_from(directory: &Path) -> bool {
    let Ok(directory) = directory.canonicalize() else { return false };
    let pids = names(Path::new("/proc")).into_iter().filter(|name| name.parse::<u32>().is_ok());
    let mut programs =
        pids.filter_map(|pid| fs::read_link(PathBuf::from("/proc").join(pid).join("exe")).ok());
    programs.any(|program| program.starts_with(&directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_goes_as_a_whole_with_what_a_dead_process_left() {
        let home = tempfile::tempdir().unwrap();
        for path in ["one/app", ".going-two/app", "three"] {
            fs::create_dir_all(home.path().join(path)).unwrap();
        }
        fs::write(home.path().join("one/app/file"), [7; 8192]).unwrap();
        let mut pruned = Pruned::default();
        assert!(pruned.take(&home.path().join("one")) && pruned.bytes >= 8192);
        assert!(!pruned.take(&home.path().join("missing")) && pruned.failed.len() == 1);
        sweep(home.path());
        assert_eq!(names(home.path()), ["three"]);
    }

    #[test]
    fn the_program_of_a_process_is_seen() {
        let this = std::env::current_exe().unwrap();
        assert!(runs_from(this.parent().unwrap()));
        assert!(!runs_from(tempfile::tempdir().unwrap().path()));
    }
}
