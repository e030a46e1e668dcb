//! Who may do what, and how often: bearer tokens with scopes, and a limit of requests for each.

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::ValueEnum;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::store::KeptToken;

/// What every token begins with, so that scanners for leaked secrets find it.
const PREFIX: &str = "ffel_";
/// The window of the rate limit (R001-52).
pub const WINDOW: Duration = Duration::from_secs(60);

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scope {
    /// Looking.
    Read,
    /// A CI job's reports, and looking at them.
    Report,
    /// Changing entities, deploying, rolling back, and looking.
    Deploy,
    /// Everything.
    Admin,
}

impl Scope {
    /// Returns its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Report => "report",
            Self::Deploy => "deploy",
            Self::Admin => "admin",
        }
    }

    /// Whether it allows what another one allows.
    fn includes(self, other: Self) -> bool {
        self == other || self == Self::Admin || (self == Self::Deploy && other == Self::Read)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Who sends a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Place of its token in the order of creation.
    pub id: i64,
    /// Name of its token.
    pub name: String,
    scopes: Vec<Scope>,
}

impl Caller {
    /// Returns whether it may do what one of these scopes allows.
    pub fn may(&self, any: &[Scope]) -> bool {
        self.scopes.iter().any(|scope| any.iter().any(|wanted| scope.includes(*wanted)))
    }
}

/// With which token a request was let in, for what outlives it: a stream ends when its token does.
#[derive(Clone, Copy, Debug)]
pub struct Admitted(Option<i64>);

impl Admitted {
    /// Returns how somebody was let in; nobody where no token is needed.
    pub fn of(caller: Option<&Caller>) -> Self {
        Self(caller.map(|caller| caller.id))
    }

    /// Returns whether it would be let in again.
    pub fn still_counts(self, guard: &Guard) -> bool {
        self.0.map_or_else(|| guard.is_open(), |id| guard.caller(id).is_some())
    }
}

/// Why a request is not served.
#[derive(Clone, Debug, PartialEq)]
pub enum Denied {
    /// It has no token, or one that is not known, or was revoked.
    Unknown,
    /// Too many requests; the next is served after so many seconds.
    TooMany(u64),
}

/// Tokens that are not revoked, by their hash, and whether there ever was one: revoking the last one opens nothing.
#[derive(Debug, Default)]
struct Known(bool, Vec<([u8; 32], Caller)>);

/// Knows the tokens, and counts requests.
#[derive(Debug)]
pub struct Guard {
    /// Whether a token is needed even when there is none: whoever reaches the service may be anybody.
    always: bool,
    /// Requests of one token in a [`WINDOW`]; 0 is no limit.
    limit: u32,
    tokens: RwLock<Known>,
    windows: Mutex<HashMap<i64, (Instant, u32)>>,
}

impl Guard {
    /// Returns a guard that knows no token yet.
    pub fn new(always: bool, limit: u32) -> Self {
        Self { always, limit, tokens: RwLock::default(), windows: Mutex::default() }
    }

    /// Takes over the tokens as they are kept now; revoked ones are forgotten.
    pub fn know(&self, kept: &[KeptToken]) {
        let live = kept.iter().filter(|token| token.revoked_at.is_none());
        let known = live.filter_map(|token| {
            let mut hash = [0; 32];
            // Written by this program as 64 hex digits; another row lets nobody in.
            hex::decode_to_slice(&token.hash, &mut hash).ok()?;
            let scopes = token.scopes.split(' ').filter_map(|word| Scope::from_str(word, false).ok());
            Some((hash, Caller { id: token.id, name: token.name.clone(), scopes: scopes.collect() }))
        });
        let known = Known(!kept.is_empty(), known.collect());
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// Returns who sends a request with this token, and counts it; nothing where nobody needs one.
    ///
    /// # Errors
    /// When the token is none of ours, or has been used too often.
    pub fn admit(&self, token: Option<&str>) -> Result<Option<Caller>, Denied> {
        self.admit_at(token, Instant::now())
    }

    /// Returns whether nobody needs a token: whoever reaches the service may do everything.
    pub fn is_open(&self) -> bool {
        !self.always && !self.tokens.read().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Returns who signed in with the token of this id, and counts the request.
    ///
    /// # Errors
    /// When the token was revoked meanwhile, or has been used too often.
    pub fn admit_again(&self, id: i64) -> Result<Caller, Denied> {
        let caller = self.caller(id).ok_or(Denied::Unknown)?;
        self.count(id, Instant::now())?;
        Ok(caller)
    }

    /// Returns whose token has this id, unless it was revoked; counts nothing.
    pub fn caller(&self, id: i64) -> Option<Caller> {
        let known = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        known.1.iter().find(|(_, caller)| caller.id == id).map(|(_, caller)| caller.clone())
    }

    fn admit_at(&self, token: Option<&str>, now: Instant) -> Result<Option<Caller>, Denied> {
        let caller =
            {
                let known = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
                let Known(has_tokens, tokens) = &*known;
                if !has_tokens && !self.always {
                    return Ok(None);
                }
                let hash = digest(token.ok_or(Denied::Unknown)?);
                // Every token is compared, and each in the same time.
                let found = tokens.iter().fold(None, |found, (known, caller)| {
                    if bool::from(known.ct_eq(&hash)) { Some(caller) } else { found }
                });
                found.cloned().ok_or(Denied::Unknown)?
            };
        self.count(caller.id, now)?;
        Ok(Some(caller))
    }

    fn count(&self, id: i64, now: Instant) -> Result<(), Denied> {
        if self.limit == 0 {
            return Ok(());
        }
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, count) = windows.entry(id).or_insert((now, 0));
        if now.duration_since(*began) >= WINDOW {
            (*began, *count) = (now, 0);
        }
        if *count >= self.limit {
            let left = WINDOW.saturating_sub(now.duration_since(*began));
            return Err(Denied::TooMany(left.as_secs() + 1));
        }
        *count += 1;
        Ok(())
    }
}

/// Returns a new token, and what is kept of it.
///
/// # Errors
/// When the kernel gives no random bits.
pub fn new_token() -> std::io::Result<(String, String)> {
    let token = format!("{PREFIX}{}", random()?);
    let hash = hex::encode(digest(&token));
    Ok((token, hash))
}

/// Returns 256 random bits as 43 characters that are good in a header and in a form.
///
/// # Errors
/// When the kernel gives none.
pub fn random() -> std::io::Result<String> {
    let mut bits = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bits)?;
    Ok(URL_SAFE_NO_PAD.encode(bits))
}

/// Returns the SHA-256 of what somebody has to know; what is kept in its place.
pub fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(hash: &str, scopes: &str) -> KeptToken {
        KeptToken {
            id: 1,
            name: "ci".to_owned(),
            hash: hash.to_owned(),
            scopes: scopes.to_owned(),
            created_at: 0,
            revoked_at: None,
        }
    }

    #[test]
    fn a_token_is_known_until_it_is_revoked_and_counted_in_a_window() {
        let (token, hash) = new_token().unwrap();
        assert_eq!(token.len(), PREFIX.len() + 43);
        let guard = Guard::new(false, 2);
        let now = Instant::now();
        assert!(guard.admit(None).unwrap().is_none());
        guard.know(&[kept(&hash, "deploy")]);
        assert_eq!(guard.admit(None).unwrap_err(), Denied::Unknown);
        assert_eq!(guard.admit(Some("ffel_x")).unwrap_err(), Denied::Unknown);
        let caller = guard.admit_at(Some(&token), now).unwrap().unwrap();
        assert!(caller.may(&[Scope::Read]) && caller.may(&[Scope::Deploy]) && !caller.may(&[Scope::Report]));
        guard.admit_at(Some(&token), now).unwrap();
        assert_eq!(guard.admit_at(Some(&token), now).unwrap_err(), Denied::TooMany(61));
        guard.admit_at(Some(&token), now + WINDOW).unwrap();
        let revoked = KeptToken { revoked_at: Some(1), ..kept(&hash, "deploy") };
        guard.know(&[revoked]);
        assert_eq!(guard.admit(Some(&token)).unwrap_err(), Denied::Unknown);
        assert_eq!(guard.admit(None).unwrap_err(), Denied::Unknown);
        assert_eq!(Guard::new(true, 0).admit(None).unwrap_err(), Denied::Unknown);
    }
}
