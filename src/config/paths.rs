//! Relative paths of the configuration: what is accepted, and their one spelling.

/// What [`is_relative`] accepts, in words.
pub(super) const RELATIVE: &str = "a path below the app's directory, without `..`";

/// Returns whether a path stays below the directory it starts from.
pub(super) fn is_relative(path: &str) -> bool {
    !path.starts_with('/')
        && !path.contains(['\0', '\n', '\r', '\\'])
        && path.split('/').all(|part| part != "..")
        && !normal(path).is_empty()
}

/// Returns the path without `.` and empty parts.
pub(super) fn normal(path: &str) -> String {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

/// Returns `path` from `directory`, both relative; `None` when it leaves where `directory` starts.
pub(super) fn join(directory: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if path.starts_with('/') {
        return None;
    }
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}
