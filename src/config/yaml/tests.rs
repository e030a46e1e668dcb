//! Documents as they are read: places, merge keys, and what is refused.

use std::time::{Duration, Instant};

use super::*;

fn read(text: &str) -> Parsed {
    parse(text, "x.yaml", Tags::Refused)
}

#[test]
fn values_know_their_place_and_keep_their_text() {
    let root = read("a:\n  b: 1.10\n  c: [x, \"2\"]\n").root.unwrap();
    let b = root.get("a").unwrap().get("b").unwrap();
    assert_eq!((b.text().unwrap(), b.place.line, b.place.column), ("1.10", 2, 6));
}

#[test]
fn merge_keys_fill_what_is_not_written() {
    let root = read("base: &b {x: 1, y: 2}\nother: &o {y: 9, z: 3}\nit:\n  <<: [*b, *o]\n  x: 7\n").root;
    let root = root.unwrap();
    let it = root.get("it").unwrap();
    let values: Vec<_> = ["x", "y", "z"].map(|key| it.get(key).unwrap().text().unwrap()).to_vec();
    assert_eq!(values, ["7", "2", "3"]);
}

#[test]
fn duplicate_keys_tags_and_second_documents_are_problems_with_a_line() {
    let twice = read("a: 1\nb: 2\na: 3\na: 4\n").problems;
    assert_eq!((twice.len(), twice[0].line, twice[0].column), (2, Some(3), Some(1)));
    assert_eq!(read("a: !secret x\n").problems[0].line, Some(1));
    assert_eq!(read("a: 1\n---\nb: 2\n").problems[0].line, Some(2));
    let broken = read("a: [1\nb: 2\n").problems;
    assert!(broken[0].line.is_some() && broken[0].message.len() > 15, "{broken:?}");
}

#[test]
fn bombs_are_refused_in_milliseconds() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let refs = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{refs}]\n"));
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let wide = "- {a: [b, c]}\n".repeat(15_000);
    let blocks: String = (0..500).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    for text in [laughs, deep, wide, "x".repeat(1 << 20), blocks, "a: &a [*a]\n".to_owned()] {
        let start = Instant::now();
        let parsed = read(&text);
        assert!(parsed.root.is_none() && parsed.problems.len() == 1, "{}", &text[..40.min(text.len())]);
        // Without a budget it would take hours.
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    }
}

#[test]
fn long_texts_and_deep_nesting_are_refused_at_once_too() {
    // Copies of one long text would be gigabytes.
    let copies = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 10_000].join(", "));
    let items = format!("{}x\n", "- ".repeat(10_000));
    let keys = format!("{}x\n", "? ".repeat(10_000));
    let maps = format!("{}{}", "{a: ".repeat(10_000), "}".repeat(10_000));
    let blocks: String = (0..10_000).map(|level| format!("{}a:\n", " ".repeat(level % 20))).collect();
    for text in [copies, items, keys, maps, blocks] {
        let start = Instant::now();
        let parsed = read(&text);
        assert!(parsed.root.is_none() || !parsed.problems.is_empty(), "{}", &text[..40]);
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    }
}

#[test]
fn tabs_open_brackets_and_bad_indentation_have_words_of_their_own() {
    let mut wrong = Vec::new();
    for (text, line, words) in [
        ("a:\n\tb: 1\n", 2, "there is a tab"),
        ("a: [1, 2\n", 1, "a `[` is not closed"),
        ("a: [1, 2\nb: 3\n", 2, "is a bracket or a quote above it not closed?"),
        ("a: \"x\nb: 3\n", 2, "a quote is not closed"),
        ("a: b: c\n", 1, "there is a `:` inside of a value"),
        ("a:\n    b: 1\n  c: 2\n", 3, "is indented neither"),
        ("a: @x\n", 1, "a value cannot begin with `@`"),
        ("a: *b\n", 1, "is an alias of an anchor that is not there"),
    ] {
        let problems = read(text).problems;
        let is_said =
            problems.len() == 1 && problems[0].line == Some(line) && problems[0].message.contains(words);
        if !is_said {
            wrong.push(format!("{text}{words}: {problems:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn byte_order_marks_and_windows_lines_change_nothing() {
    let plain = read("a:\n  b: [1, x y]\n").root.unwrap();
    let other = read("\u{feff}a:\r\n  b: [1, x y]\r\n").root.unwrap();
    let b = |root: &Node| root.get("a").unwrap().get("b").unwrap().place.column;
    assert_eq!(b(&plain), b(&other));
}

#[test]
fn a_key_that_is_written_twice_is_named_with_its_path_and_both_lines() {
    let problems = read("a:\n  - b: {c: 1}\n    d: 2\n    d: 3\n").problems;
    assert_eq!(problems[0].key.as_deref(), Some("a[0].d"));
    assert!(problems[0].message.contains("first in line 3") && problems[0].line == Some(4));
}

/// The tree as text again: maps in blocks or in braces.
fn print(node: &Node, indent: Option<usize>) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    match (&node.value, indent) {
        (Value::Null | Value::Broken, _) => "~".to_owned(),
        (Value::Scalar(scalar), _) if scalar.style == Style::Plain => scalar.text.clone(),
        (Value::Scalar(scalar), _) => quoted(&scalar.text),
        (Value::List(items), _) => {
            let items: Vec<String> = items.iter().map(|item| print(item, None)).collect();
            format!("[{}]", items.join(", "))
        }
        (Value::Map(entries), Some(indent)) if !entries.is_empty() => {
            let lines = entries.iter().map(|entry| {
                let gap = " ".repeat(indent);
                format!("\n{gap}{}: {}", quoted(&entry.key), print(&entry.node, Some(indent + 2)))
            });
            lines.collect()
        }
        (Value::Map(entries), _) => {
            let pairs: Vec<String> = entries
                .iter()
                .map(|entry| format!("{}: {}", quoted(&entry.key), print(&entry.node, None)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

fn documents() -> impl proptest::strategy::Strategy<Value = serde_json::Value> {
    use proptest::prelude::*;
    let text = "[a-zA-Z0-9 :#'\"{}\\[\\],&*!|>%@`$\n\té\u{1F600}-]{0,12}";
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i32>().prop_map(serde_json::Value::from),
        text.prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
            prop::collection::btree_map(text, inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest::proptest! {
    #[test]
    fn what_was_read_and_printed_is_read_as_the_same(value in documents()) {
        let first = read(&value.to_string());
        proptest::prop_assert!(first.problems.is_empty(), "{:?}", first.problems);
        let Some(root) = first.root else { return Ok(()) };
        for text in [print(&root, Some(0)), print(&root, None)] {
            let again = read(&text);
            proptest::prop_assert!(again.problems.is_empty(), "{:?}\n{text}", again.problems);
            proptest::prop_assert_eq!(print(&again.root.unwrap(), None), print(&root, None));
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "(?s)([a-c:{}\\[\\]\"'#&*!<|> \t\r\n-]|\\PC){0,80}") {
        let parsed = read(&text);
        for problem in parsed.problems {
            proptest::prop_assert!(!problem.to_string().is_empty());
        }
    }
}
