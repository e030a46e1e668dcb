//! The forms in which a secret can appear in somebody's output: what encoders and escapers of common tools make of it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::harmless;

/// Widths at which `base64`, PEM and MIME wrap.
const WRAPPED_AT: [usize; 2] = [64, 76];
/// Shortest password that is taken out of an address to be kept out of texts by itself; shorter ones are often words.
const SHORTEST_PASSWORD: usize = 8;
/// Shortest line of wrapped base64 that is taken for a secret's.
const SHORTEST_WRAPPED: usize = 8;

/// RFC 3986: what need not be encoded.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Python's `quote`.
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');
/// JavaScript's `encodeURIComponent`.
const COMPONENT: &AsciiSet = &UNRESERVED.remove(b'!').remove(b'*').remove(b'\'').remove(b'(').remove(b')');

/// Returns every form of a value: of itself, trimmed, and of each of its lines.
pub(super) fn forms_of(value: &str) -> Vec<String> {
    let mut plain = vec![value.to_owned(), value.trim().to_owned()];
    plain.extend(value.split(['\n', '\r']).map(|line| line.trim().to_owned()));
    plain
        .extend(password_in(value).filter(|password| password.len() >= SHORTEST_PASSWORD).map(str::to_owned));
    plain.sort();
    plain.dedup();
    let mut forms: Vec<String> = plain.iter().flat_map(|text| encoded(text)).collect();
    let tamed: Vec<String> = forms.iter().map(|form| harmless(form)).collect();
    forms.extend(tamed);
    forms.sort();
    forms.dedup();
    forms
}

/// Returns the password in an address: `postgres://user:password@host/`.
pub fn password_in(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    let authority = rest.split(['/', '?', '#', ' ']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password).filter(|password| !password.is_empty())
}

fn encoded(text: &str) -> Vec<String> {
    let mut forms = vec![text.to_owned()];
    forms.extend(base64_forms(text));
    forms.extend(url_forms(text));
    forms.extend(json_forms(text));
    forms.extend(quoted_forms(text));
    forms
}

fn base64_forms(text: &str) -> Vec<String> {
    let mut forms = vec![STANDARD.encode(text), URL_SAFE.encode(text)];
    for width in WRAPPED_AT {
        let whole = forms[0].clone();
        let lines = whole.as_bytes().chunks(width).filter(|line| line.len() >= SHORTEST_WRAPPED);
        forms.extend(lines.map(|line| String::from_utf8_lossy(line).into_owned()));
    }
    forms.extend(inside(text, |bytes| STANDARD_NO_PAD.encode(bytes)));
    forms.extend(inside(text, |bytes| URL_SAFE_NO_PAD.encode(bytes)));
    forms
}

/// The characters that are the same wherever the text stands in what is encoded (`user:<text>@…`): those that no
/// neighbour's bits reach into, for each of the three places a byte can have in a group.
fn inside(text: &str, encode: impl Fn(&[u8]) -> String) -> Vec<String> {
    let shifted = |shift: usize| {
        let mut bytes = vec![0; shift];
        bytes.extend_from_slice(text.as_bytes());
        let whole = encode(&bytes);
        whole.get((shift * 8).div_ceil(6)..bytes.len() * 8 / 6).unwrap_or_default().to_owned()
    };
    (0..3).map(shifted).collect()
}

fn url_forms(text: &str) -> Vec<String> {
    let sets = [NON_ALPHANUMERIC, UNRESERVED, PATH, COMPONENT];
    let mut forms: Vec<String> = sets.iter().map(|set| utf8_percent_encode(text, set).to_string()).collect();
    let with_plus: Vec<String> = forms.iter().map(|form| form.replace("%20", "+")).collect();
    forms.extend(with_plus);
    let lower: Vec<String> = forms.iter().map(|form| with_lower_hex(form)).collect();
    forms.extend(lower);
    forms
}

/// `%2F` as `%2f`.
fn with_lower_hex(encoded: &str) -> String {
    let mut hex_left = 0;
    let lower = encoded.chars().map(|c| {
        let is_hex = hex_left > 0;
        hex_left = if c == '%' { 2 } else { i32::max(hex_left - 1, 0) };
        if is_hex { c.to_ascii_lowercase() } else { c }
    });
    lower.collect()
}

/// As serde, as Go (`&`, `<`, `>` escaped), as Python (ASCII only), and as JSON inside of JSON.
fn json_forms(text: &str) -> Vec<String> {
    let plain = in_json(text);
    let go = plain.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    let ascii = ascii_only(&plain);
    let twice = in_json(&plain);
    let harmless = super::harmless_json(&plain).into_owned();
    vec![go, ascii, twice, harmless, plain]
}

/// Text as it stands between the quotes of a JSON string.
fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}

fn ascii_only(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            let units =
                c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
            ascii.push_str(&units);
        }
    }
    ascii
}

/// As env files (ours, too), Compose, shells and HTML write it.
fn quoted_forms(text: &str) -> Vec<String> {
    let slashed = text.replace('\\', "\\\\").replace('"', "\\\"");
    let html = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;");
    vec![
        slashed.replace('$', "\\$").replace('\n', "\\n"),
        slashed.replace('$', "\\$"),
        slashed,
        text.replace('$', "$$"),
        text.replace('\'', "'\\''"),
        text.replace('\'', "'\"'\"'"),
        html.replace('\'', "&#39;"),
        html.replace("&#34;", "&quot;").replace('\'', "&#x27;"),
        html,
    ]
}
