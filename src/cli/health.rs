//! `health`: asks a running service whether it is ready, for images without a shell.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::fault::Fault;
use super::show;

/// How long the answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
pub struct HealthArgs {
    /// Where the service answers /readyz
    #[arg(long, value_name = "ADDR", env = "COUNTERSIGN_HTTP")]
    http: SocketAddr,
}

pub fn run(args: &HealthArgs) -> Result<(), Fault> {
    let unavailable = |why: String| Fault::Unavailable(format!("{} at {}", why, args.http));
    let answer = ask(args.http).map_err(|error| {
        unavailable(format!(
            "the service's HTTP does not answer ({error}): is serve --http running"
        ))
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => show::line(body),
        _ => Err(unavailable(format!(
            "the service says {:?}",
            body.trim_end()
        ))),
    }
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.write_all(b"GET /readyz?verbose HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
