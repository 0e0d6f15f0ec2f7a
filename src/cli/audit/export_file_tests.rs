//! Exports that an attacker changes.

use countersign_schemas::audit::{AuditExportQuery, ExportPage, SignedCheckpoint};
use countersign_schemas::ids::AccountId;
use countersign_schemas::time::Micros;

use countersign_projections::{Entry, RENDERING, audit_event};
use countersign_schemas::record::{Record, SALT_BYTES, SourceFacts, StreamKind};
use countersign_schemas::sealed::Sealed;

use super::super::export::ExportWriter;
use super::super::manifest::GivenFilter;
use super::*;
use crate::log::proof::prove_inclusion;
use crate::log::tiles::Tree;
use crate::log::verify::tests::{checkpoint, records as plain_records, signer};

/// The source of every request of these records.
pub(in super::super) fn facts() -> SourceFacts {
    SourceFacts {
        ip: Some("203.0.113.7".into()),
        agent: Some("Firefox".into()),
        on_behalf_of: Some("desk-3".into()),
    }
}

pub(in super::super) fn salt_at(position: u64) -> [u8; SALT_BYTES] {
    [position as u8; SALT_BYTES]
}

/// A record of an account with a source that it binds.
pub(in super::super) fn with_source(position: u64, bytes: &[u8]) -> Vec<u8> {
    let mut record = Record::decode(bytes).unwrap();
    if record.stream_kind == StreamKind::Account {
        record.meta.source = Some(Sealed {
            key: 1,
            nonce: [1; 12],
            ciphertext: vec![2; 30].into(),
        });
        record.meta.source_commitment = Some(facts().commitment(&salt_at(position)));
    }
    record.encode().unwrap()
}

/// The records of the verifier's tests, with sources.
pub(in super::super) fn records() -> Vec<Vec<u8>> {
    let records = plain_records();
    (1..)
        .zip(&records)
        .map(|(position, record)| with_source(position, record))
        .collect()
}

/// The first five records: an epoch, two commands of one event, one of two.
fn few() -> Vec<Vec<u8>> {
    records()[..5].to_vec()
}

pub(in super::super) fn everything(through: u64) -> AuditExportQuery {
    AuditExportQuery {
        format: ExportFormat::Jsonl,
        through,
        after: None,
        types: None,
        account_id: None,
        from: None,
        to: None,
        proofs: true,
    }
}

pub(in super::super) fn of(account: &str, through: u64) -> AuditExportQuery {
    AuditExportQuery {
        account_id: Some(AccountId::parse(account).unwrap()),
        ..everything(through)
    }
}

/// The pages that the service would send.
pub(in super::super) fn page(records: &[Vec<u8>], query: &AuditExportQuery) -> ExportPage {
    let mut tree = Tree::default();
    for record in records {
        tree.append(leaf_hash(record));
    }
    let exported = |(position, bytes): (u64, &Vec<u8>)| {
        let entry = Entry::decode(position, Record::decode(bytes).unwrap()).unwrap();
        let is_committed = entry.record.meta.source_commitment.is_some();
        let event = audit_event(&entry, is_committed.then(facts));
        let proof = || {
            let size = records.len() as u64;
            let proof = prove_inclusion(|l, i| tree.read(l, i), position, size).unwrap();
            proof.iter().map(|hash| BASE64.encode(hash)).collect()
        };
        ExportedEvent {
            event,
            record: Some(BASE64.encode(bytes)),
            inclusion: (!query.is_everything()).then(proof),
            source_salt: is_committed.then(|| BASE64.encode(&salt_at(position))),
        }
    };
    let asked_for = |e: &ExportedEvent| {
        let account = query.account_id.as_ref();
        let types = query.types.as_ref();
        account.is_none_or(|id| e.event.account_id.as_ref() == Some(id))
            && types.is_none_or(|types| types.contains(&e.event.kind))
    };
    let events = (1..).zip(records).map(exported).filter(asked_for).collect();
    ExportPage {
        events,
        rendering: Some(RENDERING),
        next: None,
    }
}

pub(in super::super) fn exported(records: &[Vec<u8>], query: &AuditExportQuery) -> Vec<u8> {
    signed_for(records, records, query)
}

/// An export of these records with a checkpoint of those.
fn signed_for(records: &[Vec<u8>], signed: &[Vec<u8>], query: &AuditExportQuery) -> Vec<u8> {
    written(signed, query, &[page(records, query)])
}

/// The file of these pages, with a manifest that fits them and a checkpoint of those records.
pub(in super::super) fn written(
    signed: &[Vec<u8>],
    query: &AuditExportQuery,
    pages: &[ExportPage],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ExportWriter::new(&mut bytes, ExportFormat::Jsonl).unwrap();
    for page in pages {
        writer.take(page).unwrap();
    }
    let head = checkpoint(signed);
    let signed = SignedCheckpoint {
        note: signer().sign(head.size, &head.root),
        size: head.size,
        root: BASE64.encode(&head.root),
        vkey: signer().public().vkey(),
    };
    writer.finish(query, &signed).unwrap();
    bytes
}

/// An auditor's machine: a file and a key.
pub(in super::super) struct Desk {
    folder: tempfile::TempDir,
    args: KnownArgs,
    takes: Takes,
}

impl Desk {
    pub(in super::super) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            args: KnownArgs {
                key: Some(signer().public().vkey()),
                since: Vec::new(),
            },
            takes: Takes::default(),
        }
    }

    pub(in super::super) fn taking_other_renderings() -> Self {
        let takes = Takes {
            other_renderings: true,
            ..Takes::default()
        };
        Self {
            takes,
            ..Self::new()
        }
    }

    pub(in super::super) fn taking_missing_sources() -> Self {
        let takes = Takes {
            missing_sources: true,
            ..Takes::default()
        };
        Self {
            takes,
            ..Self::new()
        }
    }

    pub(in super::super) fn verify(&self, bytes: &[u8]) -> Result<Report, String> {
        let path = self.folder.path().join("export.jsonl");
        std::fs::write(&path, bytes).unwrap();
        match verify_export(&path, &self.args, self.takes, true) {
            Ok(report) => Ok(report),
            Err(Fault::Negative(why)) => Err(why),
            Err(other) => panic!("another answer: {other}"),
        }
    }

    pub(in super::super) fn refused(&self, bytes: &[u8]) -> String {
        self.verify(bytes).err().expect("it was changed")
    }
}

#[test]
fn an_export_verifies_with_nothing_but_the_file_and_the_key() {
    let desk = Desk::new();
    let all = records();
    let report = desk.verify(&exported(&all, &everything(21))).unwrap();
    assert_eq!(report.document["records"], 21);
    assert_eq!(report.document["unsigned"], 0);
    let report = desk.verify(&exported(&all, &of("ada", 21))).unwrap();
    assert_eq!(report.document["count"], 5);
    assert_eq!(report.document["through"], 21);
}

#[test]
fn every_flipped_bit_of_every_byte_of_an_export_is_found() {
    let desk = Desk::new();
    for query in [everything(5), of("ada", 5)] {
        let good = exported(&few(), &query);
        desk.verify(&good).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            desk.refused(&bad);
        }
    }
}

#[test]
fn a_removed_doubled_or_moved_line_and_a_cut_head_or_tail_are_found() {
    let desk = Desk::new();
    for query in [everything(5), of("ada", 21)] {
        let from = if query.is_everything() {
            few()
        } else {
            records()
        };
        let good = exported(&from, &query);
        let lines: Vec<&[u8]> = good.split_inclusive(|byte| *byte == b'\n').collect();
        for at in 0..lines.len() {
            let mut bad = lines.clone();
            bad.remove(at);
            desk.refused(&bad.concat());
            let mut bad = lines.clone();
            bad.insert(at, lines[at]);
            desk.refused(&bad.concat());
            if at > 0 {
                let mut bad = lines.clone();
                bad.swap(at - 1, at);
                desk.refused(&bad.concat());
                desk.refused(&lines[at..].concat());
                desk.refused(&lines[..at].concat());
            }
        }
    }
}

/// An attacker writes the manifest again, so that counts and hashes fit.
#[test]
fn new_hashes_do_not_hide_a_changed_record_or_a_changed_event() {
    let desk = Desk::new();
    for query in [everything(21), of("ada", 21)] {
        let records = records();
        let whole = page(&records, &query);
        let forged = |change: &dyn Fn(&mut ExportPage)| {
            let mut page = whole.clone();
            change(&mut page);
            desk.refused(&written(&records, &query, &[page]))
        };
        let position = whole.events[1].event.position;
        let error = forged(&|page| page.events[1].event.text = "Nothing happened.".into());
        assert_eq!(
            error,
            format!("position {position}: the event does not match its record")
        );
        let error = forged(&|page| page.events[1].event.caller.name = "eve".into());
        assert!(
            error.starts_with(&format!("position {position}: the event")),
            "{error}"
        );
        let error = forged(&|page| {
            page.events.remove(1);
        });
        assert!(
            error.contains(&position.to_string()) || error.contains("version"),
            "{error}"
        );
        forged(&|page| page.events.swap(1, 2));
        forged(&|page| page.events[1].record = page.events[2].record.clone());
    }
}

/// A person who has an export can append records after the signed ones, and no signature covers
/// them.
#[test]
fn a_record_after_the_last_signed_event_is_refused() {
    let desk = Desk::new();
    let all = records();
    let error = desk.refused(&signed_for(&all, &few(), &everything(5)));
    assert_eq!(
        error,
        "position 6: the manifest's checkpoint covers 5 events, so this event and later ones were added to the export"
    );
}

#[test]
fn another_key_and_an_older_or_foreign_checkpoint_are_refused() {
    let mut desk = Desk::new();
    let all = records();
    let good = exported(&all, &everything(21));
    let other = crate::crypto::note::NoteSigner::new(&[8; 32], &[0xab; 16]);
    desk.args.key = Some(other.public().vkey());
    let error = desk.refused(&good);
    assert!(
        error.starts_with("the checkpoint of the manifest: "),
        "{error}"
    );
    desk.args.key = Some(signer().public().vkey());
    let since = desk.folder.path().join("since");
    let old = checkpoint(&all[..9]);
    std::fs::write(&since, signer().sign(old.size, &old.root)).unwrap();
    desk.args.since = vec![since.clone()];
    let report = desk.verify(&good).unwrap();
    assert_eq!(report.document["checkpoints"], 2);
    std::fs::write(&since, signer().sign(old.size, &[1; 32])).unwrap();
    let error = desk.refused(&good);
    assert!(
        error.starts_with("position 1: the events up to 9 are not those"),
        "{error}"
    );
}

/// The export with another manifest, sealed again so that its own hash fits.
pub(in super::super) fn with_manifest(
    export: &[u8],
    change: impl FnOnce(&mut Manifest),
) -> Vec<u8> {
    let cut = export.len() - 1;
    let at = export[..cut].iter().rposition(|byte| *byte == b'\n');
    let at = at.unwrap() + 1;
    let line: ManifestLine = serde_json::from_slice(&export[at..]).unwrap();
    let mut manifest = line.manifest;
    change(&mut manifest);
    [&export[..at], manifest.sealed().line().as_bytes()].concat()
}

/// An attacker changes the manifest, with or without a matching hash.
#[test]
fn a_count_or_a_filter_that_the_events_do_not_have_is_found() {
    let desk = Desk::new();
    let records = records();
    for query in [everything(21), of("ada", 21)] {
        let good = exported(&records, &query);
        for by in [-1_i64, 1] {
            let bad = with_manifest(&good, |m| m.count = m.count.strict_add_signed(by));
            let error = desk.refused(&bad);
            assert!(error.contains("the manifest counts"), "{error}");
        }
    }
    let good = exported(&records, &of("ada", 21));
    let filters: [&dyn Fn(&mut GivenFilter); 4] = [
        &|filter| filter.account_id = Some(AccountId::parse("eve").unwrap()),
        &|filter| filter.types = Some(vec!["login-started".into()]),
        &|filter| filter.from = Some(Micros(4_000_000_000_000_000)),
        &|filter| filter.to = Some(Micros(1)),
    ];
    for change in filters {
        let bad = with_manifest(&good, |m| change(&mut m.filter));
        let error = desk.refused(&bad);
        assert!(
            error.contains("the filter of the export excludes it"),
            "{error}"
        );
    }
}

/// With several accounts, no version shows that two events changed places.
#[test]
fn events_of_different_accounts_that_changed_places_are_found() {
    let desk = Desk::new();
    let records = records();
    let query = AuditExportQuery {
        types: Some(vec!["unknown-name-refused".into()]),
        ..everything(21)
    };
    let mut theirs = page(&records, &query);
    desk.verify(&written(&records, &query, std::slice::from_ref(&theirs)))
        .unwrap();
    let account = |at: usize| theirs.events[at].event.account_id.clone();
    let at = (1..theirs.events.len())
        .find(|at| account(*at) != account(at - 1))
        .unwrap();
    theirs.events.swap(at - 1, at);
    let error = desk.refused(&written(&records, &query, &[theirs]));
    assert!(
        error.contains("does not follow the event before it"),
        "{error}"
    );
}

/// After `log new-epoch` the key is the same under another name. A history that was given up does
/// not verify under the new name.
#[test]
fn a_history_that_was_given_up_does_not_verify_under_the_name_of_the_next_epoch() {
    let mut desk = Desk::new();
    let later = crate::crypto::note::NoteSigner::new(&[7; 32], &[0xcd; 16]);
    desk.args.key = Some(later.public().vkey());
    let records = records();
    for query in [everything(21), of("ada", 21)] {
        let mut bytes = Vec::new();
        let mut writer = ExportWriter::new(&mut bytes, ExportFormat::Jsonl).unwrap();
        writer.take(&page(&records, &query)).unwrap();
        let head = checkpoint(&records);
        let signed = SignedCheckpoint {
            note: signer().sign(head.size, &head.root),
            size: head.size,
            root: BASE64.encode(&head.root),
            vkey: later.public().vkey(),
        };
        writer.finish(&query, &signed).unwrap();
        let error = desk.refused(&bytes);
        assert!(
            error.contains("an epoch that the history does not have"),
            "{error}"
        );
    }
}
