//! The files of one installation, and command lines on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

/// The time between two checks of a condition.
pub const POLL: Duration = Duration::from_millis(5);
pub use crate::patience::PATIENCE;

/// Data folder, keyring, configuration and log lines, in a folder that is removed with this value.
pub struct Site {
    folder: TempDir,
    program: PathBuf,
}

impl Site {
    /// Creates the folder and the configuration file; `serve --init` creates the rest.
    pub fn new(config: &str) -> Self {
        Self::of(env!("CARGO_BIN_EXE_countersign").as_ref(), config)
    }

    /// The same for another build of the program.
    pub fn of(program: &Path, config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.toml"), config).unwrap();
        let program = program.into();
        Self { folder, program }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub fn keyring(&self) -> PathBuf {
        self.path().join("keys").join("keyring.toml")
    }

    pub fn config(&self) -> PathBuf {
        self.path().join("config.toml")
    }

    /// Where every process of the service here writes its log lines.
    pub fn log_lines(&self) -> PathBuf {
        self.path().join("stderr.jsonl")
    }

    /// The command line of `serve` on these files; it creates the files if they do not exist.
    pub fn serve(&self, url: &str, more: &[&str]) -> Command {
        let mut command = deaf(&self.program);
        command
            .args(["serve", "--server", url, "--data"])
            .arg(self.data());
        command.arg("--keyring").arg(self.keyring());
        command.arg("--config").arg(self.config()).args(more);
        if !self.data().exists() && !self.keyring().exists() {
            command.arg("--init");
        }
        command
    }
}

/// The program under test, without the environment variables of the tests.
pub fn binary() -> Command {
    deaf(env!("CARGO_BIN_EXE_countersign").as_ref())
}

fn deaf(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("NATS_") || name.starts_with("COUNTERSIGN_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    // A client command waits for its reply as long as the test may take.
    command.env("NATS_TIMEOUT", format!("{}s", PATIENCE.as_secs()));
    command.stdin(Stdio::null());
    command
}

/// Waits until a condition holds.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() / POLL.as_millis() {
        if is_so() {
            return;
        }
        sleep(POLL);
    }
    panic!("not within {PATIENCE:?}: {what}");
}

/// Waits until a condition on the bus holds.
pub async fn eventually_async(what: &str, is_so: impl AsyncFn() -> bool) {
    for _ in 0..PATIENCE.as_millis() / POLL.as_millis() {
        if is_so().await {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
    panic!("not within {PATIENCE:?}: {what}");
}

/// Runs a process that must end by itself; kills it if it does not.
pub fn ends(mut command: Command) -> Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for _ in 0..PATIENCE.as_millis() / POLL.as_millis() {
        if child.try_wait().unwrap().is_some() {
            return child.wait_with_output().unwrap();
        }
        sleep(POLL);
    }
    child.kill().unwrap();
    panic!("{command:?} did not end: {:?}", child.wait_with_output());
}
