//! What the tests of this room ask: a web server with scripted answers, and containers on the real engine.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Check, Lifetime, Probe};
use crate::host::docker::Docker;

/// A web server on loopback that gives these answers in turn, the last one for ever.
pub(super) struct Web {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Web {
    /// Answers are whole responses; instead of an empty one nothing comes.
    pub(super) async fn answering(script: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/health", listener.local_addr().unwrap().port());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script: Vec<String> = script.iter().map(|&answer| answer.to_owned()).collect();
        tokio::spawn(serve(listener, script, Arc::clone(&asked)));
        Self { url, asked }
    }

    pub(super) fn times(&self) -> Vec<Instant> {
        self.asked.lock().unwrap().clone()
    }

    pub(super) fn check(&self, name: &str, timeout: Duration) -> Check {
        check(name, Probe::Http { url: self.url.clone(), status: None }, timeout)
    }
}

async fn serve(listener: TcpListener, script: Vec<String>, asked: Arc<Mutex<Vec<Instant>>>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let at = {
            let mut asked = asked.lock().unwrap();
            asked.push(Instant::now());
            asked.len() - 1
        };
        let answer = script.get(at).or(script.last()).cloned().unwrap_or_default();
        tokio::spawn(async move {
            let mut request = [0; 2048];
            let asked = stream.read(&mut request).await.is_ok_and(|length| length > 0);
            if !asked || answer.is_empty() {
                std::future::pending::<()>().await;
            }
            stream.write_all(answer.as_bytes()).await.ok();
        });
    }
}

/// Returns a response with this status line and body.
pub(super) fn response(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// Returns a check that counts, with 10 s for an answer.
pub(super) fn check(name: &str, probe: Probe, timeout: Duration) -> Check {
    let request_timeout = Duration::from_secs(10);
    Check {
        name: name.to_owned(),
        probe,
        service: None,
        timeout,
        request_timeout,
        optional: false,
        skip: None,
    }
}

/// A project of our own on the real engine; everything in it is removed on drop.
pub(crate) struct Engine {
    pub(crate) docker: Docker,
    pub(crate) project: String,
}

impl Engine {
    /// Connects; without an engine the test ends early and aloud, or fails where `FFE_TEST_REQUIRE` names docker.
    pub(crate) async fn connect() -> Option<Self> {
        let docker = match Docker::connect().await {
            Ok(docker) => docker,
            Err(error) => {
                let required = std::env::var("FFE_TEST_REQUIRE").unwrap_or_default();
                assert!(!required.split(',').any(|tool| tool == "docker"), "docker is required: {error}");
                eprintln!("SKIPPED: {error}");
                return None;
            }
        };
        let project = format!("ffe-ut-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        let engine = Self { docker, project };
        engine.import_busybox();
        Some(engine)
    }

    /// Starts `sh -c script` as the only container of a service, and returns its id.
    pub(super) fn start(&self, service: &str, options: &[&str], script: &str) -> String {
        let name = format!("{}-{service}-1", self.project);
        let project = format!("com.docker.compose.project={}", self.project);
        let label = format!("com.docker.compose.service={service}");
        let mut args = vec!["run", "-d", "--name", &name, "--label", &project, "--label", &label];
        args.extend(["--label", "com.docker.compose.oneoff=False"]);
        args.extend(options);
        args.extend([self.project.as_str(), "/bin/sh", "-c", script]);
        docker(&args, None)
    }

    pub(super) fn container(&self, service: &str, lifetime: Lifetime, timeout: Duration) -> Check {
        let (project, service) = (self.project.clone(), service.to_owned());
        let name = service.clone();
        check(&name, Probe::Container { project, service, lifetime, replicas: 1 }, timeout)
    }

    fn import_busybox(&self) {
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_path_with_name("/bin/busybox", "bin/busybox").unwrap();
        for applet in ["sh", "sleep", "touch"] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            archive.append_link(&mut header, format!("bin/{applet}"), "/bin/busybox").unwrap();
        }
        docker(
            &["import", "--change", "ENV PATH=/bin", "-", &self.project],
            Some(&archive.into_inner().unwrap()),
        );
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let label = format!("label=com.docker.compose.project={}", self.project);
        // Networks too, which an engine has a few dozen of at most: Compose makes one for a project.
        for (list, remove) in [(["ps", "-a"], ["rm", "-f"]), (["network", "ls"], ["network", "rm"])] {
            let ids = docker(&[&list[..], &["--quiet", "--filter", &label]].concat(), None);
            if !ids.is_empty() {
                docker(&remove.into_iter().chain(ids.lines()).collect::<Vec<_>>(), None);
            }
        }
        docker(&["rmi", &self.project], None);
    }
}

/// Returns what the CLI said.
pub(super) fn docker(args: &[&str], input: Option<&[u8]>) -> String {
    use std::io::Write as _;
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = Command::new("docker").args(args).stdin(stdin).stdout(Stdio::piped()).spawn().unwrap();
    if let Some(bytes) = input {
        child.stdin.take().unwrap().write_all(bytes).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "docker {args:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
