//! `audit`: read the history.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, ClientArgs};
use super::fault::Fault;
use super::show;

#[derive(Debug, Subcommand)]
pub enum AuditVerb {
    /// Show one account's history
    Timeline {
        /// The account's id
        account: String,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Show the whole history, filtered
    Page {
        #[command(flatten)]
        page: PageArgs,
        /// Only events of these types, separated by commas
        #[arg(long, value_delimiter = ',')]
        types: Vec<String>,
        /// Only events of this account
        #[arg(long)]
        account: Option<String>,
        /// Only events that this caller caused
        #[arg(long = "by", value_name = "CALLER")]
        by: Option<String>,
        /// Only events recorded at or after this time (RFC 3339)
        #[arg(long)]
        from: Option<String>,
        /// Only events recorded before this time (RFC 3339)
        #[arg(long)]
        to: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
pub struct PageArgs {
    /// Only events after this position
    #[arg(long)]
    after: Option<u64>,
    /// At most so many events, 1 to 500
    #[arg(long)]
    limit: Option<u16>,
}

pub async fn run(verb: AuditVerb, args: &ClientArgs) -> Result<(), Fault> {
    let (name, body) = match verb {
        AuditVerb::Timeline { account, page } => {
            (format!("audit-timeline.{account}"), page_body(&page))
        }
        AuditVerb::Page {
            page,
            types,
            account,
            by,
            from,
            to,
        } => {
            let mut body = page_body(&page);
            if !types.is_empty() {
                body["types"] = json!(types);
            }
            for (name, value) in [
                ("account_id", account),
                ("caller", by),
                ("from", from),
                ("to", to),
            ] {
                if let Some(value) = value {
                    body[name] = value.into();
                }
            }
            ("audit-page".into(), body)
        }
    };
    let answer = Client::connect(args).await?.query(&name, &body).await?;
    show::answer(args, &answer, show::events)
}

fn page_body(page: &PageArgs) -> Value {
    let mut body = json!({});
    if let Some(after) = page.after {
        body["after"] = after.into();
    }
    if let Some(limit) = page.limit {
        body["limit"] = limit.into();
    }
    body
}
