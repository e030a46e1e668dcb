//! A private key given as a value: into an `ssh-agent` of our own over stdin, so that it never touches a disk.

use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use super::room::Room;
use crate::host::kept::{Kept, ToKeep, keep};
use crate::host::process::{self, Command};
use crate::remote::RemoteError;
use crate::text::{self, Secret};

/// What `ssh-add` runs to ask for the passphrase. It reads it from stderr, which is one end of a socket to us: the only
/// descriptor that `ssh-add` leaves open and does not read itself. A second question finds the end of the stream.
const ASKPASS: &str = "#!/bin/sh\nIFS= read -r passphrase <&2 || exit 1\nprintf '%s\\n' \"$passphrase\"\n";
/// Enough for any key derivation on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);

/// An `ssh-agent` that holds one key and ends with us.
#[derive(Debug)]
pub(super) struct PrivateAgent {
    kept: Kept,
    /// Its socket.
    pub(super) socket: PathBuf,
    /// The public half, by which `ssh` offers this key and no other.
    pub(super) public: PathBuf,
}

impl PrivateAgent {
    /// Starts one and gives it the key.
    pub(super) async fn load(
        room: &Room,
        key: &Secret,
        passphrase: Option<&Secret>,
    ) -> Result<Self, RemoteError> {
        let text = tidy(key)?;
        for program in ["ssh-agent", "ssh-add"] {
            if !process::is_installed(program) {
                return Err(RemoteError::NoSshClient { program: program.to_owned() });
            }
        }
        let (kept, socket) = start(room, key, passphrase).await?;
        add(room, &socket, &text, passphrase).await?;
        let listed = Command::new("ssh-add").arg("-L").env("SSH_AUTH_SOCK", socket.display().to_string());
        let listed = process::output(&listed).await.map_err(RemoteError::client)?;
        let public = room.write("key.pub", 0o600, &listed)?;
        Ok(Self { kept, socket, public })
    }

    /// Ends it, and returns when it is gone.
    pub(super) async fn end(self) {
        self.kept.end().await;
    }
}

async fn start(
    room: &Room,
    key: &Secret,
    passphrase: Option<&Secret>,
) -> Result<(Kept, PathBuf), RemoteError> {
    let socket = room.file("agent");
    let arguments = vec!["-D".into(), "-a".into(), socket.clone().into()];
    let hidden = [Some(key), passphrase].into_iter().flatten().map(|secret| secret.reveal().trim()).collect();
    let kept = keep(&ToKeep { program: "ssh-agent", arguments, hidden, room: room.path() })
        .map_err(RemoteError::here("starting `ssh-agent`"))?;
    let listens = async {
        while UnixStream::connect(&socket).await.is_err() {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::select! {
        () = listens => Ok((kept, socket)),
        () = kept.ended() => Err(did_not_start(&kept.said().lines().join(" "))),
        () = tokio::time::sleep(DEADLINE) => Err(did_not_start("no answer")),
    }
}

fn did_not_start(said: &str) -> RemoteError {
    RemoteError::here("starting `ssh-agent`")(std::io::Error::other(text::harmless(said)))
}

/// Runs `ssh-add -` with the key on its stdin.
async fn add(
    room: &Room,
    socket: &std::path::Path,
    key: &str,
    passphrase: Option<&Secret>,
) -> Result<(), RemoteError> {
    let failed = || RemoteError::here("running `ssh-add`");
    let askpass = room.write("askpass", 0o700, ASKPASS)?;
    let (ours, theirs) = StdUnixStream::pair().map_err(failed())?;
    ours.set_nonblocking(true).map_err(failed())?;
    let mut talk = UnixStream::from_std(ours).map_err(failed())?;
    let command = Command::new("ssh-add")
        .args(["-q", "-"])
        .env("SSH_AUTH_SOCK", socket.display().to_string())
        .env("SSH_ASKPASS", askpass.display().to_string())
        .env("SSH_ASKPASS_REQUIRE", "force")
        // OpenSSH before 8.4 asks that program only where there is a display.
        .env("DISPLAY", "none");
    let mut child = {
        let mut prepared = command.prepared();
        prepared
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
        prepared.spawn().map_err(failed())?
    };
    let talked = async {
        if let Some(mut stdin) = child.stdin.take() {
            // It may refuse the key before it has read all of it.
            stdin.write_all(key.as_bytes()).await.ok();
        }
        let said = converse(&mut talk, passphrase).await;
        child.wait().await.map(|status| (status, said))
    };
    match tokio::time::timeout(DEADLINE, talked).await {
        Ok(Ok((status, said))) => verdict(status, &said, passphrase.is_some()),
        Ok(Err(error)) => Err(failed()(error)),
        Err(_) => Err(failed()(std::io::ErrorKind::TimedOut.into())),
    }
}

/// Hands the passphrase over, whether it is asked for or not, and returns what `ssh-add` says.
async fn converse(talk: &mut UnixStream, passphrase: Option<&Secret>) -> String {
    if let Some(secret) = passphrase {
        let line = Zeroizing::new(format!("{}\n", secret.reveal().trim_end_matches(['\r', '\n'])));
        talk.write_all(line.as_bytes()).await.ok();
    }
    talk.shutdown().await.ok();
    let mut said = Vec::new();
    // A passphrase that nobody read makes the socket end by a reset, after all that was said.
    talk.read_to_end(&mut said).await.ok();
    text::harmless(String::from_utf8_lossy(&said).trim())
}

fn verdict(status: ExitStatus, said: &str, with_passphrase: bool) -> Result<(), RemoteError> {
    if status.success() {
        return Ok(());
    }
    let broken =
        ["invalid format", "libcrypto", "not supported", "unknown", "incomplete", "string is too large"];
    if broken.iter().any(|word| said.contains(word)) {
        return Err(invalid(&format!("`ssh-add` says: {said}"), WHOLE));
    }
    Err(match with_passphrase {
        true => invalid(
            "its passphrase is wrong",
            "correct `<ENVIRONMENT>_SSH_KEY_PASSPHRASE`, or the variable that `passphrase` of `ssh_key` names",
        ),
        false => invalid(
            "it has a passphrase, and none was given",
            "set `<ENVIRONMENT>_SSH_KEY_PASSPHRASE` (or `ssh_key: { env: …, passphrase: { env: … } }`), or use a key without \
             a passphrase",
        ),
    })
}

const WHOLE: &str =
    "give the whole text of the private key file, from its BEGIN line to its END line, with its line breaks";

fn invalid(why: &str, hint: &'static str) -> RemoteError {
    RemoteError::KeyInvalid { why: why.to_owned(), hint }
}

/// Returns the key as `ssh-add` takes it: CI systems change line endings and cut the last one.
fn tidy(key: &Secret) -> Result<Zeroizing<String>, RemoteError> {
    let value = key.reveal().trim();
    if value.is_empty() {
        return Err(invalid(
            "the value is empty",
            "set the variable that `ssh_key` names; secrets do not reach workflows of forks",
        ));
    }
    if value.starts_with("ssh-") || value.starts_with("ecdsa-") || value.contains("BEGIN SSH2 PUBLIC") {
        return Err(invalid("this is the public half", "give the private key: the file without `.pub`"));
    }
    if value.starts_with("PuTTY-User-Key-File") {
        return Err(invalid(
            "this is a PuTTY key",
            "convert it: `puttygen key.ppk -O private-openssh -o key`",
        ));
    }
    if !value.starts_with("-----BEGIN ") || !value.contains("PRIVATE KEY-----") {
        return Err(invalid("this is not the text of a private key", WHOLE));
    }
    let lines = value.split(['\r', '\n']).map(str::trim).collect::<Vec<_>>();
    if lines.len() < 3 {
        return Err(invalid("its line breaks are lost", WHOLE));
    }
    if !lines.last().is_some_and(|line| line.starts_with("-----END ")) {
        return Err(invalid("its end is missing", WHOLE));
    }
    let value = value.replace("\r\n", "\n");
    let mut clean = Zeroizing::new(String::with_capacity(value.len() + 1));
    for line in Zeroizing::new(value).split(['\r', '\n']) {
        clean.push_str(line.trim());
        clean.push('\n');
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(value: &str) -> String {
        tidy(&Secret::new(value)).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_a_private_key_is_told_apart_without_printing_it() {
        assert_eq!(why(" \n"), "the ssh key cannot be used: the value is empty");
        assert_eq!(why("ssh-ed25519 AAAA me"), "the ssh key cannot be used: this is the public half");
        assert_eq!(why("PuTTY-User-Key-File-3: x"), "the ssh key cannot be used: this is a PuTTY key");
        assert_eq!(
            why("/home/me/.ssh/id"),
            "the ssh key cannot be used: this is not the text of a private key"
        );
        let begin = "-----BEGIN OPENSSH PRIVATE KEY-----";
        assert_eq!(
            why(&format!("{begin} b3Bl -----END")),
            "the ssh key cannot be used: its line breaks are lost"
        );
        assert_eq!(why(&format!("{begin}\nb3Bl\nb3Bl")), "the ssh key cannot be used: its end is missing");
    }

    #[test]
    fn line_endings_of_ci_systems_are_put_right() {
        let key = "  -----BEGIN X PRIVATE KEY-----\r\n  b3Bl\r\n\r\nYQ==\r\n-----END X PRIVATE KEY-----";
        let tidied = tidy(&Secret::new(key)).unwrap();
        assert_eq!(*tidied, "-----BEGIN X PRIVATE KEY-----\nb3Bl\n\nYQ==\n-----END X PRIVATE KEY-----\n");
    }
}
