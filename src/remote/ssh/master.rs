//! The connection itself: an `ssh -M` of our own that ends with us, and the reasons why there is none.

use std::sync::Arc;
use std::time::Duration;

use openssh::Session;

use super::host_key::{HostKey, fingerprint, fingerprints};
use super::room::Room;
use super::route::{CONFIG, Route};
use super::said::{self, Reason};
use crate::host::kept::{Kept, Said, ToKeep, keep};
use crate::host::process::{self, Command};
use crate::remote::RemoteError;

/// For one attempt, login included; `ConnectTimeout` bounds only a part of it.
const LOGIN_DEADLINE: Duration = Duration::from_secs(45);
/// To ask a host for its key.
const SCAN_DEADLINE: Duration = Duration::from_secs(20);
/// For the connection's own `ssh`, which is on this machine, to say that it is there.
const CHECK_DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
/// Algorithms by which a host is asked for its keys, one kind a time; the first is the client's own choice.
const KINDS: [Option<&str>; 4] = [
    None,
    Some("ssh-ed25519"),
    Some("ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521"),
    Some("rsa-sha2-512,rsa-sha2-256"),
];

/// A connection that is up.
pub(super) struct Master {
    kept: Kept,
    /// Opens channels on it.
    pub(super) session: Arc<Session>,
}

impl Master {
    /// Connects once. `hidden` are the secrets that its environment must not hold.
    pub(super) async fn start(
        route: &Route,
        room: &Room,
        hidden: Vec<&str>,
        number: u32,
    ) -> Result<Self, RemoteError> {
        let control = room.file(&format!("control.{number}"));
        let mut arguments = vec!["-M".into(), "-N".into(), "-S".into(), control.clone().into()];
        arguments.extend(route.arguments(route.target()));
        let kept = keep(&ToKeep { program: "ssh", arguments, hidden, room: room.path() })
            .map_err(RemoteError::here("starting `ssh`"))?;
        let is_up = async {
            while !control.exists() {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::select! {
            () = is_up => {
                let session = Arc::new(Session::resume_mux(control.into(), None));
                Ok(Self { kept, session })
            }
            () = kept.ended() => Err(why_not(route, room, &kept.said().lines()).await),
            () = tokio::time::sleep(LOGIN_DEADLINE) => Err(RemoteError::Timeout {
                host: route.hops[route.target()].shown(),
                said: format!("no login within {} s", LOGIN_DEADLINE.as_secs()),
            }),
        }
    }

    /// Returns whether the connection is still up, as far as is known.
    pub(super) async fn is_up(&self) -> bool {
        let check = tokio::time::timeout(CHECK_DEADLINE, self.session.check());
        self.kept.runs() && matches!(check.await, Ok(Ok(())))
    }

    /// Returns what `ssh` says of the connection.
    pub(super) fn said(&self) -> Said {
        self.kept.said()
    }

    /// Ends the connection, and returns when it is gone.
    pub(super) async fn end(self) {
        self.kept.end().await;
    }
}

async fn why_not(route: &Route, room: &Room, lines: &[String]) -> RemoteError {
    if !process::is_installed("ssh") {
        return RemoteError::NoSshClient { program: "ssh".to_owned() };
    }
    let (reason, said) = said::reason(lines);
    let at = culprit(route, &said, lines);
    let host = route.hops[at].shown();
    match reason {
        Reason::KeyChanged => {
            let known = said::offending_line(lines).and_then(|(file, number)| known_line(&file, number));
            let expected = known.as_deref().and_then(fingerprint).unwrap_or_else(|| "another".to_owned());
            let found = said::shown_fingerprint(lines).unwrap_or_else(|| "a new one".to_owned());
            RemoteError::HostKeyChanged { host, expected, found }
        }
        Reason::KeyUnknown => unknown_key(route, room, at, host).await,
        Reason::Dns(passing) => RemoteError::Dns { host, said, passing },
        Reason::Authentication => RemoteError::Authentication { host, said, own_key: route.agent.is_some() },
        Reason::Configuration => RemoteError::Configuration { said },
        Reason::Refused => RemoteError::Refused { host },
        Reason::Timeout => RemoteError::Timeout { host, said },
        Reason::Broken => RemoteError::Broken { host, said },
    }
}

/// Returns the hop that a message is about: the one it names, and of several of one name a jump host when the way
/// through it broke, else the target.
fn culprit(route: &Route, said: &str, lines: &[String]) -> usize {
    let way_broke = lines.iter().any(|line| line.contains("UNKNOWN port"));
    let names = |at: &usize| {
        let hop = &route.hops[*at];
        let port = hop.port.map(|port| port.to_string());
        let has_port = port.is_none_or(|port| said.contains(&port)) || !said.contains("port");
        said.contains(&hop.host) && has_port
    };
    let mut named = (0..route.hops.len()).filter(names);
    let found = if way_broke { named.next() } else { named.next_back() };
    found.unwrap_or_else(|| route.target())
}

fn known_line(file: &str, number: usize) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().nth(number.checked_sub(1)?).map(str::to_owned)
}

/// The host's key is in no file that was read: either nobody has given one, or one that does not fit.
async fn unknown_key(route: &Route, room: &Room, at: usize, host: String) -> RemoteError {
    let line = offered_key(route, room, at, KINDS[0]).await.unwrap_or_default();
    let found = fingerprint(&line).unwrap_or_default();
    match &route.hops[at].host_key {
        HostKey::Lines(known) if known.lines().any(|known| fingerprint(known).as_ref() == Some(&found)) => {
            let why = format!("it has the right key under another name; write `{line}`");
            RemoteError::HostKeyInvalid { host, why }
        }
        HostKey::Lines(known) if !line.is_empty() => {
            RemoteError::HostKeyChanged { host, expected: fingerprints(known), found }
        }
        _ => RemoteError::HostKeyUnknown { host, line, fingerprint: found },
    }
}

/// Returns the known_hosts line of a key that the host shows, asked for on the same way that a login takes, without
/// logging in; nothing when it cannot be asked.
async fn offered_key(route: &Route, room: &Room, at: usize, kind: Option<&str>) -> Option<String> {
    let file = room.file("offered");
    std::fs::remove_file(&file).ok();
    let mut command = Command::new("ssh").deadline(SCAN_DEADLINE);
    let kind = kind.map(|kind| format!("HostKeyAlgorithms={kind}"));
    let options = [
        "StrictHostKeyChecking=accept-new".to_owned(),
        format!("UserKnownHostsFile={}", file.display()),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        "PreferredAuthentications=none".to_owned(),
    ];
    for option in options.into_iter().chain(kind) {
        command = command.arg("-o").arg(option);
    }
    // A host that lets everybody in runs `exit`, the others refuse: the key is known by then.
    command = command.args(route.arguments(at)).arg("exit");
    process::run_unchecked(&command, |_, _| {}).await.ok()?;
    let text = std::fs::read_to_string(&file).ok()?;
    text.lines().find(|line| fingerprint(line).is_some()).map(str::to_owned)
}

/// Writes the configuration and each hop's own known_hosts; where a fingerprint is given, the key of the host that has it.
pub(super) async fn prepare(route: &mut Route, room: &Room) -> Result<(), RemoteError> {
    room.write(CONFIG, 0o600, &route.config())?;
    for at in 0..route.hops.len() {
        let lines = match &route.hops[at].host_key {
            HostKey::Users => continue,
            HostKey::Lines(lines) => lines.clone(),
            HostKey::Fingerprint(wanted) => matching_key(route, room, at, wanted).await?,
        };
        let path = room.write(&format!("known_hosts.{at}"), 0o600, &lines)?;
        route.hops[at].known_hosts = Some(path);
        // The next hop may have to be asked through this one.
        room.write(CONFIG, 0o600, &route.config())?;
    }
    Ok(())
}

async fn matching_key(route: &Route, room: &Room, at: usize, wanted: &str) -> Result<String, RemoteError> {
    let mut found = Vec::new();
    for kind in KINDS {
        let Some(line) = offered_key(route, room, at, kind).await else {
            // Not reached at all: the login will say why, and has retries.
            if kind.is_none() {
                break;
            } else {
                continue;
            };
        };
        let shown = fingerprint(&line).unwrap_or_default();
        if shown == wanted {
            return Ok(line + "\n");
        }
        if !found.contains(&shown) {
            found.push(shown);
        }
    }
    if found.is_empty() {
        return Ok(String::new());
    }
    let host = route.hops[at].shown();
    Err(RemoteError::HostKeyChanged { host, expected: wanted.to_owned(), found: found.join(", ") })
}
