//! What ends an unfinished deployment when the host comes up again: a systemd unit, or an `@reboot` line of the crontab
//! (DESIGN section 6). One a root, made only where it is not as it should be, and removed by nobody but its user.
//!
//! Enter by [`Unit::of`]. It runs [`super::layout::Layout::recovery_agent`], a link that each deployment points at the agent it keeps.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use super::atomic::{self, WriteError};
use super::process::{self, Command, ProcessError};
use super::seam;
use crate::model::{AppName, EnvironmentName};

/// Is there where systemd is the init of this machine (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// Units of the machine's own administrator, and users whose units run without a login.
const UNITS: &str = "/etc/systemd/system";
const LINGERING: &str = "/var/lib/systemd/linger";
/// Longest run of `systemctl`, `loginctl` or `crontab`.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait for another deployment that writes the same crontab, and how often is looked.
const TURN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);

/// Why nothing is installed.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A tool refuses.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The unit's file.
    #[error("{}: {}", .0, .0.source)]
    Write(#[from] WriteError),
    /// Writing it again would change it.
    #[error("the crontab holds bytes that are no UTF-8, so it was not touched")]
    NotText,
    /// A program that is no real one.
    #[error("`crontab` took the line and does not show it")]
    Lost,
    /// Somebody else is at it.
    #[error("another program has locked the home directory")]
    Locked,
    /// Neither tool is here.
    #[error("neither systemd nor `crontab` is there for this user")]
    NoWay,
    /// The root's file system is mounted so.
    #[error("programs may not run below the root (it is mounted `noexec`)")]
    NoPrograms,
    /// A path that no unit can hold.
    #[error("the path of the root holds control characters")]
    Path,
}

/// What runs at boot for one root.
pub struct Unit {
    name: String,
    root: String,
    state: String,
}

/// Who starts it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// The machine's systemd, or this user's, with the directory of its units.
    Systemd { units: PathBuf, user: bool },
    /// cron.
    Crontab,
}

/// Returns whether systemd runs units for this user, and whether as the user's own manager.
pub fn systemd_for_user() -> Option<bool> {
    if !Path::new(BOOTED).is_dir() {
        return None;
    }
    let root = rustix::process::geteuid().is_root();
    let bus = std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|dir| Path::new(&dir).join("systemd").is_dir());
    (root || bus).then_some(!root)
}

/// Returns what this host offers, the best first.
fn ways() -> Vec<Way> {
    let user = systemd_for_user().filter(|_| process::is_installed("systemctl"));
    let units = user.and_then(|user| if user { user_units() } else { Some(PathBuf::from(UNITS)) });
    let systemd = user.zip(units).map(|(user, units)| Way::Systemd { units, user });
    systemd.into_iter().chain(process::is_installed("crontab").then_some(Way::Crontab)).collect()
}

fn user_units() -> Option<PathBuf> {
    let home = PathBuf::from(std::env::var_os("HOME")?);
    Some(home.join(".config/systemd/user"))
}

impl Unit {
    /// Returns the unit of a root.
    ///
    /// # Errors
    /// The root's path cannot stand in a unit.
    pub fn of(root: &Path, app: &AppName, environment: &EnvironmentName) -> Result<Self, BootError> {
        let root = root.to_str().filter(|root| !root.chars().any(char::is_control));
        let root = root.ok_or(BootError::Path)?.to_owned();
        let hash = hex::encode(&Sha256::digest(root.as_bytes())[..4]);
        Ok(Self {
            name: format!("ffe-deploy-{app}-{environment}-{hash}"),
            state: format!("{root}/state"),
            root,
        })
    }

    /// Returns where it is installed, in words; nothing when it is not, but can be.
    ///
    /// # Errors
    /// This host has no way to start anything at boot.
    pub async fn found(&self) -> Result<Option<String>, BootError> {
        let ways = ways();
        for way in &ways {
            if self.is_there(way).await {
                return Ok(Some(self.shown(way)));
            }
        }
        if ways.is_empty() { Err(BootError::NoWay) } else { Ok(None) }
    }

    /// Installs it where it is not there yet.
    ///
    /// # Errors
    /// No way leads there; what each was refused with.
    pub async fn install(&self) -> Result<(), Vec<BootError>> {
        match self.found().await {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {}
            Err(error) => return Err(vec![error]),
        }
        let mut refused = Vec::new();
        for way in ways() {
            let done = match &way {
                Way::Systemd { units, user } => self.enable(units, *user).await,
                Way::Crontab => self.add_line().await,
            };
            match done {
                Ok(()) => return Ok(()),
                Err(error) => refused.push(error),
            }
        }
        Err(refused)
    }

    fn shown(&self, way: &Way) -> String {
        match way {
            Way::Systemd { units, .. } => self.file(units).display().to_string(),
            Way::Crontab => format!("the line `{}` in the user's crontab", self.name),
        }
    }

    async fn is_there(&self, way: &Way) -> bool {
        match way {
            Way::Systemd { units, user } => {
                let enabled = units.join(format!("{}.wants/{}.service", target(*user), self.name));
                fs::read(self.file(units)).is_ok_and(|text| text == self.text(*user).as_bytes())
                    && enabled.symlink_metadata().is_ok()
                    && (!user || lingers())
            }
            Way::Crontab => crontab().await.is_ok_and(|text| text.lines().any(|line| line == self.line())),
        }
    }

    fn file(&self, units: &Path) -> PathBuf {
        units.join(format!("{}.service", self.name))
    }

    /// systemd.service(5): `KillMode=process` leaves the guard alone when the unit ends.
    fn text(&self, user: bool) -> String {
        let Self { root, state, .. } = self;
        let [shown, path, quoted] = [root, state, root].map(|text| text.replace('%', "%%"));
        let word = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let program = word(&format!("{}/recover", path.replace('$', "$$")));
        format!(
            "# Made by ffe-deploy. Removing it: `systemctl disable`, then delete this file.\n\
             [Unit]\nDescription=End a deployment in {shown} that was interrupted\nAfter=docker.service\n\
             RequiresMountsFor={}\nConditionPathExists={path}/journal.json\n\n\
             [Service]\nType=oneshot\nRemainAfterExit=no\nKillMode=process\nExecStart={program} recover {}\n\n\
             [Install]\nWantedBy={}\n",
            word(&quoted),
            word(&quoted.replace('$', "$$")),
            target(user),
        )
    }

    /// crontab(5): an unescaped `%` would end the command.
    fn line(&self) -> String {
        let word = |text: &str| format!("'{}'", text.replace('\'', "'\\''").replace('%', "\\%"));
        let [journal, program] =
            ["journal.json", "recover"].map(|name| word(&format!("{}/{name}", self.state)));
        format!("@reboot test ! -e {journal} || exec {program} recover {} # {}", word(&self.root), self.name)
    }

    async fn enable(&self, units: &Path, user: bool) -> Result<(), BootError> {
        if user && !lingers() {
            let uid = rustix::process::geteuid().as_raw().to_string();
            call("loginctl", &["--no-ask-password", "enable-linger", &uid]).await?;
        }
        let file = self.file(units);
        atomic::make_directory(units, 0o755)?;
        atomic::write(&file, self.text(user).as_bytes(), 0o644)?;
        let manager: &[&str] = if user { &["--user"] } else { &[] };
        let unit = format!("{}.service", self.name);
        let enabled = call("systemctl", &[manager, &["--no-ask-password", "enable", &unit]].concat()).await;
        if enabled.is_err() {
            // A unit that is not enabled only looks as if it would help.
            atomic::remove_file(&file).ok();
        }
        enabled
    }

    async fn add_line(&self) -> Result<(), BootError> {
        let _turn = turn().await?;
        let mark = format!("# {}", self.name);
        let mut text: String = crontab()
            .await?
            .lines()
            .filter(|line| !line.ends_with(&mark))
            .map(|line| format!("{line}\n"))
            .collect();
        text += &format!("{}\n", self.line());
        seam::about_to("crontab");
        process::output(&Command::new("crontab").arg("-").stdin(text).deadline(DEADLINE)).await?;
        if self.is_there(&Way::Crontab).await { Ok(()) } else { Err(BootError::Lost) }
    }
}

fn target(user: bool) -> &'static str {
    if user { "default.target" } else { "multi-user.target" }
}

/// Returns whether this user's units run without a login.
pub fn lingers() -> bool {
    std::env::var_os("USER").is_some_and(|user| Path::new(LINGERING).join(user).exists())
}

async fn call(program: &str, args: &[&str]) -> Result<(), BootError> {
    seam::about_to(program);
    process::output(&Command::new(program).args(args.iter().map(OsStr::new)).deadline(DEADLINE)).await?;
    Ok(())
}

/// Returns the user's crontab; a user who has none has an empty one.
async fn crontab() -> Result<String, BootError> {
    let command = Command::new("crontab").arg("-l").env("LC_ALL", "C").deadline(DEADLINE);
    let text = match process::output(&command).await {
        // Other failures must not be taken for an empty one: it would be written over.
        Err(ProcessError::Failed { finished, .. }) if is_none(&finished.last_words()) => String::new(),
        text => text?,
    };
    if text.contains(char::REPLACEMENT_CHARACTER) { Err(BootError::NotText) } else { Ok(text) }
}

/// What cron's programs say of a user without a crontab; BusyBox misses the file.
fn is_none(words: &str) -> bool {
    words.is_empty() || words.contains("no crontab") || words.contains("No such file")
}

/// Waits for the turn to read and write the crontab: a lock on the user's home.
async fn turn() -> Result<Option<fs::File>, BootError> {
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/".into());
    // Who has no home to lock has nobody to wait for.
    let Ok(home) = fs::File::open(home) else { return Ok(None) };
    for _ in 0..TURN.as_millis() / LOOK.as_millis() {
        match flock(&home, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(LOOK).await,
            // File systems without locks are no reason to leave the host without recovery.
            _ => return Ok(Some(home)),
        }
    }
    Err(BootError::Locked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(root: &str) -> Unit {
        Unit {
            name: "ffe-deploy-shop-staging-01234567".into(),
            root: root.into(),
            state: format!("{root}/state"),
        }
    }

    #[test]
    fn a_unit_names_the_root_whatever_its_path_and_leaves_the_guard_alone() {
        let text = unit("/srv/a \"b\" 100%/$x/shop/staging").text(false);
        for line in [
            "After=docker.service",
            "Type=oneshot",
            "KillMode=process",
            "ConditionPathExists=/srv/a \"b\" 100%%/$x/shop/staging/state/journal.json",
            r#"ExecStart="/srv/a \"b\" 100%%/$$x/shop/staging/state/recover" recover "/srv/a \"b\" 100%%/$$x/shop/staging""#,
            "WantedBy=multi-user.target",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(unit("/srv").text(true).ends_with("WantedBy=default.target\n"));
    }

    #[test]
    fn a_line_of_the_crontab_is_one_command_for_cron_and_for_the_shell() {
        assert_eq!(
            unit("/srv/it's 5%").line(),
            r"@reboot test ! -e '/srv/it'\''s 5\%/state/journal.json' || exec '/srv/it'\''s 5\%/state/recover' recover '/srv/it'\''s 5\%' # ffe-deploy-shop-staging-01234567"
        );
    }

    #[test]
    fn only_a_user_without_a_crontab_has_an_empty_one() {
        assert!(
            is_none("no crontab for root")
                && is_none("crontab: can't open 'root': No such file or directory")
        );
        assert!(!is_none("You (joe) are not allowed to use this program (crontab)"));
    }
}
