//! `support reset`: a reset case from the request to its end; each step is shown before it is sent.

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::{Client, ClientArgs};
use super::confirm::{Assent, confirm};
use super::fault::Fault;
use super::show::{self, age, field, local_time, one_line};
use crate::engine::wall_clock;

#[derive(Debug, Subcommand)]
pub enum ResetVerb {
    /// Ask for a reset of an account's second factor, to be approved by another agent
    Request {
        /// The account's id
        account: String,
        #[command(flatten)]
        why: Why,
        /// The ticket in which the owner asked for it (1 to 64 characters)
        #[arg(long)]
        ticket: String,
        /// What the owner says is lost
        #[arg(long)]
        lost: Option<Lost>,
        #[command(flatten)]
        assent: Assent,
    },
    /// Approve another agent's reset; its cooling-off time begins
    Approve(Step),
    /// Reject a reset
    Reject(Step),
    /// Cancel a reset
    Cancel(Step),
    /// Turn the second factor off once the cooling-off time is over
    Execute(Step),
    /// Show the cases and how long they have been waiting
    List {
        /// Only cases in this state [default: the open ones]
        #[arg(long)]
        state: Option<State>,
        /// Only cases after this position, which the list before prints
        #[arg(long)]
        after: Option<u64>,
    },
}

#[derive(Debug, clap::Args)]
pub struct Why {
    /// Why, for the second agent and the auditors (1 to 500 characters)
    #[arg(long, value_parser = super::input::reason)]
    pub reason: String,
}

#[derive(Debug, clap::Args)]
pub struct Step {
    /// The case's id, as `support reset list` shows it
    case: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    assent: Assent,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Lost {
    App,
    BackupCodes,
    Both,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum State {
    WaitingApproval,
    CoolingOff,
    Executed,
    Rejected,
    Cancelled,
    Expired,
}

/// The spelling of a value on the command line and in the contract.
fn word(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

pub async fn run(verb: ResetVerb, args: &ClientArgs) -> Result<(), Fault> {
    let mut client = Client::connect(args).await?;
    match verb {
        ResetVerb::Request {
            account,
            why,
            ticket,
            lost,
            assent,
        } => {
            let mut body = json!({"account_id": account, "reason": why.reason, "ticket": ticket});
            if let Some(lost) = lost {
                body["lost"] = word(&lost).into();
            }
            let plan = format!(
                "This requests a reset of the second factor of {account}. Another agent must approve it; \
                 after the cooling-off time it can be executed. Until then a login with a code or the \
                 owner's objection cancels it. The owner is notified at once."
            );
            confirm(args, &assent, &account, &plan)?;
            let answer = client.support("request-reset", &body).await?;
            show::answer(args, &answer, |body| {
                format!(
                    "case {} is open until {}; another agent must approve it\nnext: countersign support reset approve {} --reason …",
                    field(body, "case_id"),
                    local_time(field(body, "expires_at")),
                    field(body, "case_id"),
                )
            })
        }
        ResetVerb::Approve(step) => take(&mut client, args, &APPROVE, step).await,
        ResetVerb::Reject(step) => take(&mut client, args, &REJECT, step).await,
        ResetVerb::Cancel(step) => take(&mut client, args, &CANCEL, step).await,
        ResetVerb::Execute(step) => take(&mut client, args, &EXECUTE, step).await,
        ResetVerb::List { state, after } => {
            let body = json!({"state": state.map(|state| word(&state)), "after": after});
            let answer = client.query("reset-queue", &body).await?;
            show::answer(args, &answer, table)
        }
    }
}

/// One step of a case: its command, what it will do, and what it did.
struct Action {
    command: &'static str,
    will: &'static str,
    done: &'static str,
}

const APPROVE: Action = Action {
    command: "approve-reset",
    will: "Approving begins the cooling-off time now; the reply says when the reset may be executed. The owner is notified and can object.",
    done: "approved",
};
const REJECT: Action = Action {
    command: "reject-reset",
    will: "Rejecting ends the case now. The factor stays as it is.",
    done: "rejected",
};
const CANCEL: Action = Action {
    command: "cancel-reset",
    will: "Cancelling ends the case now. The factor stays as it is.",
    done: "cancelled",
};
const EXECUTE: Action = Action {
    command: "execute-reset",
    will: "Executing turns the second factor off now: the app, every backup code and every open login become void, and this cannot be undone.",
    done: "executed",
};

async fn take(
    client: &mut Client,
    args: &ClientArgs,
    action: &Action,
    step: Step,
) -> Result<(), Fault> {
    let case = if step.assent.is_given() && args.json {
        None
    } else {
        open_case(client, &step.case).await?
    };
    // The service refuses a case that is not open, and says why; there is nothing to confirm.
    if let Some(case) = &case {
        let plan = format!("{}\n{}", describe(case), action.will);
        confirm(args, &step.assent, field(case, "account_id"), &plan)?;
    }
    let body = json!({"case_id": step.case, "reason": step.why.reason});
    let answer = client.support(action.command, &body).await?;
    let account = case.as_ref().map_or("", |case| field(case, "account_id"));
    show::answer(args, &answer, |body| {
        let when = match field(body, "execute_after") {
            "" => String::new(),
            at => format!("; it may be executed after {}", local_time(at)),
        };
        format!("the reset of {account} is {}{when}", action.done)
    })
}

/// An open case of the queue.
async fn open_case(client: &mut Client, id: &str) -> Result<Option<Value>, Fault> {
    let mut after = None;
    loop {
        let queue = client
            .query("reset-queue", &json!({"after": after}))
            .await?
            .body;
        let cases = queue.get("cases").and_then(Value::as_array).cloned();
        let mut cases = cases.unwrap_or_default().into_iter();
        let case = cases.find(|case| field(case, "case_id") == id);
        let next = queue.get("next").and_then(Value::as_u64);
        if case.is_some() || next <= after {
            return Ok(case);
        }
        after = next;
    }
}

fn describe(case: &Value) -> String {
    let now = wall_clock();
    let mut text = format!(
        "Case {} of account {}: {}, requested by {} {} ago (ticket {}).\nReason: {}",
        field(case, "case_id"),
        field(case, "account_id"),
        field(case, "state"),
        field(case, "requested_by"),
        age(field(case, "requested_at"), now),
        one_line(field(case, "ticket")),
        one_line(field(case, "reason")),
    );
    if !field(case, "approved_by").is_empty() {
        text.push_str(&format!(
            "\nApproved by {}; it may be executed after {}.",
            field(case, "approved_by"),
            local_time(field(case, "execute_after")),
        ));
    }
    text.push_str(&format!(
        "\nIt ends by itself at {}.",
        local_time(field(case, "expires_at"))
    ));
    text
}

/// The queue as a table: each case with its account, its age and its next step.
fn table(queue: &Value) -> String {
    let none = Vec::new();
    let cases = queue
        .get("cases")
        .and_then(Value::as_array)
        .unwrap_or(&none);
    if cases.is_empty() {
        return "no cases".into();
    }
    let now = wall_clock();
    let mut rows = vec![
        [
            "CASE", "ACCOUNT", "STATE", "BY", "AGE", "NEXT", "TICKET", "REASON",
        ]
        .map(String::from),
    ];
    rows.extend(cases.iter().map(|case| {
        [
            field(case, "case_id").into(),
            field(case, "account_id").into(),
            field(case, "state").into(),
            field(case, "requested_by").into(),
            age(field(case, "requested_at"), now),
            next(case),
            one_line(field(case, "ticket")),
            one_line(field(case, "reason")),
        ]
    }));
    let mut text = show::columns(&rows);
    if let Some(next) = queue.get("next").and_then(Value::as_u64) {
        text.push_str(&format!("there are more: --after {next}\n"));
    }
    text
}

fn next(case: &Value) -> String {
    match field(case, "state") {
        "waiting-approval" => format!("open until {}", local_time(field(case, "expires_at"))),
        "cooling-off" => format!("execute after {}", local_time(field(case, "execute_after"))),
        _ => match field(case, "closed_at") {
            "" => "-".into(),
            at => format!("ended {} by {}", local_time(at), field(case, "closed_by")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The agent who requests a reset writes the reason, and the agent who approves it reads it.
    #[test]
    fn the_text_of_one_agent_cannot_overwrite_the_case_that_another_agent_approves() {
        let case = serde_json::json!({
            "case_id": "c-1", "account_id": "mallory", "state": "waiting-approval",
            "requested_by": "eve", "ticket": "T-1\u{1b}[2K",
            "reason": "lost\r\n\u{1b}[3A\u{1b}[2KCase c-1 of account ada\u{202e}",
        });
        let shown = describe(&case) + &table(&serde_json::json!({"cases": [case]}));
        let odd = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!shown.contains(odd), "{shown:?}");
        assert!(shown.contains("Case c-1 of account mallory"));
    }
}
