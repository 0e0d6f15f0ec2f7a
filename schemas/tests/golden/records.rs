//! Whole records: `record/<case>.bin` with its reading `<case>.json`.

use countersign_schemas::event::Event;
use countersign_schemas::event::log::v1::{EpochStarted, UnknownNameRefused};
use countersign_schemas::event::login::v1::LoginCompleted;
use countersign_schemas::ids::{AccountId, CommandId, CommandKey, StreamKey};
use countersign_schemas::record::{Meta, Record, Role, StreamKind};
use countersign_schemas::time::Micros;
use serde_json::json;

use crate::event_cases::{Case, ODD, cases, sealed};
use crate::files::{hold, listed, none, read, readable};
use crate::mutants::{every_byte, mutations, truncations};
use crate::registered::with_hex;

fn record(event: &Event, meta: Meta<'static>) -> Record<'static> {
    let command = CommandId::parse(&meta.command_id).unwrap();
    let account = AccountId::parse(&meta.account_id).ok();
    Record {
        event_type: event.type_code(),
        schema_version: event.schema_version(),
        stream_kind: account
            .as_ref()
            .map_or(StreamKind::Log, |_| StreamKind::Account),
        stream_key: account.as_ref().map_or(StreamKey::LOG, StreamKey::of),
        version: 1,
        recorded_at: Micros(1_771_837_200_123_456),
        command_key: CommandKey::of(&meta.caller, &command),
        group_index: 0,
        group_len: 1,
        meta,
        payload: event.encode().unwrap().into(),
        seal: None,
    }
}

fn meta(account_id: &str, command_id: &str, caller: &str, role: Role) -> Meta<'static> {
    Meta {
        account_id: account_id.to_owned().into(),
        command_id: command_id.to_owned().into(),
        caller: caller.to_owned().into(),
        verified: false,
        role,
        trace_id: None,
        body_tag: [0; 16],
        source_key: [0; 8],
        source: None,
        source_commitment: None,
    }
}

fn full_meta() -> Meta<'static> {
    Meta {
        verified: true,
        trace_id: Some(std::array::from_fn(|at| at as u8)),
        body_tag: [0xbb; 16],
        source_key: [0xcc; 8],
        source: Some(sealed(u32::MAX, 100)),
        ..meta(
            &"A".repeat(64),
            &"~".repeat(64),
            &"c".repeat(64),
            Role::Service,
        )
    }
}

fn record_cases() -> Vec<(String, Record<'static>)> {
    let first = Event::EpochStarted(EpochStarted {
        epoch: 1,
        log_id: [7; 16],
        lost_from: None,
        spent_through: 0,
        reason: "initialised".into(),
    });
    let counted = Event::UnknownNameRefused(UnknownNameRefused { count: 1 });
    let login = Event::LoginCompleted(LoginCompleted { credential: 2 });
    let is_longest_login =
        |(name, event): &Case| *name == "largest" && event.name() == "totp-accepted";
    let (_, largest) = cases().into_iter().find(is_longest_login).unwrap();
    let largest = Record {
        version: u32::MAX,
        recorded_at: Micros(u64::MAX),
        group_index: u16::MAX - 1,
        group_len: u16::MAX,
        ..record(&largest, full_meta())
    };
    let mut cases = vec![
        (
            "first-of-a-log".into(),
            record(&first, meta("", "init", "countersign", Role::Service)),
        ),
        (
            "smallest".into(),
            record(&counted, meta("", "c", "", Role::Platform)),
        ),
        ("largest".into(), largest),
        (
            "unicode".into(),
            record(&login, meta("ada", "c-1", ODD, Role::Platform)),
        ),
        (
            "sealed-source".into(),
            record(
                &login,
                Meta {
                    source: Some(sealed(1, 30)),
                    ..meta("ada", "c-1", "login-gw", Role::Platform)
                },
            ),
        ),
        (
            "bound-source".into(),
            record(
                &login,
                Meta {
                    source: Some(sealed(1, 30)),
                    source_commitment: Some([0xdd; 16]),
                    ..meta("ada", "c-1", "login-gw", Role::Platform)
                },
            ),
        ),
    ];
    for role in [
        Role::Platform,
        Role::Support,
        Role::Operator,
        Role::Audit,
        Role::Service,
    ] {
        let name = format!("role-{}", role.as_str());
        cases.push((name, record(&login, meta("ada", "c-1", "x", role))));
    }
    cases
}

/// The meta block, with the commitment behind it if there is one.
fn meta_reading(meta: &Meta) -> serde_json::Value {
    let mut shown = serde_json::to_value(meta).unwrap();
    if let Some(commitment) = &meta.source_commitment {
        shown["source_commitment"] = json!(commitment);
    }
    with_hex(shown)
}

fn reading(record: &Record) -> Vec<u8> {
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    readable(&json!({
        "event_type": record.event_type,
        "schema_version": record.schema_version,
        "stream_kind": match record.stream_kind {
            StreamKind::Log => "log",
            StreamKind::Account => "account",
        },
        "stream_key": hex(&record.stream_key.0),
        "version": record.version,
        "recorded_at_us": record.recorded_at.0,
        "command_key": hex(&record.command_key.0),
        "group_index": record.group_index,
        "group_len": record.group_len,
        "meta": meta_reading(&record.meta),
        "event": record.event().unwrap().name(),
        "payload": hex(&record.payload),
    }))
}

fn hold_cases() -> Vec<String> {
    let mut findings = Vec::new();
    for (case, record) in record_cases() {
        findings.extend(hold(&format!("record/{case}.bin"), &record.encode().unwrap()).err());
        findings.extend(hold(&format!("record/{case}.json"), &reading(&record)).err());
    }
    findings
}

/// What the files hold; what is missing is added first, and reported by one test only.
fn stems() -> Vec<String> {
    hold_cases();
    let paths = listed("record");
    paths
        .iter()
        .filter_map(|path| path.strip_suffix(".bin"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_record_reads_as_its_fixture_says_and_writes_the_same_bytes() {
    let mut findings = hold_cases();
    for stem in stems() {
        let bytes = read(&format!("{stem}.bin"));
        let record =
            Record::decode(&bytes).unwrap_or_else(|error| panic!("golden/{stem}: {error}"));
        findings.extend(hold(&format!("{stem}.json"), &reading(&record)).err());
        assert_eq!(record.encode().unwrap(), bytes, "golden/{stem}");
    }
    none(findings);
}

#[test]
fn a_truncated_record_is_refused() {
    for stem in stems() {
        for cut in truncations(&read(&format!("{stem}.bin"))) {
            assert!(Record::decode(cut).is_err(), "{stem} cut to {}", cut.len());
        }
    }
}

#[test]
fn a_changed_byte_is_refused_or_reads_as_another_record() {
    let values = every_byte();
    for stem in stems() {
        let bytes = read(&format!("{stem}.bin"));
        let original = Record::decode(&bytes).unwrap();
        mutations(&bytes, &values, |mutant| {
            let Ok(record) = Record::decode(mutant) else {
                return;
            };
            assert_ne!(record, original, "{stem}: {}", mutant.escape_ascii());
            record.event().ok();
            assert_eq!(record.encode().unwrap(), mutant, "{stem}");
        });
    }
}
