//! The same command id: one effect, one outcome
//! (docs/reference/contract.md#command-ids-and-repeats).

use serde_json::json;

use super::support::answer::Answer;
use super::support::bus::fresh_id;
use super::support::person::{PASSWORD, Person};
use super::support::{CHEAP, Rig};

/// The second reply equals the first one, and is marked as a repeat.
fn is_repeated(first: &Answer, again: &Answer) {
    assert!(!first.is_replayed());
    assert!(again.is_replayed(), "{}", again.text);
    assert_eq!(first.body, again.body);
    assert_eq!(first.word(), again.word());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_command_has_its_first_outcome_and_no_second_effect_even_after_sigkill() {
    let mut rig = Rig::start(CHEAP).await;
    let mut ada = Person::with_2fa(&rig.bus, "ada").await;
    let wrong_password = json!({"username": "ada", "password": "wrong password"});
    let (code, wrong) = (ada.phone().lasting(), ada.phone().wrong());
    let commands = [
        (
            "register-account",
            json!({"username": "eve", "password": PASSWORD}),
        ),
        (
            "change-password",
            json!({"account_id": "ada", "password": PASSWORD, "new_password": PASSWORD}),
        ),
        ("verify-login", ada.vouching(&code)),
        ("verify-login", ada.vouching(&ada.codes[0])),
        // Recorded refusals are outcomes too: nothing is counted twice.
        ("start-login", wrong_password),
        ("verify-login", ada.vouching(&wrong)),
        ("verify-login", ada.vouching(&ada.codes[0])),
        ("disable-2fa", ada.proven()),
        (
            "start-login",
            json!({"username": "ada", "password": PASSWORD}),
        ),
    ];
    let mut sent = Vec::new();
    for (name, body) in commands {
        let id = fresh_id();
        let first = rig.bus.command_as(name, &id, body.clone()).await;
        is_repeated(&first, &rig.bus.command_as(name, &id, body.clone()).await);
        sent.push((name, id, body, first));
    }
    let words: Vec<_> = sent.iter().map(|(_, _, _, first)| first.word()).collect();
    let (credentials, code) = (Some("credentials.invalid"), Some("code.invalid"));
    assert_eq!(
        words,
        [None, None, None, None, credentials, code, code, None, None]
    );
    let head = sent.last().unwrap().3.position();
    rig.kill_and_restart();
    for (name, id, body, first) in &sent {
        is_repeated(first, &rig.bus.command_as(name, id, body.clone()).await);
    }
    assert_eq!(ada.start_login().await.position(), head + 1);
}

/// V-10: an id belongs to one body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_body_or_subject_under_the_same_id_is_a_mismatch_and_after_five_unseen() {
    let rig = Rig::start(CHEAP).await;
    let ada = Person::register(&rig.bus, "ada").await;
    let id = fresh_id();
    let body = json!({"username": "ada", "password": PASSWORD});
    let first = rig.bus.command_as("start-login", &id, body.clone()).await;
    rig.bus
        .command_as("disable-2fa", &id, ada.proven())
        .await
        .refused("idempotency.mismatch");
    for guess in ["guess-1", "guess-2", "guess-3"] {
        let body = json!({"username": "ada", "password": guess});
        rig.bus
            .command_as("start-login", &id, body)
            .await
            .refused("idempotency.mismatch");
    }
    is_repeated(
        &first,
        &rig.bus.command_as("start-login", &id, body.clone()).await,
    );
    // Equal JSON in other bytes is another body: bytes are compared.
    let spaced = format!(" {body}");
    rig.bus
        .bytes_as("start-login", &id, spaced.as_bytes())
        .await
        .refused("idempotency.mismatch");
    for body in [body, json!({"username": "ada", "password": "guess-4"})] {
        rig.bus
            .command_as("start-login", &id, body)
            .await
            .refused("outcome.unseen");
    }
    assert_eq!(ada.start_login().await.position(), first.position() + 1);
}

/// N-06.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_callers_equal_id_is_another_command() {
    let rig = Rig::start(CHEAP).await;
    Person::register(&rig.bus, "ada").await;
    let body = json!({"username": "ada", "password": PASSWORD});
    let first = rig
        .bus
        .command_as("start-login", "one id", body.clone())
        .await;
    let other = rig
        .bus
        .named("other")
        .command_as("start-login", "one id", body)
        .await;
    assert!(!other.is_replayed());
    assert_eq!(other.position(), first.position() + 1);
}

/// B-07, E-06: another process never shows a secret that was shown once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_reply_is_repeated_by_the_same_process_and_unseen_by_the_next() {
    let mut rig = Rig::start(CHEAP).await;
    let mut ada = Person::register(&rig.bus, "ada").await;
    let (enable, confirm, renew, start) = (fresh_id(), fresh_id(), fresh_id(), fresh_id());
    let first = rig
        .bus
        .command_as("enable-2fa", &enable, ada.proven())
        .await;
    is_repeated(
        &first,
        &rig.bus
            .command_as("enable-2fa", &enable, ada.proven())
            .await,
    );
    ada.authenticator = first.field("authenticator_id");
    let code = super::support::phone::Phone::scan(&first.field("secret")).lasting();
    let confirming = ada.confirming(&code);
    let first = rig
        .bus
        .command_as("confirm-code", &confirm, confirming.clone())
        .await;
    is_repeated(
        &first,
        &rig.bus
            .command_as("confirm-code", &confirm, confirming.clone())
            .await,
    );
    let first = rig
        .bus
        .command_as("regenerate-backup-codes", &renew, ada.proven())
        .await;
    is_repeated(
        &first,
        &rig.bus
            .command_as("regenerate-backup-codes", &renew, ada.proven())
            .await,
    );
    let login = json!({"username": "ada", "password": PASSWORD});
    let first = rig
        .bus
        .command_as("start-login", &start, login.clone())
        .await;
    is_repeated(
        &first,
        &rig.bus
            .command_as("start-login", &start, login.clone())
            .await,
    );
    rig.kill_and_restart();
    for (name, id, body) in [
        ("enable-2fa", &enable, ada.proven()),
        ("confirm-code", &confirm, confirming),
        ("regenerate-backup-codes", &renew, ada.proven()),
        ("start-login", &start, login),
    ] {
        let again = rig.bus.command_as(name, id, body).await;
        again.refused("outcome.unseen");
        assert!(!again.is_replayed());
    }
    let status = ada.status().await;
    assert_eq!(
        (&status["second_factor"], &status["set_no"]),
        (&json!("on"), &json!(2))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_appended_nothing_is_decided_again() {
    let rig = Rig::start(CHEAP).await;
    let mut ada = Person::register(&rig.bus, "ada").await;
    let id = fresh_id();
    rig.bus
        .command_as("disable-2fa", &id, ada.proven())
        .await
        .refused("factor.not_on");
    ada.enable().await;
    ada.confirm().await;
    let done = rig.bus.command_as("disable-2fa", &id, ada.proven()).await;
    assert!(done.word().is_none() && !done.is_replayed());
    // A malformed body leaves the id free as well.
    let id = fresh_id();
    rig.bus
        .bytes_as("start-login", &id, b"{")
        .await
        .refused("request.malformed");
    let body = json!({"username": "ada", "password": PASSWORD});
    rig.bus.command_as("start-login", &id, body).await.ok();
}

/// V-10: a missing id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_id_is_made_and_returned_and_valid_for_a_repeat() {
    let rig = Rig::start(CHEAP).await;
    Person::register(&rig.bus, "ada").await;
    let body = json!({"username": "ada", "password": PASSWORD});
    let subject = "countersign.v1.command.start-login";
    let first = rig
        .bus
        .send(subject, &[], body.to_string().as_bytes())
        .await;
    first.ok();
    let id = first.header("Nats-Msg-Id").unwrap().to_owned();
    assert!((1..=64).contains(&id.len()));
    is_repeated(
        &first,
        &rig.bus.command_as("start-login", &id, body.clone()).await,
    );
    let other = rig
        .bus
        .send(subject, &[], body.to_string().as_bytes())
        .await;
    assert_ne!(other.header("Nats-Msg-Id"), Some(id.as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_races_its_original_and_there_is_one_effect() {
    let rig = Rig::start(CHEAP).await;
    let ada = Person::with_2fa(&rig.bus, "ada").await;
    for code in &ada.codes[..5] {
        let id = fresh_id();
        let sends = (0..8).map(|_| rig.bus.command_as("verify-login", &id, ada.vouching(code)));
        let answers = futures_util::future::join_all(sends).await;
        let replies: Vec<_> = answers
            .iter()
            .filter(|a| a.word() != Some("overloaded"))
            .collect();
        let original = replies.iter().find(|a| !a.is_replayed()).unwrap();
        original.ok();
        for answer in &replies {
            assert_eq!(answer.body, original.body);
        }
        assert_eq!(replies.iter().filter(|a| !a.is_replayed()).count(), 1);
    }
    assert_eq!(ada.status().await["backup_codes_left"], 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_its_deadline_a_request_appends_nothing() {
    let rig = Rig::start(CHEAP).await;
    let ada = Person::register(&rig.bus, "ada").await;
    let head = ada.start_login().await.position();
    let body = json!({"username": "ada", "password": PASSWORD}).to_string();
    let subject = "countersign.v1.command.start-login";
    let past = [
        ("Countersign-Deadline", "2020-01-01T00:00:00Z"),
        ("Nats-Msg-Id", "late"),
    ];
    let late = rig.bus.send(subject, &past, body.as_bytes()).await;
    late.refused("deadline.exceeded");
    let query = "countersign.v1.query.audit-page";
    rig.bus
        .send(query, &past[..1], b"")
        .await
        .refused("deadline.exceeded");
    let future = [
        ("Countersign-Deadline", "2120-01-01T00:00:00+02:00"),
        ("Nats-Msg-Id", "late"),
    ];
    assert_eq!(
        rig.bus
            .send(subject, &future, body.as_bytes())
            .await
            .position(),
        head + 1
    );
}
