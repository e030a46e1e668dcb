//! Who may pull from, or push to, a registry. Holds a password: it travels with its job and is never printed.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// One entry of `registries:` with its password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryLogin {
    /// Host and port as they stand in references of images (`ghcr.io`, `127.0.0.1:5000`); Docker Hub is `docker.io`.
    pub server: String,
    /// Who logs in; without a colon.
    pub username: String,
    /// The password, or a token in its place.
    pub password: String,
}

impl Drop for RegistryLogin {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

impl fmt::Debug for RegistryLogin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, username, password: _ } = self;
        out.debug_struct("RegistryLogin").field("server", server).field("username", username).finish()
    }
}
