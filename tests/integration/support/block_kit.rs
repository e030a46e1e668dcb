//! Which messages Slack takes, by the limits of its reference of Block Kit, and what they can do to a reader. The unit
//! tests take this file, too.
use serde_json::Value;

/// What a reader sees of a message, text below text.
pub(crate) fn seen(message: &Value) -> String {
    let blocks = message["blocks"].as_array().expect("a message has blocks");
    texts(blocks).iter().map(|(_, text)| text.replace("*\n", "* ")).collect::<Vec<_>>().join("\n")
}

/// Checks that Slack takes a message, and that nothing in it is a mention or a link but the one to the run.
#[track_caller]
pub(crate) fn is_taken(message: &Value) {
    let fallback = message["text"].as_str().expect("a text for notifications");
    assert!((1..=40_000).contains(&fallback.chars().count()), "{fallback}");
    does_nothing(fallback);
    let blocks = message["blocks"].as_array().expect("a list of blocks");
    assert!((1..=50).contains(&blocks.len()), "{} blocks", blocks.len());
    for block in blocks {
        let kind = block["type"].as_str().expect("a block has a type");
        assert!(["header", "section", "context", "divider"].contains(&kind), "{kind}");
        assert_eq!(kind == "header", block["text"]["type"] == "plain_text", "{block}");
        let count = |key: &str| block[key].as_array().map_or(0, Vec::len);
        assert!(count("fields") <= 10 && count("elements") <= 10, "{block}");
    }
    for (longest, text) in texts(blocks) {
        let length = text.encode_utf16().count();
        assert!((1..=longest).contains(&length), "{length} of {longest} characters: {text}");
        does_nothing(text);
    }
}

/// All texts of the blocks, and how long each may be.
fn texts(blocks: &[Value]) -> Vec<(usize, &str)> {
    let mut texts = Vec::new();
    for block in blocks {
        let longest = if block["type"] == "header" { 150 } else { 3_000 };
        texts.extend(block["text"]["text"].as_str().map(|text| (longest, text)));
        for (key, longest) in [("fields", 2_000), ("elements", 3_000)] {
            let more = block[key].as_array().into_iter().flatten();
            texts.extend(more.map(|text| (longest, text["text"].as_str().expect("a text"))));
        }
    }
    texts
}

/// Nothing in `<…>` but the link to the run; no bare `&`; no word that wakes a channel; one line each.
#[track_caller]
fn does_nothing(text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(['<', '>']) {
        let inner = rest[at..].strip_prefix('<').and_then(|from| from.split_once('>'));
        let (inside, after) = inner.unwrap_or_else(|| panic!("a lone bracket: {text}"));
        let ours = inside.starts_with("https://github.com/") && inside.ends_with("|Open the run");
        assert!(ours && inside.matches('|').count() == 1, "<{inside}> in {text}");
        rest = after;
    }
    for entity in text.split('&').skip(1) {
        assert!(["amp;", "lt;", "gt;"].iter().any(|name| entity.starts_with(name)), "&{entity} in {text}");
    }
    for loud in ["@here", "@channel", "@everyone"] {
        assert!(!text.to_lowercase().contains(loud), "{loud} in {text}");
    }
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
}
