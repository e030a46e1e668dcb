//! The two fixed command lines that run on a host: find the agent and become it, or take it in.
//!
//! The login shell may be anything (fish, csh), so each script is one line within single quotes, without a single
//! quote, a backslash or an exclamation mark; what varies are words behind it, which are digests and numbers.

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use crate::remote::Agents;
use crate::text;

/// What each line of ours on stdout begins with; a login shell's own greetings do not.
const MARK: &str = "ffe-deploy-ship ";
/// Lines of greetings that are looked through, and the length of each.
const GREETING_LINES: usize = 500;
const GREETING_LINE: u64 = 8192;

/// Directories of the user's own, the first that can be used is: cache, data, run.
const DIRECTORIES: &str = r#"
    umask 077;
    say() { echo; echo "ffe-deploy-ship $*"; };
    c=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}};
    s=${XDG_DATA_HOME:-${HOME:+$HOME/.local/share}};
    u=$(id -u);
"#;
const EACH: &str = r#"
    for d in "${c:+$c/ffe-deploy}" "${s:+$s/ffe-deploy}" "${XDG_RUNTIME_DIR:+$XDG_RUNTIME_DIR/ffe-deploy}" "/var/tmp/ffe-deploy-$u";
    do
      if [ -z "$d" ]; then continue; fi;
"#;

/// Words: `<uname -m>=<sha256>` for each agent there is.
const FIND: &str = r#"
    m=$(uname -m); want=;
    for w in "$@"; do case $w in "$m"=*) want=${w#*=};; esac; done;
    if [ -z "$want" ]; then say machine "$m"; exit 3; fi;
    @EACH@
      f=$d/ffe-agent-$want;
      if [ -L "$d" ] || [ -L "$f" ]; then continue; fi;
      if [ -f "$f" ] && [ -O "$d" ] && [ -O "$f" ] && chmod 700 "$d" "$f"; then
        set -- $(sha256sum <"$f");
        if [ "$1" = "$want" ]; then say ready; exec "$f" attach; fi;
        rm -f "$f";
      fi;
    done;
    if command -v gzip >/dev/null 2>&1; then say absent "$m" gzip; else say absent "$m" plain; fi;
    exit 4
"#;

/// Words: sha256 of the program, KiB needed, `gzip` or `plain`; the program on stdin. An empty file is a program that
/// every shell can run, unless the file system is mounted noexec.
const TAKE: &str = r#"
    sha=$1; need=$2; how=$3; found=; tried=;
    if command -v sha256sum >/dev/null 2>&1; then :; else say failed "there is no sha256sum"; exit 5; fi;
    @EACH@
      if [ -L "$d" ]; then tried="$tried$d is a symbolic link; "; continue; fi;
      mkdir -p "$d" 2>/dev/null;
      if [ -d "$d" ] && [ -O "$d" ] && chmod 700 "$d"; then :; else tried="$tried$d cannot be made; "; continue; fi;
      p=$d/.upload-probe-$$;
      if ( : >"$p" ) 2>/dev/null && chmod 700 "$p"; then :; else rm -f "$p"; tried="$tried$d cannot be written; "; continue; fi;
      "$p" </dev/null >/dev/null 2>&1; ran=$?; rm -f "$p";
      if [ "$ran" -ne 0 ]; then tried="$tried$d lets no programs run (noexec); "; continue; fi;
      free=$(df -Pk "$d" 2>/dev/null | { read -r x; read -r x x x free x; echo "$free"; });
      case $free in ""|*[^0-9]*) free=$need;; esac;
      if [ "$free" -lt "$need" ]; then tried="$tried$d has only $free KiB free; "; continue; fi;
      found=$d; break;
    done;
    if [ -z "$found" ]; then say nowhere "$tried"; exit 6; fi;
    t=$found/.upload-$sha-$$; f=$found/ffe-agent-$sha;
    clean() { rm -f "$t"; };
    trap clean EXIT; trap "exit 1" HUP INT TERM;
    if [ "$how" = gzip ]; then gzip -dc >"$t"; else cat >"$t"; fi || { say failed "writing to $found"; exit 7; };
    set -- $(sha256sum <"$t");
    if [ "$1" = "$sha" ]; then :; else say failed "it arrived damaged in $found"; exit 8; fi;
    if chmod 700 "$t" && mv -f "$t" "$f"; then say placed "$found"; else say failed "renaming in $found"; exit 9; fi;
    find "$found" -name ".upload-*" -mtime +0 -exec rm -f {} + 2>/dev/null;
    ls -t "$found" | grep "^ffe-agent-" | sed 1,4d | while read -r old; do rm -f "$found/$old"; done
"#;

/// How the scripts are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum As {
    /// As the user who logged in.
    User,
    /// By `sudo -n`.
    Root,
}

/// Returns the command line that becomes the agent where it is there.
pub(super) fn find(who: As, agents: &Agents) -> String {
    let words = agents.all().iter().map(|agent| format!("{}={}", agent.arch(), agent.sha256()));
    line(who, FIND, &words.collect::<Vec<_>>())
}

/// Returns the command line that takes an agent of `bytes` (uncompressed) from stdin.
pub(super) fn take(who: As, sha256: &str, bytes: usize, gzip: bool) -> String {
    let need = (bytes / 1024 + 1024).to_string();
    line(who, TAKE, &[sha256.to_owned(), need, if gzip { "gzip" } else { "plain" }.to_owned()])
}

fn line(who: As, script: &str, words: &[String]) -> String {
    let script = format!("{DIRECTORIES}{}", script.replace("@EACH@", EACH));
    let script = script.split_whitespace().collect::<Vec<_>>().join(" ");
    let start = match who {
        As::User => "exec sh -c",
        As::Root => "exec sudo -n -- sh -c",
    };
    format!("{start} '{script}' ffe-deploy {}", words.join(" "))
}

/// What a script says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// All that follows is the agent.
    Ready,
    /// It is not there; whether the host has gzip.
    Absent { machine: String, gzip: bool },
    /// There is no agent for this machine.
    Machine(String),
    /// It was taken in.
    Placed,
    /// No directory can hold it.
    Nowhere(String),
    /// It was not taken in.
    Failed(String),
}

/// Reads up to our mark; the greetings of a login shell are no error, and are given back when no mark comes.
pub(super) async fn read_mark(stdout: &mut (impl AsyncBufRead + Unpin)) -> Result<Mark, Vec<String>> {
    let mut greetings = Vec::new();
    while greetings.len() < GREETING_LINES {
        let mut line = Vec::new();
        let read = stdout.take(GREETING_LINE).read_until(b'\n', &mut line).await;
        if !matches!(read, Ok(read) if read > 0) {
            break;
        }
        let line = text::harmless(String::from_utf8_lossy(&line).trim());
        if let Some(mark) = line.strip_prefix(MARK).and_then(parse) {
            return Ok(mark);
        }
        if !line.is_empty() {
            greetings.push(line);
        }
    }
    Err(greetings)
}

fn parse(mark: &str) -> Option<Mark> {
    let (word, rest) = mark.split_once(' ').unwrap_or((mark, ""));
    let rest = rest.trim_end_matches([' ', ';']).to_owned();
    Some(match word {
        "ready" => Mark::Ready,
        "absent" => {
            let (machine, how) = rest.split_once(' ')?;
            Mark::Absent { machine: machine.to_owned(), gzip: how == "gzip" }
        }
        "machine" => Mark::Machine(rest),
        "placed" => Mark::Placed,
        "nowhere" => Mark::Nowhere(rest),
        "failed" => Mark::Failed(rest),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::BufReader;

    #[test]
    fn the_command_lines_mean_the_same_to_every_login_shell() {
        for who in [As::User, As::Root] {
            for line in [find(who, &Agents::these(vec![])), take(who, "abc", 1, true)] {
                assert_eq!(line.matches('\'').count(), 2, "{line}");
                assert!(line.starts_with("exec s") && !line.contains(['\\', '!', '\n', '\t']), "{line}");
            }
        }
    }

    #[tokio::test]
    async fn the_mark_is_found_behind_greetings_and_what_follows_stays() {
        let said = "Welcome!\nno newline at the end\nffe-deploy-ship absent x86_64 gzip\nrest";
        let mut stdout = BufReader::new(said.as_bytes());
        let mark = read_mark(&mut stdout).await;
        assert_eq!(mark, Ok(Mark::Absent { machine: "x86_64".into(), gzip: true }));
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "rest");
    }

    #[tokio::test]
    async fn greetings_without_a_mark_are_given_back() {
        let mut stdout = BufReader::new(&b"This account is currently not available.\n"[..]);
        assert_eq!(
            read_mark(&mut stdout).await,
            Err(vec!["This account is currently not available.".to_owned()])
        );
    }
}
