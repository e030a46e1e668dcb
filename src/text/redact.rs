//! Keeps secrets out of text, in every form in which a tool is known to print one.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::finder::Finder;
use super::forms::forms_of;

/// What stands in the place of a secret.
pub const REDACTED: &str = "***";

/// Shortest value that is redacted, in characters; shorter ones are refused as secrets (DESIGN section 7).
pub const SHORTEST_SECRET: usize = 4;

/// Ends what was cut, and tells a reader so.
pub const CUT: char = '…';

/// How many cuts of a text are looked at, the last ones.
const CUTS: usize = 16;

/// How often a text is gone through anew, because what was left joined with `***` to a secret once more.
const ROUNDS: usize = 8;

/// Replaces every secret, in the forms in which one can leak: raw, base64 (also inside of other text, and wrapped),
/// URL-encoded, escaped for JSON, shells, env files and HTML, and each line of one with several lines. Lines shorter
/// than 4 characters are left alone: masking them would mask everything. A secret that a tool breaks over two lines
/// is found only in base64. What [`shortened`](super::shortened) has cut ends with [`CUT`], and the beginning of a secret
/// right before one goes, too. Cheap to clone.
#[derive(Clone, Default)]
pub struct Redactor(Option<Arc<Forms>>);

struct Forms {
    all: Vec<String>,
    finder: Finder,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Redactor")
    }
}

impl Redactor {
    /// Returns a redactor of these values.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let all: BTreeSet<String> = values.into_iter().flat_map(forms_of).collect();
        let all: Vec<String> =
            all.into_iter().filter(|form| form.chars().count() >= SHORTEST_SECRET).collect();
        if all.is_empty() {
            return Self(None);
        }
        Self(Some(Arc::new(Forms { finder: Finder::new(&all), all })))
    }

    /// Returns the text with every secret, and what is left of one before a [`CUT`], replaced by [`REDACTED`].
    /// Overlapping secrets become one.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(forms) = &self.0 else { return Cow::Borrowed(text) };
        if !forms.is_in(text) {
            return Cow::Borrowed(text);
        }
        let mut clean = forms.replaced(text);
        for _ in 0..ROUNDS {
            if !forms.is_in(&clean) {
                return Cow::Owned(clean);
            }
            clean = forms.replaced(&clean);
        }
        Cow::Owned(REDACTED.to_owned())
    }

    /// Returns every form that is looked for, for those who mask them in the same way. Tell them to nobody else.
    pub fn forms(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|forms| &forms.all).map(String::as_str)
    }

    /// Redacts every string in a JSON value, keys excepted.
    pub fn redact_json(&self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => {
                if let Cow::Owned(clean) = self.redact(text) {
                    *text = clean;
                }
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(|item| self.redact_json(item)),
            serde_json::Value::Object(map) => map.values_mut().for_each(|item| self.redact_json(item)),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
        }
    }
}

impl Forms {
    fn is_in(&self, text: &str) -> bool {
        self.finder.is_in(text) || self.torn(text).next().is_some()
    }

    fn replaced(&self, text: &str) -> String {
        let whole = without(text, self.finder.places(text));
        // From the last cut to the first.
        let torn: Vec<_> = self.torn(&whole).collect();
        without(&whole, torn.into_iter().rev())
    }

    /// Places of the beginnings of secrets right before the last cuts, from the last to the first. A text that we cut has
    /// few, at its end: thousands of them are somebody's, and cost nothing.
    fn torn(&self, text: &str) -> impl Iterator<Item = Range<usize>> {
        text.rmatch_indices(CUT).take(CUTS).filter_map(|(at, _)| {
            let length = self.all.iter().filter_map(|form| torn_end(&text[..at], form)).max()?;
            Some(at - length..at)
        })
    }
}

/// Returns the text with [`REDACTED`] at these places, which are in order of their ends.
fn without(text: &str, places: impl IntoIterator<Item = Range<usize>>) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut from = 0;
    for place in places {
        // A secret that has the mark of a cut in it reaches over two.
        clean.push_str(&text[from..place.start.max(from)]);
        clean.push_str(REDACTED);
        from = place.end;
    }
    clean.push_str(&text[from..]);
    clean
}

/// Length of the longest beginning of `form`, at least [`SHORTEST_SECRET`] characters, that `text` ends with.
fn torn_end(text: &str, form: &str) -> Option<usize> {
    let ends = form.char_indices().map(|(at, _)| at).skip(SHORTEST_SECRET);
    ends.filter(|end| text.ends_with(&form[..*end])).last()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_is_found_in_what_tools_make_of_it() {
        let secret = "p@ss \"w\\rd\"/$ü&<1>'";
        let redactor = Redactor::new([secret]);
        for printed in [
            r#"{"password":"p@ss \"w\\rd\"/$ü&<1>'"}"#,
            r#"{"password":"p@ss \"w\\rd\"/$ü\u0026\u003c1\u003e'"}"#,
            r#"{"password":"p@ss \"w\\rd\"/$\u00fc&<1>'"}"#,
            r#"PASSWORD="p@ss \"w\\rd\"/\$ü&<1>'""#,
            r#"PASSWORD: p@ss "w\rd"/$$ü&<1>'"#,
            r#"PASSWORD='p@ss "w\rd"/$ü&<1>'\'''"#,
            "postgres://app:p%40ss%20%22w%5Crd%22%2F%24%C3%BC%26%3C1%3E%27@db/shop",
            "?p=p%40ss+%22w%5crd%22%2f%24%c3%bc%26%3c1%3e%27&x",
            "cEBzcyAid1xyZCIvJMO8JjwxPic=",
            // `app:` and the secret together, as in an Authorization header.
            "Basic YXBwOnBAc3MgIndccmQiLyTDvCY8MT4n",
        ] {
            let clean = redactor.redact(printed);
            assert!(clean.contains(REDACTED), "{clean}");
            for piece in ["p@ss", "w\\", "C3", "c3", "cEBz", "QHNz", "BAc3"] {
                assert!(!clean.contains(piece), "{piece} in {clean}");
            }
        }
    }

    #[test]
    fn each_line_of_a_key_is_a_secret_whatever_ends_it() {
        let key = "-----BEGIN KEY-----\nb3BlbnNzaC1rZXk\r\nAAAAC3NzaC1lZDI\n\n-----END KEY-----\n";
        let redactor = Redactor::new([key]);
        assert_eq!(redactor.redact("read AAAAC3NzaC1lZDI\r\n"), "read ***\r\n");
        assert_eq!(redactor.redact(&format!("k={}", key.replace('\n', "\\n"))).matches("b3B").count(), 0);
        assert_eq!(redactor.redact(&crate::text::harmless(key)).trim(), "***");
    }

    #[test]
    fn wrapped_base64_of_a_long_secret_is_found_on_every_line() {
        use base64::Engine as _;
        let secret = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".repeat(3);
        let encoded = base64::engine::general_purpose::STANDARD.encode(&secret);
        let redactor = Redactor::new([secret.as_str()]);
        for width in [64, 76] {
            for line in encoded.as_bytes().chunks(width) {
                let line = std::str::from_utf8(line).unwrap();
                assert_eq!(redactor.redact(line), "***", "{width}");
            }
        }
    }

    #[test]
    fn overlapping_secrets_leave_nothing_of_either() {
        let redactor = Redactor::new(["abcdef", "defgh12", "cde"]);
        assert_eq!(redactor.redact("x abcdefgh12 y"), "x *** y");
        assert_eq!(redactor.redact("cde is too short"), "cde is too short");
    }

    #[test]
    fn a_secret_made_by_the_mask_itself_goes_too() {
        let redactor = Redactor::new(["a***", "hunter22", "****"]);
        assert_eq!(redactor.redact("ahunter22"), "***");
        assert_eq!(redactor.redact("*****"), "***");
    }

    #[test]
    fn the_beginning_of_a_secret_at_a_cut_goes_too() {
        let redactor = Redactor::new(["correct-horse"]);
        let cut = |text: &str, longest| {
            format!("said: {}; next", redactor.redact(&crate::text::shortened(text, longest)))
        };
        assert_eq!(cut("the password is correct-horse", 25), "said: the password is ***…; next");
        assert_eq!(cut("that is correct-horse", 12), "said: that is cor…; next");
        assert_eq!(cut("all of correct-horse", 20), "said: all of ***; next");
        assert_eq!(redactor.redact("x corr…, correct…, and … correc"), "x ***…, ***…, and … correc");
    }

    #[test]
    fn json_is_redacted_in_its_strings_and_debug_output_says_nothing() {
        let redactor = Redactor::new(["hunter22"]);
        let mut value = serde_json::json!({"a": ["x hunter22", 1], "b": {"c": "hunter22"}});
        redactor.redact_json(&mut value);
        assert_eq!(value, serde_json::json!({"a": ["x ***", 1], "b": {"c": "***"}}));
        assert_eq!(format!("{redactor:?}"), "Redactor");
    }

    proptest! {
        #[test]
        fn no_form_of_a_secret_survives(
            secret in "(?s).{4,40}", other in "[ab*]{4,6}", before in "(?s).{0,30}", after in "(?s).{0,30}", at in 0usize..400,
        ) {
            let redactor = Redactor::new([secret.as_str(), other.as_str()]);
            let forms: Vec<String> =
                forms_of(&secret).into_iter().filter(|form| form.chars().count() >= SHORTEST_SECRET).collect();
            let printed = match forms.get(at % forms.len().max(1)) {
                Some(form) => format!("{before}{form}{after}{other}"),
                None => format!("{before}{after}"),
            };
            let clean = redactor.redact(&printed).into_owned();
            for form in &forms {
                prop_assert!(!clean.contains(form.as_str()), "{form:?} in {clean:?}");
            }
            prop_assert_eq!(redactor.redact(&clean), clean.clone());
            let line = crate::text::harmless(&redactor.redact(&printed));
            let line = redactor.redact(&line);
            prop_assert!(!line.contains(secret.as_str()));
        }

        #[test]
        fn a_secret_survives_no_cut(secret in "[a-zA-Z0-9]{8,20}", keep in 4usize..8, before in "[ .,]{0,9}") {
            let redactor = Redactor::new([secret.as_str()]);
            let cut = format!("{before}{}{CUT}", &secret[..keep]);
            let clean = redactor.redact(&cut).into_owned();
            prop_assert_eq!(clean, format!("{before}{REDACTED}{CUT}"));
        }
    }
}
