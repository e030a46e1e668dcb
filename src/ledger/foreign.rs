//! Requests that a page of another site makes a browser send: refused before anything is read of them.
//!
//! A browser adds the ledger's cookie only to requests of its own pages (`SameSite=Strict`), and where nobody needs a
//! token whoever reaches the port may do everything: also a page that the user of this machine looks at. What a browser
//! says of a request (`Sec-Fetch-Site`, `Origin`) cannot be changed by a page; what it says of the address (`Host`) tells
//! a name that somebody let point to this machine (DNS rebinding).

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};

use super::Ledger;
use super::api::error::ApiError;

/// Lets a request pass unless it comes from elsewhere.
///
/// # Errors
/// 403 when another site's page makes it, or when it is not for this machine's own name where nobody needs a token.
pub fn check(ledger: &Ledger, request: &Request) -> Result<(), ApiError> {
    let headers = request.headers();
    let host = text(headers, header::HOST).or(request.uri().authority().map(|name| name.as_str()));
    if ledger.guard.is_open() && !host.is_none_or(is_this_machine) {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "Without tokens the ledger answers to localhost and 127.0.0.1 only; nothing was done: use one of these, or make \
             a token with `ffe-ledger token create NAME --scope SCOPE`",
        ));
    }
    let looks = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if looks || is_own(headers, host) {
        return Ok(());
    }
    Err(ApiError::new(StatusCode::FORBIDDEN, "A page of another site sent this; nothing was done"))
}

/// Whether a browser says that a page of the ledger sent it, or no browser sent it at all.
fn is_own(headers: &HeaderMap, host: Option<&str>) -> bool {
    if let Some(site) = text(headers, HeaderName::from_static("sec-fetch-site")) {
        return matches!(site, "same-origin" | "none");
    }
    // Over plain HTTP browsers say the origin only.
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let origin = origin.to_str().unwrap_or_default();
    let Some((_, authority)) = origin.split_once("://") else { return false };
    // A proxy may ask us by another name; a page cannot set its header.
    let asked = text(headers, HeaderName::from_static("x-forwarded-host"));
    [host, asked].into_iter().flatten().any(|name| name.eq_ignore_ascii_case(authority))
}

/// Whether a `Host` is one of this machine's own names, which nobody else can make point here.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_always_mean_this_machine_are_its_own() {
        for own in
            ["localhost", "LOCALHOST:8350", "127.0.0.1:8350", "127.9.9.9", "[::1]:8350", "app.localhost:1"]
        {
            assert!(is_this_machine(own), "{own}");
        }
        for other in
            ["evil.example:8350", "localhost.evil.example", "10.0.0.1", "127.0.0.1.nip.io", "", "[fe80::1]"]
        {
            assert!(!is_this_machine(other), "{other}");
        }
    }

    #[test]
    fn a_browser_says_where_a_request_comes_from() {
        let own = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            is_own(&headers, Some("ledger.example:8350"))
        };
        assert!(own(&[]) && own(&[("sec-fetch-site", "same-origin")]));
        assert!(own(&[("origin", "http://ledger.example:8350")]));
        assert!(own(&[("origin", "https://shown.example"), ("x-forwarded-host", "shown.example")]));
        for foreign in ["null", "http://evil.example", "http://ledger.example:1"] {
            assert!(!own(&[("origin", foreign)]), "{foreign}");
        }
        // What it says of the site counts more.
        let own_origin = ("origin", "http://ledger.example:8350");
        assert!(!own(&[("sec-fetch-site", "cross-site"), own_origin]));
        assert!(!own(&[("sec-fetch-site", "same-site"), own_origin]));
    }
}
