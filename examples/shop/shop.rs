//! The shop: one static program, without dependencies, that is backend, frontend and healthcheck of the example and
//! of the tests.
//!
//!     shop serve              answers HTTP on PORT until SIGTERM
//!     shop get HOST:PORT/PATH prints the answer; exits 0 when its status is 200
//!
//! Environment of `serve`: PORT (8000); VERSION; CONFIG, a file of `key: value` lines, of which `version`, `mode` and
//! `currency` count; DATA (/data); UPSTREAM, where `/api/…` is passed on to; SLOW_MS (5000); EXIT_AFTER_MS (0); and
//! MODE: ok | unhealthy (`/health` is 500) | slow (`/health` is 503 for SLOW_MS) | broken (exits 1 at once) | exit:N |
//! chatty (prints what a log viewer might take for commands) | deaf (SIGTERM does nothing).
//!
//! Paths: /health /version /started (when, in ms) /env/NAME /file?PATH /data (GET, POST) /count (GET, POST: a line that is
//! on the disk when it is acknowledged) /api/… (with UPSTREAM).
use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{collections::HashMap, env, fs, process::exit, sync::Arc, thread};

const TIMEOUT: Duration = Duration::from_secs(5);
const SIGTERM: i32 = 15;

extern "C" fn on_term(_: i32) {
    // SAFETY: _exit may be called in a signal handler.
    unsafe { _exit(0) }
}
extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(code: i32) -> !;
}

fn var(name: &str, default: &str) -> String {
    env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_string())
}
fn millis(name: &str, default: &str) -> Duration {
    Duration::from_millis(var(name, default).parse().unwrap_or(0))
}

struct Shop {
    /// Read once, so that a changed file shows only when the container was started anew.
    config: HashMap<String, String>,
    started: Instant,
    started_ms: u128,
}

type Answer = (u16, Vec<u8>);
fn text(status: u16, body: impl Into<String>) -> Answer {
    (status, body.into().into_bytes())
}

impl Shop {
    fn open() -> Result<Self> {
        let path = var("CONFIG", "");
        let lines = if path.is_empty() { String::new() } else { fs::read_to_string(&path)? };
        let pairs =
            lines.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
        let clean = |word: &str| word.trim().trim_matches('"').to_string();
        let config = pairs.map(|(key, value)| (clean(key), clean(value))).collect();
        let started_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        Ok(Self { config, started: Instant::now(), started_ms })
    }

    fn setting(&self, key: &str, variable: &str, default: &str) -> String {
        self.config.get(key).cloned().unwrap_or_else(|| var(variable, default))
    }
    fn mode(&self) -> String {
        self.setting("mode", "MODE", "ok")
    }

    fn health(&self) -> Answer {
        let currency = self.setting("currency", "CURRENCY", "EUR");
        match self.mode().as_str() {
            "unhealthy" => text(500, "unhealthy\n"),
            "slow" if self.started.elapsed() < millis("SLOW_MS", "5000") => text(503, "starting\n"),
            _ if !["EUR", "USD", "GBP"].contains(&currency.as_str()) => {
                eprintln!("error: no prices in currency `{currency}`; there are EUR, USD, GBP");
                text(500, format!("no prices in currency `{currency}`\n"))
            }
            _ => text(200, "ok\n"),
        }
    }

    fn data(&self, method: &str, body: &[u8]) -> Answer {
        let file = format!("{}/value", var("DATA", "/data"));
        if method == "GET" {
            return fs::read(&file)
                .map_or_else(|e| text(404, format!("{file}: {e}\n")), |value| (200, value));
        }
        let fresh = format!("{file}.new");
        match fs::write(&fresh, body).and_then(|()| fs::rename(&fresh, &file)) {
            Ok(()) => text(200, "written\n"),
            Err(e) => text(507, format!("{file}: {e}\n")),
        }
    }

    fn count(&self, method: &str, body: &[u8]) -> Answer {
        let file = format!("{}/count", var("DATA", "/data"));
        if method == "GET" {
            return fs::read(&file).map_or_else(|_| text(200, ""), |lines| (200, lines));
        }
        let line = [body, b"\n"].concat();
        let opened = fs::OpenOptions::new().create(true).append(true).open(&file);
        match opened.and_then(|mut file| file.write_all(&line).and_then(|()| file.sync_all())) {
            Ok(()) => text(200, "counted\n"),
            Err(e) => text(507, format!("{file}: {e}\n")),
        }
    }

    fn answer(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        if let Some(rest) = path.strip_prefix("/api/") {
            let target = format!("{}/{rest}", var("UPSTREAM", "backend:8000"));
            return request(method, &target, body).unwrap_or_else(|e| text(502, format!("{target}: {e}\n")));
        }
        if let Some(name) = path.strip_prefix("/env/") {
            return env::var(name).map_or_else(|_| text(404, "not set\n"), |value| text(200, value));
        }
        if let Some(file) = path.strip_prefix("/file?") {
            return fs::read(file)
                .map_or_else(|e| text(404, format!("{file}: {e}\n")), |content| (200, content));
        }
        match path {
            "/" => text(200, format!("Welcome to the shop {}\n", self.setting("version", "VERSION", "0"))),
            "/health" => self.health(),
            "/version" => text(200, self.setting("version", "VERSION", "0")),
            "/started" => text(200, self.started_ms.to_string()),
            "/data" => self.data(method, body),
            "/count" => self.count(method, body),
            _ => text(404, "not found\n"),
        }
    }

    fn serve_one(&self, stream: TcpStream) -> Result<()> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        let mut reader = BufReader::new(stream);
        let (method, path, body) = read_request(&mut reader)?;
        let (status, answer) = self.answer(&method, &path, &body);
        let mut stream = reader.into_inner();
        write!(
            stream,
            "HTTP/1.0 {status} -\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            answer.len()
        )?;
        stream.write_all(&answer)
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Result<(String, String, Vec<u8>)> {
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(String::from);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((method, path, body))
}

fn request(method: &str, target: &str, body: &[u8]) -> Result<Answer> {
    let (address, path) = target.split_once('/').unwrap_or((target, ""));
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "{method} /{path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let split = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    let head = String::from_utf8_lossy(&answer[..split]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Ok((status, answer.split_off(split)))
}

fn chatter() {
    println!("::error file=app.py,line=1::this is no annotation");
    println!("::add-mask::shop");
    println!("##[error]neither is this");
    println!("{{\"level\":\"info\",\"message\":\"##[warning]nor this\"}}");
    println!("\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7} and \u{8}\u{8}control bytes");
    for number in 0..200 {
        println!("line {number} of much talk: {}", "blah ".repeat(20));
    }
}

fn serve() -> Result<()> {
    let shop = Arc::new(Shop::open()?);
    let mode = shop.mode();
    println!("shop {} starting", shop.setting("version", "VERSION", "0"));
    if mode != "deaf" {
        // SAFETY: the handler only calls _exit. As PID 1 there is no default action for SIGTERM.
        unsafe { signal(SIGTERM, on_term) };
    }
    if mode == "broken" {
        eprintln!("fatal: cannot parse configuration");
        exit(1)
    }
    if let Some(code) = mode.strip_prefix("exit:") {
        thread::sleep(millis("EXIT_AFTER_MS", "0"));
        eprintln!("exiting with {code}, as told");
        exit(code.parse().unwrap_or(1))
    }
    if mode == "chatty" {
        chatter();
    }
    for stream in TcpListener::bind(format!("0.0.0.0:{}", var("PORT", "8000")))?.incoming() {
        let (stream, shop) = (stream?, Arc::clone(&shop));
        thread::spawn(move || shop.serve_one(stream));
    }
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => serve(),
        ["get", target] => {
            let (status, body) = request("GET", target, b"")?;
            std::io::stdout().write_all(&body)?;
            exit(i32::from(status != 200))
        }
        _ => {
            eprintln!("usage: shop serve | shop get HOST:PORT/PATH");
            exit(2)
        }
    }
}
