//! Disks that are full or cannot be written: nothing is changed, and the message says which disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Kind, Shop, id_of};
use crate::support::{needs, output};

/// A small file system of its own; gone with this value.
pub(super) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(super) fn at(path: PathBuf, options: &str) -> Self {
        fs::create_dir_all(&path).expect("make a directory to mount on");
        output(Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(&path));
        Self(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
    }
}

/// Bytes that do not compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..bytes).map(next).collect()
}

fn files_below(path: &Path) -> Vec<PathBuf> {
    let listing =
        fs::read_dir(path).map(|listing| listing.flatten().map(|entry| entry.path()).collect::<Vec<_>>());
    let found = listing.unwrap_or_default();
    found.iter().flat_map(|path| if path.is_dir() { files_below(path) } else { vec![path.clone()] }).collect()
}

#[test]
fn a_disk_that_is_full_during_the_upload_is_refused_and_nothing_is_left_there() {
    needs!("docker", "root");
    let shop = Shop::new();
    shop.project.file("assets.bin", noise(3 << 20));
    let cache = shop.host.home().join(".cache");
    let disk = SmallDisk::at(cache.clone(), "size=1m,mode=700");
    let ended = shop.deploy(Kind::good("1.0.0")).exits(3);
    ended.says(&["No space left on device", "nothing was changed on the host", "free space"]);
    assert_eq!(ended.result()["errors"][0]["code"], "host.disk");
    assert_eq!(files_below(&cache), Vec::<PathBuf>::new());
    assert!(!shop.root().join("state").exists(), "the root was touched");
    drop(disk);
    shop.deploy(Kind::good("1.0.0")).exits(0);
}

#[test]
fn a_root_without_room_for_the_agent_is_refused_and_the_same_id_can_be_used_again() {
    needs!("docker", "root");
    let shop = Shop::new();
    let disk = SmallDisk::at(shop.root(), "size=1m,mode=755");
    shop.write(Kind::good("1.0.0"));
    let words =
        ["deploy", "staging", "--version", "1.0.0", "--deployment-id", "mine", "--log-format", "human"];
    let ended = shop.run(&words).exits(3);
    ended.says(&["No space left on device", "state/bin", "nothing was changed"]);
    assert_eq!(ended.result()["errors"][0]["code"], "host.disk");
    assert_eq!(files_below(&shop.root()), Vec::<PathBuf>::new());
    assert!(shop.host.containers(&shop.name(), "backend").is_empty());
    drop(disk);
    shop.run(&words).exits(0);
}

#[test]
fn a_backup_that_cannot_be_written_stops_the_deployment_before_anything_is_changed() {
    needs!("docker", "root");
    let shop = Shop::with_backup("");
    shop.deploy(Kind::good("1.0.0")).exits(0);
    fs::write(shop.root().join("shared/data/noise"), noise(3 << 20)).expect("write data");
    let containers = shop.host.containers(&shop.name(), "backend");
    let releases = || fs::read_dir(shop.root().join("releases")).map_or(0, Iterator::count);
    for (options, said) in
        [("size=1m,mode=700", "no room for the backup"), ("ro,mode=700", "could not write the backup")]
    {
        let disk = SmallDisk::at(shop.root().join("backups"), options);
        let ended = shop.deploy(Kind::good("1.1.0")).exits(9);
        ended.says(&[said, "nothing was deployed", "1.0.0 still runs"]);
        let result = ended.result();
        assert_eq!(
            (&result["outcome"], &result["changed"], &result["stage"]),
            (&"aborted".into(), &false.into(), &"failed".into())
        );
        assert_eq!(result["errors"].as_array().map(Vec::len), Some(1), "{result}");
        assert_eq!(files_below(&shop.root().join("backups")), Vec::<PathBuf>::new());
        drop(disk);
        assert_eq!((shop.host.containers(&shop.name(), "backend"), releases()), (containers.clone(), 1));
        assert_eq!(shop.answers().as_deref(), Some("1.0.0"));
        shop.is_settled();
    }
    assert_eq!(shop.history().pop().expect("a record")["outcome"], "aborted");
}

#[test]
fn a_disk_that_is_full_during_the_switch_has_room_to_go_back_and_the_reserve_is_made_again() {
    needs!("docker", "root");
    let shop = Shop::new();
    let disk = SmallDisk::at(shop.root(), "size=160m,mode=755");
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let ballast = shop.root().join("state/ballast");
    assert_eq!(ballast.metadata().map(|meta| meta.len()).ok(), Some(16 << 20));

    let run = shop.begin_held(Kind::unhealthy("1.1.0"), &["up", "-d"]);
    let filler = shop.root().join("shared/filler");
    fill(&filler);
    shop.shim.release();
    let ended = run.wait().exits(4);
    assert!(!ballast.exists(), "the reserve was not given up");
    let result = shop.host_result(&id_of(&ended.events));
    assert_eq!((&result["outcome"], &result["exit_code"]), (&"rolled_back".into(), &4.into()));
    assert_eq!(shop.history().pop().expect("a record")["outcome"], "rolled_back");
    shop.is_settled();
    assert_eq!(shop.answers().as_deref(), Some("1.0.0"));

    // Without any room a deploy changes nothing, and says so.
    fill(&shop.root().join("shared/more"));
    let refused = shop.deploy(Kind::good("1.2.0")).exits(3);
    refused.says(&["free space"]);
    assert_eq!(shop.answers().as_deref(), Some("1.0.0"));
    fs::remove_file(&filler).expect("make room");
    fs::remove_file(shop.root().join("shared/more")).expect("make room");
    shop.deploy(Kind::good("1.2.0")).exits(0);
    assert!(ballast.exists() && shop.answers().as_deref() == Some("1.2.0"));
    shop.run(&["down", "staging"]).exits(0);
    drop(disk);
}

/// Writes until the disk is full.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).expect("make a file");
    for size in [1 << 20, 4096, 1] {
        let block = vec![1; size];
        while file.write_all(&block).is_ok() {}
    }
}
