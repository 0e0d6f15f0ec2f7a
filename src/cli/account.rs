//! `account`: makes accounts, changes passwords, erases accounts.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use super::client::{Client, ClientArgs};
use super::fault::Fault;
use super::input::{CodeToo, PasswordFrom, secret};
use super::show;

/// Longer than the minute within which keys are destroyed.
const ERASURE_WAIT: Duration = Duration::from_secs(90);

#[derive(Debug, Subcommand)]
pub enum AccountVerb {
    /// Make an account with a username and a password
    Register {
        /// The login name
        username: String,
        /// The id to give it [default: a new UUIDv7]
        #[arg(long)]
        account_id: Option<String>,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// Replace an account's password
    ChangePassword {
        /// The account's id
        account: String,
        #[command(flatten)]
        password: PasswordFrom,
        /// File with the new password on its first line (- for standard input)
        #[arg(long, value_name = "FILE")]
        new_password_from: Option<PathBuf>,
        #[command(flatten)]
        code: CodeToo,
    },
    /// Destroy an account's data keys, as an operator: nothing that was sealed can be read again
    ///
    /// The id and the username are free again. The history and its proofs stay, without the sealed
    /// fields. Keys are destroyed at most once a minute, so the reply can take that long. The
    /// erasure is final once older backups of keys.redb are aged out.
    Erase {
        /// The account's id
        account: String,
        /// Why, for the auditors (1 to 500 characters)
        #[arg(long)]
        reason: String,
    },
}

pub async fn run(verb: AccountVerb, args: &ClientArgs) -> Result<(), Fault> {
    match verb {
        AccountVerb::Register {
            username,
            account_id,
            password,
        } => {
            let password = secret("password", password.password_from.as_deref())?;
            let mut body = json!({"username": username, "password": password});
            if let Some(id) = account_id {
                body["account_id"] = id.into();
            }
            let answer = Client::connect(args)
                .await?
                .command("register-account", &body)
                .await?;
            show::answer(args, &answer, |body| {
                format!("registered {}", show::field(body, "account_id"))
            })
        }
        AccountVerb::ChangePassword {
            account,
            password,
            new_password_from,
            code,
        } => {
            let old = secret("current password", password.password_from.as_deref())?;
            let new = secret("new password", new_password_from.as_deref())?;
            let mut body = json!({"account_id": account, "password": old, "new_password": new});
            code.add_to(&mut body)?;
            let answer = Client::connect(args)
                .await?
                .command("change-password", &body)
                .await?;
            show::answer(args, &answer, |_| {
                format!("the password of {account} is changed")
            })
        }
        AccountVerb::Erase { account, reason } => Box::pin(erase(&account, &reason, args)).await,
    }
}

async fn erase(account: &str, reason: &str, args: &ClientArgs) -> Result<(), Fault> {
    let body = json!({"account_id": account, "reason": reason});
    let patient = ClientArgs {
        timeout: args.timeout.max(ERASURE_WAIT),
        ..args.clone()
    };
    let mut client = Client::connect(&patient).await?;
    if !args.json {
        eprintln!("keys are destroyed at most once a minute, so this can take a minute");
    }
    let answer = client.admin("erase-account", &body).await?;
    show::answer(args, &answer, |_| format!("{account} is erased"))
}
