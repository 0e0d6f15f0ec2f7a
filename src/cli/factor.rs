//! `factor`: turns the second factor on and off.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, ClientArgs};
use super::fault::Fault;
use super::input::{CodeFrom, CodeToo, PasswordFrom, secret};
use super::{backup_codes, show};

#[derive(Debug, Subcommand)]
pub enum FactorVerb {
    /// Start an enrolment; shows a QR code and the secret, once
    Enable {
        /// The account's id
        account: String,
        /// The name that the authenticator app shows [default: the username]
        #[arg(long)]
        account_name: Option<String>,
        /// Your own name for the authenticator
        #[arg(long)]
        label: Option<String>,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// Confirm an enrolment with the app's first code; shows ten backup codes, once
    Confirm {
        /// The account's id
        account: String,
        /// The authenticator that `factor enable` named
        authenticator: String,
        #[command(flatten)]
        code: CodeFrom,
    },
    /// Drop a pending enrolment
    Cancel {
        /// The account's id
        account: String,
        /// The authenticator that `factor enable` named
        authenticator: String,
    },
    /// Turn 2FA off
    Disable {
        /// The account's id
        account: String,
        #[command(flatten)]
        password: PasswordFrom,
        #[command(flatten)]
        code: CodeToo,
    },
    /// Object to a support reset, as the account's owner
    CancelReset {
        /// The account's id
        account: String,
    },
}

pub async fn run(verb: FactorVerb, args: &ClientArgs) -> Result<(), Fault> {
    match verb {
        FactorVerb::Enable {
            account,
            account_name,
            label,
            password,
        } => {
            let password = secret("password", password.password_from.as_deref())?;
            let mut body = json!({"account_id": account, "proof": {"password": password}});
            for (name, value) in [("account_name", account_name), ("label", label)] {
                if let Some(value) = value {
                    body[name] = value.into();
                }
            }
            let answer = Client::connect(args)
                .await?
                .command("enable-2fa", &body)
                .await?;
            let qr = show::qr(show::field(&answer.body, "otpauth_uri"))?;
            show::answer(args, &answer, |body| enrolment(&account, &qr, body))
        }
        FactorVerb::Confirm {
            account,
            authenticator,
            code,
        } => {
            let code = secret("code", code.code_from.as_deref())?;
            let body =
                json!({"account_id": account, "authenticator_id": authenticator, "code": code});
            let answer = Client::connect(args)
                .await?
                .command("confirm-code", &body)
                .await?;
            show::answer(args, &answer, |body| {
                format!("2FA is on\n\n{}", backup_codes::sheet(body))
            })
        }
        FactorVerb::Cancel {
            account,
            authenticator,
        } => {
            let body = json!({"account_id": account, "authenticator_id": authenticator});
            let answer = Client::connect(args)
                .await?
                .command("cancel-enrolment", &body)
                .await?;
            show::answer(args, &answer, |_| "the enrolment is dropped".into())
        }
        FactorVerb::Disable {
            account,
            password,
            code,
        } => {
            let password = secret("password", password.password_from.as_deref())?;
            let mut body = json!({"account_id": account, "proof": {"password": password}});
            code.add_to(&mut body["proof"])?;
            let answer = Client::connect(args)
                .await?
                .command("disable-2fa", &body)
                .await?;
            show::answer(args, &answer, |_| format!("2FA is off for {account}"))
        }
        FactorVerb::CancelReset { account } => cancel_reset(&account, args).await,
    }
}

async fn cancel_reset(account: &str, args: &ClientArgs) -> Result<(), Fault> {
    let body = json!({"account_id": account});
    let answer = Client::connect(args)
        .await?
        .command("cancel-reset", &body)
        .await?;
    show::answer(args, &answer, |_| {
        format!("the reset of {account} is cancelled; the second factor stays as it is")
    })
}

fn enrolment(account: &str, qr: &str, body: &Value) -> String {
    let (authenticator, secret) = (
        show::field(body, "authenticator_id"),
        show::field(body, "secret"),
    );
    format!(
        "{qr}\n\nScan it with an authenticator app, or type this secret into it:\n  {}\n\n\
         {}\n\nThen, until {}:\n  countersign factor confirm {account} {authenticator}",
        in_fours(secret),
        show::field(body, "otpauth_uri"),
        show::field(body, "expires_at"),
    )
}

/// A secret in groups of four, easier to type.
fn in_fours(secret: &str) -> String {
    let groups: Vec<_> = secret
        .as_bytes()
        .chunks(4)
        .map(String::from_utf8_lossy)
        .collect();
    groups.join(" ")
}
