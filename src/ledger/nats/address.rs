//! Where NATS is, and who we are there.

use std::fmt;
use std::path::PathBuf;

use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;

use super::NatsError;

/// Servers of one NATS, and the credentials for them, which nothing shows.
#[derive(Clone)]
pub struct Address {
    servers: Vec<ServerAddr>,
    login: Option<Login>,
    credentials: Option<PathBuf>,
}

#[derive(Clone)]
enum Login {
    Token(String),
    User(String, String),
}

/// What is no address of NATS.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// It cannot be read; the value may hold a password, and is not repeated.
    #[error(
        "the address of NATS is not understood: give nats://HOST:4222 or tls://HOST:4222, several with commas between them"
    )]
    Form,
    /// Two servers, two logins.
    #[error("the servers of one NATS share one login: give it with the first of them only")]
    Logins,
    /// Arguments can be read by anybody on this machine.
    #[error(
        "refused --nats with a password or token in it, which others on this machine can read; nothing was started: \
         put the address into FFE_LEDGER_NATS, or name a file with --nats-credentials"
    )]
    Secret,
}

impl Address {
    /// Reads an address: URLs with commas between them, the first with `USER:PASSWORD@` or `TOKEN@` when it needs that.
    ///
    /// # Errors
    /// When it is no address.
    pub fn parse(text: &str, credentials: Option<PathBuf>) -> Result<Self, AddressError> {
        let (mut servers, mut logins) = (Vec::new(), Vec::new());
        for part in text.split(',').map(str::trim) {
            let server: ServerAddr = part.parse().map_err(|_| AddressError::Form)?;
            if !["nats", "tls"].contains(&server.scheme()) || server.host().is_empty() {
                return Err(AddressError::Form);
            }
            logins.extend(login(&server)?);
            servers.push(without_login(server)?);
        }
        if logins.len() > 1 {
            return Err(AddressError::Logins);
        }
        Ok(Self { servers, login: logins.pop(), credentials })
    }

    /// Returns whether it holds a password or a token.
    pub fn has_secret(&self) -> bool {
        self.login.is_some()
    }

    /// Returns hosts and ports, for people.
    pub(super) fn shown(&self) -> String {
        let servers: Vec<String> =
            self.servers.iter().map(|server| format!("{}:{}", server.host(), server.port())).collect();
        servers.join(", ")
    }

    /// Returns the servers.
    pub(super) fn servers(&self) -> &[ServerAddr] {
        &self.servers
    }

    /// Returns options with the credentials; a file is read each time, so that a new one counts.
    pub(super) async fn options(&self) -> Result<ConnectOptions, NatsError> {
        let options = match &self.login {
            None => ConnectOptions::new(),
            Some(Login::Token(token)) => ConnectOptions::with_token(token.clone()),
            Some(Login::User(user, password)) => {
                ConnectOptions::with_user_and_password(user.clone(), password.clone())
            }
        };
        let Some(path) = &self.credentials else { return Ok(options) };
        let failed = |source| NatsError::Credentials { path: path.clone(), source };
        options.credentials_file(path).await.map_err(failed)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Address").field(&self.shown()).finish()
    }
}

fn login(server: &ServerAddr) -> Result<Option<Login>, AddressError> {
    let decoded = |text: &str| {
        let text = percent_decode_str(text).decode_utf8().map_err(|_| AddressError::Form)?;
        Ok(text.into_owned())
    };
    Ok(match (server.username(), server.password()) {
        (None, None) => None,
        (Some(token), None) => Some(Login::Token(decoded(token)?)),
        (user, Some(password)) => Some(Login::User(decoded(user.unwrap_or_default())?, decoded(password)?)),
    })
}

fn without_login(server: ServerAddr) -> Result<ServerAddr, AddressError> {
    let mut url = server.into_inner();
    url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| AddressError::Form)?;
    ServerAddr::from_url(url).map_err(|_| AddressError::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_servers_with_one_login_that_nothing_shows() {
        let address = Address::parse("tls://ada:s%40crt@a:1, b", None).unwrap();
        assert!(
            matches!(&address.login, Some(Login::User(user, password)) if (user.as_str(), password.as_str()) == ("ada", "s@crt"))
        );
        assert_eq!(format!("{address:?}"), "Address(\"a:1, b:4222\")");
        assert!(address.has_secret());
        assert!(
            matches!(Address::parse("nats://t@a", None).unwrap().login, Some(Login::Token(token)) if token == "t")
        );
        assert!(!Address::parse("a:4223", None).unwrap().has_secret());
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_repeated() {
        for bad in ["", "ws://a", "http://a", "nats://", "a,,b", "nats://u:p@a:x"] {
            assert!(matches!(Address::parse(bad, None), Err(AddressError::Form)), "{bad}");
        }
        assert!(matches!(Address::parse("u:p@a,u:p@b", None), Err(AddressError::Logins)));
    }
}
