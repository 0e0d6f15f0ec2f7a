//! `support`: what an agent may do for an account.

use clap::Subcommand;
use serde_json::json;

use super::client::{Client, ClientArgs};
use super::fault::Fault;
use super::show;

#[derive(Debug, Subcommand)]
pub enum SupportVerb {
    /// What concerns one account
    #[command(subcommand)]
    Account(SupportAccountVerb),
}

#[derive(Debug, Subcommand)]
pub enum SupportAccountVerb {
    /// Let app codes be tried again after many wrong ones; a suspension stays
    ClearAttempts {
        /// The account's id
        account: String,
        /// Why, for the auditors (1 to 500 bytes)
        #[arg(long)]
        reason: String,
    },
}

pub async fn run(verb: SupportVerb, args: &ClientArgs) -> Result<(), Fault> {
    let SupportVerb::Account(SupportAccountVerb::ClearAttempts { account, reason }) = verb;
    let body = json!({"account_id": account, "reason": reason});
    let answer = Client::connect(args)
        .await?
        .support("clear-attempts", &body)
        .await?;
    show::answer(args, &answer, |_| {
        format!("app codes of {account} may be tried again")
    })
}
