//! One installation on a real disk, and the real process that serves it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::patience::PATIENCE;

/// Small, so that segments are sealed during most cycles. The cheap Argon2id is for tests.
const CONFIG: &str = "[policy]\nkdf_memory_kib = 8\nwait_first_s = 60\n\
    [limits]\nsegment_records = 96\n";
const LOG_LINES_MAX: usize = 40;

pub struct Fixture {
    folder: TempDir,
    url: String,
}

/// The lines of the process's standard error.
enum Sign {
    Ready,
    Line(String),
}

pub struct Service {
    child: Child,
    signs: Receiver<Sign>,
    /// From the start of the process to its line `ready`.
    pub started_in: Duration,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At the armed point.
    AtPoint,
    /// By SIGKILL.
    Killed,
    /// By itself, after SIGTERM.
    Stopped,
}

impl Fixture {
    pub fn new(url: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Self { folder, url };
        fs::write(fixture.path("countersign.toml"), CONFIG).unwrap();
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Starts the service; `None` when it ended at the armed point before it was ready.
    pub fn start(&self, crash_at: Option<(&str, u64)>) -> Option<Service> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command
            .args(["serve", "--identity", "dev", "--init"])
            .arg("--data")
            .arg(self.data())
            .arg("--keyring")
            .arg(self.path("keys/keyring.toml"))
            .arg("--config")
            .arg(self.path("countersign.toml"))
            .args(["--server", &self.url])
            .env_remove("COUNTERSIGN_CRASH_AT")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some((point, turn)) = crash_at {
            command.env("COUNTERSIGN_CRASH_AT", format!("{point}:{turn}"));
        }
        let started_at = Instant::now();
        let mut child = command.spawn().unwrap();
        let (sender, signs) = channel();
        let errors = BufReader::new(child.stderr.take().unwrap());
        // The channel closes with the process, which shows its end.
        thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let is_ready = line.contains(r#""message":"ready""#);
                let sign = if is_ready {
                    Sign::Ready
                } else {
                    Sign::Line(line)
                };
                if sender.send(sign).is_err() {
                    return;
                }
            }
        });
        let mut lines = Vec::new();
        loop {
            match signs.recv_timeout(PATIENCE) {
                Ok(Sign::Ready) => break,
                Ok(Sign::Line(line)) => lines.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("not ready in time: {lines:#?}"),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = child.wait().unwrap();
                    let armed = crash_at.is_some() && is_abort(status);
                    assert!(armed, "the service did not start: {status}, {lines:#?}");
                    return None;
                }
            }
        }
        Some(Service {
            child,
            signs,
            started_in: started_at.elapsed(),
        })
    }
}

fn is_abort(status: std::process::ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(6)
}

impl Service {
    /// Lets the service work until it ends at an armed point, or at most for this time; then kills
    /// it, or asks it to stop.
    pub fn end_within(mut self, at_most: Duration, gently: bool) -> End {
        let until = Instant::now() + at_most;
        let mut lines = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.signs.recv_timeout(left) {
                Ok(Sign::Line(line)) if lines.len() < LOG_LINES_MAX => lines.push(line),
                Ok(Sign::Line(_) | Sign::Ready) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if gently => {
                    self.terminate();
                    break;
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.child.kill().unwrap();
                    break;
                }
            }
        }
        let status = self.child.wait().unwrap();
        let panicked = lines.iter().find(|line| line.contains("panicked"));
        assert!(panicked.is_none(), "{panicked:?}");
        match status.success() {
            true => End::Stopped,
            false if is_abort(status) => End::AtPoint,
            false => {
                use std::os::unix::process::ExitStatusExt;
                assert_eq!(status.signal(), Some(9), "{status}: {lines:#?}");
                End::Killed
            }
        }
    }

    fn terminate(&self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
