//! What is known of a host's key before it is asked: lines, a fingerprint, or whatever the user's known_hosts says.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

use crate::remote::RemoteError;

/// Where the key of a host is known from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HostKey {
    /// The user's known_hosts and the machine's.
    Users,
    /// These lines of a known_hosts file, and nothing else.
    Lines(String),
    /// `SHA256:…`; the line is asked of the host and compared.
    Fingerprint(String),
}

impl HostKey {
    /// Reads the value of `host_key` of `host`.
    pub(super) fn read(value: Option<&str>, host: &str) -> Result<Self, RemoteError> {
        let invalid = |why: &str| RemoteError::HostKeyInvalid { host: host.to_owned(), why: why.to_owned() };
        let Some(value) = value.map(str::trim) else { return Ok(Self::Users) };
        if value.is_empty() {
            return Err(invalid("the value is empty"));
        }
        if value.starts_with("MD5:") {
            return Err(invalid("an MD5 fingerprint proves nothing"));
        }
        if let Some(digest) = value.strip_prefix("SHA256:") {
            let digest = digest.split_whitespace().next().unwrap_or_default().trim_end_matches('=');
            if !STANDARD_NO_PAD.decode(digest).is_ok_and(|bytes| bytes.len() == 32) {
                return Err(invalid("the fingerprint is not whole: it has 43 characters after `SHA256:`"));
            }
            return Ok(Self::Fingerprint(format!("SHA256:{digest}")));
        }
        if value.contains(char::is_whitespace) {
            return lines(value).ok_or_else(|| invalid("no line of it has a host, a key type and a key"));
        }
        let path = in_home(value);
        let text = std::fs::read_to_string(&path)
            .map_err(|error| invalid(&format!("`{}` cannot be read: {error}", path.display())))?;
        lines(&text).ok_or_else(|| invalid(&format!("`{}` has no known_hosts line", path.display())))
    }
}

/// Reads a text as a host's key, for those who feed it with anything; no files.
#[cfg(test)]
pub(crate) fn read_any(text: &str) -> String {
    if !text.contains(char::is_whitespace) && !text.starts_with("SHA256:") {
        return String::new();
    }
    match HostKey::read(Some(text), "shop") {
        Ok(HostKey::Lines(lines)) => {
            format!("{} keys", fingerprints(&lines).matches("SHA256:").count().min(4))
        }
        Ok(key) => format!("{:?}", std::mem::discriminant(&key)),
        Err(error) => error.to_string(),
    }
}

/// A bare key, as in `ssh_host_ed25519_key.pub`, is taken to be the host's: nobody else uses these lines.
fn lines(text: &str) -> Option<HostKey> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let known = lines.filter(|line| fingerprint(line).is_some()).map(|line| {
        let bare = line.split_whitespace().next().is_some_and(is_key_type);
        if bare { format!("* {line}\n") } else { format!("{line}\n") }
    });
    let known = known.collect::<String>();
    (!known.is_empty()).then_some(HostKey::Lines(known))
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|start| word.starts_with(start))
}

fn in_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}

/// Returns the `SHA256:…` fingerprint of the key in a known_hosts or authorized_keys line.
pub(super) fn fingerprint(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().skip_while(|word| !is_key_type(word));
    let blob = STANDARD.decode(words.nth(1)?).ok()?;
    Some(format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&blob))))
}

/// Returns the fingerprints of all lines, for people.
pub(super) fn fingerprints(lines: &str) -> String {
    let mut all = lines.lines().filter_map(fingerprint).collect::<Vec<_>>();
    all.dedup();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `ssh-keygen -lf`.
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
    const FINGERPRINT: &str = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU";

    fn read(value: &str) -> Result<HostKey, String> {
        HostKey::read(Some(value), "shop").map_err(|error| error.to_string())
    }

    #[test]
    fn the_fingerprint_of_a_line_is_that_of_openssh() {
        assert_eq!(fingerprint(&format!("[shop]:22 {KEY} comment")).as_deref(), Some(FINGERPRINT));
        assert_eq!(fingerprint("shop ssh-ed25519"), None);
    }

    #[test]
    fn lines_files_bare_keys_and_fingerprints_are_taken() {
        let line = format!("shop {KEY}");
        assert_eq!(read(&line), Ok(HostKey::Lines(format!("{line}\n"))));
        assert_eq!(read(KEY), Ok(HostKey::Lines(format!("* {KEY}\n"))));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("# shop:22 SSH-2.0\n{line}\n\n")).unwrap();
        assert_eq!(read(file.path().to_str().unwrap()), Ok(HostKey::Lines(format!("{line}\n"))));
        assert_eq!(read(FINGERPRINT), Ok(HostKey::Fingerprint(FINGERPRINT.to_owned())));
        assert_eq!(HostKey::read(None, "shop").unwrap(), HostKey::Users);
    }

    #[test]
    fn anything_else_is_an_error_that_says_what_is_wrong() {
        let said = |value: &str| read(value).unwrap_err();
        assert!(said("").ends_with("the value is empty"));
        assert!(said("SHA256:short").contains("43 characters"));
        assert!(said("shop has a key").contains("no line of it"));
        assert!(said("/no/such/file").contains("`/no/such/file` cannot be read"));
    }
}
