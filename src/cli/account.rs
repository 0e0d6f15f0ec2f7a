//! `account`: make accounts, change passwords.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::client::{Client, ClientArgs};
use super::fault::Fault;
use super::input::{CodeToo, PasswordFrom, secret};
use super::show;

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
    }
}
