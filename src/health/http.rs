//! Asks over HTTP: one GET an attempt on a fresh connection, no proxy, no redirects.

use std::error::Error as _;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::{Certificate, Client, Response, Url, redirect};

use super::answer::Answer;
use super::tcp;
use crate::text::harmless;

/// Most of a bad answer's body that is read, in bytes, and shown, in characters.
const READ: usize = 4096;
const SHOWN: usize = 200;

/// Returns the client of all http checks, or why there can be none, in words.
pub(super) fn client() -> Result<Client, String> {
    let mut builder = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .user_agent(concat!("ffe-deploy/", env!("CARGO_PKG_VERSION")))
        // `localhost` never depends on the host's DNS.
        .resolve_to_addrs("localhost", &loopback());
    // reqwest refuses to build without any CA certificate, also for plain http.
    if rustls_native_certs::load_native_certs().certs.is_empty() {
        let bundled = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
        builder = builder.tls_certs_only(bundled.filter_map(|der| Certificate::from_der(der).ok()));
    }
    builder.build().map_err(|error| format!("cannot make an HTTP client: {}", deepest(&error)))
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
    let body = body_of(response).await;
    let said = if body.is_empty() { body } else { format!(": {body}") };
    Answer::NotYet(format!("{status}{to}{wanted}{said}"))
}

fn redirected_to(response: &Response) -> Option<String> {
    let location = response.headers().get(reqwest::header::LOCATION)?;
    response.status().is_redirection().then(|| words_of(&String::from_utf8_lossy(location.as_bytes())))
}

/// What was read before the connection broke is worth showing, too.
async fn body_of(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < READ {
        let Ok(Some(chunk)) = response.chunk().await else { break };
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(READ);
    harmless(String::from_utf8_lossy(&bytes).trim()).chars().take(SHOWN).collect()
}

fn in_words(error: &reqwest::Error) -> Answer {
    if error.is_builder() {
        return Answer::Never(format!("not a URL that can be asked: {}", deepest(error)));
    }
    let mut cause = error.source();
    while let Some(found) = cause {
        if let Some(tls) = found.downcast_ref::<std::io::Error>().and_then(tls_words) {
            return Answer::NotYet(tls);
        }
        if let Some(io) = found.downcast_ref::<std::io::Error>().filter(|io| io.raw_os_error().is_some()) {
            return Answer::NotYet(tcp::in_words(io));
        }
        if found.to_string() == "dns error" {
            return Answer::NotYet(format!("cannot resolve the name: {}", deepest(found)));
        }
        cause = found.source();
    }
    Answer::NotYet(deepest(error))
}

/// rustls hands its errors up inside of I/O errors of kind `InvalidData`.
fn tls_words(error: &std::io::Error) -> Option<String> {
    let inner = error.get_ref()?;
    (error.kind() == std::io::ErrorKind::InvalidData)
        .then(|| format!("TLS: {}", harmless(&inner.to_string())))
}

fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    words_of(cause)
}

fn words_of(cause: &(impl Display + ?Sized)) -> String {
    harmless(&cause.to_string()).chars().take(SHOWN).collect()
}
