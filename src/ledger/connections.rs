//! Connections: HTTP/1.1, with a limit for what a client does not send, and an end that loses no request.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Most that is read of a connection before it is taken, in bytes, and so the longest head of a request.
const BUFFER: usize = 64 * 1024;
/// How long nothing is accepted when the process has no more files to open.
const PAUSE: Duration = Duration::from_secs(1);

/// Answers on every connection until it is told to end; then those that lie idle are closed, and the others when they
/// have their answer. When this is dropped, so are all of them. A connection on which no whole head of a request came for
/// `idle` is closed.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    ending: impl Future<Output = ()>,
    idle: Duration,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(idle).max_buf_size(BUFFER);
    let service = TowerToHyperService::new(router);
    let (graceful, mut open) = (GracefulShutdown::new(), JoinSet::new());
    let mut ending = pin!(ending);
    loop {
        tokio::select! {
            () = &mut ending => break,
            // What has ended is let go of.
            Some(_) = open.join_next() => {}
            (stream, address) = accept(&listener) => {
                let service = service.clone();
                // Who fails to sign in is known by the address.
                let service = service_fn(move |mut request: hyper::Request<Incoming>| {
                    request.extensions_mut().insert(ConnectInfo(address));
                    service.call(request)
                });
                let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
                open.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "a connection ended before its time");
                    }
                });
            }
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // Without it an answer in two parts waits for the client's acknowledgement; it works, only slower.
                drop(stream.set_nodelay(true));
                return (stream, address);
            }
            // The client was gone before it was accepted.
            Err(error)
                if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted; trying again in {} s", PAUSE.as_secs());
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
