//! What is wrong with a document that is no YAML, in words for those who wrote it.

use serde_saphyr::granit_parser::ErrorKind;

use super::Place;
use crate::config::problem::Problem;

/// Returns the problem of a document that the parser gave up at this place.
pub(super) fn syntax(place: &Place, kind: &ErrorKind) -> Problem {
    let problem = |message: &str| Problem::at(place, "", message);
    match kind {
        ErrorKind::TabInIndentation
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabNotAllowed
        | ErrorKind::TabInPlainScalar
        | ErrorKind::TabAtBlockScalarStart => {
            problem("is not YAML: there is a tab, and YAML is indented by spaces")
                .suggest("replace the tab by spaces")
        }
        ErrorKind::RecursionLimitExceeded => {
            problem("is nested too deeply").accepted(format!("{} levels", super::builder::DEEPEST))
        }
        ErrorKind::UnclosedFlowCollection { open } | ErrorKind::MismatchedFlowCollectionEnd { open, .. } => {
            let closing = if *open == '[' { ']' } else { '}' };
            problem(&format!("is not YAML: a `{open}` is not closed")).suggest(format!("`{closing}`"))
        }
        ErrorKind::UnclosedQuotedScalar | ErrorKind::InvalidQuotedScalarIndent => {
            problem("is not YAML: a quote is not closed")
                .suggest("close it where it begins, on this line or one above it")
        }
        ErrorKind::UnknownAnchor => problem("is an alias of an anchor that is not there")
            .accepted("`*name`, with `&name` on a value above it"),
        ErrorKind::InvalidColonPlacement => problem(
            "is not YAML: there is a `:` where none can be; is a bracket or a quote above it not closed?",
        ),
        ErrorKind::MappingValueNotAllowed => {
            problem("is not YAML: there is a `:` inside of a value, or the line is indented wrongly")
                .suggest("put the value in quotes, or indent the line as those beside it")
        }
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::InvalidIndentation => {
            problem("is not YAML: the line is indented neither as the one above nor deeper")
                .suggest("indent the line as those beside it")
        }
        ErrorKind::SimpleKeyExpected => {
            problem("is not YAML: there is no `:` behind what should be a key").accepted("key: value")
        }
        ErrorKind::UnexpectedCharacter { character } if character.is_control() => {
            let code = u32::from(*character);
            problem(&format!("is not YAML: there is a control character (U+{code:04X})"))
                .suggest("remove it, or write it as an escape in double quotes")
        }
        ErrorKind::UnexpectedCharacter { character } => {
            problem(&format!("is not YAML: a value cannot begin with `{}`", character.escape_default()))
                .suggest("put the value in quotes")
        }
        other => problem(&format!("is not YAML: {other}")),
    }
}
