//! `backup-codes`: makes new backup codes.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, ClientArgs};
use super::fault::Fault;
use super::input::{CodeToo, PasswordFrom, secret};
use super::show;

#[derive(Debug, Subcommand)]
pub enum BackupCodesVerb {
    /// Make ten new backup codes, shown once; the old ones stop working at once
    Regenerate {
        /// The account's id
        account: String,
        #[command(flatten)]
        password: PasswordFrom,
        #[command(flatten)]
        code: CodeToo,
    },
}

pub async fn run(verb: BackupCodesVerb, args: &ClientArgs) -> Result<(), Fault> {
    let BackupCodesVerb::Regenerate {
        account,
        password,
        code,
    } = verb;
    let password = secret("password", password.password_from.as_deref())?;
    let mut body = json!({"account_id": account, "proof": {"password": password}});
    code.add_to(&mut body["proof"])?;
    let answer = Client::connect(args)
        .await?
        .command("regenerate-backup-codes", &body)
        .await?;
    show::answer(args, &answer, sheet)
}

/// The sheet of codes, as the file to download has it.
pub fn sheet(body: &Value) -> String {
    show::field(body, "backup_codes_file").to_owned()
}
