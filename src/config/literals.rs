//! Finds secrets that somebody wrote into the files (R003-44). Says where, never what.

use super::interpolate::is_reference;
use super::problem::Problem;
use super::reader::Problems;
use super::secret_names::looks_secret;
use super::yaml::{Node, Value};

/// Reports every secret-looking key with a literal value, in the whole tree, before anything is filled in.
pub(super) fn refuse(node: &Node, key: &str, problems: &mut Problems) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                let path = if key.is_empty() { entry.key.clone() } else { format!("{key}.{}", entry.key) };
                if looks_secret(&entry.key) && is_literal(&entry.node) {
                    let problem = Problem::at(
                        &entry.node.place,
                        &path,
                        "is a secret written into a file (it is not shown)",
                    );
                    let accepted = match path.as_str() {
                        "notify.slack.webhook" => {
                            "{ env: NAME }: the address stands in a variable".to_owned()
                        }
                        "ledger.token" => "{ env: NAME }: the token stands in a variable".to_owned(),
                        _ => format!("`{}` under `secrets`, or a value such as `${{NAME}}`", entry.key),
                    };
                    problems.add(
                        problem
                            .accepted(accepted)
                            .suggest("remove it from the file and replace it: it is in git's history"),
                    );
                } else {
                    refuse(&entry.node, &path, problems);
                }
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                refuse(item, &format!("{key}[{index}]"), problems);
            }
        }
        Value::Scalar(_) | Value::Null | Value::Broken => {}
    }
}

fn is_literal(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(scalar) => {
            let text = scalar.text.as_str();
            !text.is_empty() && text != "true" && text != "false" && !is_reference(text)
        }
        _ => false,
    }
}
