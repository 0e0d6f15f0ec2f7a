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
    look("bob", "query.audit-page", json!({})).await;
    look("bob", "query.login-status.ada", json!({})).await;
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
    ];
    assert_eq!(seen, expected);
    assert_eq!(events[0]["on_behalf_of"], "Zoë");
    assert_eq!(
        events[0]["text"],
        "Account ada was looked at (audit-timeline)."
    );
    service.stop().await;
}
