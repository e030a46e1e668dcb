//! What already runs is deployed without a command that changes anything, and without a word on the host's disk that is
//! not about the job itself.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Kind, Shop};
use crate::support::{base_image, needs};

/// Where a job tells of itself, below the root.
const OF_THE_JOB: [&str; 5] =
    ["state/jobs", "state/lease", "state/journal.json", "state/journal.spare", "history"];

/// Files below a root by their inode, size and time of change, without those of the job.
fn files(root: &Path) -> BTreeMap<PathBuf, (u64, u64, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut rest = vec![root.to_owned()];
    while let Some(path) = rest.pop() {
        let meta = path.symlink_metadata().expect("what is listed is there");
        if OF_THE_JOB.iter().any(|name| path == root.join(name)) {
            continue;
        }
        if meta.is_dir() {
            rest.extend(fs::read_dir(&path).expect("list it").flatten().map(|entry| entry.path()));
        } else {
            found.insert(path, (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()));
        }
    }
    found
}

/// Containers of the project with the times at which they were started and ended.
fn containers(shop: &Shop) -> String {
    let services = ["backend", "migrate"].into_iter();
    let ids = services.flat_map(|service| shop.host.containers(&shop.name(), service));
    let ids: Vec<_> = ids.collect();
    let format = "{{.Id}} {{.State.StartedAt}} {{.State.FinishedAt}} {{.State.Status}} {{.RestartCount}}";
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    shop.host.docker(&[&["inspect", "--format", format], ids.as_slice()].concat())
}

/// Whether a call of docker only looks.
fn looks(call: &[String]) -> bool {
    let is = |word: &str| call.iter().any(|argument| argument == word);
    is("version") || is("info") || is("config") || (is("image") && is("ls"))
}

#[test]
fn what_already_runs_is_deployed_by_looking_alone() {
    needs!("docker");
    let shop = Shop::with(
        "keep_releases: 1, health: {timeout: 20s}, setup: {directories: [data], databases: [data/shop.db]}, shared: [data], backup: {paths: [data]}",
        ", backup: true",
    );
    let more = format!(
        "    volumes: ['./conf:/conf:ro', './data:/data']\n  migrate:\n    image: {}\n    command: ['true']\n    restart: 'no'\n",
        base_image()
    );
    let kind = Kind { more: Box::leak(more.into_boxed_str()), ..Kind::good("1.0.0") };
    shop.project.file("conf/app.conf", "one");
    let first = shop.deploy(kind).exits(0);
    let (release, ran) = (first.result()["release"].clone(), containers(&shop));
    assert!(ran.contains("exited"), "the migration has done its work: {ran}");
    // One that failed: it is more than is kept, and must not be taken away now.
    shop.project.file("conf/app.conf", "two");
    shop.deploy(Kind { mode: "unhealthy", ..kind }).exits(4);
    shop.project.file("conf/app.conf", "one");
    shop.is_settled();
    let (before, ran, calls) = (files(&shop.root()), containers(&shop), shop.shim.calls().len());

    let again = shop.deploy(kind).exits(0);
    assert_eq!((&again.result()["changed"], &again.result()["release"]), (&false.into(), &release));
    let calls = shop.shim.calls().split_off(calls);
    let changing: Vec<_> = calls.iter().filter(|call| !looks(call)).collect();
    assert!(changing.is_empty() && !calls.is_empty(), "{changing:?}");
    assert_eq!((files(&shop.root()), containers(&shop)), (before, ran));
    assert!(again.events_named("pruned").is_empty() && again.events_named("backup_created").is_empty());
}
