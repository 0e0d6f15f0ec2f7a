//! A process of the service.

use std::fs::{self, OpenOptions};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::site::{Site, eventually};

/// A running service, killed by its id when this is dropped.
pub struct Service {
    child: Child,
}

impl Service {
    /// Starts it and waits for its line `ready`.
    pub fn start(site: &Site, url: &str, more: &[&str]) -> Self {
        let before = lines(site).len();
        Self::spawn(site, url, more).ready(site, before)
    }

    /// Starts it to end at a named point (`countersign::crash_point`), and waits for `ready`.
    pub fn start_armed(site: &Site, url: &str, crash_at: &str) -> Self {
        let before = lines(site).len();
        Self::spawn_armed(site, url, &["--identity", "dev"], Some(crash_at)).ready(site, before)
    }

    fn ready(self, site: &Site, lines_before: usize) -> Self {
        let mut service = self;
        eventually("the service is ready", || {
            assert_eq!(
                service.child.try_wait().unwrap(),
                None,
                "the service has ended: {:?}",
                lines(site)
            );
            lines(site)[lines_before..]
                .iter()
                .any(|line| is_ready(line))
        });
        service
    }

    /// Starts it and does not wait.
    pub fn spawn(site: &Site, url: &str, more: &[&str]) -> Self {
        Self::spawn_armed(site, url, more, None)
    }

    fn spawn_armed(site: &Site, url: &str, more: &[&str], crash_at: Option<&str>) -> Self {
        let mut command = site.serve(url, more);
        if let Some(point) = crash_at {
            command.env("COUNTERSIGN_CRASH_AT", point);
        }
        Self::spawn_as(site, command)
    }

    /// Starts it with another command line and waits for its line `ready`.
    pub fn run(site: &Site, command: Command) -> Self {
        let before = lines(site).len();
        Self::spawn_as(site, command).ready(site, before)
    }

    fn spawn_as(site: &Site, mut command: Command) -> Self {
        let lines = OpenOptions::new()
            .create(true)
            .append(true)
            .open(site.log_lines())
            .unwrap();
        let child = command
            .env("RUST_LOG", "trace")
            .stderr(lines)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// SIGKILL, and the wait for its end.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and does not wait.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal and does not wait.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("/bin/sh")
            .args(["-c", "kill -\"$0\" \"$1\"", name, &id])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Its exit status, once it has ended by itself.
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the service has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The id gets a signal only while the process is not reaped, so no other process can have
        // it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The log lines so far.
pub fn lines(site: &Site) -> Vec<String> {
    let text = fs::read(site.log_lines()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(Into::into)
        .collect()
}

/// Whether a line is `ready`: the service takes requests.
pub fn is_ready(line: &str) -> bool {
    let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    line["fields"]["message"] == "ready"
}
