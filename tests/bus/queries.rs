//! Rules for every query, whether it reads the log or a view.

use countersign::bus::headers::{MIN_POSITION, MSG_ID};

use crate::service::{ask, body, broker, dev, refused, registered};

#[tokio::test]
async fn no_query_replies_before_the_position_that_it_names() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    registered(&client, "ada").await;
    for (subject, query) in [
        ("login-status.ada", ""),
        ("find-account", r#"{"username":"ada"}"#),
        ("account-card.ada", ""),
        ("reset-queue", ""),
        ("audit-timeline.ada", ""),
        ("audit-page", ""),
        ("account-at.ada", r#"{"position":4}"#),
        ("checkpoint", ""),
        ("proof", r#"{"position":1}"#),
        ("consistency", r#"{"from":1}"#),
        ("audit-records", ""),
        ("audit-export", r#"{"format":"jsonl","through":4}"#),
        ("audit-explain", r#"{"position":4}"#),
    ] {
        let subject = format!("query.{subject}");
        let ahead = [(MIN_POSITION, "1000000")];
        let reply = ask(&client, &subject, &ahead, query.as_bytes()).await;
        assert_eq!(refused(&reply), "503 projection.behind", "{subject}");
        let reached = [(MIN_POSITION, "4")];
        body(&ask(&client, &subject, &reached, query.as_bytes()).await);
    }
    service.stop().await;
}

/// A caller that names a position relies on the wait for it.
#[tokio::test]
async fn a_request_that_waits_for_no_position_refuses_the_header_that_names_one() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    registered(&client, "ada").await;
    let headers = [(MIN_POSITION, "1"), (MSG_ID, "id-1")];
    let info = client.request("$SRV.INFO.countersign", "".into()).await;
    let info = body(&info.unwrap());
    let endpoints = info["endpoints"].as_array().unwrap();
    assert!(endpoints.len() > 30, "{}", endpoints.len());
    for endpoint in endpoints {
        let subject = endpoint["subject"].as_str().unwrap().replace(".*", ".ada");
        let subject = subject.strip_prefix("countersign.v1.").unwrap();
        let is_command = endpoint["metadata"]["idempotent"] == "key";
        let name = endpoint["name"].as_str().unwrap();
        let waits = !is_command && !["schema", "errors", "jwks"].contains(&name);
        // No endpoint accepts this body, but the headers are checked before it.
        let reply = ask(&client, subject, &headers, b"[]").await;
        let detail = body(&reply)["detail"].to_string();
        let is_named = detail.contains(MIN_POSITION);
        assert_eq!(refused(&reply), "422 request.invalid", "{subject}");
        assert_eq!(is_named, !waits, "{subject}: {detail}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_page_after_the_last_possible_position_is_empty() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    registered(&client, "ada").await;
    let last = countersign_schemas::whole::Whole::MAX;
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
