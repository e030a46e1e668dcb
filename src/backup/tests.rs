//! Whole backups, listed and read by the programs that people have: `tar`, `zstd`, `gzip`; volumes on a real engine.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use super::plan::Reading;
use super::take::take_by;
use super::*;
use crate::host::docker::Docker;

/// A project with a place for backups.
struct Project {
    place: TempDir,
    paths: Vec<String>,
    volumes: Vec<VolumeSource>,
    explicit: bool,
    format: ArchiveFormat,
    app: AppName,
    environment: EnvironmentName,
    deployment_id: DeploymentId,
    name: String,
}

impl Project {
    fn new(paths: &[&str]) -> Self {
        Self {
            place: tempfile::tempdir().unwrap(),
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            volumes: Vec::new(),
            explicit: false,
            format: ArchiveFormat::Gzip,
            app: "shop".parse().unwrap(),
            environment: "production".parse().unwrap(),
            deployment_id: DeploymentId::generate(),
            name: unique("project"),
        }
    }

    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.place.path().join(path)
    }

    fn write(&self, path: impl AsRef<Path>, content: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn backups(&self) -> PathBuf {
        self.path("backups")
    }

    fn request<'a>(&'a self, directory: &'a Path) -> Request<'a> {
        Request {
            app: &self.app,
            environment: &self.environment,
            deployment_id: &self.deployment_id,
            project: &self.name,
            base: self.place.path(),
            paths: &self.paths,
            explicit: self.explicit,
            volumes: &self.volumes,
            directory,
            format: self.format,
            retention_days: 7,
        }
    }

    async fn take(&self) -> Result<Backup, BackupError> {
        take(&self.request(&self.backups()), None, &|_| {}).await
    }

    async fn take_by_daemon(&self, docker: &Docker) -> Result<Backup, BackupError> {
        take_by(&self.request(&self.backups()), Some(docker), &|_| {}, Reading::Daemon).await
    }

    fn left_behind(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.backups()) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn unique(word: &str) -> String {
    format!("ffe-ut-{word}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8])
}

fn run(program: &str, args: &[&OsStr]) -> Output {
    Command::new(program).args(args).output().unwrap()
}

/// Returns what `tar` lists, quoted as C strings.
fn listed(archive: &Path) -> Vec<String> {
    let ended = run("tar", &["--quoting-style=escape".as_ref(), "-tf".as_ref(), archive.as_ref()]);
    assert!(ended.status.success(), "{ended:?}");
    let mut names: Vec<String> =
        String::from_utf8(ended.stdout).unwrap().lines().map(str::to_owned).collect();
    names.sort();
    names
}

fn extracted(archive: &Path) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let ended = run("tar", &["-xpf".as_ref(), archive.as_ref(), "-C".as_ref(), place.path().as_ref()]);
    assert!(ended.status.success(), "{ended:?}");
    place
}

fn is_there(program: &str, wanted: &str) -> bool {
    if crate::host::process::is_installed(program) {
        return true;
    }
    skipped(wanted);
    false
}

fn skipped(what: &str) {
    let required = std::env::var("FFE_TEST_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|word| word == what), "{what} is required and not there");
    eprintln!("SKIPPED: no {what}");
}

async fn docker() -> Option<Docker> {
    match Docker::connect().await {
        Ok(docker) => Some(docker),
        Err(error) => {
            skipped("docker");
            eprintln!("{error}");
            None
        }
    }
}

#[tokio::test]
async fn the_documents_project_is_saved_and_tar_lists_it_without_a_prefix() {
    let project = Project::new(&["data", "config/config.local.yaml", "config.local.yaml", ".env.production"]);
    project.write("data/decisions/1.json", "{}");
    project.write("config/config.local.yaml", "a: 1");
    project.write("config/config.yaml", "not saved");
    project.write(".env.production", "KEY=secret");
    let backup = project.take().await.unwrap();
    assert_eq!(
        listed(&backup.path),
        [".env.production", "config/config.local.yaml", "data/", "data/decisions/", "data/decisions/1.json"]
    );
    assert_eq!(backup.includes, [".env.production", "config/config.local.yaml", "data/"]);
    assert_eq!(backup.missing, ["config.local.yaml"]);
    let name = backup.path.file_name().unwrap().to_str().unwrap();
    let digits: String = name.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(digits, "ffe_backup_00000000_000000.tar.gz");
    let sum = run("sha256sum", &[backup.path.as_ref()]);
    assert!(String::from_utf8(sum.stdout).unwrap().starts_with(&backup.sha256));
}

#[tokio::test]
async fn zstd_and_gzip_themselves_find_the_archive_sound() {
    for (format, program) in [(ArchiveFormat::Zstd, "zstd"), (ArchiveFormat::Gzip, "gzip")] {
        if !is_there(program, program) {
            continue;
        }
        let mut project = Project::new(&["data"]);
        project.format = format;
        project.write("data/big", &"0123456789abcdef".repeat(1 << 16));
        let backup = project.take().await.unwrap();
        let ended = run(program, &["-t".as_ref(), backup.path.as_ref()]);
        assert!(ended.status.success(), "{ended:?}");
        assert_eq!(backup.size_bytes, backup.path.metadata().unwrap().len());
        assert_eq!(listed(&backup.path), ["data/", "data/big"]);
    }
}

#[tokio::test]
async fn archive_manifest_and_directory_are_for_their_owner_only() {
    let project = Project::new(&["data"]);
    project.write("data/x", "x");
    let backup = project.take().await.unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&backup.path), 0o600);
    assert_eq!(mode(&manifest::path_of(&backup.path)), 0o600);
    assert_eq!(mode(&project.backups()), 0o700);
}

#[tokio::test]
async fn an_existing_directory_keeps_its_mode_and_is_not_in_its_own_archives() {
    let project = Project::new(&["."]);
    project.write("backups/old.tar.gz", "x");
    project.write(".ffe-deploy/state", "x");
    project.write("app/backups/kept", "x");
    std::fs::set_permissions(project.backups(), PermissionsExt::from_mode(0o755)).unwrap();
    let backup = project.take().await.unwrap();
    assert_eq!(listed(&backup.path), ["app/", "app/backups/", "app/backups/kept"]);
    assert_eq!(project.backups().metadata().unwrap().permissions().mode() & 0o7777, 0o755);
}

#[tokio::test]
async fn every_name_length_mode_owner_and_link_comes_back() {
    let project = Project::new(&["data"]);
    let long = ["d".repeat(200), "e".repeat(200), "f".repeat(90)].join("/");
    let non_utf8 = PathBuf::from("data").join(OsStr::from_bytes(b"\xff\xfe"));
    let names = ["data/new\nline", "data/ü 🚀", "data/-rf", "data/a'\"$x\\", &format!("data/{long}/file")];
    for name in names {
        project.write(name, name);
    }
    project.write(&non_utf8, "bytes");
    for size in [0, 1, 511, 512, 513, 128 * 1024 + 1] {
        project.write(format!("data/size-{size}"), &"z".repeat(size));
    }
    for length in [1, 100, 101, 300] {
        symlink("t".repeat(length), project.path(format!("data/link-{length}"))).unwrap();
    }
    symlink("..//./untidy/", project.path("data/untidy")).unwrap();
    std::fs::hard_link(project.path("data/size-513"), project.path("data/hard")).unwrap();
    std::fs::set_permissions(project.path("data/size-1"), PermissionsExt::from_mode(0o4751)).unwrap();
    let backup = project.take().await.unwrap();
    let back = extracted(&backup.path);
    let ended = run(
        "diff",
        &[
            "-r".as_ref(),
            "--no-dereference".as_ref(),
            project.path("data").as_ref(),
            back.path().join("data").as_ref(),
        ],
    );
    assert!(ended.status.success(), "{ended:?}");
    let mode = back.path().join("data/size-1").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o4751);
}

#[tokio::test]
async fn a_symlink_out_of_the_base_is_saved_as_a_symlink_and_never_followed() {
    let project = Project::new(&["data", "linked/inside"]);
    project.write("data/x", "x");
    symlink("/etc", project.path("data/etc")).unwrap();
    symlink("/etc/hostname", project.path("data/name")).unwrap();
    symlink("data", project.path("linked")).unwrap();
    let backup = project.take().await.unwrap();
    assert_eq!(listed(&backup.path), ["data/", "data/etc", "data/name", "data/x"]);
    assert_eq!(backup.missing, ["linked/inside"]);
}

#[tokio::test]
async fn a_path_that_is_a_symlink_itself_is_warned_about() {
    let project = Project::new(&["data"]);
    symlink("/mnt/elsewhere", project.path("data")).unwrap();
    let backup = project.take().await.unwrap();
    assert_eq!(listed(&backup.path), ["data"]);
    assert_eq!(backup.warnings[0].rule, "backup.symlink");
    assert_eq!(backup.includes, ["data"]);
}

#[tokio::test]
async fn sockets_and_fifos_are_skipped_and_named() {
    let project = Project::new(&["data"]);
    project.write("data/x", "x");
    let _socket = std::os::unix::net::UnixListener::bind(project.path("data/socket")).unwrap();
    let made = run("mkfifo", &[project.path("data/pipe").as_ref()]);
    assert!(made.status.success());
    let backup = project.take().await.unwrap();
    assert_eq!(listed(&backup.path), ["data/", "data/x"]);
    let warning = &backup.warnings[0];
    assert_eq!(warning.rule, "backup.skipped");
    assert!(warning.message.contains("`data/pipe`") && warning.message.contains("`data/socket`"));
}

#[tokio::test]
async fn a_missing_path_is_an_error_only_when_somebody_wrote_it() {
    let mut project = Project::new(&["data", "absent", "gone"]);
    project.write("data/x", "x");
    assert_eq!(project.take().await.unwrap().missing, ["absent", "gone"]);
    project.explicit = true;
    let error = project.take().await.unwrap_err();
    assert!(error.to_string().starts_with("`absent`, `gone` to be backed up do not exist"), "{error}");
}

#[tokio::test]
async fn nothing_to_save_is_told_apart_and_makes_no_directory() {
    let project = Project::new(&["data"]);
    let error = project.take().await.unwrap_err();
    assert!(error.is_nothing());
    assert_eq!(error.to_string(), "there is nothing to back up yet: `data` does not exist");
    assert!(!project.backups().exists());
}

#[tokio::test]
async fn a_taken_name_means_the_next_second() {
    let project = Project::new(&["data"]);
    project.write("data/x", "x");
    let mut names = Vec::new();
    for _ in 0..4 {
        names.push(project.take().await.unwrap().path);
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    let listed = list(&project.backups(), &project.app, &project.environment).unwrap();
    assert!(listed.len() == count && listed.iter().all(|archive| archive.manifest_ok), "{listed:?}");
}

#[tokio::test]
async fn the_list_shows_its_own_archives_and_hides_none_that_nobody_can_attribute() {
    let project = Project::new(&["data"]);
    project.write("data/x", "x");
    let kept = project.take().await.unwrap().path;
    let mut other = Project::new(&["data"]);
    other.environment = "staging".parse().unwrap();
    let request = Request { base: project.place.path(), ..other.request(Path::new("")) };
    let directory = project.backups();
    take(&Request { directory: &directory, ..request }, None, &|_| {}).await.unwrap();
    project.write("backups/ffe_backup_20260101_000000.tar.gz", "by hand");
    project.write("backups/ffe_backup_20260101_000001.tar.gz", "damaged");
    project.write("backups/ffe_backup_20260101_000001.tar.gz.json", "{");
    project.write("backups/notes.txt", "x");
    let listed = list(&directory, &project.app, &project.environment).unwrap();
    let shown: Vec<_> = listed.iter().map(|archive| (archive.path.clone(), archive.manifest_ok)).collect();
    assert_eq!(
        shown,
        [
            (kept, true),
            (directory.join("ffe_backup_20260101_000001.tar.gz"), false),
            (directory.join("ffe_backup_20260101_000000.tar.gz"), false),
        ]
    );
    assert_eq!(listed[0].includes, ["data/"]);
    assert!(listed[1].note.as_ref().unwrap().contains("damaged"));
    assert_eq!(listed[2].created_at.unwrap().to_string(), "2026-01-01T00:00:00Z");
}

#[tokio::test]
async fn a_full_disk_is_an_error_before_or_midway_and_leaves_nothing() {
    let project = Project::new(&["data"]);
    project.write("data/zeros", &"0".repeat(1 << 20));
    let noise: Vec<u8> = (0..6 << 20)
        .scan(1u32, |state, _| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Some((*state >> 24) as u8)
        })
        .collect();
    let small = project.path("small");
    std::fs::create_dir(&small).unwrap();
    let mounted =
        run("mount", &["-t", "tmpfs", "-o", "size=4m", "ffe-ut", small.to_str().unwrap()].map(AsRef::as_ref));
    if !mounted.status.success() {
        skipped("mount");
        return;
    }
    let backups = small.join("backups");
    let request = project.request(&backups);
    std::fs::write(project.path("data/noise"), &noise).unwrap();
    let before = take(&request, None, &|_| {}).await;
    // A sparse file says less than a volume that the daemon reads would: here the estimate is avoided by force.
    std::fs::write(small.join("filler"), vec![1; 1 << 20]).unwrap();
    let partial = store::Partial::create(&backups).unwrap();
    let meter = std::sync::Arc::new(meter::Meter::default());
    let mut archive =
        archive::Archive::start(partial.file().unwrap(), partial.path(), request.format, meter).unwrap();
    let meta = archive::Meta { mode: 0o644, uid: 0, gid: 0, mtime: 0 };
    let midway = archive.file(
        Path::new("noise"),
        &meta,
        noise.len() as u64,
        &mut &noise[..],
        BackupError::reading(Path::new("noise")),
    );
    drop((archive, partial));
    let left = std::fs::read_dir(&backups).unwrap().count();
    let unmounted = run("umount", &[small.as_ref()]);
    assert!(unmounted.status.success());
    assert!(matches!(before, Err(BackupError::NoRoom { need_mib: 7, .. })), "{before:?}");
    assert!(matches!(midway, Err(BackupError::Full { .. })), "{midway:?}");
    assert_eq!(left, 0);
}

#[tokio::test]
async fn what_a_killed_process_left_is_removed_and_what_is_being_written_is_not() {
    let project = Project::new(&["data"]);
    project.write("data/x", "x");
    project.write("backups/.ffe_backup_killed.partial", "half");
    let busy = store::Partial::create(&project.backups()).unwrap();
    let backup = project.take().await.unwrap();
    assert!(busy.path().exists());
    drop(busy);
    let name = backup.path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut left = project.left_behind();
    left.sort();
    assert_eq!(left, [name.clone(), format!("{name}.json")]);
}

#[tokio::test]
async fn a_future_that_is_dropped_leaves_nothing() {
    let project = Project::new(&["data"]);
    project.write("data/big", &"x".repeat(8 << 20));
    let (backups, seen) = (project.backups(), std::sync::atomic::AtomicBool::new(false));
    let request = project.request(&backups);
    let progress = |_| seen.store(true, std::sync::atomic::Ordering::Relaxed);
    {
        let taking = take(&request, None, &progress);
        tokio::pin!(taking);
        while !seen.load(std::sync::atomic::Ordering::Relaxed) {
            tokio::select! { biased; _ = &mut taking => break, () = tokio::task::yield_now() => {} }
        }
    }
    assert!(project.left_behind().iter().all(|name| !name.ends_with(".partial")));
}

/// Walks a tree from which a file vanishes and in which one shrinks, between being seen and being read.
#[test]
fn files_that_vanish_or_shrink_while_they_are_read_are_named_and_the_archive_stays_whole() {
    use super::walk::Visitor;
    let project = Project::new(&[]);
    project.write("shrinks", "x");
    project.write("vanishes", "x");
    project.write("stays", "stays");
    let base = tree::Directory::base(project.place.path()).unwrap();
    let stats = ["vanishes", "stays"].map(|name| (name, base.stat_of(name.as_ref()).unwrap()));
    std::fs::remove_file(project.path("vanishes")).unwrap();
    let path = project.path("a.tar.gz");
    let meter = std::sync::Arc::new(meter::Meter::default());
    let file = std::fs::File::create(&path).unwrap();
    let mut archive = archive::Archive::start(file, &path, ArchiveFormat::Gzip, meter.clone()).unwrap();
    let meta = archive::Meta::from(&stats[1].1);
    let short =
        archive.file("shrinks".as_ref(), &meta, 700, &mut &b"x"[..], BackupError::reading(&path)).unwrap();
    assert_eq!(short, archive::Length::Short);
    let mut notes = walk::Notes::default();
    let mut archiver = walk::Archiver { archive: &mut archive, prefix: Path::new(""), notes: &mut notes };
    for (name, stat) in &stats {
        archiver.leaf(Path::new(name), &base, name.as_ref(), stat).unwrap();
    }
    let tally = archive.finish().unwrap();
    reread::reread(&path, ArchiveFormat::Gzip, &tally, &meter).unwrap();
    assert_eq!(listed(&path), ["shrinks", "stays"]);
    assert!(notes.findings()[0].message.contains("`vanishes`"));
}

#[test]
fn an_archive_of_which_any_byte_changed_on_disk_is_found_out() {
    for format in [ArchiveFormat::Zstd, ArchiveFormat::Gzip] {
        let project = Project::new(&[]);
        let path = project.path("archive");
        let meter = std::sync::Arc::new(meter::Meter::default());
        let file = std::fs::File::create(&path).unwrap();
        let mut archive = archive::Archive::start(file, &path, format, meter.clone()).unwrap();
        let meta = archive::Meta { mode: 0o600, uid: 1, gid: 2, mtime: 3 };
        for name in ["one", "two"] {
            let content = name.repeat(300);
            archive
                .file(name.as_ref(), &meta, 900, &mut content.as_bytes(), BackupError::reading(&path))
                .unwrap();
        }
        let tally = archive.finish().unwrap();
        let whole = std::fs::read(&path).unwrap();
        reread::reread(&path, format, &tally, &meter).unwrap();
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            let read = reread::reread(&path, format, &tally, &meter);
            assert!(matches!(read, Err(BackupError::Unsound { .. })), "{format:?}, byte {at}: {read:?}");
        }
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(reread::reread(&path, format, &tally, &meter).is_err(), "{format:?}, cut at {length}");
        }
    }
}

#[test]
fn an_entry_that_is_another_one_is_named() {
    let project = Project::new(&[]);
    let path = project.path("archive");
    let meter = std::sync::Arc::new(meter::Meter::default());
    let tallies = ["right", "wrong"].map(|content| {
        let file = std::fs::File::create(&path).unwrap();
        let mut archive = archive::Archive::start(file, &path, ArchiveFormat::Gzip, meter.clone()).unwrap();
        let meta = archive::Meta { mode: 0o600, uid: 0, gid: 0, mtime: 0 };
        archive.directory("data".as_ref(), &meta).unwrap();
        archive
            .file("data/x".as_ref(), &meta, 5, &mut content.as_bytes(), BackupError::reading(&path))
            .unwrap();
        archive.finish().unwrap()
    });
    let error = reread::reread(&path, ArchiveFormat::Gzip, &tallies[0], &meter).unwrap_err();
    assert!(error.to_string().contains("entry 2 (`data/x`) differs"), "{error}");
    assert!(reread::reread(&path, ArchiveFormat::Gzip, &tallies[1], &meter).is_ok());
}

/// A named volume with files, removed on drop.
struct Volume(String);

impl Volume {
    fn new() -> Self {
        let name = unique("volume");
        let made = run("docker", &["volume", "create", &name].map(AsRef::as_ref));
        assert!(made.status.success(), "{made:?}");
        Self(name)
    }

    fn mountpoint(&self) -> PathBuf {
        let args = ["volume", "inspect", "-f", "{{.Mountpoint}}", &self.0].map(AsRef::as_ref);
        String::from_utf8(run("docker", &args).stdout).unwrap().trim().into()
    }

    fn source(&self) -> VolumeSource {
        VolumeSource { key: "ffe-data".into(), name: self.0.clone(), image_hint: None, in_use: true }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        run("docker", &["volume", "rm", "-f", &self.0].map(AsRef::as_ref));
    }
}

/// An empty image with Compose's labels and a VOLUME, removed on drop.
struct Image(String);

impl Image {
    fn new() -> Self {
        let name = unique("image");
        let place = tempfile::tempdir().unwrap();
        let lines = "FROM scratch\nLABEL com.docker.compose.project=shop com.docker.compose.service=web\nCOPY x /x\nVOLUME /v\n";
        std::fs::write(place.path().join("Dockerfile"), lines).unwrap();
        // Its own content: images of the same id would hinder each other's removal.
        std::fs::write(place.path().join("x"), &name).unwrap();
        let built =
            run("docker", &["build", "-q", "-t", &name, place.path().to_str().unwrap()].map(AsRef::as_ref));
        assert!(built.status.success(), "{built:?}");
        Self(name)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        run("docker", &["rmi", "-f", &self.0].map(AsRef::as_ref));
    }
}

fn helpers_of(project: &Project) -> String {
    let filter = format!("label=ffe-deploy.helper.project={}", project.name);
    let args = ["ps", "-aq", "--filter", &filter].map(AsRef::as_ref);
    String::from_utf8(run("docker", &args).stdout).unwrap()
}

#[tokio::test]
async fn volumes_are_saved_where_they_lie_and_by_the_daemon_with_the_same_result() {
    let Some(docker) = docker().await else { return };
    let (volume, image) = (Volume::new(), Image::new());
    let inside = volume.mountpoint();
    std::fs::create_dir(inside.join("db")).unwrap();
    std::fs::write(inside.join("db/table"), "rows").unwrap();
    std::fs::hard_link(inside.join("db/table"), inside.join("db/same")).unwrap();
    symlink("db/table", inside.join("link")).unwrap();
    std::fs::write(inside.join("n".repeat(150)), "long").unwrap();
    std::os::unix::fs::chown(inside.join("db"), Some(999), Some(3_000_000)).unwrap();
    let mut project = Project::new(&["data"]);
    project.write("data/x", "x");
    project.volumes = vec![VolumeSource { image_hint: Some(image.0.clone()), ..volume.source() }];
    let directory = project.backups();
    let direct = take(&project.request(&directory), Some(&docker), &|_| {}).await.unwrap();
    let by_daemon = project.take_by_daemon(&docker).await.unwrap();
    assert_eq!(listed(&direct.path), listed(&by_daemon.path));
    assert!(listed(&direct.path).contains(&"volumes/ffe-data/db/table".to_owned()));
    assert_eq!(by_daemon.includes, ["data/", "volumes/ffe-data/"]);
    assert_eq!(by_daemon.warnings[0].rule, "backup.live");
    for backup in [&direct, &by_daemon] {
        let back = extracted(&backup.path);
        let ended =
            run("diff", &["-r".as_ref(), inside.as_ref(), back.path().join("volumes/ffe-data").as_ref()]);
        assert!(ended.status.success(), "{ended:?}");
        use std::os::unix::fs::MetadataExt;
        let owner = back.path().join("volumes/ffe-data/db").metadata().unwrap();
        assert_eq!((owner.uid(), owner.gid()), (999, 3_000_000));
    }
    assert_eq!(helpers_of(&project), "");
}

#[tokio::test]
async fn the_daemon_reads_paths_too_and_leaves_our_own_out() {
    let Some(docker) = docker().await else { return };
    let _image = Image::new();
    let project = Project::new(&[".", "gone"]);
    project.write("data/new\nline 🚀", "x");
    project.write("file", "x");
    project.write("backups/old.tar.gz", "x");
    symlink("/etc", project.path("data/etc")).unwrap();
    let backup = project.take_by_daemon(&docker).await.unwrap();
    let back = extracted(&backup.path);
    assert_eq!(listed(&backup.path).len(), 4);
    let args = ["-r", "--no-dereference"].map(OsStr::new);
    let (ours, theirs) = (project.path("data"), back.path().join("data"));
    let ended = run("diff", &[args[0], args[1], ours.as_ref(), theirs.as_ref()]);
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(backup.includes, ["data/", "file"]);
    assert_eq!(helpers_of(&project), "");
}

#[tokio::test]
async fn a_helper_that_a_killed_backup_left_goes_with_the_next_and_volumes_stay() {
    let Some(docker) = docker().await else { return };
    let (volume, image) = (Volume::new(), Image::new());
    std::fs::write(volume.mountpoint().join("x"), "x").unwrap();
    let mut project = Project::new(&[]);
    project.volumes = vec![VolumeSource { image_hint: Some(image.0.clone()), ..volume.source() }];
    let mounts = [volume::Mounted::Volume(volume.0.clone())];
    let left = volume::Helper::create(&docker, &project.name, &[&image.0], &mounts).await.unwrap();
    std::mem::forget(left);
    let id = helpers_of(&project);
    let shown = run(
        "docker",
        &[
            "inspect",
            "-f",
            "{{index .Config.Labels \"com.docker.compose.project\"}}|{{.State.Status}}",
            id.trim(),
        ]
        .map(AsRef::as_ref),
    );
    assert_eq!(String::from_utf8(shown.stdout).unwrap().trim(), "|created");
    project.take_by_daemon(&docker).await.unwrap();
    assert_eq!(helpers_of(&project), "");
    assert_eq!(std::fs::read_to_string(volume.mountpoint().join("x")).unwrap(), "x");
}

#[tokio::test]
async fn a_volume_that_does_not_exist_is_left_out_and_not_created() {
    let Some(docker) = docker().await else { return };
    let mut project = Project::new(&["data"]);
    project.write("data/x", "x");
    let name = unique("absent");
    project.volumes =
        vec![VolumeSource { key: "db".into(), name: name.clone(), image_hint: None, in_use: false }];
    let directory = project.backups();
    let backup = take(&project.request(&directory), Some(&docker), &|_| {}).await.unwrap();
    assert_eq!(backup.missing, ["volumes/db"]);
    assert!(!run("docker", &["volume", "inspect", &name].map(AsRef::as_ref)).status.success());
}

#[tokio::test]
async fn what_nobody_may_read_without_a_daemon_is_named() {
    let project = Project::new(&["data"]);
    project.write("data/x", "x");
    let directory = project.backups();
    let error = take_by(&project.request(&directory), None, &|_| {}, Reading::Daemon).await.unwrap_err();
    assert!(matches!(&error, BackupError::Unreadable { path } if path == "data"), "{error}");
    assert!(project.left_behind().is_empty());
}

/// A stream of the daemon that is cut, wherever, must never pass for a whole one.
#[test]
fn a_stream_that_is_cut_anywhere_is_an_error() {
    let mut whole = tar::Builder::new(Vec::new());
    for (name, content) in [("ffe-0/a", "one"), ("ffe-0/b", "")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        whole.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    let whole = whole.into_inner().unwrap();
    let end = whole.len() - 1024;
    for length in (0..=end).step_by(64).chain([end + 512, whole.len()]) {
        let project = Project::new(&[]);
        let path = project.path("a");
        let file = std::fs::File::create(&path).unwrap();
        let meter = std::sync::Arc::new(meter::Meter::default());
        let mut archive = archive::Archive::start(file, &path, ArchiveFormat::Zstd, meter).unwrap();
        let mut notes = walk::Notes::default();
        let mut relay = relay::Relay {
            archive: &mut archive,
            prefix: Path::new("volumes/x"),
            excluded: &|_| false,
            notes: &mut notes,
            what: "x",
        };
        let run = relay.run(&whole[..length]);
        assert_eq!(run.is_ok(), length > end, "cut at {length}: {run:?}");
    }
}
