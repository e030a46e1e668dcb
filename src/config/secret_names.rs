//! Which names look like those of secrets.
//!
//! A name is split into words at `_`, `-`, `.` and at humps (`apiKey`), digits at the end of a word ignored.
//! It looks secret when one word is password, passwd, passphrase, pwd, secret(s), token, credential(s), dsn or webhook,
//! or ends in one of them (`PGPASSWORD`); when its last word is pass, key(s) or private, or `private` comes before
//! `key` or `pem`. It does not when the last word only describes one (`TOKEN_TTL`, `PASSWORD_FILE`,
//! `PASSWORD_MIN_LENGTH`, `TOKEN_URL`), or when the key is one that is no secret (`PUBLIC_KEY`, `HOST_KEY`).

use crate::text::password_in;

const SECRET: [&str; 9] =
    ["password", "passwd", "passphrase", "pwd", "secret", "token", "credential", "dsn", "webhook"];
const DESCRIBES: [&str; 37] = [
    "file",
    "path",
    "dir",
    "name",
    "ttl",
    "length",
    "len",
    "size",
    "count",
    "min",
    "max",
    "limit",
    "expiry",
    "expires",
    "expiration",
    "expire",
    "lifetime",
    "timeout",
    "days",
    "hours",
    "minutes",
    "seconds",
    "ms",
    "algorithm",
    "alg",
    "type",
    "policy",
    "enabled",
    "required",
    "endpoint",
    "host",
    "port",
    "header",
    "prefix",
    "issuer",
    "audience",
    "command",
];
const NO_SECRET_KEYS: [&str; 9] =
    ["public", "pub", "host", "primary", "foreign", "partition", "sort", "cache", "routing"];

/// Shortest value that is a secret, in bytes: masking a shorter one would mask everything.
const SHORTEST: usize = 4;
/// Values that stand for none.
const NO_VALUES: [&str; 9] =
    ["true", "false", "none", "null", "unset", "dummy", "placeholder", "redacted", "disabled"];

/// How tokens of GitHub, GitLab, Slack and Stripe begin, as far as nothing else begins so.
pub(super) const TOKENS: [&str; 11] = [
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "sk_live_",
    "rk_live_",
];
/// Fewest characters of theirs behind that.
const SHORTEST_TOKEN: usize = 16;

/// Returns whether the value of this name is to be treated as a secret.
pub fn looks_secret(name: &str) -> bool {
    let words = words(name);
    let Some((last, before)) = words.split_last() else { return false };
    let is_webhook = words.iter().any(|word| word.ends_with("webhook"));
    if DESCRIBES.contains(&last.as_str()) || (matches!(last.as_str(), "url" | "uri") && !is_webhook) {
        return false;
    }
    let previous = before.last().map_or("", String::as_str);
    match last.as_str() {
        "key" | "keys" if NO_SECRET_KEYS.contains(&previous) => false,
        "key" | "keys" | "private" | "pass" => true,
        "pem" if previous == "private" => true,
        _ => words.iter().any(|word| is_secret_word(word)),
    }
}

/// Returns whether the value of this name is a secret and nothing else: `DB_PASSWORD`, and not `PASSWORD_AUTH`.
pub fn names_secret(name: &str) -> bool {
    let words = words(name);
    let last = words.last().map_or("", String::as_str);
    looks_secret(name) && (matches!(last, "key" | "keys" | "private" | "pass") || is_secret_word(last))
}

/// Returns whether a name with this literal value gives a secret away: the name looks secret, and the value is neither
/// empty or very short, nor a switch or a placeholder, nor a path, nor a public key's fingerprint; or the value is an
/// address with a password in it, or a token of a well-known service, whatever its name.
pub fn holds_secret(name: &str, value: &str) -> bool {
    let value = value.trim();
    let lower = value.to_ascii_lowercase();
    let is_nothing = value.len() < SHORTEST || NO_VALUES.contains(&lower.as_str());
    let is_place = value.starts_with('/') || lower.starts_with("file:") || value.starts_with("./");
    let is_fingerprint = value.chars().all(|c| c.is_ascii_hexdigit() || c == ' ')
        && words(name).iter().any(|word| word == "gpg" || word == "pgp");
    let is_secret = looks_secret(name) && !is_nothing && !is_place && !is_fingerprint;
    is_secret || is_token(value) || password_in(value).is_some_and(|password| !password.contains('$'))
}

/// Whether a value is what a well-known service hands out: nothing else begins so and goes on so long.
fn is_token(value: &str) -> bool {
    let rest = TOKENS.iter().find_map(|start| value.strip_prefix(start)).unwrap_or_default();
    rest.len() >= SHORTEST_TOKEN && rest.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

fn is_secret_word(word: &str) -> bool {
    let glued = ["apikey", "privatekey", "secretkey", "accesskey"];
    let word = match word {
        "tokens" => return false,
        word => word.strip_suffix('s').unwrap_or(word),
    };
    SECRET.iter().any(|secret| word.ends_with(secret)) || glued.iter().any(|key| word.ends_with(key))
}

/// Splits a name into lower-case words.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        let is_hump = c.is_uppercase() && was_lower;
        if !c.is_alphanumeric() || is_hump {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    let bare = |word: String| word.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
    words.into_iter().map(bare).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_told_from_names_about_secrets() {
        for name in [
            "API_KEY",
            "api_key",
            "apiKey",
            "apikey",
            "JWT_SECRET_KEY",
            "DB_PASSWORD",
            "PGPASSWORD",
            "GITHUB_TOKEN",
            "SENTRY_DSN",
            "SLACK_WEBHOOK_URL",
            "AWS_SECRET_ACCESS_KEY",
            "TLS_PRIVATE_KEY",
            "APP_CREDENTIALS",
            "MYSQL_PASSWD",
            "TOKEN2",
            "passphrase",
            "COINBASE_API_SECRET",
            "SECRETS",
            "SSH_PRIVATE",
            "DB_PASS",
            "smtpPass",
        ] {
            assert!(looks_secret(name), "{name}");
        }
        for name in [
            "HOST",
            "LOG_LEVEL",
            "TOKEN_TTL",
            "MAX_TOKENS",
            "PASSWORD_MIN_LENGTH",
            "POSTGRES_PASSWORD_FILE",
            "PUBLIC_KEY",
            "host_key",
            "TOKEN_URL",
            "KEYBOARD",
            "MONKEY_COUNT",
            "PRIVATE_NETWORK",
            "monkey",
            "",
            "CACHE_KEY",
            "DSNAME",
            "BYPASS",
            "PASS_THROUGH",
            "secret_command",
        ] {
            assert!(!looks_secret(name), "{name}");
        }
    }

    #[test]
    fn a_token_is_a_secret_under_any_name() {
        assert!(holds_secret("HELPER", "ghp_0123456789abcdefghijABCDEFGHIJ012345"));
        assert!(!holds_secret("HELPER", "ghp_short"));
        assert!(!holds_secret("HELPER", "sk_live_${NAME_OF_THE_VARIABLE}"));
        assert!(names_secret("DB_PASSWORD") && names_secret("apiKey") && names_secret("TOKENS2_SECRET"));
        assert!(!names_secret("PASSWORD_AUTH") && !names_secret("TOKEN_TTL") && !names_secret("CACHE_KEY"));
    }
}
