//! Shows a far-reaching change first, and makes it once the person has typed the account id.

use std::io::{BufRead, IsTerminal, stdin};

use super::client::ClientArgs;
use super::fault::Fault;

#[derive(Debug, clap::Args)]
pub struct Assent {
    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

impl Assent {
    /// Whether it was given on the command line.
    pub fn is_given(&self) -> bool {
        self.yes
    }
}

/// Shows on standard error what will change, and asks for the account id as a yes.
///
/// # Errors
/// [`Fault::Usage`] when the input is another text or empty; nothing was sent then.
pub fn confirm(args: &ClientArgs, assent: &Assent, account: &str, plan: &str) -> Result<(), Fault> {
    if !(args.json && assent.yes) {
        eprintln!("{plan}");
    }
    if assent.yes {
        return Ok(());
    }
    if stdin().is_terminal() {
        eprint!("Type the account id to go on: ");
    }
    let mut line = String::new();
    stdin().lock().read_line(&mut line).map_err(Fault::failed)?;
    if line.trim_end_matches(['\r', '\n']) == account {
        Ok(())
    } else {
        Err(Fault::Usage(format!(
            "nothing was sent: type the account id {account} to confirm, or use --yes"
        )))
    }
}
