//! Which env files are there to be copied.

/// Words that make an env file an example of one.
const WORDS: [&str; 9] =
    ["example", "sample", "template", "dist", "tmpl", "tpl", "defaults", "schema", "spec"];

/// Returns whether an env file is an example that holds no secrets: `.env.example`, `.env.production.example`.
pub fn is_template(name: &str) -> bool {
    name.split(['.', '-', '_']).any(|part| WORDS.contains(&part.to_ascii_lowercase().as_str()))
}
