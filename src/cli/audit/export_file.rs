//! Verifies an export with nothing but the file and the log's public key.
//!
//! An export of everything is a log: the verifier computes every leaf and the root again, and
//! checks positions, versions, times and groups. A filtered export has a proof with each record, so
//! nothing in it can be changed or invented. It cannot show that nothing was left out, except for
//! one account's whole history up to its last event, because its versions have no gap.
//!
//! The facts of an event are derived from its record too, as far as [`Compared`] says.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Take};
use std::path::Path;

use countersign_schemas::audit::{ExportFormat, ExportedEvent};
use countersign_schemas::reply::AuditEvent;
use data_encoding::{BASE64, HEXLOWER};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::compared::{Compared, Takes};
use super::known::{Known, KnownArgs};
use super::manifest::{Manifest, ManifestLine};
use super::verify::{Report, key_line, negative, report};
use crate::cli::fault::Fault;
use crate::cli::progress::{Progress, grouped};
use crate::crypto::note::Checkpoint;
use crate::log::proof::check_inclusion;
use crate::log::tree::{HASH_BYTES, Hash, leaf_hash};
use crate::log::verify::Verifier;

/// The longest line, in bytes: a record of 60 KiB is 80 KiB in base64, and JSON escapes make a text
/// at most six times longer.
const LINE_BYTES_MAX: usize = 1024 * 1024;
/// The longest manifest, in bytes.
const MANIFEST_BYTES_MAX: u64 = 64 * 1024;

/// Verifies an export.
///
/// # Errors
/// [`Fault::Negative`] with the first thing that is wrong; [`Fault::Usage`] when the file, or a
/// checkpoint to compare it with, cannot be used.
pub fn verify_export(
    path: &Path,
    args: &KnownArgs,
    takes: Takes,
    json: bool,
) -> Result<Report, Fault> {
    let unread = |error: std::io::Error| {
        Fault::Usage(format!("{} cannot be read ({error})", path.display()))
    };
    let mut file = File::open(path).map_err(unread)?;
    let (manifest, events_end) = read_manifest(&mut file).map_err(unread)??;
    let mut known = Known::new(args, None)?;
    let head = known.believe(&manifest.checkpoint, "the manifest")?;
    check_manifest(&manifest, &head, &known)?;
    file.seek(SeekFrom::Start(0)).map_err(unread)?;
    let mut lines = Lines {
        input: BufReader::new(file.take(events_end)),
        hash: Sha256::new(),
        line: Vec::new(),
        number: 0,
    };
    let mut progress = Progress::new("verifying", json);
    let mut show = |done| progress.at(done, manifest.count);
    let mut compared = Compared::new(&manifest, takes);
    let mut compare = |line: &Line| {
        let position = line.exported.event.position;
        let wrong = |what| Fault::Negative(format!("position {position}: {what}"));
        compared.take(&line.exported, &line.record).map_err(wrong)
    };
    let checked = if manifest.filter.is_empty() {
        whole(&mut lines, &manifest, &known, &mut compare, &mut show)
    } else {
        part(
            &mut lines,
            (&manifest, &head),
            &known,
            &mut compare,
            &mut show,
        )
    };
    drop(progress);
    let (count, mut report) = checked?;
    compared.finish().map_err(Fault::Negative)?;
    compared.annotate(&mut report);
    if count != manifest.count {
        let (expected, next) = (manifest.count, count + 1);
        return Err(Fault::Negative(format!(
            "event {next} of the file: the manifest counts {expected} events, and the file has {count}"
        )));
    }
    if HEXLOWER.encode(&lines.hash.finalize()) != manifest.sha256 {
        return Err(Fault::Negative(
            "the file is not the one that was exported: every record is right, so a part that is not compared was changed".into(),
        ));
    }
    Ok(report)
}

/// Reads the manifest from the last line; also returns the offset where this line begins.
fn read_manifest(file: &mut File) -> std::io::Result<Result<(Manifest, u64), Fault>> {
    let length = file.metadata()?.len();
    let begin = length.saturating_sub(MANIFEST_BYTES_MAX);
    file.seek(SeekFrom::Start(begin))?;
    let mut tail = Vec::new();
    file.take(MANIFEST_BYTES_MAX).read_to_end(&mut tail)?;
    let missing = || {
        Fault::Negative(
            "the last line is not a manifest: the export was cut off, or it is not in JSON lines"
                .into(),
        )
    };
    let Some(whole) = tail.strip_suffix(b"\n") else {
        return Ok(Err(missing()));
    };
    let at = whole
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let Ok(line) = serde_json::from_slice::<ManifestLine>(&whole[at..]) else {
        return Ok(Err(missing()));
    };
    if line.manifest.line().as_bytes() != &tail[at..] {
        return Ok(Err(missing()));
    }
    Ok(Ok((line.manifest, begin + at as u64)))
}

fn check_manifest(manifest: &Manifest, head: &Checkpoint, known: &Known) -> Result<(), Fault> {
    let wrong = |what: &str| Err(Fault::Negative(format!("the manifest was changed: {what}")));
    if manifest.format != ExportFormat::Jsonl {
        return wrong("it names another form");
    }
    if !manifest.is_whole() {
        return wrong("it does not match its own hash");
    }
    if manifest.vkey != known.key.vkey() {
        return wrong("it names another key");
    }
    if manifest.through != head.size {
        return wrong("its checkpoint has another size");
    }
    let is_later = |checkpoint: &&Checkpoint| checkpoint.size > head.size;
    if let Some(later) = known.checkpoints.iter().find(is_later) {
        return Err(Fault::Usage(format!(
            "the export ends at position {}, before the end of the given checkpoint of {} events",
            head.size, later.size
        )));
    }
    Ok(())
}

/// The lines of the events, hashed as they are read.
struct Lines {
    input: BufReader<Take<File>>,
    hash: Sha256,
    line: Vec<u8>,
    number: u64,
}

/// An event of the file, with its record.
struct Line {
    exported: ExportedEvent,
    record: Vec<u8>,
}

impl Lines {
    /// The next event; none at the end.
    fn next(&mut self) -> Result<Option<Line>, Fault> {
        self.line.clear();
        self.number += 1;
        let number = self.number;
        let wrong = |what: &str| Fault::Negative(format!("event {number} of the file: {what}"));
        let limit = LINE_BYTES_MAX as u64;
        let read = (&mut self.input)
            .take(limit)
            .read_until(b'\n', &mut self.line);
        if read.map_err(Fault::failed)? == 0 {
            return Ok(None);
        }
        let Some(line) = self.line.strip_suffix(b"\n") else {
            return Err(wrong("the line does not end"));
        };
        let exported: ExportedEvent =
            serde_json::from_slice(line).map_err(|_| wrong("the line is not an exported event"))?;
        self.hash.update(&self.line);
        let position = exported.event.position;
        let wrong = |what: &str| Fault::Negative(format!("position {position}: {what}"));
        let again = serde_json::to_vec(&exported).map_err(Fault::failed)?;
        if again != line {
            return Err(wrong("the line is not in the form that an export writes"));
        }
        let record = exported.record.as_ref();
        let record = record.and_then(|text| BASE64.decode(text.as_bytes()).ok());
        let record = record.ok_or_else(|| wrong("it has no record"))?;
        Ok(Some(Line { exported, record }))
    }
}

type Checked = Result<(u64, Report), Fault>;

/// Verifies an export of everything, which is a log.
fn whole(
    lines: &mut Lines,
    manifest: &Manifest,
    known: &Known,
    compare: &mut impl FnMut(&Line) -> Result<(), Fault>,
    show: &mut impl FnMut(u64),
) -> Checked {
    let mut verifier = Verifier::new(&known.checkpoints);
    while let Some(line) = lines.next()? {
        let pushed = verifier.push(line.exported.event.position, &line.record);
        pushed.map_err(|bad| negative(&bad))?;
        compare(&line)?;
        if line.exported.inclusion.is_some() {
            let position = line.exported.event.position;
            let what =
                format!("position {position}: an export of everything has no inclusion proofs");
            return Err(Fault::Negative(what));
        }
        show(verifier.position());
    }
    let count = verifier.position();
    let verified = verifier.finish().map_err(|bad| negative(&bad))?;
    // The checkpoint was signed before the first event was exported, so the service adds nothing.
    if verified.unsigned > 0 {
        let signed = verified.records - verified.unsigned;
        return Err(Fault::Negative(format!(
            "position {}: the manifest's checkpoint covers {signed} events, so this event and later ones were added to the export",
            signed + 1
        )));
    }
    let mut report = report(&verified, known)?;
    report.document["count"] = json!(manifest.count);
    Ok((count, report))
}

/// Verifies an export of some events, each by its own proof.
fn part(
    lines: &mut Lines,
    (manifest, head): (&Manifest, &Checkpoint),
    known: &Known,
    compare: &mut impl FnMut(&Line) -> Result<(), Fault>,
    show: &mut impl FnMut(u64),
) -> Checked {
    if known.checkpoints.len() > 1 {
        return Err(Fault::Usage(
            "a filtered export cannot be compared with --since: verify the log, or an export of everything".into(),
        ));
    }
    known.names_one_of(std::slice::from_ref(&head.origin))?;
    let mut order = Order::default();
    let mut count = 0;
    while let Some(line) = lines.next()? {
        let event = &line.exported.event;
        let wrong = |what: &str| Fault::Negative(format!("position {}: {what}", event.position));
        let proof = hashes(line.exported.inclusion.as_deref());
        let proof = proof.ok_or_else(|| wrong("it has no proof"))?;
        let leaf = leaf_hash(&line.record);
        check_inclusion(&leaf, event.position, head.size, &head.root, &proof)
            .map_err(|error| wrong(&error.to_string()))?;
        compare(&line)?;
        order.take(event, manifest).map_err(wrong)?;
        count += 1;
        show(count);
    }
    let document = json!({
        "verified": true,
        "count": count,
        "through": head.size,
        "root": BASE64.encode(&head.root),
        "origin": head.origin,
        "vkey": known.key.vkey(),
        "key_given": known.is_given,
    });
    let text = format!(
        "verified: {} events are in the log that was signed at {} events\nroot      {}\nlog       {}\nnote: a filtered export cannot show that nothing was left out\n{}",
        grouped(count),
        grouped(head.size),
        BASE64.encode(&head.root),
        head.origin,
        key_line(known)
    );
    Ok((count, Report { document, text }))
}

fn hashes(texts: Option<&[String]>) -> Option<Vec<Hash>> {
    let hash = |text: &String| -> Option<Hash> {
        let bytes = BASE64.decode(text.as_bytes()).ok()?;
        <[u8; HASH_BYTES]>::try_from(bytes).ok()
    };
    texts?.iter().map(hash).collect()
}

/// The position and the versions that the next event of a filtered export must follow.
#[derive(Default)]
struct Order {
    position: u64,
    versions: HashMap<Option<String>, u32>,
}

impl Order {
    fn take(&mut self, event: &AuditEvent, manifest: &Manifest) -> Result<(), &'static str> {
        let filter = &manifest.filter;
        if event.position <= self.position {
            return Err("it does not follow the event before it");
        }
        self.position = event.position;
        let asked_for = filter
            .types
            .as_ref()
            .is_none_or(|types| types.contains(&event.kind))
            && filter
                .account_id
                .as_ref()
                .is_none_or(|id| event.account_id.as_ref() == Some(id))
            && filter.from.is_none_or(|from| event.at >= from)
            && filter.to.is_none_or(|to| event.at < to);
        if !asked_for {
            return Err("the filter of the export excludes it");
        }
        let stream = event.account_id.as_ref().map(|id| id.as_str().to_owned());
        let version = self.versions.entry(stream).or_default();
        let is_all = filter.types.is_none() && filter.from.is_none() && filter.account_id.is_some();
        if event.version <= *version || (is_all && event.version != *version + 1) {
            return Err("its version is not the next one, so an event is missing before it");
        }
        *version = event.version;
        Ok(())
    }
}

#[cfg(test)]
#[path = "export_file_tests.rs"]
pub(super) mod tests;
