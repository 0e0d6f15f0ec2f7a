//! Verification of records one by one, and of records that an attacker changed.

use countersign_schemas::event::log::v1::{EpochStarted, UnknownNameRefused};
use countersign_schemas::ids::CommandKey;
use countersign_schemas::record::{Meta, Role};
use countersign_schemas::time::Micros;

use super::*;
use crate::crypto::note::NoteSigner;

const LOG_ID: [u8; 16] = [0xab; 16];

fn encoded(
    event: &Event,
    kind: StreamKind,
    stream: u8,
    version: u32,
    group: (u16, u16),
) -> Record<'static> {
    let position = u64::from(stream) * 1_000 + u64::from(version) - u64::from(group.0);
    Record {
        event_type: event.type_code(),
        schema_version: event.schema_version(),
        stream_kind: kind,
        stream_key: StreamKey([stream; 16]),
        version,
        recorded_at: Micros(1_771_837_200_000_000),
        command_key: CommandKey([u8::try_from(position % 251).unwrap(); 16]),
        group_index: group.0,
        group_len: group.1,
        meta: Meta {
            account_id: "ada".repeat(usize::from(stream)).into(),
            command_id: format!("c-{position}").into(),
            caller: "login-gw".into(),
            verified: true,
            role: Role::Platform,
            trace_id: None,
            body_tag: [stream; 16],
            source_key: [5; 8],
            source: None,
            source_commitment: None,
        },
        payload: event.encode().unwrap().into(),
        seal: None,
    }
}

fn epoch(epoch: u32, log_id: [u8; 16], version: u32) -> Vec<u8> {
    let event = Event::EpochStarted(EpochStarted {
        epoch,
        log_id,
        lost_from: None,
        spent_through: 0,
        reason: "initialised".into(),
    });
    let record = encoded(&event, StreamKind::Log, 0, version, (0, 1));
    record.encode().unwrap()
}

/// Returns twenty-one records: one epoch, then three accounts in turn, each third command with two
/// events.
pub(crate) fn records() -> Vec<Vec<u8>> {
    let mut all = vec![epoch(1, LOG_ID, 1)];
    let mut versions = [0; 3];
    let mut add = |stream: usize, group| {
        versions[stream] += 1;
        let event = Event::UnknownNameRefused(UnknownNameRefused { count: 3 });
        let stream_no = u8::try_from(stream).unwrap() + 1;
        let kind = StreamKind::Account;
        let record = encoded(&event, kind, stream_no, versions[stream], group);
        all.push(record.encode().unwrap());
    };
    for round in 0..15 {
        if round % 3 == 2 {
            add(round % 3, (0, 2));
            add(round % 3, (1, 2));
        } else {
            add(round % 3, (0, 1));
        }
    }
    all
}

pub(crate) fn signer() -> NoteSigner {
    NoteSigner::new(&[7; 32], &LOG_ID)
}

/// Returns the checkpoint that the service signed when the log had these records.
pub(crate) fn checkpoint(records: &[Vec<u8>]) -> Checkpoint {
    let mut frontier = Frontier::default();
    records
        .iter()
        .for_each(|record| frontier.append(leaf_hash(record)));
    let note = signer().sign(frontier.size(), &frontier.root());
    signer().public().open_checkpoint(&note).unwrap()
}

fn verified(records: &[Vec<u8>], checkpoints: &[Checkpoint]) -> Result<Verified, BadLog> {
    let mut verifier = Verifier::new(checkpoints);
    for (position, record) in (1..).zip(records) {
        verifier.push(position, record)?;
    }
    verifier.finish()
}

#[test]
fn a_removed_inserted_or_moved_record_and_a_cut_end_are_found() {
    let good = records();
    let known = [checkpoint(&good)];
    verified(&good, &known).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad.remove(at);
        verified(&bad, &known).unwrap_err();
        for other in 0..good.len() {
            let mut bad = good.clone();
            bad.insert(at, good[other].clone());
            verified(&bad, &known).unwrap_err();
            if at != other {
                let mut bad = good.clone();
                bad.swap(at, other);
                verified(&bad, &known).unwrap_err();
            }
        }
        verified(&good[..at], &known).unwrap_err();
        verified(&good[at + 1..], &known).unwrap_err();
    }
}

#[test]
fn the_first_bad_position_and_its_fault_are_reported() {
    let good = records();
    let known = [checkpoint(&good[..4]), checkpoint(&good)];
    let head = good.len() as u64;
    let mut changed = good.clone();
    *changed[9].last_mut().unwrap() ^= 1;
    let bad = verified(&changed, &known).unwrap_err();
    assert!(matches!(bad.fault, Fault::WrongRoot { signed } if signed == head));
    assert_eq!(
        bad.position, 5,
        "the checkpoint of four events still agrees"
    );

    let mut removed = good.clone();
    removed.remove(1);
    let bad = verified(&removed, &known[1..]).unwrap_err();
    assert!(matches!(bad.fault, Fault::NotNext("version")), "{bad}");
    assert_eq!(bad.position, 5, "a second event without its first");

    let bad = verified(&good[..head as usize - 3], &known).unwrap_err();
    assert!(matches!(bad.fault, Fault::CutOff { signed } if signed == head));
    assert_eq!(bad.position, head - 2);
    let bad = verified(&good[..4], &[]).unwrap_err();
    assert!(matches!(bad.fault, Fault::CutGroup));
    let bad = verified(&good[1..], &[]).unwrap_err();
    assert!(matches!(bad.fault, Fault::NoEpoch));
    assert!(matches!(
        verified(&[], &[]).unwrap_err().fault,
        Fault::NoEpoch
    ));

    let mut verifier = Verifier::new(&[]);
    verifier.push(1, &good[0]).unwrap();
    let bad = verifier.push(3, &good[1]).unwrap_err();
    assert!(matches!((bad.position, bad.fault), (2, Fault::Gap)));
}

#[test]
fn a_checkpoint_of_another_log_or_of_nothing_is_refused() {
    let records = records();
    let mut other = checkpoint(&records);
    other.origin = note::origin(&[1; 16]);
    let bad = verified(&records, &[other]).unwrap_err();
    assert!(matches!(bad.fault, Fault::OtherLog { .. }));
    let bad = verified(&records, &[checkpoint(&[])]).unwrap_err();
    assert!(matches!(bad.fault, Fault::WrongRoot { signed: 0 }));
}

#[test]
fn a_checkpoint_of_an_older_epoch_covers_only_what_that_epoch_had() {
    let mut records = records();
    let old = checkpoint(&records);
    records.push(epoch(2, [0xcd; 16], 2));
    let mut new = checkpoint(&records);
    new.origin = note::origin(&[0xcd; 16]);
    let found = verified(&records, &[old.clone(), new.clone()]).unwrap();
    assert_eq!((found.origin(), found.checkpoints), (&*new.origin, 2));
    // The old key that continues after the epoch has begun is an attack.
    let bad = verified(&records, &[checkpoint(&records)]).unwrap_err();
    assert!(matches!(bad.fault, Fault::OtherLog { .. }));
}

#[test]
fn without_a_checkpoint_the_order_is_still_checked() {
    let good = records();
    let with = |at: usize, change: &dyn Fn(&mut Record)| {
        let mut bad = good.clone();
        let mut record = Record::decode(&bad[at]).unwrap();
        change(&mut record);
        bad[at] = record.encode().unwrap();
        let bad = verified(&bad, &[]).unwrap_err();
        assert_eq!(bad.position, at as u64 + 1, "{bad}");
        bad.to_string()
    };
    assert!(with(5, &|record| record.version = 7).contains("version"));
    assert!(with(5, &|record| record.recorded_at = Micros(5)).contains("time"));
    assert!(with(4, &|record| record.command_key = CommandKey([9; 16])).contains("group"));
    assert!(with(4, &|record| record.group_index = 0).contains("group"));
    assert!(with(5, &|record| (record.group_index, record.group_len) = (1, 2)).contains("group"));
}

/// One of them was signed for another history; nothing shows which one.
#[test]
fn of_two_checkpoints_of_one_size_the_log_agrees_to_one_at_most() {
    let good = records();
    let (first, last) = (checkpoint(&good[..9]), checkpoint(&good));
    let mut forked = last.clone();
    forked.root = [1; 32];
    for known in [
        [first.clone(), last.clone(), forked.clone()],
        [forked, last, first],
    ] {
        let bad = verified(&good, &known).unwrap_err();
        assert_eq!(bad.position, 10, "the first that only one of them covers");
        assert!(
            matches!(bad.fault, Fault::WrongRoot { signed: 21 }),
            "{bad}"
        );
    }
}

#[test]
fn a_log_is_whole_between_commands_and_not_within_one() {
    let mut verifier = Verifier::new(&[]);
    for (position, bytes) in (1..).zip(&records()) {
        verifier.push(position, bytes).unwrap();
        let record = Record::decode(bytes).unwrap();
        let is_last = record.group_index + 1 == record.group_len;
        assert_eq!(verifier.is_whole(), is_last, "after {position}");
    }
}
