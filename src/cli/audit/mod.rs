//! `audit`: reads, exports and verifies the history.

mod compared;
mod export;
mod export_file;
mod known;
mod manifest;
mod ocsf;
mod verify;

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
    /// Show an account as it was at a position or a time
    AccountAt {
        /// The account's id
        account: String,
        /// Right after the event at this position
        #[arg(long, required_unless_present = "at", conflicts_with = "at")]
        position: Option<u64>,
        /// At this time (RFC 3339)
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
    /// Explain a decision, and make it again from the log
    Explain {
        /// The position of one of its events
        position: u64,
    },
    /// Print the log's newest state, signed; keep it to verify the log against it later
    Checkpoint,
    /// Export events with their proofs
    Export(export::ExportArgs),
    /// Compute the whole history again and verify it: the service's, a stopped log's, an export's
    Verify(verify::VerifyArgs),
}

#[derive(Debug, clap::Args)]
pub struct PageArgs {
    /// Only events after this position
    #[arg(long)]
    after: Option<u64>,
    /// At most this many events, 1 to 500
    #[arg(long)]
    limit: Option<u16>,
}

pub async fn run(verb: AuditVerb, args: &ClientArgs) -> Result<(), Fault> {
    let (name, body, human): (String, Value, fn(&Value) -> String) = match verb {
        AuditVerb::Export(given) => return export::run(&given, args).await,
        AuditVerb::Verify(given) => return verify::run(&given, args).await,
        AuditVerb::Checkpoint => ("checkpoint".into(), json!({}), note),
        AuditVerb::Explain { position } => {
            let body = json!({"position": position});
            ("audit-explain".into(), body, explanation)
        }
        AuditVerb::AccountAt {
            account,
            position,
            at,
        } => {
            let moment = match (position, at) {
                (Some(position), _) => json!({"position": position}),
                (None, at) => json!({"at": at}),
            };
            (
                format!("account-at.{account}"),
                moment,
                super::login::status,
            )
        }
        AuditVerb::Timeline { account, page } => {
            let body = page_body(&page);
            (format!("audit-timeline.{account}"), body, show::events)
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
            ("audit-page".into(), body, show::events)
        }
    };
    let answer = Client::connect(args).await?.query(&name, &body).await?;
    show::answer(args, &answer, human)
}

/// The signed note itself, which public tools read.
fn note(body: &Value) -> String {
    show::field(body, "note").to_owned()
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

/// What happened, why, and the result of deciding again.
fn explanation(body: &Value) -> String {
    let mut text = show::events(body);
    text.push_str(&format!("\n{}, because:\n", show::field(body, "verdict")));
    let because = body["because"].as_array();
    for reason in because.into_iter().flatten().filter_map(Value::as_str) {
        text.push_str(&format!("  {reason}\n"));
    }
    if body["before"].is_object() {
        let before = &body["before"];
        text.push_str(&format!(
            "before    second factor {}, {} backup codes left\n",
            show::field(before, "second_factor"),
            before["backup_codes_left"]
        ));
    }
    text.push_str(&format!(
        "policy    in force since position {}\n",
        body["policy_position"]
    ));
    let detail = show::field(body, "rerun_detail");
    text.push_str(&match show::field(body, "rerun") {
        "same" => "again     deciding it again from the log gives the same result\n".to_owned(),
        "different" => format!("again     deciding it again gives a different result: {detail}\n"),
        _ => format!("again     not decided again: {detail}\n"),
    });
    let taken = body["taken_as_recorded"].as_array();
    for (nth, sentence) in taken
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .enumerate()
    {
        let head = if nth == 0 { "unshown " } else { "" };
        text.push_str(&format!("{head:<10}{sentence}\n"));
    }
    text
}
