//! Lines of a container, as hostile as they come, in a summary and among workflow commands.

use pulldown_cmark::{Event, Options, Parser, Tag};

use super::Job;
use crate::support::needs;

/// What a container says: commands of the runner, markup, and ends of what it is shown in.
const LINES: [&str; 9] = [
    "::error file=app.py,line=1::forged",
    "::endgroup::",
    "::set-output name=status::success",
    "##[error]forged",
    "````````",
    "</details></table><script>forged</script>",
    "| forged | cell |",
    "# forged by @ada ![x](https://evil.example/x.png)",
    "%0A::error::forged",
];

#[test]
fn a_container_cannot_forge_commands_or_leave_its_fence() {
    needs!("docker", "git");
    let job = Job::new();
    let script = LINES.map(|line| format!("echo \"{}\";", line.replace('`', "\\`"))).concat();
    let command = format!("    command: [sh, -c, '{script} exec shop serve']\n");
    let step = job
        .write_with("1.0.0", "unhealthy", &command)
        .run(&["deploy", "staging", "--yes", "--version", "1.0.0"], 5);
    for line in step.ended.stdout.lines() {
        assert!(!line.starts_with("::error file=app.py") && !line.contains("##["), "{line}");
        assert!(!line.starts_with("::set-output"), "{line}");
    }
    let mut quoted = String::new();
    let mut in_fence = false;
    for event in Parser::new_ext(&step.summary, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => in_fence = true,
            Event::End(pulldown_cmark::TagEnd::CodeBlock) => in_fence = false,
            Event::Text(text) if in_fence => quoted.push_str(&text),
            Event::Text(text) | Event::Code(text) => assert!(!text.contains("forged"), "{text}"),
            Event::Html(html) | Event::InlineHtml(html) => {
                let ours = ["<details>", "</details>", "<br>", "<code>", "</code>"];
                assert!(ours.iter().any(|tag| html.trim().starts_with(tag)), "{html}");
            }
            Event::Start(Tag::Image { .. }) => panic!("an image: {}", step.summary),
            _ => {}
        }
    }
    assert_eq!(quoted.matches("forged").count(), 6, "{quoted}");
    assert!(quoted.contains("````````"), "{quoted}");
}
