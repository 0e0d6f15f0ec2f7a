//! `audit verify`: computes the whole history again, and trusts nothing but a key.
//!
//! ```text
//!   over NATS   checkpoint ─▶ every record ─▶ ┐
//!   --data      checkpoint.json, segments ──▶ ├ leaves, root, signatures, positions, versions
//!   --export    manifest, records, proofs ──▶ ┘
//! ```

use std::path::{Path, PathBuf};

use countersign_schemas::audit::{AuditRecords, SignedCheckpoint};
use data_encoding::BASE64;
use serde_json::{Value, json};

use super::compared::Takes;
use super::export_file::verify_export;
use super::known::{Known, KnownArgs, read_note};
use crate::cli::client::{Client, ClientArgs};
use crate::cli::fault::Fault;
use crate::cli::progress::{Progress, grouped};
use crate::cli::show;
use crate::log::OpenLogError;
use crate::log::checkpoints::COPY;
use crate::log::offline::{VerifyError, verify_folder};
use crate::log::verify::{BadLog, Verified, Verifier};

#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The data folder of a stopped service, or a copy of it; needs no keyring [default: ask the
    /// running service]
    #[arg(long, value_name = "DIR", conflicts_with = "export")]
    data: Option<PathBuf>,
    /// A file that `audit export` wrote as JSON lines; needs no service
    #[arg(long, value_name = "FILE", requires = "key")]
    export: Option<PathBuf>,
    #[command(flatten)]
    takes: Takes,
    #[command(flatten)]
    known: KnownArgs,
}

/// The result of a verification that succeeded.
pub struct Report {
    /// What holds, as the document of `--json`.
    pub document: Value,
    /// The same in words.
    pub text: String,
}

pub async fn run(args: &VerifyArgs, client: &ClientArgs) -> Result<(), Fault> {
    let outcome = match (&args.data, &args.export) {
        (Some(data), _) => verify_data(data, &args.known, client.json),
        (None, Some(file)) => verify_export(file, &args.known, args.takes, client.json),
        (None, None) => verify_service(&args.known, client).await,
    };
    match outcome {
        Ok(report) if client.json => show::line(&report.document.to_string()),
        Ok(report) => show::line(&report.text),
        Err(Fault::Negative(why)) => {
            if client.json {
                let position = why.strip_prefix("position ").and_then(|rest| {
                    let (number, _) = rest.split_once(':')?;
                    number.parse::<u64>().ok()
                });
                let document = json!({"verified": false, "position": position, "reason": why});
                show::line(&document.to_string())?;
            }
            Err(Fault::Negative(why))
        }
        Err(other) => Err(other),
    }
}

fn verify_data(data: &Path, args: &KnownArgs, json: bool) -> Result<Report, Fault> {
    let copy = data.join(COPY);
    let found = read_note(&copy)?;
    let vkey = found.as_ref().and_then(|(_, vkey)| vkey.as_deref());
    let mut known = Known::new(args, vkey)?;
    if let Some((note, _)) = &found {
        known.believe(note, &copy.display().to_string())?;
    }
    if known.checkpoints.is_empty() {
        return Err(Fault::Usage(format!(
            "there is no checkpoint at {} to compare this log with: name one with --since",
            copy.display()
        )));
    }
    let scratch = tempfile::tempdir().map_err(Fault::failed)?;
    let mut progress = Progress::new("verifying", json);
    let folder = data.join("log");
    let verified = verify_folder(
        &folder,
        scratch.path(),
        &known.checkpoints,
        |done, total| {
            progress.at(done, total);
        },
        |_, _| {},
    );
    drop(progress);
    match verified {
        Ok(verified) => report(&verified, &known),
        Err(VerifyError::Bad(bad)) => Err(negative(&bad)),
        Err(VerifyError::Unreadable(error @ OpenLogError::MissingSegment { .. })) => {
            Err(Fault::Negative(error.to_string()))
        }
        Err(VerifyError::Unreadable(error)) => Err(Fault::failed(error)),
    }
}

async fn verify_service(args: &KnownArgs, client_args: &ClientArgs) -> Result<Report, Fault> {
    let mut client = Client::connect(client_args).await?;
    let answer = client.query("checkpoint", &json!({})).await?;
    let signed: SignedCheckpoint = read(answer.body)?;
    let mut known = Known::new(args, Some(&signed.vkey))?;
    let head = known.believe(&signed.note, "the service")?;
    let mut verifier = Verifier::new(&known.checkpoints);
    let mut progress = Progress::new("verifying", client_args.json);
    let mut after = 0;
    while verifier.position() < head.size || !verifier.is_whole() {
        let answer = client
            .query("audit-records", &json!({"after": after}))
            .await?;
        let page: AuditRecords = read(answer.body)?;
        for record in &page.records {
            if verifier.position() >= head.size && verifier.is_whole() {
                break;
            }
            let position = verifier.position() + 1;
            let record = BASE64.decode(record.as_bytes()).map_err(|_| {
                Fault::Negative(format!("position {position}: the record is not base64"))
            })?;
            verifier
                .push(position, &record)
                .map_err(|bad| negative(&bad))?;
        }
        progress.at(verifier.position().min(head.size), head.size);
        match page.next {
            Some(next) if next > after => after = next,
            Some(_) | None => break,
        }
    }
    drop(progress);
    let verified = verifier.finish().map_err(|bad| negative(&bad))?;
    report(&verified, &known)
}

/// Reads the service's reply.
///
/// # Errors
/// [`Fault::Failed`] when it has another form.
pub fn read<T: serde::de::DeserializeOwned>(body: Value) -> Result<T, Fault> {
    serde_json::from_value(body).map_err(|_| {
        Fault::failed("the service's reply has another form: is the service of another version?")
    })
}

/// The first thing that is wrong, in one sentence.
pub fn negative(bad: &BadLog) -> Fault {
    Fault::Negative(bad.to_string())
}

/// The report about a history that was verified completely.
///
/// # Errors
/// [`Fault::Negative`] when the key has the name of another log, or of an epoch that began after
/// this history was given up: all epochs have one key, each under its own name.
pub fn report(verified: &Verified, known: &Known) -> Result<Report, Fault> {
    known.names_one_of(&verified.origins)?;
    let root = BASE64.encode(&verified.root);
    let document = json!({
        "verified": true,
        "records": verified.records,
        "bytes": verified.bytes,
        "root": root,
        "origin": verified.origin(),
        "checkpoints": verified.checkpoints,
        "unsigned": verified.unsigned,
        "vkey": known.key.vkey(),
        "key_given": known.is_given,
    });
    let mut text = format!(
        "verified: {} events, {} bytes\nroot      {root}\nlog       {}\nagrees to {}\n",
        grouped(verified.records),
        grouped(verified.bytes),
        verified.origin(),
        match verified.checkpoints {
            1 => "1 signed checkpoint".to_owned(),
            many => format!("{many} signed checkpoints"),
        },
    );
    if verified.unsigned > 0 {
        text.push_str(&format!(
            "note: the last {} events are not covered by a checkpoint yet\n",
            grouped(verified.unsigned)
        ));
    }
    text.push_str(&key_line(known));
    Ok(Report { document, text })
}

/// The line that says which key the verification rests on.
pub fn key_line(known: &Known) -> String {
    if known.is_given {
        format!("key       {}\n", known.key.vkey())
    } else {
        format!(
            "key       {} (found beside the log itself: compare it with your own copy, or use --key)\n",
            known.key.vkey()
        )
    }
}
