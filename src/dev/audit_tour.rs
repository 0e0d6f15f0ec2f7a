//! The part of the tour about auditors: why a code was refused, and a history that verifies without
//! the service.

use std::fs;
use std::path::Path;

use clap::{Command, FromArgMatches, Subcommand};
use serde_json::{Value, json};

use super::tour::{Tour, holds, text};
use crate::cli::audit::{self, AuditVerb};
use crate::cli::client::{Client, ClientArgs};
use crate::cli::fault::Fault;

/// Plays an audit of the account that the tour made.
///
/// # Errors
/// [`Fault`] of the first step that did not hold.
pub async fn play(tour: &mut Tour, args: &ClientArgs, account: &str) -> Result<(), Fault> {
    let args = ClientArgs {
        caller: Some("auditor".into()),
        ..args.clone()
    };
    let mut client = Client::connect(&args).await?;
    tour.title(
        "Why was the second use of that code refused? The service decides it again, from the log alone",
    );
    let refused = replayed_code(&mut client, account).await?;
    types(&args, &["explain", &refused.to_string()]).await?;
    let body = json!({"position": refused});
    let explained = client.query("audit-explain", &body).await?.body;
    holds(
        "deciding again gives the same result",
        explained.get("rerun") == Some(&json!("same")),
    )?;

    let (same, other) = decided_again(&mut client).await?;
    println!(
        "of {} decisions, {same} give the same result when they are decided again",
        same + other
    );
    holds(
        "every decision gives the same result again",
        same > 0 && other == 0,
    )?;

    tour.title("An auditor exports the whole history, and keeps the public key");
    let folder = tempfile::tempdir().map_err(Fault::failed)?;
    let file = folder.path().join("history.jsonl");
    types(&args, &["export", "--output", shown(&file)?]).await?;
    let vkey = text(&client.query("checkpoint", &json!({})).await?.body, "vkey")?;
    tour.title("Anyone can verify the export, without access to the service");
    let offline = ClientArgs::default();
    let verify = ["verify", "--key", &vkey, "--export", shown(&file)?];
    types(&offline, &verify).await?;

    tour.title("One changed character is found");
    let changed = folder.path().join("changed.jsonl");
    change(&file, &changed)?;
    let verify = ["verify", "--key", &vkey, "--export", shown(&changed)?];
    match types(&offline, &verify).await {
        Err(Fault::Negative(why)) => {
            println!("countersign: {why}");
            Ok(())
        }
        Err(other) => Err(other),
        Ok(()) => holds("a changed record is found", false),
    }
}

/// Runs `countersign audit …` as if a person had typed it.
async fn types(args: &ClientArgs, words: &[&str]) -> Result<(), Fault> {
    println!("$ countersign audit {}", words.join(" "));
    let line = AuditVerb::augment_subcommands(Command::new("audit").no_binary_name(true));
    let matches = line.try_get_matches_from(words).map_err(Fault::failed)?;
    let verb = AuditVerb::from_arg_matches(&matches).map_err(Fault::failed)?;
    Box::pin(audit::run(verb, args)).await
}

/// The position where the first used code of this account was sent again.
async fn replayed_code(client: &mut Client, account: &str) -> Result<u64, Fault> {
    let body = json!({"account_id": account, "types": ["code-replayed"]});
    let page = client.query("audit-page", &body).await?.body;
    page.pointer("/events/0/position")
        .and_then(Value::as_u64)
        .ok_or_else(|| Fault::failed("the trail shows no code that was used twice"))
}

/// How many decisions of the signed history give the same result when they are made again, and how
/// many do not.
async fn decided_again(client: &mut Client) -> Result<(u64, u64), Fault> {
    let signed = client.query("checkpoint", &json!({})).await?.body;
    let size = signed.get("size").and_then(Value::as_u64);
    let size = size.ok_or_else(|| Fault::failed("the checkpoint names no size"))?;
    let (mut same, mut other) = (0, 0);
    for position in 1..=size {
        let body = json!({"position": position});
        let explained = client.query("audit-explain", &body).await?.body;
        match explained.get("rerun").and_then(Value::as_str) {
            Some("same") => same += 1,
            Some("not-made") => {}
            _ => other += 1,
        }
    }
    Ok((same, other))
}

/// Copies an export with another character in the middle of its first record.
fn change(file: &Path, changed: &Path) -> Result<(), Fault> {
    const RECORD: &str = r#""record":""#;
    let mut text = fs::read_to_string(file).map_err(Fault::failed)?;
    let start = text
        .find(RECORD)
        .ok_or_else(|| Fault::failed("the export has no record"))?;
    let at = start + RECORD.len() + 40;
    let other = match text.get(at..=at) {
        Some("A") => "B",
        Some(_) | None => "A",
    };
    text.replace_range(at..=at, other);
    fs::write(changed, text).map_err(Fault::failed)
}

fn shown(path: &Path) -> Result<&str, Fault> {
    path.to_str()
        .ok_or_else(|| Fault::failed("the temporary folder's name is not UTF-8"))
}
