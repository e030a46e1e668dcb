//! Tells from what `ssh` said why there is no connection. `ssh` ends with 255 whatever the reason.

use crate::text;

/// The reasons that `ssh` tells apart, each with the line that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The host shows another key than the known one.
    KeyChanged,
    /// No key is known for the host.
    KeyUnknown,
    /// No address; `true` when that passes.
    Dns(bool),
    /// All keys were refused.
    Authentication,
    /// The configuration has an error.
    Configuration,
    /// Nothing listens.
    Refused,
    /// No answer.
    Timeout,
    /// Anything else.
    Broken,
}

/// Phrases of OpenSSH and of the C library, the most telling first: a jump host's failure is followed by its consequences.
const PHRASES: [(&str, Reason); 22] = [
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", Reason::KeyChanged),
    ("host key is known for", Reason::KeyUnknown),
    ("Host key verification failed", Reason::KeyUnknown),
    ("Temporary failure in name resolution", Reason::Dns(true)),
    ("Could not resolve hostname", Reason::Dns(false)),
    ("Name or service not known", Reason::Dns(false)),
    ("No address associated with hostname", Reason::Dns(false)),
    ("Permission denied (", Reason::Authentication),
    ("Too many authentication failures", Reason::Authentication),
    ("No supported authentication methods available", Reason::Authentication),
    ("Bad configuration option", Reason::Configuration),
    ("Bad owner or permissions", Reason::Configuration),
    ("bad configuration options", Reason::Configuration),
    ("extra arguments at end of line", Reason::Configuration),
    ("keyword", Reason::Configuration),
    ("Connection refused", Reason::Refused),
    ("Connection timed out", Reason::Timeout),
    ("Operation timed out", Reason::Timeout),
    ("timed out during banner exchange", Reason::Timeout),
    ("not responding", Reason::Timeout),
    ("No route to host", Reason::Broken),
    ("Connection closed", Reason::Broken),
];

/// Returns the reason and the line that gave it, harmless; for none of the known ones, the last line.
pub(super) fn reason(lines: &[String]) -> (Reason, String) {
    for (phrase, reason) in PHRASES {
        if let Some(line) = lines.iter().find(|line| line.contains(phrase)) {
            return (reason, text::harmless(line.trim()));
        }
    }
    let last = lines.iter().rev().find(|line| !line.trim().is_empty());
    (Reason::Broken, last.map_or_else(|| "`ssh` said nothing".to_owned(), |line| text::harmless(line.trim())))
}

/// Returns the fingerprint that the host showed when its key has changed.
pub(super) fn shown_fingerprint(lines: &[String]) -> Option<String> {
    let line = lines.iter().find(|line| line.starts_with("SHA256:"))?;
    Some(text::harmless(line.trim().trim_end_matches('.')))
}

/// Returns file and number of the known line that a changed key offends.
pub(super) fn offending_line(lines: &[String]) -> Option<(String, usize)> {
    let line = lines.iter().find(|line| line.starts_with("Offending "))?;
    let (file, number) = line.split_once(" key in ")?.1.trim().rsplit_once(':')?;
    Some((file.to_owned(), number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Reason {
        reason(&text.lines().map(str::to_owned).collect::<Vec<_>>()).0
    }

    #[test]
    fn the_reasons_of_openssh_are_told_apart() {
        let cases = [
            ("ssh: Could not resolve hostname x: Name or service not known", Reason::Dns(false)),
            ("ssh: Could not resolve hostname x: Temporary failure in name resolution", Reason::Dns(true)),
            ("ssh: connect to host x port 22: Connection refused", Reason::Refused),
            ("ssh: connect to host x port 22: Connection timed out", Reason::Timeout),
            (
                "No ED25519 host key is known for x and you have requested strict checking.",
                Reason::KeyUnknown,
            ),
            ("root@x: Permission denied (publickey).", Reason::Authentication),
            ("kex_exchange_identification: Connection closed by remote host", Reason::Broken),
            (
                "channel 0: open failed: connect failed: Connection refused\nstdio forwarding failed\n\
              Connection closed by UNKNOWN port 65535",
                Reason::Refused,
            ),
            ("/x/config: line 3: Bad configuration option: y", Reason::Configuration),
        ];
        for (text, reason) in cases {
            assert_eq!(told(text), reason, "{text}");
        }
    }

    #[test]
    fn silence_is_said_to_be_silence() {
        assert_eq!(reason(&[]), (Reason::Broken, "`ssh` said nothing".to_owned()));
    }
}
