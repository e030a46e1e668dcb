//! Programs that stand before the real ones on PATH: they record each call, and can spoil the calls that a test names.
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::project::open_temp_dir;
use super::tools::find_except;

/// What happens to a call in place of the real program.
pub(crate) enum Act {
    /// Prints this on stderr and exits with the code.
    Fail(i32, &'static str),
    /// Prints this on stdout and exits with 0.
    Print(&'static str),
    /// Never ends.
    Hang,
    /// Waits for [`Shim::release`], then runs the real program.
    Hold,
}

/// A directory for the front of PATH.
pub(crate) struct Shim {
    dir: TempDir,
    rules: AtomicU32,
}

impl Shim {
    /// Makes an empty directory: nothing is shimmed yet.
    pub(crate) fn new() -> Self {
        let dir = open_temp_dir("shim");
        for name in ["bin", "calls", "rules"] {
            let path = dir.path().join(name);
            fs::create_dir(&path).expect("make the shim's directories");
            // Whoever calls may be another user.
            fs::set_permissions(path, fs::Permissions::from_mode(0o777))
                .expect("open the shim's directories");
        }
        Self { dir, rules: AtomicU32::new(0) }
    }

    /// Makes a shim that only records the calls of docker.
    pub(crate) fn docker() -> Self {
        let shim = Self::new();
        shim.wrap("docker");
        shim
    }

    /// The directory to put first on PATH.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    /// Records calls of `program`, which is run as if the shim were not there.
    pub(crate) fn wrap(&self, program: &str) -> &Self {
        let real = find_except(program, &self.path()).unwrap_or_else(|| panic!("no program `{program}`"));
        self.put(program, &format!("exec {} \"$@\"", quoted(&real.display().to_string())))
    }

    /// Records calls of `program`, in whose place `script` (bash) runs.
    pub(crate) fn fake(&self, program: &str, script: &str) -> &Self {
        self.put(program, script)
    }

    /// Spoils each call of any shimmed program that has all `words` among its arguments, in this order.
    pub(crate) fn on(&self, words: &[&str], act: &Act) -> &Self {
        self.rule(words, act, None)
    }

    /// Spoils the first `times` of such calls.
    pub(crate) fn on_first(&self, times: u32, words: &[&str], act: &Act) -> &Self {
        self.rule(words, act, Some(times))
    }

    /// Spoils nothing any more.
    pub(crate) fn heal(&self) {
        for entry in fs::read_dir(self.dir.path().join("rules")).expect("read the rules") {
            let path = entry.expect("read a rule").path();
            if path.is_file() {
                fs::remove_file(path).expect("remove a rule");
            }
        }
    }

    /// Lets all calls go on that [`Act::Hold`] holds, and those to come.
    pub(crate) fn release(&self) {
        fs::write(self.dir.path().join("released"), "").expect("release the calls");
    }

    /// Holds calls again after [`Shim::release`].
    pub(crate) fn close(&self) {
        // What was not open stays closed.
        fs::remove_file(self.dir.path().join("released")).ok();
    }

    /// How many calls of `words` there were, as [`Shim::on`] matches them.
    pub(crate) fn count(&self, words: &[&str]) -> usize {
        self.calls().iter().filter(|call| matches(call, words)).count()
    }

    /// All calls so far, in order: the program's name and its arguments.
    pub(crate) fn calls(&self) -> Vec<Vec<String>> {
        let entries = fs::read_dir(self.dir.path().join("calls")).expect("read the calls");
        let mut files: Vec<_> = entries.map(|entry| entry.expect("read a call").path()).collect();
        files.retain(|path| path.extension().is_none());
        files.sort();
        files.iter().map(|path| read_call(path)).collect()
    }

    fn put(&self, program: &str, then: &str) -> &Self {
        let dir = quoted(&self.dir.path().display().to_string());
        // A file for each call, renamed when it is whole, so that calls side by side do not mix.
        let script = format!(
            r#"#!/bin/bash
dir={dir}
call=$dir/calls/${{EPOCHREALTIME/[.,]/}}-$BASHPID
printf '%s\0' {program} "$@" >"$call.new" && /bin/mv "$call.new" "$call"
matches() {{
    local argument
    for argument in "${{arguments[@]}}"; do
        (($#)) || break
        [[ $argument != "$1" ]] || shift
    done
    ((! $#))
}}
arguments=("$@")
for rule in "$dir"/rules/*.sh; do [[ ! -f $rule ]] || . "$rule"; done
{then}
"#
        );
        let path = self.path().join(program);
        fs::write(&path, script).expect("write a shim");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("make the shim a program");
        self
    }

    fn rule(&self, words: &[&str], act: &Act, times: Option<u32>) -> &Self {
        let number = self.rules.fetch_add(1, Ordering::Relaxed);
        let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
        let mut rule = format!("if matches {}", words.join(" "));
        if let Some(times) = times {
            // Making a directory succeeds once: each is the claim of one call.
            let claims = format!("\"$dir/rules/{number}.\"{{1..{times}}}");
            write!(
                rule,
                " && for claim in {claims} none; do /bin/mkdir \"$claim\" 2>/dev/null && break; done"
            )
            .expect("write to a string");
            rule += " && [[ $claim != none ]]";
        }
        let act = match act {
            Act::Fail(code, told) => format!("printf '%s\\n' {} >&2; exit {code}", quoted(told)),
            Act::Print(told) => format!("printf '%s\\n' {}; exit 0", quoted(told)),
            Act::Hang => "exec /bin/sleep infinity".to_owned(),
            Act::Hold => "until [[ -e $dir/released ]]; do /bin/sleep 0.02; done".to_owned(),
        };
        writeln!(rule, "; then {act}; fi").expect("write to a string");
        fs::write(self.dir.path().join(format!("rules/{number:04}.sh")), rule).expect("write a rule");
        self
    }
}

fn read_call(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).expect("read a call");
    let words = bytes.strip_suffix(b"\0").unwrap_or(&bytes).split(|byte| *byte == 0);
    words.map(|word| std::ffi::OsStr::from_bytes(word).to_string_lossy().into_owned()).collect()
}

fn matches(call: &[String], words: &[&str]) -> bool {
    let mut words = words.iter().peekable();
    for argument in call.iter().skip(1) {
        words.next_if(|word| *word == argument);
    }
    words.peek().is_none()
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
