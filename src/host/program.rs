//! Whether a program can be started, by looking alone. Enter by [`find`].
//!
//! Says what is known: a file that is there and can be executed may still fail for reasons of its own.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where programs are looked for without a `PATH`, as execvp(3) does.
const USUAL_PATH: &str = "/bin:/usr/bin";
/// Longest first line that the kernel reads (BINPRM_BUF_SIZE).
const FIRST_LINE: u64 = 256;

/// Why a program cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRunnable {
    /// A path where no file is.
    #[error("there is no file `{0}`")]
    Missing(String),
    /// A name that no directory of `PATH` has.
    #[error("no directory of PATH ({path}) has `{program}`")]
    NotOnPath {
        /// Its name.
        program: String,
        /// What was searched.
        path: String,
    },
    /// A file that nobody may execute.
    #[error("`{0}` is not executable")]
    NotExecutable(String),
    /// A script whose first line asks for something that is not there.
    #[error("the first line of `{program}` asks for `{wanted}`, which is not there")]
    Interpreter {
        /// The script.
        program: String,
        /// What it asks for, unprintable characters escaped.
        wanted: String,
    },
}

/// Returns the file that would be run for a program in a directory: a path from there, or a name on `PATH`.
///
/// # Errors
/// It could not be started.
pub fn find(program: &str, directory: &Path) -> Result<PathBuf, NotRunnable> {
    let found = match program.contains('/') {
        true => directory.join(program),
        false => on_path(program, directory)?,
    };
    let program = program.to_owned();
    // What cannot be looked at is not known to be missing.
    match found.metadata() {
        Err(error) if is_absence(&error) => return Err(NotRunnable::Missing(program)),
        Err(_) => return Ok(found),
        Ok(meta) if meta.is_dir() => return Err(NotRunnable::Missing(program)),
        Ok(meta) if meta.permissions().mode() & 0o111 == 0 => {
            return Err(NotRunnable::NotExecutable(program));
        }
        Ok(_) => {}
    }
    match missing_interpreter(&found, directory) {
        Some(wanted) => Err(NotRunnable::Interpreter { program, wanted }),
        None => Ok(found),
    }
}

fn is_absence(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

fn on_path(program: &str, directory: &Path) -> Result<PathBuf, NotRunnable> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| USUAL_PATH.into());
    let is_program = |file: &PathBuf| {
        file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let mut places = std::env::split_paths(&path).map(|place| directory.join(place).join(program));
    let path = path.to_string_lossy().into_owned();
    places.find(is_program).ok_or_else(|| NotRunnable::NotOnPath { program: program.to_owned(), path })
}

/// What the first line of a script asks for in vain: its interpreter, or what `env` is to find.
fn missing_interpreter(file: &Path, directory: &Path) -> Option<String> {
    let mut first = Vec::new();
    // A program that may not be read is no script.
    File::open(file).ok()?.take(FIRST_LINE).read_to_end(&mut first).ok()?;
    let line = first.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut words = line.split(is_space).filter(|word| !word.is_empty());
    let interpreter = Path::new(OsStr::from_bytes(words.next()?));
    let shown = |word: &str| word.escape_debug().to_string();
    if interpreter.is_absolute() && interpreter.metadata().is_err_and(|error| is_absence(&error)) {
        return Some(shown(&interpreter.to_string_lossy()));
    }
    let named = words.next().and_then(|word| std::str::from_utf8(word).ok())?;
    let is_plain = !named.starts_with('-') && !named.contains(['=', '/']);
    let by_env = interpreter.file_name() == Some(OsStr::new("env")) && is_plain;
    (by_env && on_path(named, directory).is_err()).then(|| shown(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(directory: &Path, name: &str, text: &str, mode: u32) {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn programs_are_found_as_they_would_be_run_and_what_is_wrong_with_others_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        std::fs::create_dir(at.join("scripts")).unwrap();
        script(at, "good", "#!/bin/sh\n", 0o755);
        script(at, "by-env", "#!/usr/bin/env sh\n", 0o755);
        script(at, "by-split", "#!/usr/bin/env -S nobody-has-this -x\n", 0o755);
        script(at, "bare", "echo\n", 0o755);
        script(at, "plain", "#!/bin/sh\n", 0o644);
        script(at, "windows", "#!/bin/sh\r\nexit\r\n", 0o755);
        script(at, "python", "#! /usr/bin/env nobody-has-this\n", 0o755);
        for program in
            ["./good", "good/../good", "by-env/", "./by-env", "./by-split", "./bare", "sh", "/bin/sh"]
        {
            let is_odd = program.ends_with('/') || program.contains("..");
            assert_eq!(find(program, at).is_ok(), !is_odd, "{program}");
        }
        let why = |program: &str| find(program, at).unwrap_err().to_string();
        assert_eq!(why("./gone"), "there is no file `./gone`");
        assert_eq!(why("./scripts"), "there is no file `./scripts`");
        assert_eq!(why("./plain"), "`./plain` is not executable");
        assert_eq!(
            why("./windows"),
            "the first line of `./windows` asks for `/bin/sh\\r`, which is not there"
        );
        assert_eq!(
            why("./python"),
            "the first line of `./python` asks for `nobody-has-this`, which is not there"
        );
        let path = std::env::var("PATH").unwrap();
        assert_eq!(why("good"), format!("no directory of PATH ({path}) has `good`"));
    }
}
