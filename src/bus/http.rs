//! `/livez`, `/readyz` and `/metrics`: three fixed answers to a GET, for probes and scrapers.
//!
//! It listens on loopback unless told otherwise, reads no body, and knows nothing of any account.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::endpoints::Endpoint;
use super::metrics;
use super::stats::Stats;
use crate::engine::Engine;

/// Connections at the same time; one more waits in the listener's queue.
const CONNECTIONS_MAX: usize = 64;
/// The longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 8_192;
/// How long a request and its answer may take.
const REQUEST_MAX: Duration = Duration::from_secs(5);
const TEXT: &str = "text/plain; charset=utf-8";

/// What is asked about.
#[derive(Clone)]
pub struct Probe {
    /// For the numbers of the log.
    pub engine: Arc<Engine>,
    /// What can be asked over NATS.
    pub endpoints: Arc<[Endpoint]>,
    /// The counters, one for each endpoint.
    pub stats: Arc<[Stats]>,
    /// Whether requests are taken.
    pub ready: watch::Receiver<bool>,
}

struct Response {
    status: &'static str,
    kind: &'static str,
    body: String,
}

/// Listens and answers until the process ends.
///
/// # Errors
/// Those of the operating system where it cannot listen there.
pub async fn listen(address: SocketAddr, probe: Probe) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "HTTP: /livez, /readyz, /metrics");
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::spawn(async move {
        while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let probe = probe.clone();
            tokio::spawn(async move {
                let _ = timeout(REQUEST_MAX, answer(stream, &probe)).await;
                drop(permit);
            });
        }
    });
    Ok(())
}

async fn answer(mut stream: TcpStream, probe: &Probe) -> std::io::Result<()> {
    let Some(line) = request_line(&mut stream).await? else {
        return Ok(());
    };
    let Response { status, kind, body } = probe.respond(&line);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if !line.starts_with("HEAD ") {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

/// The first line of a request, once its head is whole; none where it is none or too long.
async fn request_line(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut chunk = [0; 1_024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut chunk).await?;
        head.extend_from_slice(&chunk[..read]);
        if read == 0 || head.len() > HEAD_BYTES_MAX {
            return Ok(None);
        }
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    Ok(std::str::from_utf8(line).ok().map(Into::into))
}

impl Probe {
    fn respond(&self, line: &str) -> Response {
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let plain = |status, body: &str| Response {
            status,
            kind: TEXT,
            body: body.into(),
        };
        match (method, path) {
            ("GET" | "HEAD", "/livez") => match *self.engine.failed().borrow() {
                false => plain("200 OK", "ok\n"),
                true => plain("503 Service Unavailable", "a commit has failed\n"),
            },
            ("GET" | "HEAD", "/readyz") => self.readiness(query == "verbose"),
            ("GET" | "HEAD", "/metrics") => Response {
                status: "200 OK",
                kind: metrics::CONTENT_TYPE,
                body: metrics::text(&self.engine, &self.endpoints, &self.stats, self.is_ready()),
            },
            (_, "/livez" | "/readyz" | "/metrics") => plain("405 Method Not Allowed", ""),
            _ => plain("404 Not Found", "there are /livez, /readyz and /metrics\n"),
        }
    }

    fn is_ready(&self) -> bool {
        *self.ready.borrow() && !*self.engine.failed().borrow()
    }

    /// Publication is no part of readiness: commands go on without it.
    fn readiness(&self, verbose: bool) -> Response {
        let word = |good: bool| if good { "ok" } else { "not ok" };
        let (broker, log) = (*self.ready.borrow(), !*self.engine.failed().borrow());
        let feed = self.engine.feed();
        let published = feed.publication();
        let mut body = String::new();
        if verbose {
            body = format!(
                "broker {}\nlog {} (position {})\npublication {} (position {})\n",
                word(broker),
                word(log),
                feed.head(),
                published.halted().unwrap_or_else(|| "ok".into()),
                published.through(),
            );
        }
        body.push_str(if self.is_ready() {
            "ready\n"
        } else {
            "not ready\n"
        });
        Response {
            status: match self.is_ready() {
                true => "200 OK",
                false => "503 Service Unavailable",
            },
            kind: TEXT,
            body,
        }
    }
}
