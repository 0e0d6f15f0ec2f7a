//! Whoever looks at an account's history leaves a trace, and polling it leaves one trace.

use countersign::bus::headers::{CALLER, ON_BEHALF_OF};
use serde_json::{Value, json};

use crate::service::{ask, body, broker, dev, refused, registered};

#[tokio::test]
async fn looking_at_an_account_is_on_record_once_in_ten_minutes_for_each_caller_and_query() {
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
        assert_eq!(again, first, "looking changes nothing of what is seen");
    }
    look("eve", "query.audit-page", json!({"account_id": "ada"})).await;
    look("bob", "query.audit-timeline.ada", json!({})).await;
    // Whatever page of everything: one record stands for them all.
    for after in 0..20 {
        look("bob", "query.audit-page", json!({"after": after})).await;
        look("bob", "query.audit-page", json!({"caller": "eve"})).await;
        let position = after % 4 + 1;
        look("bob", "query.proof", json!({"position": position})).await;
    }
    look("bob", "query.login-status.ada", json!({})).await;
    look("bob", "query.checkpoint", json!({})).await;
    let nobody = ask(&client, "query.audit-timeline.nobody", &[], b"").await;
    assert_eq!(refused(&nobody), "404 account.not_found");
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

/// The record bytes and the exports of everything too, a page or twenty of them.
#[tokio::test]
async fn taking_the_whole_history_away_is_on_record_once_for_all_its_pages() {
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
