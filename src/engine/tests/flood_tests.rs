//! Floods over the real engine: the log stays small, auditors see the floods, and no answer
//! distinguishes names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use countersign_schemas::query::AuditPageQuery;
use countersign_schemas::refusal::ErrorCode;
use redb::StorageBackend;
use redb::backends::FileBackend;
use serde_json::{Value, json};

use super::fixture::{Fixture, verify};
use crate::engine::Engine;
use crate::engine::intake::pool::Pool;
use crate::engine::message::Job;
use crate::engine::message::{QUEUE_MAX, Submission, ToWriter};
use crate::engine::start;
use crate::engine::writer::Writer;
use crate::engine::writer::batch::BATCH_COMMANDS_MAX;

/// Attempts of a flood; the catalogue's million takes minutes in a debug build:
/// `COUNTERSIGN_FLOOD=1000000 cargo test --release --lib flood_tests`.
fn flood() -> u64 {
    std::env::var("COUNTERSIGN_FLOOD").map_or(20_000, |text| text.parse().unwrap())
}

/// Returns the number of events in the log, and the counts in those of one type.
fn recorded(engine: &Engine, kind: &str) -> (u64, Vec<u64>) {
    let page = |types, after| AuditPageQuery {
        types,
        after,
        limit: Some(500),
        ..AuditPageQuery::default()
    };
    let ask = |query| engine.queries().audit_page(&query, None).unwrap();
    let (mut last, mut after) = (0, None);
    loop {
        let page = ask(page(None, after));
        last = page.events.last().map_or(last, |event| event.position);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let shown = ask(page(Some(vec![kind.into()]), None)).events;
    let counts = shown
        .iter()
        .map(|event| event.data["count"].as_u64().unwrap());
    (last, counts.collect())
}

/// 2FA on, ten wrong codes and four wrong pairs: nothing is compared for an hour.
fn waiting_an_hour(fixture: &Fixture, engine: &Engine) -> String {
    let (secret, _) = fixture.enrol(engine, "ada");
    let pair = json!({"account_id": "ada", "code": "000000", "next_code": "000000"});
    for n in 0..14 {
        fixture.pass(900 - if n > 10 { 899 } else { 0 });
        let wrong = fixture.send(engine, "verify-login", pair.clone());
        assert_eq!(wrong.unwrap_err(), ErrorCode::CodeInvalid, "{n}");
    }
    fixture.code(&secret, 0)
}

/// S-05: a million wrong attempts at a throttled account grow its log by less than one event a
/// minute, and every attempt is reported.
#[test]
fn s05_a_flood_at_a_throttled_account_grows_the_log_by_less_than_an_event_a_minute() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let right = waiting_an_hour(&fixture, &engine);
    let (before, _) = recorded(&engine, "attempts-suppressed");
    let (minutes, attempts) = (50, flood());
    let bodies = [verify("000000"), verify(&right)];
    for minute in 0..minutes {
        for n in 0..attempts / minutes {
            let body = bodies[(n % 2) as usize].clone();
            let id = format!("{minute}-{n}");
            let reply = fixture.send_as(&engine, &id, "verify-login", body);
            assert_eq!(reply.result.unwrap_err().code, ErrorCode::AccountThrottled);
        }
        fixture.pass(60);
    }
    fixture
        .send(
            &engine,
            "cancel-enrolment",
            json!({"account_id": "eve", "authenticator_id": "none"}),
        )
        .unwrap_err();
    let (after, counts) = recorded(&engine, "attempts-suppressed");
    assert!(
        after - before <= minutes,
        "{} events in {minutes} minutes",
        after - before
    );
    assert_eq!(counts.iter().sum::<u64>(), attempts / minutes * minutes);
}

/// A clean stop records the counts that wait for the end of their minute.
#[test]
fn a_stop_records_the_counts_that_wait() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    waiting_an_hour(&fixture, &engine);
    for _ in 0..3 {
        fixture
            .send(&engine, "verify-login", verify("000000"))
            .unwrap_err();
    }
    for n in 0..12 {
        let body = json!({"username": "unknown", "password": format!("wrong {n}")});
        fixture.send(&engine, "start-login", body).unwrap_err();
    }
    assert!(recorded(&engine, "attempts-suppressed").1.is_empty());
    drop(engine);
    let engine = fixture.start();
    assert_eq!(recorded(&engine, "attempts-suppressed").1, [3]);
    assert_eq!(
        recorded(&engine, "unknown-name-refused").1,
        [1, 1, 1, 1, 1, 7]
    );
}

fn login(name: &str) -> Value {
    json!({"username": name, "password": "wrong password"})
}

#[test]
fn a_flood_of_unknown_names_has_a_few_records_and_then_one_a_minute() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    for minute in 0..3 {
        for n in 0..50 {
            let reply = fixture.send(
                &engine,
                "start-login",
                login(&format!("unknown-{minute}-{n}")),
            );
            assert_eq!(reply.unwrap_err(), ErrorCode::CredentialsInvalid);
        }
        fixture.pass(60);
    }
    fixture.enrol(&engine, "ada");
    let counts = recorded(&engine, "unknown-name-refused").1;
    assert_eq!(counts, [1, 1, 1, 1, 1, 45, 50, 50]);
}

/// The file of the log, which counts its syncs.
#[derive(Debug)]
struct Counting(FileBackend, Arc<AtomicU64>);

impl StorageBackend for Counting {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
}

/// an unknown name costs a durable commit as a known one does, with a record or without.
#[test]
fn every_wrong_password_rests_on_a_commit_for_known_and_unknown_names() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    let syncs = Arc::new(AtomicU64::new(0));
    let engine = fixture.start_with(|options| {
        let syncs = Arc::clone(&syncs);
        options.log.storage.open = Arc::new(move |builder, path| {
            let file = std::fs::File::options().read(true).write(true).open(path)?;
            let backend = Counting(FileBackend::new(file)?, Arc::clone(&syncs));
            builder.create_with_backend(backend)
        });
    });
    for n in 0..20 {
        for name in ["ada".to_owned(), format!("unknown-{n}")] {
            let before = syncs.load(Ordering::SeqCst);
            fixture
                .send(&engine, "start-login", login(&name))
                .unwrap_err();
            let after = syncs.load(Ordering::SeqCst);
            if n < 11 || name != "ada" {
                assert!(after > before, "{name} {n}");
            }
        }
    }
}

/// A repeat within two minutes gets the same answer, whether counted or recorded.
#[test]
fn a_repeated_login_of_an_unknown_name_counts_once() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    for n in 0..8 {
        fixture
            .send(&engine, "start-login", login(&format!("unknown-{n}")))
            .unwrap_err();
    }
    for _ in 0..20 {
        let reply = fixture.send_as(&engine, "again", "start-login", login("unknown"));
        assert_eq!(
            reply.result.unwrap_err().code,
            ErrorCode::CredentialsInvalid
        );
    }
    let (sender, receiver) = mpsc::channel();
    let request = fixture.request("start-login", &login("unknown"), "new", &engine);
    engine.submit(request, Box::new(move |o| sender.send(o).unwrap()));
    let refusal = receiver.recv().unwrap().result.unwrap_err().code;
    assert_eq!(refusal, ErrorCode::CredentialsInvalid);
    fixture.pass(61);
    // The next command records what is due.
    fixture.enrol(&engine, "ada");
    let (_, counts) = recorded(&engine, "unknown-name-refused");
    assert_eq!(counts.iter().sum::<u64>(), 8 + 1 + 1, "{counts:?}");
}

#[test]
fn refusals_that_record_nothing_cannot_keep_a_batch_open() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let body = json!({"account_id": "unknown", "code": "123456"});
    let requests: Vec<_> = (0..QUEUE_MAX)
        .map(|n| fixture.request("verify-login", &body, &format!("f-{n}"), &engine))
        .collect();
    drop(engine);
    let (shared, log) = start::open(fixture.options()).unwrap();
    let pool = Arc::new(Pool::start(|_: Job| {}));
    let (queue, inbox) = ToWriter::open();
    let mut writer = Writer::new(shared, pool, queue.clone(), log);
    for request in requests {
        queue.submit(Submission::new(request, Box::new(|_| ())));
    }
    assert_eq!(queue.waiting(), QUEUE_MAX);
    let mut batch = writer.empty_batch();
    assert!(!writer.drain(&mut batch, &inbox));
    assert_eq!(
        (batch.replies.len(), batch.records.len()),
        (BATCH_COMMANDS_MAX, 0)
    );
    assert!(
        inbox.try_recv().is_ok(),
        "the rest waits for the next batch"
    );
}
