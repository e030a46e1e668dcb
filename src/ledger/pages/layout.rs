//! What all pages have in common: their head, the way around, and the headers that let a browser run nothing foreign.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::ledger::store::{now, time_text};

use super::assets::{ICON, SCRIPT, SCRIPT_NUMBER, STYLE, STYLE_NUMBER};
use super::form::CSRF;
use super::session::Who;
use super::sign_in::OUT;
use super::words::signs;

/// Everything comes from this service, nothing is inline, and no other site frames it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Returns a page: 200, with the headers that every page has. `title` is plain text, `body` what stands in `<main>`, with
/// the page's only `<h1>` in it.
pub fn page(title: &str, who: &Who, body: Markup) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // With `no-referrer` a browser would send forms with `Origin: null`.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "private, no-store"),
    ];
    (headers, document(title, who, &body).into_string()).into_response()
}

/// Returns the hidden field that every form with `method="post"` carries; [`Form`](super::Form) looks for it.
pub fn csrf(who: &Who) -> Markup {
    html! { input type="hidden" name=(CSRF) value=(who.csrf()); }
}

fn document(title: &str, who: &Who, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · ffe-ledger" }
                link rel="icon" type="image/svg+xml" href=(ICON);
                link rel="stylesheet" href={ (STYLE) "?" (format!("{STYLE_NUMBER:x}")) };
                script src={ (SCRIPT) "?" (format!("{SCRIPT_NUMBER:x}")) } defer {}
            }
            body data-now=(time_text(now())) {
                (signs())
                a.skip href="#main" { "Skip to the content" }
                (top(title, who))
                main #main tabindex="-1" { (body) }
                footer { "ffe-ledger " (env!("CARGO_PKG_VERSION")) }
            }
        }
    }
}

/// Pages that stand in the navigation.
const PLACES: [(&str, &str); 4] =
    [("/", "What runs where"), ("/deployments", "Deployments"), ("/dora", "Measures"), ("/docs", "API")];

fn top(title: &str, who: &Who) -> Markup {
    html! {
        header.top {
            a.brand href="/" {
                svg width="22" height="22" viewBox="0 0 32 32" aria-hidden="true" {
                    rect.brand-mark width="32" height="32" rx="7" {}
                    path.brand-line d="M8 10h16M8 16h11M8 22h6" fill="none" stroke-width="3" stroke-linecap="round" {}
                }
                span { "ffe-ledger" }
            }
            nav aria-label="Pages" {
                ul { @for (place, name) in PLACES { li { a href=(place) aria-current=[(name == title).then_some("page")] { (name) } } } }
            }
            @if let Some(name) = who.name() {
                form.who method="post" action=(OUT) {
                    (csrf(who))
                    span { span.quiet { "Signed in as " } strong { (name) } }
                    button.small type="submit" { "Sign out" }
                }
            }
        }
    }
}

/// Returns the links to the pages beside this one; nothing when there is one page only.
pub(super) fn pager(number: i64, size: i64, total: i64, address: impl Fn(i64) -> String) -> Markup {
    let pages = (total + size - 1) / size;
    html! {
        @if pages > 1 {
            nav.pager aria-label="Further pages" {
                @if number > 1 { a rel="prev" href=(address(number - 1)) { "← Newer" } } @else { span {} }
                span { "Page " (number) " of " (pages) }
                @if number < pages { a rel="next" href=(address(number + 1)) { "Older →" } } @else { span {} }
            }
        }
    }
}

/// Returns the address of a page of a list with its filters.
pub(super) fn address(path: &str, named: &[(&str, &Option<String>)], number: i64) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let filters =
        named.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_deref()?))));
    let number = (number > 1).then(|| format!("page={number}"));
    let all: Vec<String> = filters.chain(number).collect();
    if all.is_empty() { path.to_owned() } else { format!("{path}?{}", all.join("&")) }
}
