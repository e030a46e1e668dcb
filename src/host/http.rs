//! The one way to make an HTTP client, which also works where the machine has no certificates of its own, and what its
//! errors mean to people. Nothing here says an address: it may be a secret.

use std::error::Error as _;
use std::fmt::Display;
use std::io;

use reqwest::{Certificate, Client, ClientBuilder, Response, redirect};

use crate::text::{harmless, shortened};

/// Most characters of an answer, or of an error, that are shown.
const SHOWN: usize = 200;
/// Most bytes of an answer that are read.
const READ: usize = 4096;

/// Returns a builder with the certificates of the machine, or Mozilla's where it has none: a minimal image has no
/// bundle. Nothing is sent on to another address.
pub fn http_builder() -> ClientBuilder {
    builder_or(built_in)
}

/// Returns a builder that trusts what this machine trusts, and nobody where it has no certificates. For the agent: it
/// is to be small, and a host can be given certificates. Nothing is sent on to another address.
pub fn trusting_this_machine() -> ClientBuilder {
    builder_or(Vec::new)
}

/// Without any certificate reqwest refuses to build a client even for plain HTTP, unless it is told so.
fn builder_or(certificates: fn() -> Vec<Certificate>) -> ClientBuilder {
    let builder = Client::builder()
        .redirect(redirect::Policy::none())
        .user_agent(concat!("ffe-deploy/", env!("CARGO_PKG_VERSION")));
    if trusts_nobody() { builder.tls_certs_only(certificates()) } else { builder }
}

fn trusts_nobody() -> bool {
    rustls_native_certs::load_native_certs().certs.is_empty()
}

fn built_in() -> Vec<Certificate> {
    let certificates = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    certificates.filter_map(|der| Certificate::from_der(der).ok()).collect()
}

/// Returns the beginning of an answer's body as one harmless line. What was read before the connection broke counts.
pub async fn beginning_of(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < READ {
        let Ok(Some(chunk)) = response.chunk().await else { break };
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(READ);
    words_of(String::from_utf8_lossy(&bytes).trim())
}

/// Returns what went wrong on the way, in words.
pub fn in_words(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(found) = cause {
        if let Some(words) = found.downcast_ref::<io::Error>().and_then(nested_in_words) {
            return words;
        }
        if found.to_string() == "dns error" {
            return format!("cannot resolve the name: {}", deepest(found));
        }
        cause = found.source();
    }
    match error.source() {
        Some(cause) => deepest(cause),
        None if error.is_builder() => "not an address that can be asked".to_owned(),
        None => "no answer".to_owned(),
    }
}

/// I/O errors nest, and `source` skips what is inside; rustls hands its own up inside of kind `InvalidData`.
fn nested_in_words(error: &io::Error) -> Option<String> {
    match error.get_ref() {
        None => Some(io_in_words(error)),
        Some(inner) => match inner.downcast_ref::<io::Error>() {
            Some(nested) => nested_in_words(nested),
            None if error.kind() == io::ErrorKind::InvalidData => Some(tls_in_words(inner)),
            None => None,
        },
    }
}

fn tls_in_words(error: &(impl Display + ?Sized)) -> String {
    let hint = " (this machine has no CA certificates: install `ca-certificates`)";
    format!("TLS: {}{}", words_of(error), if trusts_nobody() { hint } else { "" })
}

/// Returns what an I/O error means to people.
pub fn io_in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        _ => harmless(&error.to_string()),
    }
}

/// Returns the cause of all, in words; not for a [`reqwest::Error`] without one, which says its address.
pub fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    words_of(cause)
}

/// Returns text of others as one harmless line that is not too long.
pub fn words_of(text: &(impl Display + ?Sized)) -> String {
    shortened(&harmless(&text.to_string()), SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_certificates_are_there_and_make_a_client() {
        assert!(built_in().len() > 50);
        assert!(Client::builder().tls_certs_only(built_in()).build().is_ok());
        assert!(http_builder().build().is_ok());
        assert!(Client::builder().tls_certs_only([]).build().is_ok());
    }

    #[tokio::test]
    async fn no_error_says_the_address() {
        let client = http_builder().no_proxy().build().unwrap();
        let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        for address in [
            format!("http://{unused}/canary"),
            "http://canary.invalid/canary".to_owned(),
            "canary://x/canary".to_owned(),
            "http:///canary canary".to_owned(),
        ] {
            let error = client.post(address).send().await.unwrap_err();
            assert!(!in_words(&error).contains("canary"), "{}", in_words(&error));
        }
    }
}
