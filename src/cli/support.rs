//! `support`: the acts and queries of a support agent.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, ClientArgs};
use super::confirm::{Assent, confirm};
use super::fault::Fault;
use super::reset::{self, ResetVerb, Why};
use super::show::{self, field, local_time};

#[derive(Debug, Subcommand)]
pub enum SupportVerb {
    /// Find and show an account, clear its attempts
    #[command(subcommand)]
    Account(SupportAccountVerb),
    /// Suspend an account's second factor
    #[command(subcommand)]
    Factor(SupportFactorVerb),
    /// Request, approve, execute or end a reset of the second factor
    #[command(subcommand)]
    Reset(ResetVerb),
}

#[derive(Debug, Subcommand)]
pub enum SupportAccountVerb {
    /// Show what an agent may know of an account
    Show {
        /// The account's id
        account: String,
    },
    /// Find an account by its whole username
    Find {
        /// The username
        username: String,
    },
    /// Let app codes be tried again after many wrong ones; a suspension stays
    ClearAttempts {
        /// The account's id
        account: String,
        #[command(flatten)]
        why: Why,
    },
}

#[derive(Debug, Subcommand)]
pub enum SupportFactorVerb {
    /// Stop app codes and open logins at once, for a stolen phone
    Suspend {
        /// The account's id
        account: String,
        #[command(flatten)]
        why: Why,
        /// The ticket in which the owner asked for it (1 to 64 characters)
        #[arg(long)]
        ticket: String,
        #[command(flatten)]
        assent: Assent,
    },
}

pub async fn run(verb: SupportVerb, args: &ClientArgs) -> Result<(), Fault> {
    match verb {
        SupportVerb::Account(verb) => account(verb, args).await,
        SupportVerb::Factor(verb) => factor(verb, args).await,
        SupportVerb::Reset(verb) => Box::pin(reset::run(verb, args)).await,
    }
}

async fn account(verb: SupportAccountVerb, args: &ClientArgs) -> Result<(), Fault> {
    let mut client = Client::connect(args).await?;
    match verb {
        SupportAccountVerb::Show { account } => {
            let card = format!("account-card.{account}");
            let answer = client.query(&card, &json!({})).await?;
            show::answer(args, &answer, card_lines)
        }
        SupportAccountVerb::Find { username } => {
            let body = json!({"username": username});
            let answer = client.query("find-account", &body).await?;
            show::answer(args, &answer, |body| field(body, "account_id").to_owned())
        }
        SupportAccountVerb::ClearAttempts { account, why } => {
            let body = json!({"account_id": account, "reason": why.reason});
            let answer = client.support("clear-attempts", &body).await?;
            show::answer(args, &answer, |_| {
                format!("the wrong codes of {account} are cleared; a suspension stays")
            })
        }
    }
}

async fn factor(verb: SupportFactorVerb, args: &ClientArgs) -> Result<(), Fault> {
    let SupportFactorVerb::Suspend {
        account,
        why,
        ticket,
        assent,
    } = verb;
    let plan = format!(
        "App codes and every open login of {account} will stop at once. This ends when the owner removes the authenticator, with a backup code beside the password, or by a reset."
    );
    let mut client = Client::connect(args).await?;
    confirm(args, &assent, &account, &plan)?;
    let body = json!({"account_id": account, "reason": why.reason, "ticket": ticket});
    let answer = client.support("suspend-factor", &body).await?;
    show::answer(args, &answer, |_| {
        format!("the app codes of {account} are suspended")
    })
}

/// An account card, one fact a line, without the facts that do not apply.
fn card_lines(card: &Value) -> String {
    let facts = factor_facts(card).into_iter();
    let line = |(name, value): (&str, String)| format!("{name:<16}  {value}");
    let lines: Vec<_> = facts
        .chain(dates(card))
        .chain(troubles(card))
        .filter(|(_, value)| !value.is_empty())
        .map(line)
        .collect();
    lines.join("\n")
}

/// The name and the text of a line.
type Fact = (&'static str, String);

fn number(holder: &Value, name: &str) -> u64 {
    holder.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn methods(card: &Value) -> Vec<&str> {
    let methods = card.get("methods").and_then(Value::as_array);
    let methods = methods.into_iter().flatten();
    methods.filter_map(Value::as_str).collect()
}

fn factor_facts(card: &Value) -> Vec<Fact> {
    let name = card.get("username").filter(|name| name.is_object());
    let masked = name.map(|name| {
        let (first, length) = (field(name, "first"), number(name, "length"));
        format!("{first}… ({length} characters)")
    });
    let (left, set) = (number(card, "backup_codes_left"), number(card, "set_no"));
    vec![
        ("account", field(card, "account_id").to_owned()),
        ("username", masked.unwrap_or_default()),
        ("second factor", field(card, "second_factor").to_owned()),
        ("codes taken", methods(card).join(", ")),
        ("backup codes", format!("{left} unused of set {set}")),
    ]
}

fn dates(card: &Value) -> Vec<Fact> {
    let dates = [
        ("registered_at", "registered"),
        ("password_set_at", "password set"),
        ("enabled_at", "2FA on since"),
        ("last_login_at", "last login"),
        ("wrong_code_at", "last wrong code"),
        ("throttled_until", "codes wait until"),
        ("cleared_at", "attempts cleared"),
    ];
    let known = dates
        .iter()
        .filter(|(name, _)| !field(card, name).is_empty());
    known
        .map(|(name, said)| (*said, local_time(field(card, name))))
        .collect()
}

fn troubles(card: &Value) -> Vec<Fact> {
    let is = |name: &str| card.get(name) == Some(&json!(true));
    let mut facts = Vec::new();
    let wrong = number(card, "wrong_codes");
    if wrong > 0 {
        facts.push(("wrong codes", format!("{wrong} since the last login")));
    }
    if is("suspended") {
        let ends = match (methods(card).is_empty(), field(card, "suspended_by")) {
            (true, _) => "only a reset ends this",
            (false, "support") => {
                "ends when the owner removes the authenticator, with a backup code beside the password, or by a reset"
            }
            (false, _) => "a backup code or a reset ends this",
        };
        facts.push(("suspended", ends.into()));
    }
    if is("double_code") {
        facts.push(("two codes", "required".into()));
    }
    if let Some(case) = card.get("reset").filter(|case| case.is_object()) {
        let said = format!("{} ({})", field(case, "case_id"), field(case, "state"));
        facts.push(("open reset", said));
    }
    let day = number(card, "after_reset_days");
    if day > 0 {
        facts.push(("after a reset", format!("day {day}")));
    }
    facts
}
