//! `${VAR}` and `${VAR:-default}` of the release's variables, in addresses of checks (DESIGN section 7).

use std::collections::BTreeMap;

/// Why a text could not be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterpolationError {
    /// The variable is not there, or empty, and there is no default.
    #[error("variable `{name}` is not set, or empty")]
    Unset {
        /// Its name.
        name: String,
    },
    /// Something else than `${NAME}` or `${NAME:-default}`.
    #[error("`${{{found}` is neither `${{NAME}}` nor `${{NAME:-default}}`")]
    Malformed {
        /// What follows `${`.
        found: String,
    },
}

/// Returns the text with variables put in; `$${` writes `${`, a lone `$` is a dollar.
pub(super) fn interpolate(
    text: &str,
    variables: &BTreeMap<String, String>,
) -> Result<String, InterpolationError> {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        if let Some(escaped) = before.strip_suffix('$') {
            out.push_str(escaped);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let malformed = || InterpolationError::Malformed { found: after.chars().take(40).collect() };
        let end = after.find('}').ok_or_else(malformed)?;
        let (name, default) = after[..end]
            .split_once(":-")
            .map_or((&after[..end], None), |(name, default)| (name, Some(default)));
        if !is_name(name) {
            return Err(malformed());
        }
        let value = variables.get(name).map(String::as_str).filter(|value| !value.is_empty()).or(default);
        out.push_str(value.ok_or_else(|| InterpolationError::Unset { name: name.to_owned() })?);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn is_name(text: &str) -> bool {
    text.bytes()
        .enumerate()
        .all(|(at, b)| b == b'_' || b.is_ascii_alphabetic() || (at > 0 && b.is_ascii_digit()))
        && !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Result<String, InterpolationError> {
        let variables = [("PORT", "8002"), ("EMPTY", "")];
        interpolate(text, &variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    #[test]
    fn variables_defaults_and_escapes_are_resolved() {
        assert_eq!(resolved("http://localhost:${PORT}/x").unwrap(), "http://localhost:8002/x");
        assert_eq!(resolved("${EMPTY:-a}${NONE:-b}${PORT:-c}").unwrap(), "ab8002");
        assert_eq!(resolved("a$b $${PORT} $").unwrap(), "a$b ${PORT} $");
    }

    #[test]
    fn what_cannot_be_resolved_is_named() {
        assert_eq!(resolved("${NONE}").unwrap_err().to_string(), "variable `NONE` is not set, or empty");
        for bad in ["${PORT", "${}", "${1A}", "${PORT-x}", "${A B}"] {
            assert!(matches!(resolved(bad), Err(InterpolationError::Malformed { .. })), "{bad}");
        }
    }
}
