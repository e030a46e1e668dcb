//! Why a registry did not give or take an image, told apart from what Docker says of it, with the next step.
//!
//! Docker passes on what the registry, Go's network library or its own storage said; there are no codes. The words are
//! those of Engine 20.10 to 28, distribution 2.8 and the registries of Docker Hub, GitHub, GitLab and AWS.

use std::time::Duration;

use crate::host::process::ProcessError;
use crate::model::{ErrorKind, FailureReport, RegistryLogin, reference};
use crate::text::harmless;

/// Waits before each further attempt, where one may help.
pub const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// What was wanted of a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// To have an image.
    Pull,
    /// To keep an image.
    Push,
}

/// Why it did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not let this user do that, or nobody without a login.
    Denied,
    /// It has no such image.
    Unknown,
    /// It has the image, but not for this machine.
    Platform,
    /// It is overloaded, limits how often it may be asked, or broke off: the next attempt may succeed.
    Busy,
    /// It cannot be reached.
    Away,
    /// It began, and then nothing came any more.
    Silent,
    /// Its certificate is not trusted, or it has none.
    Untrusted,
    /// The disk of this machine is full.
    NoRoom,
    /// Something else.
    Other,
}

const NO_ROOM: [&str; 2] = ["no space left on device", "disk quota exceeded"];
const UNTRUSTED: [&str; 4] = ["x509:", "server gave http response to https client", "tls: ", "certificate"];
const PLATFORM: [&str; 2] = ["no matching manifest for", "does not match the specified platform"];
const BUSY: [&str; 13] = [
    "toomanyrequests",
    "too many requests",
    "rate limit",
    "status: 429",
    "status: 5",
    "status code 5",
    "internal server error",
    "bad gateway",
    "service unavailable",
    "gateway timeout",
    "connection reset by peer",
    "unexpected eof",
    ": eof",
];
const AWAY: [&str; 11] = [
    "connection refused",
    "no such host",
    "no route to host",
    "network is unreachable",
    "i/o timeout",
    "client.timeout",
    "context deadline exceeded",
    "tls handshake timeout",
    "server misbehaving",
    "temporary failure in name resolution",
    "request canceled",
];
const DENIED: [&str; 9] = [
    "unauthorized",
    "denied",
    "authentication required",
    "no basic auth credentials",
    "incorrect username or password",
    "status: 401",
    "status: 403",
    "forbidden",
    "authorization failed",
];
const UNKNOWN: [&str; 6] = [
    "manifest unknown",
    "name unknown",
    "repository name not known",
    "not found",
    "does not exist",
    "status: 404",
];

impl Fault {
    /// Returns why a program of Docker failed.
    pub fn of(error: &ProcessError) -> Self {
        match error {
            ProcessError::Failed { finished, .. } => Self::of_words(&finished.last_lines.join("\n")),
            ProcessError::Deadline { .. } => Self::Silent,
            ProcessError::Missing { .. } | ProcessError::Start { .. } | ProcessError::Stopped { .. } => {
                Self::Other
            }
        }
    }

    fn of_words(said: &str) -> Self {
        let said = said.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
        // In this order: a registry that is away or busy says nothing of images, and Docker Hub says `denied` and
        // `does not exist` in one sentence.
        let in_order = [
            (&NO_ROOM[..], Self::NoRoom),
            (&AWAY, Self::Away),
            (&UNTRUSTED, Self::Untrusted),
            (&BUSY, Self::Busy),
            (&PLATFORM, Self::Platform),
            (&DENIED, Self::Denied),
            (&UNKNOWN, Self::Unknown),
        ];
        in_order.into_iter().find(|(words, _)| says(words)).map_or(Self::Other, |(_, fault)| fault)
    }

    /// Returns whether another attempt may succeed where this one failed.
    pub fn is_transient(self) -> bool {
        self == Self::Busy
    }

    fn code(self, wanted: Wanted) -> &'static str {
        match self {
            Self::Denied => "registry.denied",
            Self::Unknown => "image.missing",
            Self::Platform => "image.platform",
            Self::Busy => "registry.busy",
            Self::Away | Self::Silent => "registry.away",
            Self::Untrusted => "registry.tls",
            Self::NoRoom => "host.disk",
            Self::Other if wanted == Wanted::Pull => "image.missing",
            Self::Other => "image.push",
        }
    }
}

/// One image that a registry did not give or take.
#[derive(Debug)]
pub struct Refused {
    /// What was wanted.
    pub wanted: Wanted,
    /// Service that needs the image.
    pub service: String,
    /// The image.
    pub reference: String,
    /// Why not.
    pub fault: Fault,
    /// User whose login was shown, when `registries` has one.
    pub username: Option<String>,
    /// Docker's last words.
    pub said: String,
}

impl Refused {
    /// Returns what a failed program of Docker means.
    pub fn of(
        wanted: Wanted,
        service: &str,
        reference: &str,
        error: &ProcessError,
        logins: &[RegistryLogin],
    ) -> Self {
        let server = reference::registry(reference);
        let login = logins.iter().find(|login| login.server == server);
        let said = match error {
            ProcessError::Failed { finished, .. } => finished.last_words(),
            other => other.to_string(),
        };
        let (service, reference) = (service.to_owned(), reference.to_owned());
        let said = harmless(said.trim_start_matches("Error response from daemon: "));
        let username = login.map(|login| login.username.clone());
        Self { wanted, service, reference, fault: Fault::of(error), username, said }
    }

    /// Returns the failure with its next step.
    pub fn report(&self) -> FailureReport {
        let code = self.fault.code(self.wanted);
        FailureReport::new(ErrorKind::DockerError, code, format!("{self}: {}", self.said)).hint(self.hint())
    }

    fn server(&self) -> &str {
        reference::registry(&self.reference)
    }

    /// The machine that asked the registry.
    fn asker(&self) -> &'static str {
        match self.wanted {
            Wanted::Pull => "the host",
            Wanted::Push => "the runner",
        }
    }

    fn hint(&self) -> String {
        let (server, asker, reference) = (self.server(), self.asker(), &self.reference);
        let verb = if self.wanted == Wanted::Pull { "pull" } else { "push" };
        match self.fault {
            Fault::Denied => match &self.username {
                Some(user) => format!(
                    "check in `registries` of deployments.yaml that the password of `{user}` for {server} is right and has \
                     not expired, and that `{user}` may {verb} {reference}; some registries say this of an image that does \
                     not exist, too"
                ),
                None => format!(
                    "give a login for it in deployments.yaml, `registries: [{{ server: {server}, username: NAME, password: \
                     {{ env: VARIABLE }} }}]`, or run `docker login {server}` on {asker}; some registries say this of an \
                     image that does not exist, too"
                ),
            },
            Fault::Unknown => {
                "push the image under that name first, or correct `image:` in the compose file".to_owned()
            }
            Fault::Platform => {
                "build and push the image for the platform of the host, or name one that has it in `image:`"
                    .to_owned()
            }
            Fault::Busy => {
                "wait a while and deploy again; a login in `registries` raises the limits of some registries"
                    .to_owned()
            }
            Fault::Away | Fault::Silent => format!(
                "check that the registry runs, and on {asker} network, DNS and firewall: `curl -I https://{server}/v2/`; \
                 then deploy again"
            ),
            Fault::Untrusted => format!(
                "give {asker} the registry's authority as /etc/docker/certs.d/{server}/ca.crt; a registry without TLS must \
                 stand in `insecure-registries` of /etc/docker/daemon.json there"
            ),
            Fault::NoRoom => format!(
                "free space on the disk of {asker}: `docker system df` tells what Docker keeps; then deploy again"
            ),
            Fault::Other => {
                format!("look at the log lines above; `docker {verb} {reference}` on {asker} tells more")
            }
        }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (server, service, reference) = (self.server(), &self.service, &self.reference);
        let verb = if self.wanted == Wanted::Pull { "pull" } else { "push" };
        match self.fault {
            Fault::Denied => match &self.username {
                Some(user) => write!(out, "registry {server} refused the login of `{user}`")?,
                None => write!(out, "registry {server} refuses whoever has no login")?,
            },
            Fault::Unknown => write!(out, "registry {server} has no such image")?,
            Fault::Platform => {
                write!(out, "registry {server} has the image, but not for this host's platform")?
            }
            Fault::Busy => write!(out, "registry {server} is overloaded, or limits how often it is asked")?,
            Fault::Away => write!(out, "registry {server} cannot be reached")?,
            Fault::Silent => write!(out, "registry {server} went silent")?,
            Fault::Untrusted => {
                write!(out, "registry {server} has no certificate that {} trusts", self.asker())?
            }
            Fault::NoRoom => write!(out, "the disk of {} is full", self.asker())?,
            Fault::Other => {}
        }
        let joint = if self.fault == Fault::Other { "" } else { "; " };
        write!(out, "{joint}could not {verb} image `{reference}` of `{service}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_says_is_told_apart() {
        for (said, fault) in [
            (
                "Error response from daemon: Head \"https://ghcr.io/v2/o/a/manifests/1\": denied",
                Fault::Denied,
            ),
            ("Get \"http://127.0.0.1:5000/v2/a/manifests/x\": no basic auth credentials", Fault::Denied),
            ("Head \"https://r/v2/a/manifests/1\": unauthorized: authentication required", Fault::Denied),
            (
                "pull access denied for o/a, repository does not exist or may require 'docker login': denied: requested access",
                Fault::Denied,
            ),
            ("unexpected status from HEAD request to https://r/v2/: 403 Forbidden", Fault::Denied),
            ("manifest for r:5000/a:x not found: manifest unknown: manifest unknown", Fault::Unknown),
            (
                "repository r:5000/a not found: name unknown: repository name not known to registry",
                Fault::Unknown,
            ),
            (
                "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
                Fault::Away,
            ),
            ("Get \"https://nope.example/v2/\": dial tcp: lookup nope.example: no such host", Fault::Away),
            (
                "Get \"https://r/v2/\": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
                Fault::Away,
            ),
            ("Get \"https://r/v2/\": net/http: TLS handshake timeout", Fault::Away),
            ("Get \"https://r/v2/\": x509: certificate signed by unknown authority", Fault::Untrusted),
            ("Get \"https://r/v2/\": http: server gave HTTP response to HTTPS client", Fault::Untrusted),
            ("received unexpected HTTP status: 503 Service Unavailable", Fault::Busy),
            ("toomanyrequests: You have reached your pull rate limit.", Fault::Busy),
            (
                "Get \"https://r/v2/\": read tcp 1.2.3.4:5->6.7.8.9:443: read: connection reset by peer",
                Fault::Busy,
            ),
            ("failed to register layer: write /x: no space left on device", Fault::NoRoom),
            ("no matching manifest for linux/arm64/v8 in the manifest list entries", Fault::Platform),
            ("something new", Fault::Other),
        ] {
            assert_eq!(Fault::of_words(said), fault, "{said}");
        }
    }

    #[test]
    fn each_fault_names_the_image_and_a_next_step() {
        let faults = [
            Fault::Denied,
            Fault::Unknown,
            Fault::Platform,
            Fault::Busy,
            Fault::Away,
            Fault::Silent,
            Fault::Untrusted,
            Fault::NoRoom,
            Fault::Other,
        ];
        for fault in faults {
            for (wanted, username) in [(Wanted::Pull, Some("ci".to_owned())), (Wanted::Push, None)] {
                let reference = "ghcr.io/o/a:1".to_owned();
                let refused =
                    Refused { wanted, service: "web".into(), reference, fault, username, said: "so".into() };
                let report = refused.report();
                assert!(report.message.contains("image `ghcr.io/o/a:1` of `web`"), "{}", report.message);
                assert!(report.message.ends_with(": so") && report.hint.is_some_and(|hint| hint.len() > 20));
            }
        }
    }
}
