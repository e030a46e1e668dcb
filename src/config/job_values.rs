//! A value that the job brings under a name: in the variable itself, or in the file that `<NAME>_FILE` names.

use std::path::Path;

use super::files::read_text;
use super::interpolate::Vars;
use crate::text::Secret;

/// Largest secret in a file, or of a program, in bytes.
pub const LARGEST_SECRET: usize = 64 * 1024;

/// A value and where it was.
pub(super) struct Brought {
    pub(super) value: Secret,
    pub(super) from: From,
}

/// Where a value of the job was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    Variable,
    /// In this file.
    File(String),
}

/// Returns what the job brings under a name; nothing when both variables are unset or empty.
///
/// # Errors
/// Both are set, or the file cannot be read: words that follow the name.
pub(super) fn value(job: &Vars, name: &str) -> Result<Option<Brought>, String> {
    let said = |name: &str| job.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let file_name = format!("{name}_FILE");
    match (said(name), said(&file_name)) {
        (Some(_), Some(_)) => {
            Err(format!("is set in the job, and so is `{file_name}`: nobody knows which one counts"))
        }
        (Some(value), None) => Ok(Some(Brought { value: Secret::new(value), from: From::Variable })),
        (None, Some(path)) => {
            let value = read(Path::new(path))
                .map_err(|error| format!("stands in {path} (`{file_name}`), and {error}"))?;
            Ok(Some(Brought { value, from: From::File(path.to_owned()) }))
        }
        (None, None) => Ok(None),
    }
}

/// Returns a secret of the job that no configuration names, likewise.
///
/// # Errors
/// As [`value`].
pub fn job_secret(job: &Vars, name: &str) -> Result<Option<Secret>, String> {
    Ok(value(job, name)?.map(|found| found.value))
}

/// Reads a secret from a file: its text without the line breaks at its end, as the official images of Docker Hub do.
///
/// # Errors
/// There is none, it is empty, too large, or no text: words that follow the file's name.
pub(super) fn read(path: &Path) -> Result<Secret, String> {
    let text =
        Secret::new(read_text(path, LARGEST_SECRET).map_err(|error| format!("could not be read: {error}"))?);
    match trimmed(text.reveal()) {
        "" => Err("is empty".to_owned()),
        value => Ok(Secret::new(value)),
    }
}

/// A secret without the line breaks that tools and editors put behind it.
pub(super) fn trimmed(text: &str) -> &str {
    text.trim_end_matches(['\n', '\r'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_its_variable_or_in_the_file_that_another_names_and_never_in_both() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(path("good"), "from the file\n\n").unwrap();
        std::fs::write(path("empty"), "\n").unwrap();
        std::fs::write(path("binary"), [0xff, 0, 1]).unwrap();
        std::fs::write(path("large"), "x".repeat(LARGEST_SECRET + 1)).unwrap();
        let job = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vars>()
        };
        let found = |pairs: &[(&str, &str)]| value(&job(pairs), "A");
        let said =
            |pairs: &[(&str, &str)]| found(pairs).unwrap().map(|found| found.value.reveal().to_owned());
        assert_eq!(said(&[("A", "x"), ("A_FILE", "")]).as_deref(), Some("x"));
        assert_eq!(said(&[("A", ""), ("A_FILE", &path("good"))]).as_deref(), Some("from the file"));
        assert_eq!(said(&[("A", ""), ("B", "x")]), None);
        for (file, words) in [
            ("none", "could not be read"),
            ("empty", "is empty"),
            ("binary", "it is not UTF-8"),
            ("large", "it is larger than"),
        ] {
            let why = found(&[("A_FILE", &path(file))]).err().unwrap();
            assert!(why.contains(words) && why.contains("`A_FILE`"), "{why}");
        }
        assert!(
            found(&[("A", "x"), ("A_FILE", "y")]).err().unwrap().contains("nobody knows which one counts")
        );
    }
}
