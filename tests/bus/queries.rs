//! What every query keeps to, whichever of log and views it reads.

use crate::service::{ask, body, broker, dev, registered};

#[tokio::test]
async fn a_page_after_the_last_position_that_there_can_be_is_empty() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    registered(&client, "ada").await;
    let last = u64::MAX;
    for (subject, query) in [
        ("audit-timeline.ada", format!(r#"{{"after":{last}}}"#)),
        ("audit-page", format!(r#"{{"after":{last}}}"#)),
        (
            "audit-export",
            format!(r#"{{"format":"jsonl","through":4,"after":{last}}}"#),
        ),
        (
            "audit-export",
            format!(r#"{{"format":"csv","through":4,"after":{last},"account_id":"ada"}}"#),
        ),
    ] {
        let reply = ask(&client, &format!("query.{subject}"), &[], query.as_bytes()).await;
        assert_eq!(body(&reply)["events"], serde_json::json!([]), "{query}");
    }
    let query = format!(r#"{{"after":{last}}}"#);
    let reply = ask(&client, "query.audit-records", &[], query.as_bytes()).await;
    assert_eq!(body(&reply)["records"], serde_json::json!([]));
    service.stop().await;
}
