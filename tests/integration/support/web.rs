//! An HTTP server on loopback that answers as it is told, and remembers what it was asked.
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// Lines such as `Location: /elsewhere`.
    pub(crate) headers: Vec<String>,
    /// How long the answer waits; the test is not held up by it.
    pub(crate) delay: Duration,
    /// What is said in place of all that, if it is not HTTP.
    pub(crate) raw: Option<&'static str>,
}

impl Reply {
    /// 200 with this body.
    pub(crate) fn ok(body: &str) -> Self {
        Self { body: body.to_owned(), ..200.into() }
    }

    /// Takes the request, and never answers.
    pub(crate) fn silence() -> Self {
        Self { delay: Duration::from_secs(600), ..200.into() }
    }

    /// Something else than HTTP.
    pub(crate) fn raw(said: &'static str) -> Self {
        Self { raw: Some(said), ..200.into() }
    }

    /// With one more header: `Location: /elsewhere`.
    pub(crate) fn header(mut self, line: &str) -> Self {
        self.headers.push(line.to_owned());
        self
    }

    /// With this body.
    pub(crate) fn body(self, body: &str) -> Self {
        Self { body: body.to_owned(), ..self }
    }
}

impl From<u16> for Reply {
    fn from(status: u16) -> Self {
        Self { status, body: String::new(), headers: Vec::new(), delay: Duration::ZERO, raw: None }
    }
}

/// One request, as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query, if there is one.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
    pub(crate) at: Instant,
}

/// The server; it stops on drop.
pub(crate) struct Web {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    scripts: Mutex<HashMap<String, Vec<Reply>>>,
    requests: Mutex<Vec<Request>>,
    stopped: AtomicBool,
}

impl Web {
    /// Starts a server that answers 404 to everything.
    pub(crate) fn start() -> Self {
        Self::listening(Ipv4Addr::LOCALHOST)
    }

    /// Starts one that hosts of ours can ask, too.
    pub(crate) fn start_for_all() -> Self {
        Self::listening(Ipv4Addr::UNSPECIFIED)
    }

    fn listening(address: Ipv4Addr) -> Self {
        let port = super::ports::free_port();
        let listener = TcpListener::bind((address, port)).expect("listen on a free port");
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if of_thread.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&of_thread);
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { port, shared }
    }

    /// Answers requests for `path` with these statuses one after the other, and then always with the last.
    pub(crate) fn on(&self, path: &str, statuses: &[u16]) -> &Self {
        self.on_with(path, statuses.iter().copied().map(Reply::from).collect())
    }

    /// Answers requests for `path` with these replies one after the other, and then always with the last.
    pub(crate) fn on_with(&self, path: &str, replies: Vec<Reply>) -> &Self {
        self.shared.scripts.lock().expect("no server thread panics").insert(path.to_owned(), replies);
        self
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("no server thread panics").clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection, so that it ends and the port is free.
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> Option<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut reader = BufReader::new(stream);
        let request = read_request(&mut reader)?;
        let reply = self.next_reply(&request.path);
        self.requests.lock().ok()?.push(request);
        std::thread::sleep(reply.delay);
        if let Some(said) = reply.raw {
            return reader.into_inner().write_all(said.as_bytes()).ok();
        }
        let Reply { status, body, headers, .. } = reply;
        let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status} -\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
        reader.into_inner().write_all((head + &body).as_bytes()).ok()
    }

    fn next_reply(&self, path: &str) -> Reply {
        let mut scripts = self.scripts.lock().expect("no server thread panics");
        let path = path.split('?').next().unwrap_or_default();
        match scripts.get_mut(path) {
            Some(replies) if replies.len() > 1 => replies.remove(0),
            Some(replies) => replies.first().cloned().unwrap_or_else(|| 404.into()),
            None => 404.into(),
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let at = Instant::now();
    let (method, rest) = line.split_once(' ')?;
    let path = rest.split_whitespace().next()?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        method: method.to_owned(),
        path,
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        at,
    })
}
