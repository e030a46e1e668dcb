//! The smallest HTTP client that asks loopback ports, and those of hosts that are made here.
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// An answer: its status, and its body as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Asks `127.0.0.1:port` for `path`; none when there is no answer within 5 s.
pub(crate) fn get(port: u16, path: &str) -> Option<Response> {
    request("GET", port, path, "").ok()
}

/// Posts `body` to `path` at `127.0.0.1:port`; none when there is no answer within 5 s.
pub(crate) fn post(port: u16, path: &str, body: &str) -> Option<Response> {
    request("POST", port, path, body).ok()
}

/// Sends one request to loopback and reads its answer to the end.
pub(crate) fn request(method: &str, port: u16, path: &str, body: &str) -> std::io::Result<Response> {
    request_at((Ipv4Addr::LOCALHOST, port).into(), method, path, body)
}

/// Sends one request and reads its answer to the end; nothing of it waits longer than 5 s.
pub(crate) fn request_at(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> std::io::Result<Response> {
    let limit = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let answer = String::from_utf8_lossy(&bytes);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status =
        head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or(std::io::ErrorKind::InvalidData)?;
    Ok(Response { status, body: body.to_owned() })
}
