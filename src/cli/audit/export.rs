//! `audit export`: writes events to a file or to standard output, page by page.
//!
//! At most one page of the history is in memory. The checkpoint is signed first, so every event
//! that is written is in the tree that the manifest rests on.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write, stdout};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use countersign_projections::RENDERING;
use countersign_schemas::audit::{
    AuditExportQuery, ExportFormat, ExportPage, ExportedEvent, SignedCheckpoint,
};
use countersign_schemas::ids::AccountId;
use countersign_schemas::time::Micros;
use data_encoding::HEXLOWER;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::manifest::{GivenFilter, Manifest};
use super::ocsf::ocsf;
use super::verify::read;
use crate::cli::client::{Client, ClientArgs};
use crate::cli::fault::Fault;
use crate::cli::progress::{Progress, grouped};
use crate::engine::refuse_among_ours;

/// The first row of an export as CSV.
const CSV_HEAD: &str = "position,at,type,account_id,version,caller,role,verified,on_behalf_of,command_id,trace_id,ip,agent,text,data\r\n";

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// One event a line, each with its record; can be verified with `audit verify --export`
    Jsonl,
    /// One event a row
    Csv,
    /// One Open Cybersecurity Schema Framework event a line
    Ocsf,
}

#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// The form
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Only events recorded at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only events recorded before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only events of this account
    #[arg(long)]
    account: Option<String>,
    /// Only events of these types, separated by commas
    #[arg(long = "type", visible_alias = "types", value_delimiter = ',')]
    types: Vec<String>,
    /// Where to write; the file must not exist [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub async fn run(args: &ExportArgs, client_args: &ClientArgs) -> Result<(), Fault> {
    let mut client = Client::connect(client_args).await?;
    let answer = client.query("checkpoint", &json!({})).await?;
    let signed: SignedCheckpoint = read(answer.body)?;
    let mut query = query(args, signed.size)?;
    let output: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(create(path)?),
        None => Box::new(stdout()),
    };
    let mut writer = ExportWriter::new(BufWriter::new(output), query.format).map_err(gone)?;
    let mut progress = Progress::new("exporting", client_args.json);
    loop {
        let body = serde_json::to_value(&query).map_err(Fault::failed)?;
        let page: ExportPage = read(client.query("audit-export", &body).await?.body)?;
        writer.take(&page).map_err(gone)?;
        let after = page.next.unwrap_or(signed.size);
        progress.at(after, signed.size);
        match following(&page, query.after)? {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    drop(progress);
    let manifest = writer.finish(&query, &signed).map_err(gone)?;
    let count = grouped(manifest.count);
    match (&args.output, query.format) {
        (Some(path), ExportFormat::Jsonl) => eprintln!("{count} events in {}", path.display()),
        (None, ExportFormat::Jsonl) => {}
        (Some(path), _) => {
            let beside = manifest_path(path);
            create(&beside)?
                .write_all(manifest.line().as_bytes())
                .map_err(gone)?;
            eprintln!("{count} events in {}, {}", path.display(), beside.display());
        }
        (None, _) => eprint!("{}", manifest.line()),
    }
    Ok(())
}

/// The position where the next page begins; `None` at the end.
///
/// # Errors
/// [`Fault::Failed`] when the page does not go on: an export that is cut off must not pass for the
/// whole.
fn following(page: &ExportPage, before: Option<u64>) -> Result<Option<u64>, Fault> {
    match (page.next, before) {
        (Some(next), Some(before)) if next <= before => Err(Fault::failed(
            "the service's page does not go on where the last one ended, so the export is not complete: is the service of another version?",
        )),
        (next, _) => Ok(next),
    }
}

fn query(args: &ExportArgs, through: u64) -> Result<AuditExportQuery, Fault> {
    let time = |name: &str, text: &Option<String>| {
        let parse = |text: &String| {
            Micros::parse(text)
                .map_err(|_| Fault::Usage(format!("--{name} must be an RFC 3339 time")))
        };
        text.as_ref().map(parse).transpose()
    };
    let account = args.account.as_ref().map(|id| {
        AccountId::parse(id).map_err(|rule| Fault::Usage(format!("--account: {}", rule.0)))
    });
    let format = match args.format {
        Format::Jsonl => ExportFormat::Jsonl,
        Format::Csv => ExportFormat::Csv,
        Format::Ocsf => ExportFormat::Ocsf,
    };
    Ok(AuditExportQuery {
        format,
        through,
        after: None,
        types: Some(args.types.clone()).filter(|types| !types.is_empty()),
        account_id: account.transpose()?,
        from: time("from", &args.from)?,
        to: time("to", &args.to)?,
        proofs: format == ExportFormat::Jsonl,
    })
}

/// Makes a file that only its owner can read: it has the addresses of users.
fn create(path: &Path) -> Result<File, Fault> {
    refuse_among_ours(path).map_err(|error| Fault::Usage(error.to_string()))?;
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(path);
    let made = made.and_then(|file| {
        // Whatever the umask is.
        file.set_permissions(Permissions::from_mode(0o600))?;
        Ok(file)
    });
    made.map_err(|error| {
        let path = path.display();
        Fault::Usage(match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("{path} exists, and an export never replaces a file: name another one")
            }
            _ => format!(
                "{path} cannot be created ({error}): check the folder, or name another file"
            ),
        })
    })
}

fn manifest_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".manifest.json");
    name.into()
}

fn gone(error: io::Error) -> Fault {
    Fault::Failed(format!(
        "the export cannot be written ({error}), and the unfinished file has no manifest: free space there, or name another file"
    ))
}

/// Writes events in one of the forms, and counts and hashes them.
pub struct ExportWriter<W: Write> {
    output: W,
    format: ExportFormat,
    hash: Sha256,
    count: u64,
    /// The renderings of the pages: one, unless the service was replaced meanwhile.
    renderings: BTreeSet<Option<u32>>,
}

impl<W: Write> ExportWriter<W> {
    /// Begins.
    ///
    /// # Errors
    /// Those of the output.
    pub fn new(output: W, format: ExportFormat) -> io::Result<Self> {
        let mut writer = Self {
            output,
            format,
            hash: Sha256::new(),
            count: 0,
            renderings: BTreeSet::new(),
        };
        if format == ExportFormat::Csv {
            writer.put(CSV_HEAD)?;
        }
        Ok(writer)
    }

    /// Writes a page's events.
    ///
    /// # Errors
    /// Those of the output.
    pub fn take(&mut self, page: &ExportPage) -> io::Result<()> {
        self.renderings.insert(page.rendering);
        for exported in &page.events {
            let text = match self.format {
                ExportFormat::Jsonl => serde_json::to_string(exported)? + "\n",
                ExportFormat::Ocsf => ocsf(&exported.event).to_string() + "\n",
                ExportFormat::Csv => csv(exported),
            };
            self.put(&text)?;
            self.count += 1;
        }
        Ok(())
    }

    /// Ends the export; JSON lines get the manifest as their last line.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(
        mut self,
        query: &AuditExportQuery,
        signed: &SignedCheckpoint,
    ) -> io::Result<Manifest> {
        let is_ours = self.renderings.iter().eq([&Some(RENDERING)]);
        let manifest = Manifest {
            format: self.format,
            filter: GivenFilter::of(query),
            count: self.count,
            rendering: is_ours.then_some(RENDERING),
            through: query.through,
            checkpoint: signed.note.clone(),
            vkey: signed.vkey.clone(),
            sha256: HEXLOWER.encode(&self.hash.clone().finalize()),
            self_sha256: String::new(),
        }
        .sealed();
        if self.format == ExportFormat::Jsonl {
            self.output.write_all(manifest.line().as_bytes())?;
        }
        self.output.flush()?;
        Ok(manifest)
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        self.hash.update(text.as_bytes());
        self.output.write_all(text.as_bytes())
    }
}

/// One row (RFC 4180).
fn csv(exported: &ExportedEvent) -> String {
    let event = &exported.event;
    let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
    let (ip, agent) = match &event.source {
        Some(source) => (or_empty(&source.ip), or_empty(&source.agent)),
        None => Default::default(),
    };
    let fields = [
        event.position.to_string(),
        event.at.to_string(),
        event.kind.clone(),
        event
            .account_id
            .as_ref()
            .map_or_else(String::new, |id| id.as_str().into()),
        event.version.to_string(),
        event.caller.name.clone(),
        event.caller.role.clone(),
        event.caller.verified.to_string(),
        or_empty(&event.on_behalf_of),
        event.command_id.clone(),
        or_empty(&event.trace_id),
        ip,
        agent,
        event.text.clone(),
        event.data.to_string(),
    ];
    fields.map(|field| cell(&field)).join(",") + "\r\n"
}

/// A cell that no spreadsheet reads as a formula: callers choose some of these texts.
fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let text = if is_formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
