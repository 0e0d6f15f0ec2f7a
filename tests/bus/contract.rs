//! The service as a well-behaved caller sees it.

use countersign::bus::headers::{ERROR, MSG_ID, SERVICE_ERROR, TRACEPARENT, TRACESTATE};
use countersign_schemas::command::Command;
use serde_json::json;

use crate::service::{PARENT, ask, body, broker, dev, header, register};

#[tokio::test]
async fn the_service_is_found_as_a_nats_micro_service() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    ask(&client, "command.register-account", &[], &register("ada")).await;
    ask(&client, "command.register-account", &[], b"{").await;

    let srv = async |subject: String| body(&client.request(subject, "".into()).await.unwrap());
    let ping = srv("$SRV.PING".into()).await;
    let id = ping["id"].as_str().unwrap();
    assert_eq!(ping["type"], "io.nats.micro.v1.ping_response");
    assert_eq!(ping["name"], "countersign");
    assert_eq!(ping["version"], env!("CARGO_PKG_VERSION"));
    assert!(ping["metadata"].is_object());
    for tail in ["PING.countersign".into(), format!("PING.countersign.{id}")] {
        assert_eq!(srv(format!("$SRV.{tail}")).await, ping);
    }

    let info = srv(format!("$SRV.INFO.countersign.{id}")).await;
    assert_eq!(info["type"], "io.nats.micro.v1.info_response");
    let endpoints = info["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), Command::ALL.len() + 21);
    for endpoint in endpoints {
        assert_eq!(endpoint["queue_group"], "countersign");
        for key in [
            "summary",
            "kind",
            "request_schema",
            "response_schema",
            "idempotent",
        ] {
            assert!(endpoint["metadata"][key].is_string(), "{endpoint}");
        }
        for key in ["request_schema", "response_schema"] {
            let name = endpoint["metadata"][key].as_str().unwrap();
            let document = ask(&client, &format!("query.schema.{name}"), &[], b"").await;
            assert!(body(&document)["$schema"].is_string(), "{name}");
        }
    }

    let stats = srv("$SRV.STATS.countersign".into()).await;
    assert_eq!(stats["type"], "io.nats.micro.v1.stats_response");
    assert!(stats["started"].is_string());
    let register = &stats["endpoints"][0];
    assert_eq!(register["name"], "register-account");
    assert_eq!(register["num_requests"], 2);
    assert_eq!(register["num_errors"], 0);
    assert_eq!(register["last_error"], "");
    assert!(register["processing_time"].as_u64() >= register["average_processing_time"].as_u64());
    assert_eq!(register["data"]["refused"], json!({"request.malformed": 1}));
    assert_eq!(register["data"]["in_flight"], 0);
    service.stop().await;
}

#[tokio::test]
async fn a_command_without_a_reply_subject_is_counted_and_not_executed() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    let subject = "countersign.v1.command.register-account";
    client
        .publish(subject, register("ada").into())
        .await
        .unwrap();
    // If the first one had been executed, the reply to this one would be `account.exists`.
    let reply = ask(&client, "command.register-account", &[], &register("ada")).await;
    assert_eq!(body(&reply)["account_id"], "ada");
    let stats = client.request("$SRV.STATS", "".into()).await.unwrap();
    let register = &body(&stats)["endpoints"][0];
    assert_eq!(register["num_requests"], 2);
    assert_eq!(register["data"]["without_reply_subject"], 1);
    assert_eq!(register["data"]["in_flight"], 0);
    service.stop().await;
}

#[tokio::test]
async fn headers_are_echoed_on_replies_and_refusals() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    let pairs = [(MSG_ID, "id 1"), (TRACEPARENT, PARENT), (TRACESTATE, "a=1")];
    for (request, word) in [
        (register("ada"), None),
        (b"{".to_vec(), Some("request.malformed")),
    ] {
        let reply = ask(&client, "command.register-account", &pairs, &request).await;
        assert_eq!(header(&reply, MSG_ID), Some("id 1"));
        assert_eq!(header(&reply, TRACEPARENT), Some(PARENT));
        assert_eq!(header(&reply, TRACESTATE), Some("a=1"));
        assert_eq!(header(&reply, ERROR), word);
        assert_eq!(header(&reply, SERVICE_ERROR).is_some(), word.is_some());
    }
    let reply = ask(&client, "command.register-account", &[], &register("bob")).await;
    let made = uuid::Uuid::parse_str(header(&reply, MSG_ID).unwrap()).unwrap();
    assert_eq!(made.get_version_num(), 7);
    assert_eq!(header(&reply, SERVICE_ERROR), None);
    let reply = ask(&client, "query.errors", &pairs, b"").await;
    assert_eq!(header(&reply, TRACEPARENT), Some(PARENT));
    assert_eq!(header(&reply, MSG_ID), None, "a query has no command id");
    service.stop().await;
}
