//! The HTTP side: `/livez`, `/readyz?verbose` and `/metrics` for machines that watch this one.
//!
//! It answers GET and HEAD, reads no body, and shows no account. It does not authenticate clients,
//! so it must listen on loopback, or where only monitoring can reach it.

mod health;
mod metrics;
mod probe;
mod room;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::bus::Traffic;
use crate::engine::Engine;
pub use probe::{ProbeError, readiness};
pub use room::{ELSEWHERE_MAX, LOOPBACK_MAX, PER_PEER_MAX};
use room::{Room, Stage, Stay};

/// Pages that are made at the same time.
const PAGES_MAX: usize = 4;
/// The most bytes of request line and headers.
pub const HEADER_BYTES_MAX: usize = 8_192;
/// The most headers of one request.
pub const HEADERS_MAX: usize = 64;
/// How long a connection may be silent before the first byte of its request.
pub const FIRST_BYTE_MAX: Duration = Duration::from_secs(1);
/// How long a request may take to arrive from then on.
pub const HEADER_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a connection may last; each carries one request.
pub const CONNECTION_MAX: Duration = Duration::from_secs(10);
const _: () = assert!(
    FIRST_BYTE_MAX.as_millis() < HEADER_WAIT_MAX.as_millis()
        && HEADER_WAIT_MAX.as_millis() < CONNECTION_MAX.as_millis(),
    "a silent connection is closed before one that has begun, which is closed before one that waits"
);
/// The wait after a connection that could not be accepted, for example without free descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

const PLAIN: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the pages are made from.
#[derive(Clone)]
pub struct Watched {
    /// The engine.
    pub engine: Arc<Engine>,
    /// The endpoints with their counters.
    pub traffic: Traffic,
    /// Whether requests are taken.
    pub ready: watch::Receiver<bool>,
}

/// Answers on a listener until the future is dropped.
pub async fn serve(listener: TcpListener, watched: Watched) -> Infallible {
    let room = Room::default();
    let pages = Arc::new(Semaphore::new(PAGES_MAX));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (stay, evicted) = room.enter(peer.ip());
                let asked = Asked {
                    watched: watched.clone(),
                    stay: Arc::new(stay),
                    pages: Arc::clone(&pages),
                };
                tokio::spawn(lasting(stream, asked, evicted));
            }
            Err(error) => {
                tracing::warn!("an HTTP connection was not accepted: {error}");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// The state that one connection needs to answer.
#[derive(Clone)]
struct Asked {
    watched: Watched,
    stay: Arc<Stay>,
    pages: Arc<Semaphore>,
}

/// Serves one connection. It ends with its answer, after its time, or when its place is needed.
async fn lasting(stream: TcpStream, asked: Asked, evicted: oneshot::Receiver<()>) {
    tokio::select! {
        _ = evicted => {}
        _ = tokio::time::timeout(CONNECTION_MAX, answer(stream, asked)) => {}
    }
}

/// Answers one request; errors of the connection concern only the client.
async fn answer(stream: TcpStream, asked: Asked) {
    let first = tokio::time::timeout(FIRST_BYTE_MAX, stream.peek(&mut [0])).await;
    if !matches!(first, Ok(Ok(1))) {
        return;
    }
    asked.stay.has_come_to(Stage::Sending);
    let service = service_fn(move |request| page(request, asked.clone()));
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WAIT_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let _ = connection.await;
}

type Page = Response<Full<Bytes>>;

async fn page(request: Request<Incoming>, asked: Asked) -> Result<Page, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut page = text(
            StatusCode::METHOD_NOT_ALLOWED,
            PLAIN,
            "GET or HEAD\n".into(),
        );
        let allowed = HeaderValue::from_static("GET, HEAD");
        page.headers_mut().insert(ALLOW, allowed);
        return Ok(page);
    }
    asked.stay.has_come_to(Stage::Asked);
    let permit = asked.pages.acquire_owned().await;
    let is_verbose = request.uri().query() == Some("verbose");
    let path = request.uri().path().to_owned();
    // The pages ask the file system, and the engine's locks may be held over a sync.
    let made = tokio::task::spawn_blocking(move || {
        // Held until the work ends: a connection that closes meanwhile does not stop the work.
        let _permit = permit;
        made(&path, is_verbose, &asked.watched)
    })
    .await;
    Ok(made.unwrap_or_else(|_| {
        let sorry = "the page could not be made\n".into();
        text(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, sorry)
    }))
}

fn made(path: &str, is_verbose: bool, watched: &Watched) -> Page {
    let is_ready = || *watched.ready.borrow();
    match path {
        "/livez" => health::live(&watched.engine.readings()).page(is_verbose),
        "/readyz" => health::ready(&watched.engine.readings(), is_ready()).page(is_verbose),
        "/metrics" => {
            let body = metrics::page(&watched.engine.readings(), is_ready(), &watched.traffic);
            text(StatusCode::OK, OPEN_METRICS, body)
        }
        _ => {
            let known = "/livez, /readyz?verbose, /metrics\n".into();
            text(StatusCode::NOT_FOUND, PLAIN, known)
        }
    }
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Page {
    let mut page = Response::new(Full::new(Bytes::from(body)));
    *page.status_mut() = status;
    let headers = page.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page
}

/// The address to reach a listener of this machine: loopback for one that listens everywhere.
pub fn asked_at(listening: SocketAddr) -> SocketAddr {
    let loopback = match listening {
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    if listening.ip().is_unspecified() {
        SocketAddr::new(loopback, listening.port())
    } else {
        listening
    }
}
