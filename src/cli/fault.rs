//! What went wrong: up to three lines for a person, an exit code for a script.

use std::process::ExitCode;

use countersign_schemas::refusal::{ErrorCode, Problem};

use super::show;
use crate::bus::ConnectionError;

const DONE: u8 = 0;
/// Exit code of a fault.
pub const FAULT: u8 = 1;
const USAGE: u8 = 2;
const REFUSED: u8 = 3;
const PERMISSION: u8 = 4;
const UNAVAILABLE: u8 = 5;
const NEGATIVE: u8 = 6;
const INTERRUPTED: u8 = 130;

/// Every exit code with its meaning and what a script does about it.
pub const EXIT_CODES: [(u8, &str, &str); 8] = [
    (DONE, "done", "go on"),
    (
        FAULT,
        "fault",
        "read the message: the program, the service or the machine failed, or the configuration file or the keyring is not valid; send a command again with the same `--command-id`",
    ),
    (
        USAGE,
        "usage",
        "correct the command line or a file that it names: of a secret, credentials, certificates, a context, a checkpoint or an export",
    ),
    (
        REFUSED,
        "refused by the service",
        "read the refusal: the same request is refused again until something changes",
    ),
    (
        PERMISSION,
        "authentication or permission",
        "correct credentials or certificates, or connect as a user who may send this request",
    ),
    (
        UNAVAILABLE,
        "unavailable or time-out",
        "try again later, with the same `--command-id`",
    ),
    (
        NEGATIVE,
        "a check failed",
        "read which check: a wrong code, a log that does not verify, a finding of `doctor`",
    ),
    (
        INTERRUPTED,
        "interrupted",
        "try again with the same `--command-id` to learn the outcome",
    ),
];

/// Every exit code in one sentence.
pub fn exit_codes() -> String {
    let codes = EXIT_CODES.map(|(code, meaning, _)| format!("{code} {meaning}"));
    format!("Exit codes: {}.", codes.join(", "))
}

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The program or the machine failed.
    #[error("{0}")]
    Failed(String),
    /// The command line is not valid, or a file that it names, except configuration and keyring.
    #[error("{0}")]
    Usage(String),
    /// The service refused; its problem document says why.
    #[error("{}", .0.title)]
    Refused(Box<Problem>),
    /// The broker does not let us send the request.
    #[error("permission denied for {0}: this user may not do that, connect as another with --user")]
    Permission(String),
    /// The broker cannot be reached.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// There is no reply.
    #[error("{0}")]
    Unavailable(String),
    /// A check failed.
    #[error("{0}")]
    Negative(String),
    /// No program reads standard output any more, as behind `| head`.
    #[error("no program reads the output any more")]
    Unread,
    /// The person pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Fault {
    /// Wraps an error of the program or the machine.
    pub fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    fn exit_code(&self) -> u8 {
        match self {
            // Quiet, but no success: a verdict that was not read must not pass for a good one.
            Self::Failed(_) | Self::Unread => FAULT,
            Self::Usage(_) => USAGE,
            Self::Refused(problem) => match ErrorCode::parse(&problem.code) {
                Some(code) => exit_code_of(code),
                None => exit_code_of_status(problem.status),
            },
            Self::Permission(_) => PERMISSION,
            Self::Connection(ConnectionError::Credentials | ConnectionError::Tls { .. }) => {
                PERMISSION
            }
            Self::Connection(ConnectionError::Away { .. }) | Self::Unavailable(_) => UNAVAILABLE,
            Self::Connection(
                ConnectionError::Address
                | ConnectionError::File { .. }
                | ConnectionError::HalfACertificate,
            ) => USAGE,
            Self::Connection(
                ConnectionError::TooOld { .. }
                | ConnectionError::PayloadTooSmall { .. }
                | ConnectionError::PayloadTooLarge { .. }
                | ConnectionError::UnprovenUsers,
            ) => FAULT,
            Self::Negative(_) => NEGATIVE,
            Self::Interrupted => INTERRUPTED,
        }
    }

    /// Prints it on standard error, and with `--json` the service's document on standard output.
    pub fn report(self, json: bool) -> ExitCode {
        match &self {
            Self::Refused(problem) => {
                if json {
                    match serde_json::to_string_pretty(problem) {
                        // The refusal goes to standard error too.
                        Ok(text) => drop(show::line(&text)),
                        Err(error) => {
                            eprintln!("countersign: the refusal cannot be shown ({error})");
                        }
                    }
                }
                eprintln!(
                    "countersign: {} ({} {})",
                    problem.title, problem.status, problem.code
                );
                if let Some(detail) = &problem.detail {
                    eprintln!("  {detail}");
                }
                for error in &problem.errors {
                    eprintln!("  {} {}", error.pointer, error.detail);
                }
                if let Some(seconds) = problem.retry_after_s {
                    eprintln!("  try again in {seconds} s");
                }
            }
            Self::Unread => {}
            other => eprintln!("countersign: {other}"),
        }
        ExitCode::from(self.exit_code())
    }
}

/// The exit code of a client command that ends with this error word.
pub fn exit_code_of(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::CodeInvalid => NEGATIVE,
        ErrorCode::ActorUnverified | ErrorCode::ActorForbidden => PERMISSION,
        other => exit_code_of_status(other.status()),
    }
}

fn exit_code_of_status(status: u16) -> u8 {
    match status {
        400..=499 => REFUSED,
        503 | 504 => UNAVAILABLE,
        _ => FAULT,
    }
}
