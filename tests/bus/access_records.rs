//! A query about an account's history leaves an access record, and polling leaves one record.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign::bus::headers::{CALLER, ERROR, ON_BEHALF_OF};
use countersign::bus::{BusConfig, Identity};
use countersign::engine::wall_clock;
use countersign_schemas::time::Micros;
use serde_json::{Value, json};

use crate::service::{Service, ask, at, body, broker, connect, dev, header, refused, registered};

#[tokio::test]
async fn access_to_an_account_is_recorded_once_in_ten_minutes_for_each_caller_and_query() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    registered(&client, "ada").await;
    let look = async |caller: &str, subject: &str, query: Value| {
        let pairs = [(CALLER, caller), (ON_BEHALF_OF, "Zoë")];
        let reply = ask(&client, subject, &pairs, query.to_string().as_bytes()).await;
        body(&reply)
    };
    let first = look("eve", "query.audit-timeline.ada", json!({})).await;
    for _ in 0..20 {
        let again = look("eve", "query.audit-timeline.ada", json!({"limit": 500})).await;
        assert_eq!(
            again, first,
            "the access record does not change the history"
        );
    }
    look("eve", "query.audit-page", json!({"account_id": "ada"})).await;
    look("bob", "query.audit-timeline.ada", json!({})).await;
    // One record covers every page of the whole history.
    for after in 0..20 {
        look("bob", "query.audit-page", json!({"after": after})).await;
        look("bob", "query.audit-page", json!({"caller": "eve"})).await;
        let position = after % 4 + 1;
        look("bob", "query.proof", json!({"position": position})).await;
    }
    look("bob", "query.login-status.ada", json!({})).await;
    look("bob", "query.checkpoint", json!({})).await;
    let unknown = ask(&client, "query.audit-timeline.absent", &[], b"").await;
    assert_eq!(refused(&unknown), "404 account.not_found");
    let wanted = json!({"types": ["subject-viewed"]});
    let page = look("auditor", "query.audit-page", wanted).await;
    let events = page["events"].as_array().unwrap();
    let seen: Vec<_> = events
        .iter()
        .map(|e| {
            (
                &e["caller"]["name"],
                &e["data"]["query"],
                &e["data"]["account_id"],
            )
        })
        .collect();
    let ada = json!("ada");
    let expected = [
        (&json!("eve"), &json!("audit-timeline"), &ada),
        (&json!("eve"), &json!("audit-page"), &ada),
        (&json!("bob"), &json!("audit-timeline"), &ada),
        (&json!("bob"), &json!("audit-page"), &Value::Null),
        (&json!("bob"), &json!("proof"), &Value::Null),
        (&json!("anonymous"), &json!("audit-timeline"), &Value::Null),
    ];
    assert_eq!(seen, expected);
    assert_eq!(
        events[3]["text"],
        "Several accounts were looked at (audit-page)."
    );
    assert_eq!(events[0]["on_behalf_of"], "Zoë");
    assert_eq!(
        events[0]["text"],
        "Account ada was looked at (audit-timeline)."
    );
    service.stop().await;
}

/// The record bytes and whole exports too, for one page or twenty.
#[tokio::test]
async fn exporting_the_whole_history_is_recorded_once_for_all_its_pages() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    registered(&client, "ada").await;
    let through = body(&ask(&client, "query.checkpoint", &[], b"").await)["size"].clone();
    for after in 0..4 {
        let pairs = [(CALLER, "eve")];
        let records = json!({"after": after}).to_string();
        body(&ask(&client, "query.audit-records", &pairs, records.as_bytes()).await);
        for format in ["jsonl", "csv", "ocsf"] {
            let export = json!({"format": format, "through": through, "after": after}).to_string();
            body(&ask(&client, "query.audit-export", &pairs, export.as_bytes()).await);
        }
    }
    let wanted = json!({"types": ["audit-exported"]}).to_string();
    let page = body(&ask(&client, "query.audit-page", &[], wanted.as_bytes()).await);
    let events = page["events"].as_array().unwrap();
    let seen: Vec<_> = events
        .iter()
        .map(|e| (&e["caller"]["name"], &e["data"]))
        .collect();
    let whole = |format: &str| json!({"account_id": null, "format": format, "filter": {}});
    let wholes = ["records", "jsonl", "csv", "ocsf"].map(whole);
    let eve = json!("eve");
    assert_eq!(seen, wholes.each_ref().map(|data| (&eve, data)));
    service.stop().await;
}

/// C9: once, 1,700 names a second had one record, and ids of accounts that do not exist had none.
#[tokio::test]
async fn names_and_ids_can_be_tried_sixty_times_a_minute_and_are_recorded() {
    let broker = broker();
    let now = Arc::new(AtomicU64::new(wall_clock().0));
    let clock = Arc::clone(&now);
    let config = BusConfig {
        connection: at(&broker),
        identity: Identity::Dev,
        ..BusConfig::default()
    };
    let clock = Arc::new(move || Micros(clock.load(Ordering::SeqCst)));
    let service = Service::start(config, clock).await;
    let client = connect(&broker).await;
    registered(&client, "ada").await;
    let tries = async |caller: &str, subject: &str, times: usize| {
        let (mut answered, mut refused) = (0, 0);
        for n in 0..times {
            let pairs = [(CALLER, caller)];
            let subject = subject.replace('#', &n.to_string());
            let query = if subject.ends_with("find-account") {
                json!({"username": format!("name-{n}")}).to_string()
            } else {
                String::new()
            };
            let reply = ask(&client, &subject, &pairs, query.as_bytes()).await;
            match header(&reply, ERROR).unwrap() {
                "account.not_found" => answered += 1,
                "quota.exceeded" => refused += 1,
                other => panic!("{other}"),
            }
        }
        (answered, refused)
    };
    for (caller, subject) in [
        ("eve", "query.find-account"),
        ("mallory", "query.account-card.id-#"),
        ("trent", "query.audit-timeline.id-#"),
    ] {
        assert_eq!(tries(caller, subject, 200).await, (60, 140), "{subject}");
        let page = json!({"types": ["subject-viewed"], "caller": caller}).to_string();
        let page = body(&ask(&client, "query.audit-page", &[], page.as_bytes()).await);
        assert_eq!(page["events"].as_array().unwrap().len(), 1, "{subject}");
    }
    // Ten minutes later the counts are due, and the next commit writes them.
    now.fetch_add(601 * Micros::SECOND, Ordering::SeqCst);
    assert_eq!(tries("eve", "query.find-account", 1).await, (1, 0));
    let counted = async |caller: &str| {
        let page = json!({"types": ["look-ups-counted"], "caller": caller}).to_string();
        let page = body(&ask(&client, "query.audit-page", &[], page.as_bytes()).await);
        let counts = page["events"].as_array().unwrap().iter();
        counts
            .map(|e| e["data"]["count"].as_u64().unwrap())
            .sum::<u64>()
    };
    for caller in ["eve", "mallory", "trent"] {
        assert_eq!(
            counted(caller).await,
            199,
            "all but the one that has its record"
        );
    }
    service.stop().await;
}
