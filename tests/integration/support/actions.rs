//! What GitHub's runner makes of a line of a step's output, as its source has it (actions/runner, `ActionCommand`), and
//! what a terminal would. The unit tests take this file, too.

/// A line that the runner obeys instead of showing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// `error`, `add-mask`, …
    pub(crate) name: String,
    /// What stands between the name and the message, as it was written.
    pub(crate) properties: String,
    /// The message, unescaped.
    pub(crate) message: String,
}

/// Returns what the runner obeys in a line. Any name counts as one of its commands: `::stop-commands::` can make it one.
pub(crate) fn obeyed(line: &str) -> Option<Command> {
    let chars: Vec<char> = line.trim_start().chars().collect();
    new_style(&chars).or_else(|| old_style(&line.chars().collect::<Vec<_>>()))
}

/// All that the runner obeys in an output. It reads lines as .NET does: to `\n`, `\r` or both.
pub(crate) fn all_obeyed(output: &str) -> Vec<Command> {
    output.split(['\n', '\r']).filter_map(obeyed).collect()
}

/// `::name properties::message`, after white space.
fn new_style(line: &[char]) -> Option<Command> {
    if !matches_at(line, 0, "::") {
        return None;
    }
    // The runner counts two characters, whatever it has matched.
    let end = (2..line.len()).find(|at| matches_at(line, *at, "::"))?;
    command(&line[2..end], &line[(end + 2).min(line.len())..], &["%0D=\r", "%0A=\n", "%25=%"])
}

/// `##[name properties]message`, anywhere.
fn old_style(line: &[char]) -> Option<Command> {
    let starts = (0..line.len()).filter(|at| matches_at(line, *at, "##["));
    let parsed = starts.filter_map(|start| {
        let end = (start..line.len()).find(|at| line[*at] == ']')?;
        let info = line.get(start + 3..end)?;
        command(info, &line[end + 1..], &["%3B=;", "%0D=\r", "%0A=\n", "%5D=]", "%25=%"])
    });
    parsed.into_iter().next()
}

fn command(info: &[char], message: &[char], escapes: &[&str]) -> Option<Command> {
    let info: String = info.iter().collect();
    let (name, properties) = info.split_once(' ').unwrap_or((&info, ""));
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let mut message: String = message.iter().collect();
    for escape in escapes {
        let (written, meant) = escape.split_once('=')?;
        message = message.replace(written, meant);
    }
    is_name.then(|| Command { name: name.to_owned(), properties: properties.to_owned(), message })
}

/// Whether the text stands there, for a search that passes over what collation ignores: .NET's may.
fn matches_at(line: &[char], at: usize, wanted: &str) -> bool {
    let mut seen = line[at..].iter().filter(|c| !is_ignored(**c));
    wanted.chars().all(|wanted| seen.next() == Some(&wanted))
}

fn is_ignored(c: char) -> bool {
    matches!(c, '\u{0}'..='\u{8}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' | '\u{ad}' | '\u{34f}')
        || matches!(c, '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180e}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}')
        || matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}')
        || matches!(c, '\u{e0000}'..='\u{e0fff}')
}

/// Returns the names and values in a file of outputs, read as the runner reads it.
pub(crate) fn file_commands(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut lines = text.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let (equals, heredoc) = (line.find('='), line.find("<<"));
        match (equals, heredoc) {
            (_, None) if line.is_empty() => {}
            (Some(at), _) if heredoc.is_none_or(|other| at < other) => {
                found.push((line[..at].to_owned(), line[at + 1..].to_owned()));
            }
            (_, Some(at)) => {
                let (name, end) = (&line[..at], &line[at + 2..]);
                let mut value = Vec::new();
                loop {
                    let line = lines.next().ok_or_else(|| format!("`{name}` has no end `{end}`"))?;
                    if line == end {
                        break;
                    }
                    value.push(line);
                }
                found.push((name.to_owned(), value.join("\n")));
            }
            _ => return Err(format!("a line that is none: {line}")),
        }
    }
    Ok(found)
}

/// Returns the first character that does something to a terminal, or to the order of what is read.
pub(crate) fn unsafe_for_terminals(output: &str) -> Option<char> {
    let does = |c: &char| {
        (c.is_control() && *c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    output.chars().find(does)
}

/// Pieces of text that mean harm, for the tests that print them and for those that make them up.
pub(crate) const HARMFUL: [&str; 44] = [
    "::add-mask::harm",
    "  ::error file=x,line=1::harm",
    "\u{3000}::set-output name=x::harm",
    "::stop-commands::harm",
    "\r::warning::harm",
    "\u{85}::error::harm",
    "\u{2028}::error::harm",
    "\u{b}::error::harm",
    "\u{feff}::error::harm",
    ":\u{ad}:error::harm",
    "##[error]harm",
    "#\u{1b}[0m#[add-mask]harm",
    "##\u{ad}[group]harm",
    "##vso[task.setvariable variable=x]harm",
    "%0A::error::harm%0D",
    "\u{1b}]8;;http://harm.example\u{1b}\\harm\u{1b}]8;;\u{1b}\\",
    "\u{1b}]52;c;aGFybQ==\u{7}",
    "\u{9d}0;harm\u{9c}",
    "\u{9b}2J",
    "\u{1b}[2J\u{1b}[31mharm",
    "\u{8}\u{8}\u{8}harm",
    "\u{202e}mrah\u{2066}",
    "| harm | harm |\n|---|---|\n| a | b |",
    "|",
    "\n# harm\n",
    "harm\n===",
    "</details><script>harm</script>",
    "<img src=http://harm.example/x>",
    "<!-- harm",
    "[harm](http://harm.example)",
    "![harm](http://harm.example/x.png)",
    "<http://harm.example>",
    "http://harm.example/a_b",
    "[harm]: http://harm.example",
    "```\nharm\n```",
    "````mermaid\ngraph TD\n````",
    "~~~",
    "`harm` **harm** _harm_ ~~harm~~ \\",
    "- [ ] harm\n> harm\n1. harm",
    "@harm #1 GH-1 harm@example.com",
    "<!channel> <@U0HARM> <#C0HARM> <!subteam^S0HARM> <http://harm.example|harm>",
    "@here @channel @everyone",
    "&lt;!channel&gt; &amp; &#60;",
    "*harm* :rotating_light:",
];
