//! What every decoder must stand: any bytes, no panic, and nothing read that would be written
//! otherwise. Shared by the cargo-fuzz targets and by `tests/fuzz_smoke.rs`.
#![allow(dead_code)]

use countersign::bus::parse_header_block;
use countersign::log::{EventLog, PAGE_BYTES_MAX};
use countersign_schemas::code::Code;
use countersign_schemas::command::Command;
use countersign_schemas::event::Event;
use countersign_schemas::query::{AuditPageQuery, AuditTimelineQuery, NoFields, decode_query};
use countersign_schemas::record::Record;

use crate::disk::Disk;

/// Decodes a body as every command and every query; what is taken survives a round.
pub fn request(body: &[u8]) -> bool {
    let mut taken = false;
    for (name, _) in Command::ALL {
        let Ok(command) = Command::decode(name, body) else {
            continue;
        };
        let encoded = command.encode().expect("a command is plain JSON");
        let again = Command::decode(name, &encoded).expect("what we write, we take");
        assert_eq!(again, command, "{name}");
        taken = true;
    }
    taken |= decode_query::<AuditPageQuery>(body).is_ok();
    taken |= decode_query::<AuditTimelineQuery>(body).is_ok();
    taken |= decode_query::<NoFields>(body).is_ok();
    taken
}

/// Reads a header block; what is taken holds every line of the block and nothing that could end
/// one, and reads alike when it is written again.
pub fn header(bytes: &[u8]) -> bool {
    let Some(read) = parse_header_block(bytes) else {
        return false;
    };
    let lines = || {
        read.headers
            .iter()
            .flat_map(|(name, values)| values.iter().map(move |v| (name, v)))
    };
    let mut again = String::from("NATS/1.0");
    if let Some(status) = read.status {
        again += &format!(" {}", status.as_u16());
        again.extend(read.description.iter().flat_map(|text| [" ", text]));
    }
    for (name, value) in lines() {
        let (name, value): (&str, &str) = (name.as_ref(), value.as_str());
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':'));
        assert!(!value.chars().any(char::is_control));
        again += &format!("\r\n{name}:{value}");
    }
    again += "\r\n\r\n";
    let breaks = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(breaks(bytes), lines().count() + 2, "a line is lost or made");
    assert_eq!(parse_header_block(again.as_bytes()), Some(read));
    true
}

/// Decodes a record and its event; what is taken re-encodes to the same bytes.
pub fn record(bytes: &[u8]) -> bool {
    let Ok(record) = Record::decode(bytes) else {
        return false;
    };
    assert_eq!(record.encode().expect("what fitted fits again"), bytes);
    let Ok(event) = record.event() else {
        return false;
    };
    let payload = event.encode().expect("what is read is sealed");
    let identity = (event.type_code(), event.schema_version());
    if identity == (record.event_type, record.schema_version) {
        assert_eq!(*payload, *record.payload);
    } else {
        // Of an earlier version: it is read as the newest, and reads the same from then on.
        assert_eq!(identity.0, record.event_type);
        assert!(record.schema_version < identity.1);
        assert_eq!(
            Event::decode(identity.0, identity.1, &payload),
            Ok(event.clone())
        );
    }
    // What an auditor is shown of it must not panic either.
    drop(event.data());
    true
}

/// Reads a code; what is taken is written in one form, which is taken alike.
pub fn code(bytes: &[u8]) -> bool {
    let Some(code) = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| Code::parse(text).ok())
    else {
        return false;
    };
    let shown = code.reveal();
    assert_eq!(Code::parse(&shown).as_ref(), Ok(&code));
    true
}

/// Opens a log whose only segment has these bytes; it is refused, or read without a gap to its
/// end or to a refusal, and is never empty.
pub fn log(segment: &[u8]) -> bool {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let folder = parent.path().join("log");
    let disk = Disk::holding(&folder, [("00000001.redb".to_owned(), segment.to_vec())]);
    let Ok(log) = EventLog::open(&folder, disk.options(1_000)) else {
        return false;
    };
    let (reader, head) = (log.reader(), log.head());
    assert!(head >= 1, "an empty log was opened");
    let mut next = 1;
    while next <= head {
        let Ok(page) = reader.read(next, usize::MAX, PAGE_BYTES_MAX) else {
            return false;
        };
        assert!(!page.is_empty(), "nothing at {next} of {head}");
        for (position, bytes) in page.iter() {
            assert_eq!(position, next);
            record(bytes);
            next += 1;
        }
    }
    true
}
