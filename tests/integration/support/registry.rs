//! A real registry on loopback, which Docker trusts without TLS, and a front before it that can misbehave.
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::host::unique_word;
use super::http;
use super::image::base_image;
use super::ports::free_port;
use super::process::output;
use super::project::open_temp_dir;
use super::wait::until;

/// Who may pull and push where a registry has a password.
pub(crate) const USER: &str = "ci";

/// A `docker-registry` with its data in a directory of its own; ends on drop.
pub(crate) struct Registry {
    port: u16,
    password: Option<String>,
    child: Option<Child>,
    dir: TempDir,
}

impl Registry {
    /// Starts one that lets everybody in.
    pub(crate) fn open() -> Self {
        Self::start(None)
    }

    /// Starts one that lets only [`USER`] in, with a password that nothing else on the machine has.
    pub(crate) fn locked() -> Self {
        Self::start(Some(format!("pa55-{}", unique_word())))
    }

    fn start(password: Option<String>) -> Self {
        let mut registry = Self { port: free_port(), password, child: None, dir: open_temp_dir("registry") };
        let data = registry.dir.path().join("data").display().to_string();
        let auth = match &registry.password {
            Some(password) => {
                let file = registry.dir.path().join("htpasswd");
                fs::write(&file, format!("{USER}:{}\n", bcrypt(password))).expect("write the passwords");
                format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", file.display())
            }
            None => String::new(),
        };
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {data}}}}}\n\
             http: {{addr: \"127.0.0.1:{}\"}}\n{auth}",
            registry.port
        );
        fs::write(registry.config(), text).expect("write the registry's configuration");
        registry.start_again();
        registry
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config.yml")
    }

    /// Ends it; its data stays.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Starts it again after [`Registry::stop`], at the same port.
    pub(crate) fn start_again(&mut self) {
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(self.config());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("start the registry"));
        let port = self.port;
        until(Duration::from_secs(20), "the registry", || http::get(port, "/v2/").is_some());
    }

    /// `127.0.0.1:PORT`, as it stands in references.
    pub(crate) fn server(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Password of [`USER`].
    pub(crate) fn password(&self) -> &str {
        self.password.as_deref().expect("it has a password")
    }

    /// The password as `config.json` and a basic login have it.
    pub(crate) fn encoded(&self) -> String {
        STANDARD.encode(format!("{USER}:{}", self.password()))
    }

    /// Pushes an image that says `version` as BUILT under `name:tag`, keeps no tag of it here, and returns its digest.
    pub(crate) fn push(&self, name_and_tag: &str, version: &str) -> String {
        let reference = format!("{}/{name_and_tag}", self.server());
        variant(&reference, version);
        let told = output(self.docker().args(["push", &reference]));
        output(Command::new("docker").args(["rmi", "--force", &reference]));
        let digest = told.split_once("digest: ").and_then(|(_, rest)| rest.split(' ').next());
        digest.expect("docker push tells the digest").to_owned()
    }

    /// Docker with a login for this registry, in a directory that nobody else uses.
    pub(crate) fn docker(&self) -> Command {
        let config = self.dir.path().join("docker");
        fs::create_dir_all(&config).expect("make the directory");
        let auth = self.password.as_ref().map(|_| self.encoded()).unwrap_or_default();
        let text = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"{auth}\"}}}}}}", self.server());
        fs::write(config.join("config.json"), text).expect("write the login");
        let mut command = Command::new("docker");
        command.arg("--config").arg(config);
        command
    }

    /// Directory with everything of this registry, the test's own login with it.
    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes an image from the base image whose BUILT is `version`, without a builder.
fn variant(reference: &str, version: &str) {
    let id = output(Command::new("docker").args(["create", &base_image()]));
    let change = format!("ENV BUILT={version}");
    output(Command::new("docker").args(["commit", "--change", &change, id.trim(), reference]));
    output(Command::new("docker").args(["rm", id.trim()]));
}

/// As `htpasswd -B` makes it; Perl is on every Debian, and the C library knows bcrypt.
fn bcrypt(password: &str) -> String {
    let program = "print crypt($ARGV[0], '$2y$05$' . 'abcdefghijklmnopqrstuu')";
    let hash = output(Command::new("perl").args(["-e", program, password]));
    assert!(hash.starts_with("$2y$"), "this machine's crypt(3) has no bcrypt");
    hash
}

/// What a [`Front`] does with requests for parts of images.
#[derive(Default)]
struct Manner {
    hangs: AtomicBool,
    failures: AtomicU32,
    asked: Mutex<Vec<String>>,
}

/// Stands before a registry, at a port of its own.
pub(crate) struct Front {
    port: u16,
    manner: Arc<Manner>,
}

impl Front {
    pub(crate) fn of(registry: &Registry) -> Self {
        Self::listening(registry, Ipv4Addr::LOCALHOST)
    }

    /// One that machines of ours can ask, too.
    pub(crate) fn for_all(registry: &Registry) -> Self {
        Self::listening(registry, Ipv4Addr::UNSPECIFIED)
    }

    fn listening(registry: &Registry, address: Ipv4Addr) -> Self {
        let (port, behind) = (free_port(), registry.port());
        let listener = TcpListener::bind((address, port)).expect("listen on a free port");
        let manner = Arc::new(Manner::default());
        let of_thread = Arc::clone(&manner);
        // The thread ends with the process of the tests: nothing but a port is left of it until then.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let manner = Arc::clone(&of_thread);
                std::thread::spawn(move || manner.serve(client, behind));
            }
        });
        Self { port, manner }
    }

    /// `127.0.0.1:PORT`, as it stands in references.
    pub(crate) fn server(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Lets requests for the parts of images wait for ever, or again not.
    pub(crate) fn hang(&self, hangs: bool) {
        self.manner.hangs.store(hangs, Ordering::SeqCst);
    }

    /// Answers the next requests for manifests with 503.
    pub(crate) fn fail(&self, times: u32) {
        self.manner.failures.store(times, Ordering::SeqCst);
    }

    /// `METHOD PATH` of all requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.manner.asked.lock().expect("no thread panics").clone()
    }
}

impl Manner {
    /// Passes the first request of a connection on; its answer ends with the connection.
    fn serve(&self, client: TcpStream, behind: u16) {
        let Ok(mut out) = client.try_clone() else { return };
        let Some((request, head)) = read_head(&mut BufReader::new(client)) else { return };
        self.asked.lock().expect("no thread panics").push(request.clone());
        let is_part = request.starts_with("GET ") && request.contains("/blobs/");
        while is_part && self.hangs.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let fails = |left: u32| left.checked_sub(1);
        let is_manifest = request.contains("/manifests/");
        if is_manifest && self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
            out.write_all(UNAVAILABLE).ok();
            return;
        }
        let Ok(mut upstream) = TcpStream::connect((Ipv4Addr::LOCALHOST, behind)) else { return };
        let passed = upstream.write_all(head.as_bytes());
        // Whoever hangs up has what they wanted.
        passed.and_then(|()| std::io::copy(&mut upstream, &mut out)).ok();
        out.shutdown(std::net::Shutdown::Both).ok();
    }
}

const UNAVAILABLE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Reads a request without body: its first line's method and path, and all of it, closing its connection afterwards.
fn read_head(reader: &mut impl BufRead) -> Option<(String, String)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    let mut head = first.clone();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if line == "\r\n" {
            break;
        }
        if !line.to_lowercase().starts_with("connection:") {
            head.push_str(&line);
        }
    }
    head.push_str("connection: close\r\n\r\n");
    let words: Vec<&str> = first.split(' ').take(2).collect();
    Some((words.join(" "), head))
}
