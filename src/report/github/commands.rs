//! Workflow commands in words: what the runner finds in our output and obeys.

use crate::model::Place;
use crate::text::{command_data, command_property, harmless, harmless_lines};

/// Longest message of an annotation as it is written, in characters.
const LONGEST: usize = 4_096;
/// What marks a cut.
const CUT: &str = " … (cut)";

/// Ends the group that is open.
pub const END_GROUP: &str = "::endgroup::";

/// Returns the command that begins a group of lines; groups do not nest.
pub fn group(title: &str) -> String {
    format!("::group::{}", command_data(&harmless(title)))
}

/// Returns the command that hides a value in everything the job prints from then on.
pub fn mask(value: &str) -> String {
    format!("::add-mask::{}", command_data(value))
}

/// How much an annotation weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// `::error`
    Error,
    /// `::warning`
    Warning,
    /// `::notice`
    Notice,
}

impl Weight {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

/// A remark that GitHub shows on the run, and beside a line of a file where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// How much it weighs.
    pub weight: Weight,
    /// Its headline, one line.
    pub title: String,
    /// What it says; may have several lines.
    pub message: String,
    /// Where it belongs: a path from the top of the checkout.
    pub place: Option<Place>,
}

impl Annotation {
    /// Returns the command: one line, at most 4,096 characters of message.
    pub fn command(&self) -> String {
        let mut properties = Vec::new();
        if let Some(place) = &self.place {
            properties.push(("file", harmless(&place.file)));
            properties.extend(place.line.map(|line| ("line", line.to_string())));
            properties.extend(place.line.and(place.column).map(|column| ("col", column.to_string())));
        }
        properties.push(("title", harmless(&self.title)));
        let properties: Vec<String> =
            properties.iter().map(|(name, value)| format!("{name}={}", command_property(value))).collect();
        let message = cut(&command_data(&harmless_lines(&self.message)));
        format!("::{} {}::{message}", self.weight.as_str(), properties.join(","))
    }
}

/// Cuts an escaped message, and never inside of what stands for one character.
fn cut(escaped: &str) -> String {
    let Some((end, _)) = escaped.char_indices().nth(LONGEST) else { return escaped.to_owned() };
    let keep = escaped[..end].char_indices().rev().nth(CUT.chars().count() - 1).map_or(0, |(at, _)| at);
    let kept = &escaped[..keep];
    let torn = kept.rfind('%').filter(|at| kept.len() - at < 3);
    format!("{}{CUT}", &kept[..torn.unwrap_or(kept.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_is_one_line_in_which_nothing_can_end_a_property() {
        let annotation = Annotation {
            weight: Weight::Error,
            title: "a, b: c\n::error::d".into(),
            message: "50% of\r\n::add-mask::x".into(),
            place: Some(Place { file: "deploy/a:b.yaml".into(), line: Some(7), column: Some(3) }),
        };
        assert_eq!(
            annotation.command(),
            "::error file=deploy/a%3Ab.yaml,line=7,col=3,title=a%2C b%3A c %3A%3Aerror%3A%3Ad::50%25 of%0A:\u{200b}:add-mask::x"
        );
    }

    #[test]
    fn a_long_message_is_cut_and_says_so() {
        let long = |text: &str| {
            let (title, message) = ("t".to_owned(), text.repeat(9_000));
            let command = Annotation { weight: Weight::Notice, title, message, place: None }.command();
            command.strip_prefix("::notice title=t::").unwrap().to_owned()
        };
        for text in ["x", "%", "ü", "a\n", "ab%"] {
            let message = long(text);
            let length = message.chars().count();
            assert!((LONGEST - 2..=LONGEST).contains(&length), "{text:?}: {length}");
            assert!(message.ends_with(CUT));
            let body = message.strip_suffix(CUT).unwrap();
            assert!(body.rfind('%').is_none_or(|at| body.len() - at >= 3), "{}", &body[body.len() - 4..]);
        }
    }

    #[test]
    fn masks_and_groups_are_one_line() {
        assert_eq!(mask("a%\nb"), "::add-mask::a%25%0Ab");
        assert_eq!(group("x\n::error::y"), "::group::x ::error::y");
    }
}
