//! Roots that are not as we left them: each thing that lies where ours should is named, nothing is touched, and with it gone
//! everything goes on.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;

use super::death::{is_current, orphaned};
use super::disk::SmallDisk;
use super::{Kind, Shop};
use crate::support::{User, needs};

/// What can be put in the place of a file.
type Spoil = fn(&Path);

fn directory(path: &Path) {
    fs::create_dir_all(path.join("in/it")).expect("make a directory");
}

fn file(path: &Path) {
    fs::write(path, "").expect("write a file");
}

fn link(path: &Path) {
    symlink("/srv/elsewhere/releases/deploy-1", path).expect("make a link");
}

fn torn(path: &Path) {
    fs::write(path, "{\"checksum\":\"").expect("write a file");
}

/// Takes no room: the file has a hole.
fn large(path: &Path) {
    File::create(path).and_then(|file| file.set_len(100 << 20)).expect("make a large file");
}

fn remove(path: &Path) {
    if path.symlink_metadata().expect("it is there").is_dir() {
        fs::remove_dir_all(path).expect("remove the directory");
    } else {
        fs::remove_file(path).expect("remove the file");
    }
}

/// Runs these verbs with something else in the place of `path`: each is refused and names it, and what runs goes on.
#[track_caller]
fn refused(shop: &Shop, path: &Path, spoil: Spoil, verbs: &[&[&str]], said: &[&str]) {
    let containers = shop.host.containers(&shop.name(), "backend");
    spoil(path);
    shop.write(Kind::good("1.1.0"));
    for verb in verbs {
        let words = [verb, &["staging", "--log-format", "human"][..]].concat();
        let ended = shop.run(&words).exits(3);
        let told = format!("{}{}", ended.stdout, ended.stderr);
        for said in said.iter().chain(&[path.to_str().expect("a path"), "nothing was touched"]) {
            assert!(told.contains(said), "{verb:?} does not say `{said}`: {told}");
        }
        assert!(!told.contains("panicked"), "{told}");
    }
    assert_eq!(shop.host.containers(&shop.name(), "backend"), containers);
    assert_eq!(shop.answers().as_deref(), Some("1.0.0"));
    assert!(path.symlink_metadata().is_ok(), "it was taken away");
    remove(path);
}

#[test]
fn a_current_that_is_no_link_to_a_release_of_ours_is_refused_by_every_verb() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let current = shop.root().join("current");
    let release = fs::read_link(&current).expect("the link");
    let verbs: [&[&str]; 6] =
        [&["deploy"], &["rollback"], &["restart"], &["validate"], &["status"], &["history"]];
    let kinds: [(Spoil, &str); 3] = [
        (directory, "is a directory, not the link to the release that runs"),
        (file, "is a file, not the link"),
        (link, "is a link to /srv/elsewhere/releases/deploy-1, not the link"),
    ];
    for (spoil, said) in kinds {
        fs::remove_file(&current).expect("take the link away");
        refused(&shop, &current, spoil, &verbs, &[said, "ln -sfn releases/<release>"]);
        symlink(&release, &current).expect("put the link back");
    }
    // As somebody would write it who mends it by hand.
    fs::remove_file(&current).expect("take the link away");
    symlink(shop.root().join(&release), &current).expect("put the link back");
    is_current(&shop, "1.0.0");
    shop.deploy(Kind::good("1.2.0")).exits(0);
    is_current(&shop, "1.2.0");
}

#[test]
fn a_lease_that_is_no_file_is_refused() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let lease = shop.root().join("state/lease");
    for (spoil, said) in [(directory as Spoil, "is a directory"), (link, "is a link to")] {
        fs::remove_file(&lease).expect("take the lease away");
        refused(&shop, &lease, spoil, &[&["deploy"], &["down"]], &[said, "not the file of the lease"]);
        file(&lease);
    }
    shop.deploy(Kind::good("1.2.0")).exits(0);
    is_current(&shop, "1.2.0");
}

#[test]
fn a_journal_that_is_none_of_ours_is_refused_whatever_it_is() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let journal = shop.root().join("state/journal.json");
    for spoil in [directory as Spoil, link, file, torn, large] {
        refused(
            &shop,
            &journal,
            spoil,
            &[&["deploy"], &["recover"]],
            &["the journal", "is damaged", "docker ps"],
        );
    }
    shop.deploy(Kind::good("1.2.0")).exits(0);
    is_current(&shop, "1.2.0");
}

#[test]
fn a_log_with_huge_and_torn_lines_does_not_keep_a_deployment_from_its_end() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let orphan = orphaned(&shop, Kind::good("1.1.0"));
    let log = shop.root().join("state/jobs").join(&orphan).join("events.jsonl");
    let mut file = OpenOptions::new().append(true).open(log).expect("open the log");
    let huge = [b'x'; 1 << 20];
    for _ in 0..30 {
        file.write_all(&huge).expect("write a huge line");
    }
    file.write_all(b"\n\xff\xfe garbage\n{\"schema\":1,\"orig").expect("write a torn line");
    drop(file);
    let ended = shop.run(&["recover", "staging", "--output", "json"]).exits(0);
    assert_eq!(ended.json()["recovered"]["outcome"], "rolled_back");
    is_current(&shop, "1.0.0");
}

#[test]
fn a_record_of_a_release_that_is_damaged_is_named_and_the_next_deployment_mends_it() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let record = fs::canonicalize(shop.root().join("current")).expect("a release").join("release.json");
    let good = fs::read(&record).expect("its record");
    for damage in [&b"{\"id\":"[..], b"", b"\xff\xfe", b"[]"] {
        fs::write(&record, damage).expect("damage it");
        let ended = shop.run(&["restart", "staging", "--log-format", "human"]).exits(3);
        ended.says(&["release.json"]);
        assert_eq!(shop.answers().as_deref(), Some("1.0.0"));
    }
    fs::write(&record, good).expect("mend it");
    shop.run(&["restart", "staging"]).exits(0);
    fs::write(&record, "{").expect("damage it");
    shop.deploy(Kind::good("1.1.0")).exits(0);
    is_current(&shop, "1.1.0");
}

#[test]
fn a_root_of_another_user_is_refused_by_every_verb_that_changes_and_both_are_named() {
    needs!("docker", "root");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let user = User::create(&[]);
    chown(shop.root(), Some(user.uid()), None).expect("give the root away");
    shop.write(Kind::good("1.1.0"));
    for verb in ["deploy", "rollback", "down", "restart", "recover"] {
        let ended = shop.run(&[verb, "staging", "--log-format", "human"]).exits(3);
        let told = format!("{}{}", ended.stdout, ended.stderr);
        let owner = format!("`{}`, uid {}", user.name(), user.uid());
        for said in [shop.root().to_str().expect("a path"), &owner, "nothing was touched", "root:"] {
            assert!(told.contains(said), "{verb} does not say `{said}`: {told}");
        }
    }
    assert_eq!(shop.answers().as_deref(), Some("1.0.0"));
    chown(shop.root(), Some(0), None).expect("take it back");
    shop.deploy(Kind::good("1.1.0")).exits(0);
}

#[test]
fn state_that_cannot_be_written_is_refused_and_the_running_release_is_not_touched() {
    needs!("docker", "root");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let containers = shop.host.containers(&shop.name(), "backend");
    for (options, said) in
        [("ro,mode=700", "Read-only file system"), ("size=64k,mode=700", "No space left on device")]
    {
        let disk = SmallDisk::at(shop.root().join("state"), options);
        let ended = shop.deploy(Kind::good("1.1.0")).exits(3);
        ended.says(&[said, "refused before anything was touched"]);
        drop(disk);
        assert_eq!(shop.host.containers(&shop.name(), "backend"), containers);
        is_current(&shop, "1.0.0");
    }
    shop.deploy(Kind::good("1.1.0")).exits(0);
}

#[test]
fn a_root_on_which_no_program_may_run_is_deployed_to_all_the_same() {
    needs!("docker", "root");
    let shop = Shop::new();
    let _disk = SmallDisk::at(shop.root(), "noexec,mode=755");
    let ended = shop.deploy(Kind::good("1.0.0")).exits(0);
    let notice = ended.events.iter().find(|event| event["code"] == "host.boot-recovery");
    let notice = notice.unwrap_or_else(|| panic!("a warning: {}", ended.told()));
    assert!(notice["message"].to_string().contains("noexec"), "{notice}");
    is_current(&shop, "1.0.0");
    let ended = shop.deploy(Kind::unhealthy("1.1.0")).exits(4);
    assert_eq!(ended.result()["outcome"], "rolled_back");
    is_current(&shop, "1.0.0");
    shop.run(&["down", "staging"]).exits(0);
}
