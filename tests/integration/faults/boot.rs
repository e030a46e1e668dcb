//! A host that comes up again: what is left there for that, and what it does. And journals that a newer version wrote.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::death::{is_current, orphaned};
use super::{Kind, SOON, Shop};
use crate::support::{Shim, find, needs, until};

impl Shop {
    fn crontab(&self) -> PathBuf {
        self.host.home().join(".crontab")
    }

    /// Our lines of the crontab.
    fn lines_at_boot(&self) -> Vec<String> {
        let text = fs::read_to_string(self.crontab()).unwrap_or_default();
        text.lines().filter(|line| line.contains("ffe-deploy")).map(str::to_owned).collect()
    }

    /// Does what cron does when the machine has started, with as little in its environment.
    fn boot(&self) -> Output {
        let lines = self.lines_at_boot();
        let [line] = &lines[..] else { panic!("one line: {lines:?}") };
        let command = line.strip_prefix("@reboot ").expect("a line for the boot").replace("\\%", "%");
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &command]).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
        shell.output().expect("run the line")
    }

    fn finding(&self, verb: &[&str]) -> Value {
        let ended = self.run(verb);
        let found = ended.json()["findings"].clone();
        let found =
            found.as_array().expect("findings").iter().find(|one| one["rule"] == "host.boot-recovery");
        found.expect("a finding about the boot").clone()
    }
}

#[test]
fn a_deployment_leaves_one_line_for_the_next_boot_and_changes_no_other() {
    needs!("docker");
    let shop = Shop::new();
    fs::write(shop.crontab(), "# mine\n0 4 * * * true 100\\%\n").expect("write a crontab");
    shop.write(Kind::good("1.0.0"));
    let validate = ["validate", "staging", "--output", "json"];
    let found = shop.finding(&validate);
    assert_eq!(found["severity"], "passed");
    assert!(found["message"].to_string().contains("by the next deployment"), "{found}");
    assert_eq!(shop.lines_at_boot().len(), 0, "validate has installed something");
    shop.deploy(Kind::good("1.0.0")).exits(0);
    assert_eq!(shop.lines_at_boot().len(), 1);
    let text = fs::read_to_string(shop.crontab()).expect("a crontab");
    assert!(text.starts_with("# mine\n0 4 * * * true 100\\%\n@reboot "), "{text}");
    let agent = fs::canonicalize(shop.root().join("state/recover")).expect("a link to an agent");
    assert!(agent.starts_with(fs::canonicalize(shop.root()).expect("a root").join("state/bin")), "{agent:?}");
    let variables = shop.root().join("state/recover.json");
    assert_eq!(fs::metadata(&variables).expect("its variables").mode() & 0o777, 0o600);
    let found = shop.finding(&validate);
    assert_eq!(found["severity"], "passed");
    assert!(found["message"].to_string().contains("crontab"), "{found}");
    let inodes = || {
        [shop.crontab(), variables.clone(), shop.root().join("state/recover")]
            .map(|path| path.symlink_metadata().expect("it is there").ino())
    };
    let before = inodes();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    shop.deploy(Kind::good("1.1.0")).exits(0);
    assert_eq!(inodes(), before, "written again");
}

#[test]
fn a_host_that_comes_up_again_ends_by_itself_what_was_left_unfinished() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let quiet = shop.boot();
    assert!(quiet.status.success() && quiet.stderr.is_empty() && quiet.stdout.is_empty(), "{quiet:?}");
    let orphan = orphaned(&shop, Kind::good("1.1.0"));
    let booted = shop.boot();
    assert!(booted.status.success() && booted.stderr.is_empty(), "{booted:?}");
    assert_eq!(shop.host_result(&orphan)["outcome"], "rolled_back");
    is_current(&shop, "1.0.0");
    assert_eq!(shop.history().pop().expect("a record")["outcome"], "rolled_back");
    let log = shop.host_log(&orphan).len();
    assert!(shop.boot().status.success());
    assert_eq!(shop.host_log(&orphan).len(), log, "it was ended twice");
    // A journal that cannot be used is told to whoever reads the mails of cron or the journal of systemd.
    fs::write(shop.root().join("state/journal.json"), "torn").expect("write a journal");
    let refused = shop.boot();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("state/journal.json is damaged"), "{told}");
    fs::remove_file(shop.root().join("state/journal.json")).expect("remove it");
    shop.run(&["clean", "staging", "--yes"]).exits(0);
    fs::remove_dir_all(shop.root()).expect("remove the root");
    let gone = shop.boot();
    assert!(gone.status.success() && gone.stderr.is_empty(), "{gone:?}");
}

#[test]
fn recovery_at_boot_can_be_refused() {
    needs!("docker");
    let shop = Shop::with("health: {timeout: 6s}", ", recover_at_boot: false");
    shop.deploy(Kind::good("1.0.0")).exits(0);
    assert!(!shop.crontab().exists());
    let found = shop.finding(&["validate", "staging", "--output", "json"]);
    assert_eq!(found["severity"], "passed");
    assert!(found["message"].to_string().contains("recover_at_boot: false"), "{found}");
}

#[test]
fn what_cannot_be_installed_for_the_boot_is_a_warning_and_no_failure() {
    needs!("docker");
    let shop = Shop::new();
    for (script, said) in [
        ("echo 'you are not allowed to use this program' >&2; exit 1", "not allowed"),
        ("[[ $1 = - ]] || printf 'MAILTO=\\377\\n'", "no UTF-8"),
        ("[[ $1 = - ]] && exec cat >/dev/null; exit 0", "does not show it"),
    ] {
        shop.shim.fake("crontab", script);
        let ended = shop.deploy(Kind::good("1.0.0")).exits(0);
        let notice = ended.events.iter().find(|event| event["code"] == "host.boot-recovery");
        let notice = notice.unwrap_or_else(|| panic!("a warning: {}", ended.told()));
        assert_eq!(notice["level"], "WARNING");
        ended.says(&[said, "not ended at boot", "recover_at_boot: false"]);
    }
}

/// Programs of a machine whose init is systemd, which write down how they are called.
fn systemd() -> Shim {
    let shim = Shim::new();
    let enable = "wants=/etc/systemd/system/multi-user.target.wants; mkdir -p \"$wants\"; ln -sf \"../${@: -1}\" \"$wants\"";
    shim.fake("systemctl", enable).fake("systemd-run", "exit 1");
    shim
}

/// Runs the command line on such a machine: in a mount namespace where systemd's directories are these.
fn run_with_systemd(shop: &Shop, words: &[&str]) -> Output {
    let dir = shop.host.dir().join("systemd");
    fs::create_dir_all(dir.join("run/system")).expect("make systemd's directories");
    fs::create_dir_all(dir.join("units")).expect("make systemd's directories");
    let script = "mkdir -p /run/systemd /etc/systemd/system && mount --bind \"$1/run\" /run/systemd && mount --bind \"$1/units\" /etc/systemd/system && shift && exec \"$@\"";
    let mut command = shop.host.command("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(dir).arg(env!("CARGO_BIN_EXE_ffe-deploy"));
    command.args(words).arg("--project-root").arg(shop.project.path());
    command.output().expect("run unshare")
}

#[test]
fn where_systemd_runs_a_unit_is_enabled_once_and_systemd_takes_it_as_it_is() {
    needs!("docker", "root", "unshare");
    let shim = systemd();
    let mut shop = Shop::new();
    shop.host = shop.host.with_path_first(shim.path());
    shop.write(Kind::good("1.0.0"));
    for _ in 0..2 {
        let done = run_with_systemd(&shop, &["deploy", "staging", "--version", "1.0.0"]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    assert!(!shop.crontab().exists(), "the crontab is for machines without systemd");
    let calls: Vec<_> = shim.calls().into_iter().filter(|call| call[0] == "systemctl").collect();
    let [call] = &calls[..] else { panic!("one call: {calls:?}") };
    assert_eq!(call[1..3], ["--no-ask-password", "enable"]);
    let unit = shop.host.dir().join("systemd/units").join(&call[3]);
    let text = fs::read_to_string(&unit).expect("the unit");
    let root = shop.root();
    for line in [
        format!("ExecStart=\"{0}/state/recover\" recover \"{0}\"", root.display()),
        format!("ConditionPathExists={}/state/journal.json", root.display()),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    if find("systemd-analyze").is_some() {
        let judged =
            Command::new("systemd-analyze").arg("verify").arg(&unit).output().expect("systemd-analyze");
        let told = String::from_utf8_lossy(&judged.stderr).into_owned();
        assert!(judged.status.success() && !told.contains(&call[3]), "{told}");
    }
    let found = run_with_systemd(&shop, &["validate", "staging", "--output", "json"]);
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(found.contains("recovery at boot is installed: /etc/systemd/system/ffe-deploy-"), "{found}");
}

/// Rewrites the journal of an orphan as a newer version would have written it, naming this agent.
fn make_newer(shop: &Shop, agent: &str) {
    let journal = shop.root().join("state/journal.json");
    let mut sealed: Value =
        serde_json::from_slice(&fs::read(&journal).expect("the journal is there")).expect("it is JSON");
    let entry = &mut sealed["entry"];
    entry["schema"] = 99.into();
    entry["tool_version"] = "9.9.0".into();
    entry["agent"] = agent.into();
    entry["phase"] = "a_phase_of_tomorrow".into();
    sealed["checksum"] = hex::encode(Sha256::digest(sealed["entry"].to_string())).into();
    fs::write(&journal, sealed.to_string()).expect("write the journal");
}

/// An agent of version 9.9.0 that ends its deployment: it writes the last word, and takes the journal away.
fn agent_of_tomorrow(shop: &Shop, orphan: &str) -> String {
    let root = shop.root();
    let log = root.join("state/jobs").join(orphan).join("events.jsonl");
    let last = shop.host_log(orphan).pop().expect("a line of the log");
    let mut word = last.clone();
    word["seq"] = (last["seq"].as_u64().expect("a number") + 1).into();
    word["event"] = "deployment_finished".into();
    word["final"] = true.into();
    word["result"] = serde_json::json!({"outcome": "rolled_back"});
    let script = format!(
        "#!/bin/sh\necho \"$@\" >'{0}/state/called'\necho '{word}' >>'{1}'\nrm '{0}/state/journal.json'\n",
        root.display(),
        log.display()
    );
    let name = format!("state/bin/9.9.0-{}", hex::encode(Sha256::digest(&script)));
    fs::create_dir_all(root.join(&name)).expect("make its directory");
    let program = root.join(&name).join("ffe-agent");
    fs::write(&program, script).expect("write the agent");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("make it a program");
    name
}

#[test]
fn a_journal_of_a_newer_version_is_ended_by_the_agent_that_it_names() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let orphan = orphaned(&shop, Kind::good("1.1.0"));
    let agent = agent_of_tomorrow(&shop, &orphan);
    make_newer(&shop, &agent);
    let ended = shop.run(&["recover", "staging", "--output", "json"]).exits(0);
    let recovered = &ended.json()["recovered"];
    assert_eq!((&recovered["deployment_id"], &recovered["outcome"]), (&orphan.into(), &"rolled_back".into()));
    let called = fs::read_to_string(shop.root().join("state/called")).expect("the agent was called");
    assert_eq!(called, format!("recover {} ready\n", shop.root().display()));
    shop.deploy(Kind::good("1.2.0")).exits(0);
    is_current(&shop, "1.2.0");
}

#[test]
fn a_newer_journal_whose_agent_is_missing_damaged_or_no_agent_is_refused_with_what_to_do() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    let orphan = orphaned(&shop, Kind::good("1.1.0"));
    let agent = agent_of_tomorrow(&shop, &orphan);
    let program = shop.root().join(&agent).join("ffe-agent");
    let sound = fs::read_to_string(&program).expect("the agent");
    fs::write(&program, format!("{sound}# changed\n")).expect("damage it");
    let own = fs::canonicalize(shop.root().join("state/recover")).expect("our agent");
    let own = own.parent().and_then(|home| home.file_name()).expect("its directory").to_string_lossy();
    let log = shop.host_log(&orphan);
    for (named, said) in [
        (agent.as_str(), "is damaged"),
        ("state/bin/9.9.1-00", "cannot be read: No such file"),
        ("state/bin/../../../elsewhere", "names no agent of this root"),
        ("", "names no agent of this root"),
        (&format!("state/bin/{own}"), "does not end it"),
    ] {
        make_newer(&shop, named);
        let ended = shop.deploy(Kind::good("1.2.0")).exits(3);
        ended.says(&["state/journal.json", "9.9.0", said, "nothing was touched", "ffe-deploy recover"]);
        assert_eq!(ended.result()["errors"][0]["code"], "journal.newer");
    }
    assert!(!shop.root().join("state/called").exists(), "a program was run that is not what it was");
    assert_eq!(shop.host_log(&orphan), log, "the orphan's log was touched");
    fs::write(&program, sound).expect("mend it");
    make_newer(&shop, &agent);
    shop.deploy(Kind::good("1.2.0")).exits(0);
    until(SOON, "the end of the journal", || !shop.root().join("state/journal.json").exists());
}
