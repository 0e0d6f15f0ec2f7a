//! `backup`: verifies copies.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::client::ClientArgs;
use super::fault::Fault;
use super::progress::{Progress, grouped};
use super::show;
use crate::engine::{BackupToVerify, CheckedBackup, verify_backup};

#[derive(Debug, Subcommand)]
pub enum BackupVerb {
    /// Verify a copy by itself: structure, root and manifest; with the keyring its signature,
    /// checkpoints, seals and keys too
    Verify(VerifyArgs),
}

#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The folder of the log's copy
    folder: PathBuf,
    /// The folder of the keys' copy
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// The installation's keyring file
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
}

pub fn run(verb: &BackupVerb, client: &ClientArgs) -> Result<(), Fault> {
    let BackupVerb::Verify(args) = verb;
    let scratch = tempfile::tempdir().map_err(Fault::failed)?;
    let asked = BackupToVerify {
        log: &args.folder,
        keys: args.keys.as_deref(),
        keyring: args.keyring.as_deref(),
        scratch: scratch.path(),
    };
    let mut progress = Progress::new("verifying", client.json);
    let checked = verify_backup(&asked, |done, total| progress.at(done, total));
    drop(progress);
    match checked {
        Ok(checked) if client.json => show::line(&document(&checked).to_string()),
        Ok(checked) => show::line(&text(&checked)),
        Err(bad) if bad.is_unread() => Err(Fault::failed(bad)),
        Err(bad) => {
            if client.json {
                let document = json!({"verified": false, "reason": bad.to_string()});
                show::line(&document.to_string())?;
            }
            Err(Fault::Negative(bad.to_string()))
        }
    }
}

fn document(checked: &CheckedBackup) -> serde_json::Value {
    json!({
        "verified": true,
        "position": checked.position,
        "origin": checked.origin,
        "at": checked.at,
        "signed": checked.signed,
        "by_keyring": checked.by_keyring,
        "keys": checked.keys,
    })
}

fn text(checked: &CheckedBackup) -> String {
    let key = if checked.by_keyring {
        "the keyring's key"
    } else {
        "the key beside it: use --keyring to verify with your own"
    };
    let keys = checked.keys.map_or_else(
        || "not checked: use --keys DIR".to_owned(),
        |count| format!("{}, with every one that the log needs", grouped(count)),
    );
    format!(
        "verified: {} events, taken {}\nlog       {}\nsigned    {} events, by {key}\nkeys      {keys}",
        grouped(checked.position),
        checked.at,
        checked.origin,
        grouped(checked.signed),
    )
}
