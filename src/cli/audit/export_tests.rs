//! The table as a spreadsheet reads it, by the names of its columns; and where an export ends.

use std::collections::BTreeMap;

use countersign_schemas::reply::{AuditEvent, Caller, Source};

use super::*;

/// An event, apart from the fields that a test is about.
fn event() -> AuditEvent {
    AuditEvent {
        position: 12,
        kind: "totp-accepted".into(),
        account_id: Some(AccountId::parse("ada").unwrap()),
        version: 3,
        at: Micros(1_771_837_200_123_456),
        caller: Caller {
            name: "login-gw".into(),
            role: "platform".into(),
            verified: true,
        },
        on_behalf_of: Some("Zoë".into()),
        command_id: "c-1".into(),
        trace_id: Some("00".repeat(16)),
        source: Some(Source {
            ip: Some("203.0.113.7".into()),
            agent: Some("Firefox".into()),
        }),
        data: json!({"step": 7, "drift": 0}),
        text: "Signed in.".into(),
    }
}

/// The whole file of these events.
fn written(events: &[AuditEvent]) -> String {
    let mut bytes = Vec::new();
    let mut writer = ExportWriter::new(&mut bytes, ExportFormat::Csv).unwrap();
    let exported = |event: &AuditEvent| ExportedEvent {
        event: event.clone(),
        record: None,
        inclusion: None,
        source_salt: None,
    };
    let page = ExportPage {
        events: events.iter().map(exported).collect(),
        rendering: Some(RENDERING),
        next: None,
    };
    writer.take(&page).unwrap();
    drop(writer);
    String::from_utf8(bytes).unwrap()
}

/// Reads a table strictly by the grammar of RFC 4180.
fn rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut rest) = (Vec::new(), Vec::new(), text);
    while !rest.is_empty() {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let mut field = String::new();
                let mut quoted = quoted;
                loop {
                    let (part, after) = quoted.split_once('"').expect("the quote ends");
                    field.push_str(part);
                    let Some(more) = after.strip_prefix('"') else {
                        break (field, after);
                    };
                    field.push('"');
                    quoted = more;
                }
            }
            None => {
                let end = rest.find([',', '\r', '\n', '"']).expect("the row ends");
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        row.push(field);
        rest = match after.strip_prefix(',') {
            Some(more) => more,
            None => {
                rows.push(std::mem::take(&mut row));
                after.strip_prefix("\r\n").expect("a row ends with CR LF")
            }
        };
    }
    rows
}

/// Each event's fields by the names of their columns.
fn read_back(events: &[AuditEvent]) -> Vec<BTreeMap<String, String>> {
    let mut rows = rows(&written(events)).into_iter();
    let head = rows.next().unwrap();
    rows.map(|row| {
        assert_eq!(row.len(), head.len());
        head.iter().cloned().zip(row).collect()
    })
    .collect()
}

fn named(fields: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    fields.iter().map(own).collect()
}

#[test]
fn every_fact_is_in_the_column_of_its_name() {
    let zeros = "00".repeat(16);
    let whole = [
        ("position", "12"),
        ("at", "2026-02-23T09:00:00.123456Z"),
        ("type", "totp-accepted"),
        ("account_id", "ada"),
        ("version", "3"),
        ("caller", "login-gw"),
        ("role", "platform"),
        ("verified", "true"),
        ("on_behalf_of", "Zoë"),
        ("command_id", "c-1"),
        ("trace_id", &zeros),
        ("ip", "203.0.113.7"),
        ("agent", "Firefox"),
        ("text", "Signed in."),
        ("data", r#"{"drift":0,"step":7}"#),
    ];
    let bare = AuditEvent {
        account_id: None,
        on_behalf_of: None,
        trace_id: None,
        source: None,
        ..event()
    };
    let mut expected = named(&whole);
    let found = read_back(&[event(), bare]);
    assert_eq!(found[0], expected);
    for absent in ["account_id", "on_behalf_of", "trace_id", "ip", "agent"] {
        expected.insert(absent.into(), String::new());
    }
    assert_eq!(found[1], expected);
}

/// Callers choose some of these texts, and a user chooses their own agent.
#[test]
fn no_text_breaks_its_cell_or_is_read_as_a_formula() {
    let texts = [
        ("plain", "plain"),
        ("a,b", "a,b"),
        ("say \"x\"", "say \"x\""),
        ("\"", "\""),
        ("two\r\nlines", "two\r\nlines"),
        ("two\nlines", "two\nlines"),
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1+1", "'+1+1"),
        ("-1+1", "'-1+1"),
        ("@SUM(1,1)", "'@SUM(1,1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("\"=1\"", "\"=1\""),
    ];
    for (text, shown) in texts {
        let text = || text.to_owned();
        let nasty = AuditEvent {
            caller: Caller {
                name: text(),
                ..event().caller
            },
            on_behalf_of: Some(text()),
            command_id: text(),
            source: Some(Source {
                ip: Some(text()),
                agent: Some(text()),
            }),
            text: text(),
            ..event()
        };
        let found = read_back(&[nasty, event()]);
        for column in [
            "caller",
            "on_behalf_of",
            "command_id",
            "ip",
            "agent",
            "text",
        ] {
            assert_eq!(found[0][column], shown, "{column}");
        }
        assert_eq!(found[1]["position"], "12", "the next row is whole");
    }
}

#[test]
fn an_export_that_does_not_go_on_is_not_ended_as_if_it_were_whole() {
    let page = |next| ExportPage {
        events: Vec::new(),
        rendering: None,
        next,
    };
    assert!(matches!(following(&page(None), Some(7)), Ok(None)));
    assert!(matches!(following(&page(Some(7)), None), Ok(Some(7))));
    assert!(matches!(following(&page(Some(8)), Some(7)), Ok(Some(8))));
    for stuck in [7, 6, 0] {
        let ended = following(&page(Some(stuck)), Some(7));
        assert!(matches!(ended, Err(Fault::Failed(_))), "{stuck}");
    }
}
