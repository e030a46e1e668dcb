//! The style, the script and the icon of all pages: in this binary, under names that change with their content.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const FOREVER: &str = "public, max-age=31536000, immutable";

/// Where the style is; `layout` asks for it with the version behind, so that it may be kept for good.
pub(super) const STYLE: &str = "/pages/style.css";
/// Where the script is.
pub(super) const SCRIPT: &str = "/pages/page.js";
/// Where the icon is.
pub(super) const ICON: &str = "/pages/icon.svg";

const STYLE_TEXT: &str = concat!(include_str!("style.css"), include_str!("charts.css"));
const SCRIPT_TEXT: &str = include_str!("page.js");
const ICON_TEXT: &str = include_str!("icon.svg");

/// Returns a number that another content would not have: FNV-1a, counted when this is compiled.
const fn number(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let (mut hash, mut at) = (0xcbf2_9ce4_8422_2325, 0);
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

/// Number of the style that this binary has.
pub(super) const STYLE_NUMBER: u64 = number(STYLE_TEXT);
/// Number of the script that this binary has.
pub(super) const SCRIPT_NUMBER: u64 = number(SCRIPT_TEXT);

/// Answers the style.
pub(super) async fn style() -> Response {
    asset("text/css; charset=utf-8", STYLE_TEXT)
}

/// Answers the script.
pub(super) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", SCRIPT_TEXT)
}

/// Answers the icon.
pub(super) async fn icon() -> Response {
    asset("image/svg+xml", ICON_TEXT)
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, FOREVER)], text).into_response()
}
