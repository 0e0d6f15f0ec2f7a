//! Reads users' secrets: by prompt, file or standard input, never by flag.

use std::io::{BufRead, IsTerminal, stdin};
use std::path::{Path, PathBuf};

use countersign_schemas::ids::Reason;
use countersign_schemas::secret::SecretText;
use serde_json::{Value, json};

use super::fault::Fault;

/// The longest secret that is read, in bytes.
const SECRET_BYTES_MAX: usize = 4_096;

/// Reads one secret: from the named file (`-` is standard input), else from a prompt on a terminal,
/// else as the next line of standard input.
///
/// # Errors
/// [`Fault::Usage`] when there is nothing to read.
pub fn secret(what: &str, file: Option<&Path>) -> Result<SecretText, Fault> {
    let text = match file {
        Some(path) if path != Path::new("-") => first_line_of(what, path)?,
        Some(_) => next_line(what)?,
        None if stdin().is_terminal() => rpassword::prompt_password(format!("{what}: "))
            .map_err(|error| Fault::Usage(format!("no {what} could be read ({error})")))?,
        None => next_line(what)?,
    };
    if text.is_empty() || text.len() > SECRET_BYTES_MAX {
        return Err(Fault::Usage(format!(
            "the {what} is empty or longer than {SECRET_BYTES_MAX} bytes"
        )));
    }
    Ok(SecretText::new(text))
}

/// Reads the reason for an act that is recorded.
///
/// # Errors
/// The rule that it breaks.
pub fn reason(text: &str) -> Result<String, String> {
    let reason = Reason::parse(text).map_err(|rule| rule.0.to_owned())?;
    Ok(reason.into())
}

fn first_line_of(what: &str, path: &Path) -> Result<String, Fault> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Fault::Usage(format!(
            "the {what} cannot be read from {} ({error})",
            path.display()
        ))
    })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn next_line(what: &str) -> Result<String, Fault> {
    let mut line = String::new();
    stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Fault::Usage(format!("the {what} cannot be read ({error})")))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Where a secret is read from.
#[derive(Debug, clap::Args)]
pub struct PasswordFrom {
    /// File with the user's password on its first line (- for standard input); asked for when
    /// absent
    #[arg(long, value_name = "FILE")]
    pub password_from: Option<PathBuf>,
}

/// Where a code is read from.
#[derive(Debug, clap::Args)]
pub struct CodeFrom {
    /// File with the code on its first line (- for standard input); asked for when absent
    #[arg(long, value_name = "FILE")]
    pub code_from: Option<PathBuf>,
}

/// The second of two consecutive codes.
#[derive(Debug, clap::Args)]
pub struct NextCode {
    /// Ask for the next code too, if two consecutive ones are required
    #[arg(long)]
    pub with_next_code: bool,
    /// File with the next code on its first line (- for standard input)
    #[arg(long, value_name = "FILE")]
    pub next_code_from: Option<PathBuf>,
}

impl NextCode {
    /// Puts `next_code` into a request if a flag asks for it.
    ///
    /// # Errors
    /// As [`secret`].
    pub fn add_to(&self, request: &mut Value) -> Result<(), Fault> {
        if self.with_next_code || self.next_code_from.is_some() {
            request["next_code"] = json!(secret("next code", self.next_code_from.as_deref())?);
        }
        Ok(())
    }
}

/// A code beside the password, as a proof.
#[derive(Debug, clap::Args)]
pub struct CodeToo {
    /// Ask for a code too, and send it with the password
    #[arg(long)]
    pub with_code: bool,
    /// File with the code on its first line (- for standard input); sent with the password
    #[arg(long, value_name = "FILE")]
    pub code_from: Option<PathBuf>,
    #[command(flatten)]
    pub next: NextCode,
}

impl CodeToo {
    /// Puts `code` and `next_code` into a proof if flags ask for them.
    ///
    /// # Errors
    /// As [`secret`].
    pub fn add_to(&self, proof: &mut Value) -> Result<(), Fault> {
        if self.with_code || self.code_from.is_some() {
            proof["code"] = json!(secret("code", self.code_from.as_deref())?);
        }
        self.next.add_to(proof)
    }
}
