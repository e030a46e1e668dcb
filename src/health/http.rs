//! Asks over HTTP: one GET an attempt on a fresh connection, no proxy, no redirects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::{Client, Response, Url};

use super::answer::Answer;
use crate::host::http;

/// Returns the client of all http checks, or why there can be none, in words.
pub(super) fn client() -> Result<Client, String> {
    let builder = http::trusting_this_machine()
        .no_proxy()
        .pool_max_idle_per_host(0)
        // `localhost` never depends on the host's DNS.
        .resolve_to_addrs("localhost", &loopback());
    builder.build().map_err(|error| format!("cannot make an HTTP client: {}", http::deepest(&error)))
}

/// The port of the URL is used where it says 0.
fn loopback() -> [SocketAddr; 2] {
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].map(|ip| SocketAddr::new(ip, 0))
}

/// Makes one attempt, which takes at most `limit`.
pub(super) async fn ask(client: &Client, url: &str, wanted: Option<u16>, limit: Duration) -> Answer {
    let asked = async {
        let response = client.get(url).send().await?;
        Ok(judged(response, wanted).await)
    };
    match tokio::time::timeout(limit, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => in_words(&error),
        Err(_) => Answer::NotYet(no_answer(limit)),
    }
}

/// Returns the words for an attempt that took too long.
pub(super) fn no_answer(limit: Duration) -> String {
    let shown = if limit.subsec_millis() == 0 {
        format!("{} s", limit.as_secs())
    } else {
        format!("{} ms", limit.as_millis())
    };
    format!("no answer within {shown}")
}

/// Returns a URL as it may be shown: without a password.
pub(super) fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            // Only URLs that cannot have a password refuse to take one.
            parsed.set_password(Some(crate::text::REDACTED)).ok();
            parsed.to_string()
        }
        _ => url.to_owned(),
    }
}

async fn judged(response: Response, wanted: Option<u16>) -> Answer {
    let status = response.status();
    if wanted.map_or(status.is_success(), |wanted| status.as_u16() == wanted) {
        return Answer::Good(status.to_string());
    }
    let wanted = wanted.map(|wanted| format!(" instead of {wanted}")).unwrap_or_default();
    let to = redirected_to(&response).map(|to| format!(" to {to}")).unwrap_or_default();
    let body = http::beginning_of(response).await;
    let said = if body.is_empty() { body } else { format!(": {body}") };
    Answer::NotYet(format!("{status}{to}{wanted}{said}"))
}

fn redirected_to(response: &Response) -> Option<String> {
    let location = response.headers().get(reqwest::header::LOCATION)?;
    response.status().is_redirection().then(|| http::words_of(&String::from_utf8_lossy(location.as_bytes())))
}

fn in_words(error: &reqwest::Error) -> Answer {
    if error.is_builder() {
        return Answer::Never(format!("not a URL that can be asked: {}", http::in_words(error)));
    }
    Answer::NotYet(http::in_words(error))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Web, response};
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    async fn answer_to(response: &str, wanted: Option<u16>) -> Answer {
        let web = Web::answering(&[response]).await;
        ask(&client().unwrap(), &web.url, wanted, LIMIT).await
    }

    #[tokio::test]
    async fn any_2xx_is_well_unless_a_status_is_named() {
        assert_eq!(answer_to(&response("204 No Content", ""), None).await, good("204 No Content"));
        assert_eq!(answer_to(&response("401 Unauthorized", ""), Some(401)).await, good("401 Unauthorized"));
        let other = answer_to(&response("200 OK", ""), Some(204)).await;
        assert_eq!(other, not_yet("200 OK instead of 204"));
    }

    #[tokio::test]
    async fn a_redirect_is_its_own_answer() {
        let moved = "HTTP/1.1 302 Found\r\nlocation: https://elsewhere/\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(answer_to(moved, None).await, not_yet("302 Found to https://elsewhere/"));
    }

    #[tokio::test]
    async fn a_bad_answer_shows_200_harmless_characters_of_its_body() {
        let body = format!("\u{1b}[31m##[error]{}", "é".repeat(300));
        let Answer::NotYet(words) = answer_to(&response("500 Internal Server Error", &body), None).await
        else {
            panic!("500 is not well")
        };
        let shown = words.strip_prefix("500 Internal Server Error: ").unwrap();
        assert_eq!(shown.chars().count(), 200);
        assert!(!shown.contains("##[") && !shown.contains('\u{1b}'), "{shown}");
    }

    #[tokio::test]
    async fn what_went_wrong_on_the_way_is_told_apart() {
        let client = client().unwrap();
        let silent = Web::answering(&[""]).await;
        let late = ask(&client, &silent.url, None, Duration::from_millis(200)).await;
        assert_eq!(late, not_yet("no answer within 200 ms"));
        let plain = Web::answering(&[&response("200 OK", "")]).await;
        let Answer::NotYet(tls) = ask(&client, &plain.url.replace("http:", "https:"), None, LIMIT).await
        else {
            panic!("plain text is not TLS")
        };
        assert!(tls.starts_with("TLS: "), "{tls}");
        let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let refused = ask(&client, &format!("http://{unused}/"), None, LIMIT).await;
        assert_eq!(refused, not_yet("connection refused"));
        let refused = ask(&client, &format!("http://localhost:{}/", unused.port()), None, LIMIT).await;
        assert_eq!(refused, not_yet("connection refused"));
        let nobody = ask(&client, "http://no-such-host.invalid/", None, LIMIT).await;
        assert!(
            matches!(&nobody, Answer::NotYet(words) if words.starts_with("cannot resolve")),
            "{nobody:?}"
        );
        let closed = answer_to("\r\n", None).await;
        assert!(matches!(&closed, Answer::NotYet(words) if !words.contains("localhost")), "{closed:?}");
    }

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        assert_eq!(shown("http://ci:hunter2@localhost:80/x"), "http://ci:***@localhost/x");
        assert_eq!(shown("http://localhost:8000/health"), "http://localhost:8000/health");
    }

    fn good(words: &str) -> Answer {
        Answer::Good(words.to_owned())
    }

    fn not_yet(words: &str) -> Answer {
        Answer::NotYet(words.to_owned())
    }
}
