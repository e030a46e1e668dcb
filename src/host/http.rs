//! One way to make an HTTP client that also works where the machine has no certificates of its own.

use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder};

/// Returns a client whose requests take at most `timeout` each, from connecting to the last byte.
///
/// # Errors
/// The TLS library cannot be set up.
pub fn http_client(timeout: Duration) -> Result<Client, reqwest::Error> {
    http_builder().timeout(timeout).build()
}

/// Returns a builder with the certificates of the machine, or Mozilla's where it has none: a minimal image has no
/// bundle, and reqwest then refuses to build a client even for plain HTTP.
pub fn http_builder() -> ClientBuilder {
    let builder = Client::builder();
    if rustls_native_certs::load_native_certs().certs.is_empty() {
        return builder.tls_certs_only(built_in());
    }
    builder
}

fn built_in() -> Vec<Certificate> {
    let certificates = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    certificates.filter_map(|der| Certificate::from_der(der).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_certificates_are_there_and_make_a_client() {
        assert!(built_in().len() > 50);
        assert!(Client::builder().tls_certs_only(built_in()).build().is_ok());
        assert!(http_client(Duration::from_secs(1)).is_ok());
    }
}
