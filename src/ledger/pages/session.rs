//! Who is signed in: a cookie with a random id in place of the token, and what proves that a form is of this session.
//!
//! The id is kept as its hash, in memory: a restart signs everybody out. A session says which token it stands for, and
//! ends with it. The cookie counts at pages only; the API takes tokens.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::sign_in;
use crate::ledger::api::error::ApiError;
use crate::ledger::guard::{Caller, Denied, Scope, WINDOW, digest, random};
use crate::ledger::{Ledger, Shared};

/// How long a session lasts, whatever is done in it: a working day.
pub const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// Most sessions at once; the oldest ends for a new one.
const MOST: usize = 10_000;
/// Failed attempts to sign in that one address has in a [`WINDOW`].
const ATTEMPTS: u32 = 10;

/// Who looks at a page.
#[derive(Clone, Debug)]
pub struct Who {
    caller: Option<Caller>,
    is_open: bool,
    csrf: String,
    /// Hash of the session's id.
    session: Option<[u8; 32]>,
}

impl Who {
    /// Returns somebody who may do nothing and send no form: who reads an error before anything is known.
    pub fn nobody() -> Self {
        Self { caller: None, is_open: false, csrf: String::new(), session: None }
    }

    /// Returns somebody who may only sign in.
    pub(super) fn stranger(sessions: &Sessions) -> Self {
        Self { csrf: sessions.csrf.clone(), ..Self::nobody() }
    }

    /// Returns whether what needs this scope may be done, and is worth a button.
    pub fn may(&self, scope: Scope) -> bool {
        self.is_open || self.caller.as_ref().is_some_and(|caller| caller.may(&[scope]))
    }

    /// Lets pass who may do what needs this scope.
    ///
    /// # Errors
    /// 403 that names the scope.
    pub fn need(&self, scope: Scope) -> Result<(), ApiError> {
        if self.may(scope) {
            return Ok(());
        }
        let text = format!("Token `{}` lacks the scope `{scope}`", self.name().unwrap_or("-"));
        Err(ApiError::new(StatusCode::FORBIDDEN, text))
    }

    /// Returns the name of the token that was signed in with; nothing where nobody needs one.
    pub fn name(&self) -> Option<&str> {
        self.caller.as_ref().map(|caller| caller.name.as_str())
    }

    /// Returns what a form of this session carries (`layout::csrf`).
    pub fn csrf(&self) -> &str {
        &self.csrf
    }

    /// Returns whether it still counts: meanwhile it may have signed out, or its token may have been revoked.
    pub(super) fn still_counts(&self, ledger: &Ledger) -> bool {
        let (Some(caller), Some(session)) = (&self.caller, &self.session) else {
            return self.is_open && ledger.guard.is_open();
        };
        ledger.sessions.is_kept(session, Instant::now()) && ledger.guard.caller(caller.id).is_some()
    }
}

impl FromRequestParts<Shared> for Who {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        // The gate puts it there; a route without the gate lets nobody in.
        let who = parts.extensions.get::<Self>().cloned();
        who.ok_or_else(|| ApiError::new(StatusCode::UNAUTHORIZED, "Not authenticated"))
    }
}

/// All sessions, and who failed to begin one.
#[derive(Debug)]
pub struct Sessions {
    kept: Mutex<HashMap<[u8; 32], Session>>,
    failures: Mutex<HashMap<IpAddr, (Instant, u32)>>,
    /// What forms carry where there is no session: no other site can read it.
    csrf: String,
}

#[derive(Clone, Debug)]
struct Session {
    token: i64,
    csrf: String,
    until: Instant,
}

impl Sessions {
    /// Returns none yet.
    ///
    /// # Errors
    /// When the kernel gives no random bits.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { kept: Mutex::default(), failures: Mutex::default(), csrf: random()? })
    }

    /// Begins a session, and returns its id.
    pub(super) fn begin(&self, token: i64, now: Instant) -> std::io::Result<String> {
        let (id, csrf) = (random()?, random()?);
        let mut kept = lock(&self.kept);
        if kept.len() >= MOST {
            kept.retain(|_, session| session.until > now);
        }
        if kept.len() >= MOST
            && let Some(oldest) = kept.iter().min_by_key(|(_, session)| session.until).map(|(id, _)| *id)
        {
            kept.remove(&oldest);
        }
        kept.insert(digest(&id), Session { token, csrf, until: now + LIFETIME });
        Ok(id)
    }

    /// Ends a session.
    pub(super) fn end(&self, id: &str) {
        lock(&self.kept).remove(&digest(id));
    }

    fn find(&self, id: &str, now: Instant) -> Option<Session> {
        // Looked for by its hash: how long that takes says nothing of the id.
        let session = lock(&self.kept).get(&digest(id)).cloned()?;
        (session.until > now).then_some(session)
    }

    fn is_kept(&self, hash: &[u8; 32], now: Instant) -> bool {
        lock(&self.kept).get(hash).is_some_and(|session| session.until > now)
    }

    /// Returns how many seconds an address must wait that failed too often.
    pub(super) fn must_wait(&self, address: IpAddr, now: Instant) -> Option<u64> {
        let failures = lock(&self.failures);
        let (began, count) = failures.get(&address)?;
        let left = WINDOW.checked_sub(now.duration_since(*began))?;
        (*count >= ATTEMPTS).then_some(left.as_secs() + 1)
    }

    /// Counts a failed attempt to begin a session.
    pub(super) fn failed(&self, address: IpAddr, now: Instant) {
        let mut failures = lock(&self.failures);
        if failures.len() >= MOST {
            failures.retain(|_, (began, _)| now.duration_since(*began) < WINDOW);
        }
        let (began, count) = failures.entry(address).or_insert((now, 0));
        if now.duration_since(*began) >= WINDOW {
            (*began, *count) = (now, 0);
        }
        *count += 1;
    }
}

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets in who is signed in, or everybody where nobody needs a token; sends others to sign in.
pub(super) async fn gate(State(ledger): State<Shared>, mut request: Request, next: Next) -> Response {
    let who = match who(&ledger, request.headers()) {
        Ok(who) => who,
        Err(Denied::Unknown) => return sign_in::ask(&request),
        Err(Denied::TooMany(seconds)) => {
            let text = format!("Too many requests; try again in {seconds} s");
            return ApiError::new(StatusCode::TOO_MANY_REQUESTS, text).retry_after(seconds).into_response();
        }
    };
    let is_signing_out = *request.method() == Method::POST && request.uri().path() == sign_in::OUT;
    let mut response = match who.need(Scope::Read) {
        Err(error) if !is_signing_out => error.into_response(),
        _ => {
            request.extensions_mut().insert(who.clone());
            next.run(request).await
        }
    };
    response.extensions_mut().insert(who);
    response
}

fn who(ledger: &Ledger, headers: &HeaderMap) -> Result<Who, Denied> {
    if ledger.guard.is_open() {
        return Ok(Who { is_open: true, ..Who::stranger(&ledger.sessions) });
    }
    let id = id_in(headers).ok_or(Denied::Unknown)?;
    let session = ledger.sessions.find(id, Instant::now()).ok_or(Denied::Unknown)?;
    let caller = ledger.guard.admit_again(session.token)?;
    Ok(Who { caller: Some(caller), is_open: false, csrf: session.csrf, session: Some(digest(id)) })
}

/// Whether nobody has to sign in any more.
pub(super) fn is_in(ledger: &Ledger, headers: &HeaderMap) -> bool {
    let session = id_in(headers).and_then(|id| ledger.sessions.find(id, Instant::now()));
    ledger.guard.is_open() || session.is_some_and(|session| ledger.guard.caller(session.token).is_some())
}

/// The cookie's name; a browser takes the first one over HTTPS only, and from this very host.
const COOKIES: [&str; 2] = ["__Host-ffe-ledger", "ffe-ledger"];

/// Returns the id of the session that a request names.
pub(super) fn id_in(headers: &HeaderMap) -> Option<&str> {
    let all = || headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    COOKIES.iter().find_map(|name| {
        let pairs = all().flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(|(key, _)| key == name).map(|(_, id)| id).next()
    })
}

/// Returns the cookie of a session; without an id the one that ends it.
pub(super) fn cookie(id: Option<&str>, headers: &HeaderMap) -> Result<HeaderValue, ApiError> {
    let is_https = is_https(headers);
    let (name, secure) = if is_https { (COOKIES[0], "; Secure") } else { (COOKIES[1], "") };
    let lasts = if id.is_some() { LIFETIME.as_secs() } else { 0 };
    let text = format!(
        "{name}={}; HttpOnly; SameSite=Strict; Path=/; Max-Age={lasts}{secure}",
        id.unwrap_or_default()
    );
    HeaderValue::from_str(&text)
        .map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "The cookie could not be made"))
}

/// Whether the browser came over HTTPS: to a proxy, which says so.
fn is_https(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let first = text("x-forwarded-proto").split(',').next().unwrap_or_default().trim();
    first.eq_ignore_ascii_case("https") || text("forwarded").to_ascii_lowercase().contains("proto=https")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_by_its_id_until_it_ends_or_its_day_is_over() {
        let (sessions, now) = (Sessions::new().unwrap(), Instant::now());
        let (one, other) = (sessions.begin(7, now).unwrap(), sessions.begin(8, now).unwrap());
        assert_eq!(sessions.find(&one, now).unwrap().token, 7);
        assert!(sessions.find("x", now).is_none());
        sessions.end(&one);
        assert!(sessions.find(&one, now).is_none() && sessions.find(&other, now).is_some());
        assert!(sessions.find(&other, now + LIFETIME).is_none());
    }

    #[test]
    fn an_address_that_fails_too_often_waits() {
        let (sessions, now) = (Sessions::new().unwrap(), Instant::now());
        let [here, there] = ["127.0.0.1", "::1"].map(|text| text.parse().unwrap());
        for _ in 0..ATTEMPTS {
            assert_eq!(sessions.must_wait(here, now), None);
            sessions.failed(here, now);
        }
        assert_eq!((sessions.must_wait(here, now), sessions.must_wait(there, now)), (Some(61), None));
        assert_eq!(sessions.must_wait(here, now + WINDOW + Duration::from_secs(1)), None);
    }

    #[test]
    fn the_cookie_is_secure_where_the_browser_came_over_https() {
        let mut headers = HeaderMap::new();
        let plain = cookie(Some("id"), &headers).unwrap();
        assert_eq!(plain, "ffe-ledger=id; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200");
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https, http"));
        let secure = cookie(None, &headers).unwrap();
        assert_eq!(secure, "__Host-ffe-ledger=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0; Secure");
        headers.insert("cookie", HeaderValue::from_static("a=b; ffe-ledger=x; __Host-ffe-ledger=y"));
        assert_eq!(id_in(&headers), Some("y"));
    }
}
