//! Asks a service for its readiness, as a container's health check does.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The most bytes of the page that are read.
const PAGE_BYTES_MAX: usize = 65_536;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No program listens there, or the connection broke.
    #[error("no HTTP answer at {0}: is the service running with --http {0}?")]
    Away(SocketAddr),
    /// The answer did not come in time.
    #[error("no HTTP answer at {0} within {1:?}: the service or this machine is overloaded")]
    Late(SocketAddr, Duration),
}

/// Asks for `/readyz?verbose`; returns whether the service is ready, and the page.
///
/// # Errors
/// [`ProbeError`].
pub async fn readiness(
    address: SocketAddr,
    within: Duration,
) -> Result<(bool, String), ProbeError> {
    match tokio::time::timeout(within, ask(address)).await {
        Ok(answer) => answer.ok_or(ProbeError::Away(address)),
        Err(_) => Err(ProbeError::Late(address, within)),
    }
}

async fn ask(address: SocketAddr) -> Option<(bool, String)> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let connection = tokio::spawn(connection);
    let request = Request::get(Uri::from_static("/readyz?verbose"))
        .header(HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .ok()?;
    let response = sender.send_request(request).await.ok()?;
    let is_ready = response.status().is_success();
    let body = Limited::new(response.into_body(), PAGE_BYTES_MAX);
    let body = body.collect().await.ok()?.to_bytes();
    connection.abort();
    Some((is_ready, String::from_utf8_lossy(&body).into_owned()))
}
