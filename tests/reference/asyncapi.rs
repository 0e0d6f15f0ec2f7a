//! The contract as an AsyncAPI 3.0 document: a channel for each subject, its request and its
//! reply, and the published events.

use countersign::bus::{Endpoint, all_endpoints};
use countersign_schemas::event::Event;
use serde_json::{Map, Value, json};

const DESCRIPTION: &str = "Two-factor authentication as a service over NATS request/reply. A \
reply without a header Nats-Service-Error is a success; a refusal has a problem document (RFC 9457).";

const ID: &str = "1 to 64 of A-Z, a-z, 0-9, _ and -";
const USER: &str =
    "The broker's user that sends the request, percent-encoded if it is not a token of a subject";

/// The whole document.
pub fn document() -> Value {
    let (mut channels, mut operations) = (Map::new(), Map::new());
    for endpoint in all_endpoints() {
        channels.insert(endpoint.name.into(), channel(&endpoint));
        operations.insert(endpoint.name.into(), operation(&endpoint));
    }
    channels.insert("reply".into(), replies());
    channels.insert(
        "events".into(),
        events("countersign.v1.event.{type}.{account_id}"),
    );
    channels.insert("log-events".into(), events("countersign.v1.event.{type}"));
    for (name, summary) in [
        ("events", "Events of an account; stream COUNTERSIGN_EVENTS"),
        ("log-events", "Events of the log itself; the same stream"),
    ] {
        let channel = reference(&["channels", name]);
        let operation = json!({"action": "send", "summary": summary, "channel": channel});
        operations.insert(name.into(), operation);
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Countersign",
            "version": "v1",
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0 OR MIT"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages(),
            "messageTraits": {"request-headers": {"headers": request_headers()}, "reply-headers": {"headers": reply_headers()}},
        },
    })
}

fn channel(endpoint: &Endpoint) -> Value {
    let subject = endpoint.subject();
    let message = endpoint.request_schema();
    let parameter = if endpoint.names_user() { "user" } else { "id" };
    let mut channel = json!({
        "address": subject.replace('*', &format!("{{{parameter}}}")),
        "messages": {message.as_str(): reference(&["components", "messages", &message])},
    });
    if subject.contains('*') {
        let description = if endpoint.names_user() { USER } else { ID };
        channel["parameters"] = json!({parameter: {"description": description}});
    }
    channel
}

fn operation(endpoint: &Endpoint) -> Value {
    let response = endpoint.response_schema();
    let roles: Vec<_> = endpoint.roles().iter().map(|role| role.as_str()).collect();
    json!({
        "action": "receive",
        "summary": endpoint.summary,
        "channel": reference(&["channels", endpoint.name]),
        "messages": [reference(&["channels", endpoint.name, "messages", &endpoint.request_schema()])],
        "reply": {
            "address": {"location": "$message.header#/reply", "description": "The reply subject of the request"},
            "channel": reference(&["channels", "reply"]),
            "messages": [
                reference(&["channels", "reply", "messages", &response]),
                reference(&["channels", "reply", "messages", "problem"]),
            ],
        },
        "bindings": {"nats": {"queue": "countersign", "bindingVersion": "0.1.0"}},
        "tags": roles.into_iter().map(|role| json!({"name": role})).collect::<Vec<_>>(),
    })
}

/// The channel of every reply: a subject that the request names.
fn replies() -> Value {
    let mut messages = Map::new();
    for name in all_endpoints()
        .iter()
        .map(Endpoint::response_schema)
        .chain(["problem".into()])
    {
        let message = reference(&["components", "messages", &name]);
        messages.insert(name, message);
    }
    json!({"address": null, "messages": messages})
}

fn events(address: &str) -> Value {
    let types: Vec<_> = Event::ALL.iter().map(|(_, _, name)| *name).collect();
    let mut parameters = json!({"type": {"description": "The event's name; docs/reference/events.md says which are published", "enum": types}});
    if address.contains("account_id") {
        parameters["account_id"] = json!({"description": "The account"});
    }
    json!({
        "address": address,
        "parameters": parameters,
        "messages": {"published-event": reference(&["components", "messages", "published-event"])},
    })
}

fn messages() -> Value {
    let mut messages = Map::new();
    for endpoint in all_endpoints() {
        messages.insert(
            endpoint.request_schema(),
            message(&endpoint.request_schema(), "request-headers"),
        );
        messages.insert(
            endpoint.response_schema(),
            message(&endpoint.response_schema(), "reply-headers"),
        );
    }
    messages.insert("problem".into(), message("problem", "reply-headers"));
    let mut event = message("published-event", "reply-headers");
    event["traits"] = json!([]);
    event["headers"] = cloud_event();
    messages.insert("published-event".into(), event);
    Value::Object(messages)
}

fn message(name: &str, side: &str) -> Value {
    json!({
        "name": name,
        "contentType": "application/json",
        "payload": {"$ref": format!("{name}.json")},
        "traits": [reference(&["components", "messageTraits", side])],
    })
}

/// The headers of a request.
fn request_headers() -> Value {
    strings(&[
        (
            "Nats-Msg-Id",
            "The command id: with the caller it makes a repeat safe for 24 hours; required on support and admin subjects",
        ),
        (
            "Countersign-On-Behalf-Of",
            "The person that the caller acts for; recorded, never trusted",
        ),
        (
            "Countersign-Min-Position",
            "The position that the reply of a query must include",
        ),
        (
            "Countersign-Deadline",
            "RFC 3339; after this time nothing is appended",
        ),
        ("traceparent", "W3C trace context"),
        ("tracestate", "W3C trace context"),
    ])
}

/// The headers of a reply.
fn reply_headers() -> Value {
    strings(&[
        (
            "Nats-Msg-Id",
            "The command id, also one that the service made",
        ),
        (
            "Nats-Service-Error",
            "On every refusal and fault: a safe sentence",
        ),
        (
            "Nats-Service-Error-Code",
            "On every refusal and fault: the status number",
        ),
        (
            "Countersign-Error",
            "On every refusal and fault: a word of docs/reference/errors.md",
        ),
        (
            "Countersign-Retry-After",
            "Whole seconds until a retry can succeed",
        ),
        (
            "Countersign-Replayed",
            "true: the stored outcome of an earlier identical command",
        ),
        ("traceparent", "W3C trace context"),
    ])
}

/// The headers of a published event: CloudEvents 1.0 in binary mode.
fn cloud_event() -> Value {
    strings(&[
        ("Nats-Msg-Id", "The log's id and the position"),
        ("ce-specversion", "1.0"),
        ("ce-id", "The position in the log"),
        ("ce-type", "dev.countersign.<type>.v1"),
        ("ce-source", "urn:countersign:<log id>"),
        (
            "ce-subject",
            "account/<account id>; absent for events of the log itself",
        ),
        ("ce-time", "When it was recorded"),
        ("ce-sequence", "The position in 20 digits"),
        ("ce-datacontenttype", "application/json"),
        ("traceparent", "W3C trace context"),
    ])
}

fn strings(headers: &[(&str, &str)]) -> Value {
    let string = |text: &str| json!({"type": "string", "description": text});
    let properties: Map<_, _> = headers
        .iter()
        .map(|(name, text)| ((*name).to_owned(), string(text)))
        .collect();
    json!({"type": "object", "properties": properties})
}

fn reference(path: &[&str]) -> Value {
    json!({"$ref": format!("#/{}", path.join("/"))})
}
