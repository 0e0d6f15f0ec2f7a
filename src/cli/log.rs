//! `log`: the log's events, numbers and backups. The log belongs to one process, so the commands
//! ask a running service over NATS; `--data` reads a stopped log.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use countersign_projections::{Entry, audit_event};
use countersign_schemas::record::Record;
use serde_json::{Value, json};

use super::client::{Client, ClientArgs};
use super::fault::Fault;
use super::show;
use crate::crypto::note;
use crate::engine::{self, BackupFolders, back_up_stopped_service};
use crate::log::{EventLog, LogOptions};

/// Events in one page of a stopped log.
const PAGE_RECORDS: usize = 512;
const PAGE_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug, Subcommand)]
pub enum LogVerb {
    /// Show one account's events
    Stream {
        /// The account's id
        account: String,
        #[command(flatten)]
        from: From,
    },
    /// Show the event at a position
    Show {
        /// The position
        position: u64,
        #[command(flatten)]
        from: From,
    },
    /// Show the numbers of log, index and cache
    Stats,
    /// Go on after a loss that a refused start named; suspends every existing account until a reset
    NewEpoch(NewEpochArgs),
    /// Copy log and data keys: the running service's into its configured folders, a stopped one's
    /// with --data, --to and --keys-to
    Backup {
        /// Why
        #[arg(long, required_unless_present = "data")]
        reason: Option<String>,
        /// Where to copy a stopped log
        #[arg(long, requires_all = ["data", "keys_to"], value_name = "DIR")]
        to: Option<PathBuf>,
        /// Where to copy its data keys, apart from the log
        #[arg(long, requires = "to", value_name = "DIR")]
        keys_to: Option<PathBuf>,
        /// The keyring file of a stopped service, beside its checkpoints: log and keys are checked
        /// with it first. Without it no earlier copy is replaced
        #[arg(long, env = "COUNTERSIGN_KEYRING", value_name = "FILE")]
        keyring: Option<PathBuf>,
        #[command(flatten)]
        from: From,
    },
}

/// The loss that a stopped log goes on after.
#[derive(Debug, clap::Args)]
pub struct NewEpochArgs {
    /// The data folder of the stopped service
    #[arg(long, env = "COUNTERSIGN_DATA", value_name = "DIR")]
    data: PathBuf,
    /// The keyring file
    #[arg(long, env = "COUNTERSIGN_KEYRING", value_name = "FILE")]
    keyring: PathBuf,
    /// The first position that is lost, as the refused start names it
    #[arg(long, value_name = "N")]
    lost_from: u64,
    /// Why; recorded
    #[arg(long, value_parser = super::input::reason)]
    reason: String,
}

/// Where the log is.
#[derive(Debug, clap::Args)]
pub struct From {
    /// The data folder of a stopped service [default: ask the running one]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub async fn run(verb: LogVerb, args: &ClientArgs) -> Result<(), Fault> {
    match verb {
        LogVerb::Stream { account, from } => match from.data {
            Some(data) => stopped(&data, args, |record| record.meta.account_id == account),
            None => {
                let query = format!("audit-timeline.{account}");
                ask(args, &query, &json!({"limit": 500})).await
            }
        },
        LogVerb::Show { position, from } => match from.data {
            Some(data) => one_of_stopped(&data, args, position),
            None => {
                let body = json!({"after": position.saturating_sub(1), "limit": 1});
                ask(args, "audit-page", &body).await
            }
        },
        LogVerb::Stats => {
            let answer = Client::connect(args)
                .await?
                .admin("log-stats", &json!({}))
                .await?;
            show::answer(args, &answer, stats)
        }
        LogVerb::NewEpoch(given) => new_epoch(&given),
        LogVerb::Backup {
            from: From { data: Some(data) },
            to,
            keys_to,
            keyring,
            ..
        } => {
            let folders = to
                .zip(keys_to)
                .map(|(log, keys)| BackupFolders { log, keys });
            let folders = folders.ok_or_else(|| {
                Fault::Usage("a stopped log is copied with --to DIR --keys-to DIR".into())
            })?;
            copy_stopped(&data, keyring.as_deref(), &folders)
        }
        LogVerb::Backup { reason, .. } => {
            let body = json!({"reason": reason});
            let answer = Client::connect(args).await?.admin("backup", &body).await?;
            show::answer(args, &answer, backup)
        }
    }
}

fn new_epoch(args: &NewEpochArgs) -> Result<(), Fault> {
    let epoch = engine::new_epoch(
        &args.data,
        &args.keyring,
        args.lost_from,
        &args.reason,
        engine::wall_clock(),
        LogOptions::default(),
    )
    .map_err(Fault::failed)?;
    show::line(&format!(
        "epoch {} begins at position {}; the log is now {}\n\
         Every existing account is suspended until a support reset: the lost events may have changed it.\n\
         Copy the folder of the keyring {} again: the keyring has the new log id.",
        epoch.begun.epoch,
        epoch.position,
        note::origin(&epoch.begun.log_id),
        args.keyring.display(),
    ))
}

async fn ask(args: &ClientArgs, query: &str, body: &Value) -> Result<(), Fault> {
    let answer = Client::connect(args).await?.query(query, body).await?;
    show::answer(args, &answer, show::events)
}

// BUG: log-show-compares-nothing: the events read here are not compared with a checkpoint.
fn open_stopped(data: &Path) -> Result<EventLog, Fault> {
    EventLog::open(&data.join("log"), LogOptions::default()).map_err(Fault::failed)
}

/// Prints the chosen events of a stopped log; sealed fields stay sealed.
fn stopped(data: &Path, args: &ClientArgs, choose: impl Fn(&Record) -> bool) -> Result<(), Fault> {
    let log = open_stopped(data)?;
    let reader = log.reader();
    let mut next = 1;
    loop {
        let page = reader
            .read(next, PAGE_RECORDS, PAGE_BYTES)
            .map_err(Fault::failed)?;
        if page.is_empty() {
            return Ok(());
        }
        next = page.next();
        for (position, bytes) in page.iter() {
            let record = Record::decode(bytes).map_err(Fault::failed)?;
            if choose(&record) {
                print_entry(args, position, record)?;
            }
        }
    }
}

fn one_of_stopped(data: &Path, args: &ClientArgs, position: u64) -> Result<(), Fault> {
    let log = open_stopped(data)?;
    let bytes = log.reader().get(position).map_err(Fault::failed)?;
    let bytes =
        bytes.ok_or_else(|| Fault::Negative(format!("the log ends before position {position}")))?;
    print_entry(
        args,
        position,
        Record::decode(&bytes).map_err(Fault::failed)?,
    )
}

fn print_entry(args: &ClientArgs, position: u64, record: Record) -> Result<(), Fault> {
    let entry = Entry::decode(position, record).map_err(Fault::failed)?;
    let event = serde_json::to_value(audit_event(&entry, None)).map_err(Fault::failed)?;
    if args.json {
        show::line(&event.to_string())
    } else {
        show::line(&show::events(&json!({"events": [event]})))
    }
}

fn copy_stopped(data: &Path, keyring: Option<&Path>, to: &BackupFolders) -> Result<(), Fault> {
    let taken = back_up_stopped_service(data, keyring, to, engine::wall_clock());
    let taken = taken.map_err(Fault::failed)?;
    show::line(&format!(
        "copied the log up to position {} into {}, and its data keys into {}",
        taken.log.position,
        to.log.display(),
        to.keys.display()
    ))
}

fn backup(body: &Value) -> String {
    format!(
        "backed up to position {}, {} files",
        body["position"], body["file_count"]
    )
}

fn published(state: &Value) -> String {
    let halted = state["halted"].as_str();
    format!(
        "up to {}, {} behind{}",
        state["position"],
        state["lag"],
        halted.map_or_else(String::new, |why| format!(": {why}"))
    )
}

fn stats(body: &Value) -> String {
    let number = |pointer: &str| {
        body.pointer(pointer)
            .and_then(Value::as_u64)
            .unwrap_or_default()
    };
    let (position, bytes) = (number("/position"), number("/record_bytes"));
    let mut text = format!(
        "events          {position}\nrecord bytes    {bytes} ({} per event)\nfile bytes      {}\n\
         index           up to {}, {} waiting\naccounts        {} in memory, {} of {} bytes\n\
         published       {}\n\n",
        bytes / position.max(1),
        number("/file_bytes"),
        number("/index/position"),
        number("/index/waiting"),
        number("/cache/accounts"),
        number("/cache/bytes"),
        number("/cache/bytes_max"),
        body.get("publication")
            .map_or_else(|| "nothing, it is off".into(), published),
    );
    let none = Vec::new();
    for segment in body["segments"].as_array().unwrap_or(&none) {
        let state = if segment["sealed"] == json!(true) {
            "sealed"
        } else {
            "takes writes"
        };
        text.push_str(&format!(
            "{}  {} to {}  {} bytes  {state}\n",
            show::field(segment, "file"),
            segment["first"],
            segment["last"],
            segment["bytes"]
        ));
    }
    text.push('\n');
    text.push_str("events by type                   count  bytes each\n");
    for event in body["events"].as_array().unwrap_or(&none) {
        let number = |name: &str| event[name].as_u64().unwrap_or_default();
        text.push_str(&format!(
            "{:<26}{:>12}{:>12}\n",
            show::field(event, "type"),
            number("count"),
            number("record_bytes") / number("count").max(1)
        ));
    }
    text
}
