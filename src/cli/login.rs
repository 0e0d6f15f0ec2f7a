//! `login`: checks passwords and codes.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, ClientArgs};
use super::fault::Fault;
use super::input::{CodeFrom, CodeToo, NextCode, PasswordFrom, secret};
use super::show;

#[derive(Debug, Subcommand)]
pub enum LoginVerb {
    /// Check a password; with 2FA on, opens a challenge, or signs in with a code too
    Start {
        /// The login name
        #[arg(required_unless_present = "account")]
        username: Option<String>,
        /// The account's id instead of a login name
        #[arg(long, conflicts_with = "username")]
        account: Option<String>,
        #[command(flatten)]
        password: PasswordFrom,
        #[command(flatten)]
        code: CodeToo,
        #[command(flatten)]
        audience: Audience,
    },
    /// Check an app code or a backup code; asks for the challenge first
    Verify {
        /// The account's id, if you have checked the password yourself: then no challenge is needed
        #[arg(long)]
        account: Option<String>,
        #[command(flatten)]
        code: CodeFrom,
        #[command(flatten)]
        next: NextCode,
        #[command(flatten)]
        audience: Audience,
    },
    /// Show what a login check may know of an account
    Status {
        /// The account's id
        account: String,
    },
}

/// The audience of the assertion of a completed login.
#[derive(Debug, clap::Args)]
pub struct Audience {
    /// Ask for a signed assertion of the completed login, for this audience
    #[arg(long)]
    audience: Option<String>,
}

impl Audience {
    fn add_to(self, body: &mut Value) {
        if let Some(audience) = self.audience {
            body["audience"] = audience.into();
        }
    }
}

pub async fn run(verb: LoginVerb, args: &ClientArgs) -> Result<(), Fault> {
    match verb {
        LoginVerb::Start {
            username,
            account,
            password,
            code,
            audience,
        } => {
            let password = secret("password", password.password_from.as_deref())?;
            let mut body = match (username, account) {
                (Some(username), _) => json!({"username": username, "password": password}),
                (None, account) => json!({"account_id": account, "password": password}),
            };
            code.add_to(&mut body)?;
            audience.add_to(&mut body);
            let answer = Client::connect(args)
                .await?
                .command("start-login", &body)
                .await?;
            show::answer(args, &answer, started)
        }
        LoginVerb::Verify {
            account,
            code,
            next,
            audience,
        } => {
            let mut body = match account {
                Some(account) => json!({"account_id": account}),
                None => json!({"challenge_id": secret("challenge", None)?}),
            };
            body["code"] = json!(secret("code", code.code_from.as_deref())?);
            next.add_to(&mut body)?;
            audience.add_to(&mut body);
            let answer = Client::connect(args)
                .await?
                .command("verify-login", &body)
                .await?;
            show::answer(args, &answer, verified)
        }
        LoginVerb::Status { account } => {
            let name = format!("login-status.{account}");
            let answer = Client::connect(args)
                .await?
                .query(&name, &json!({}))
                .await?;
            show::answer(args, &answer, status)
        }
    }
}

fn started(body: &Value) -> String {
    if body.get("backup_codes_left").is_some() {
        return verified(body);
    }
    match show::field(body, "challenge_id") {
        "" => format!(
            "signed in as {} by password alone: 2FA is off{}",
            show::field(body, "account_id"),
            assertion(body)
        ),
        challenge => format!(
            "send a code before {}\nchallenge {challenge}\n\nNext: countersign login verify",
            show::field(body, "expires_at"),
        ),
    }
}

fn verified(body: &Value) -> String {
    let left = body
        .get("backup_codes_left")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    let low = body
        .get("backup_codes_low")
        .and_then(Value::as_bool)
        .unwrap_or_default();
    format!(
        "signed in as {} ({}), {left} backup codes left{}{}{}",
        show::field(body, "account_id"),
        show::field(body, "method"),
        if low { ": make new ones" } else { "" },
        match body.get("authenticator_suspended") {
            Some(Value::Bool(true)) =>
                "\nthe authenticator is suspended: turn 2FA off with a backup code beside the password, and on again",
            _ => "",
        },
        assertion(body),
    )
}

fn assertion(body: &Value) -> String {
    match show::field(body, "assertion") {
        "" => String::new(),
        assertion => format!("\n{assertion}"),
    }
}

pub fn status(body: &Value) -> String {
    let number = |name: &str| body.get(name).and_then(Value::as_u64).unwrap_or_default();
    let mut text = format!("second factor: {}\n", show::field(body, "second_factor"));
    if let Some(since) = body.get("enabled_at").and_then(Value::as_str) {
        text.push_str(&format!(
            "since: {since}\nbackup codes left: {} of set {}\n",
            number("backup_codes_left"),
            number("set_no")
        ));
    }
    if let Some(until) = body.get("throttled_until").and_then(Value::as_str) {
        text.push_str(&format!("app codes wait until: {until}\n"));
    }
    text
}
