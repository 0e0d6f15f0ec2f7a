//! A request that does not match the contract exactly is refused, and no refusal repeats its
//! values.

use countersign::bus::PAYLOAD_BYTES_MAX;
use countersign::bus::headers::{
    CALLER, DEADLINE, ERROR, MIN_POSITION, MSG_ID, ON_BEHALF_OF, TRACEPARENT, TRACESTATE,
};

use serde_json::{Value, json};

use crate::service::{PARENT, ask, body, broker, dev, header, refused, register, registered};

/// V-01, V-02, V-03, V-04, V-05, V-06; the contract leaves two of them open.
#[tokio::test]
async fn a_request_that_breaks_the_contract_is_refused_and_never_repeated() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"account_id":{open}"hunter2"{close}}}"#).into_bytes()
    };
    let malformed = "400 request.malformed";
    let invalid = "422 request.invalid";
    let either = "";
    let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let table: &[(&[u8], &str)] = &[
        (b"", malformed),
        (b"{}", invalid),
        (b"[]", invalid),
        (b"\"hunter2\"", invalid),
        (b"null", invalid),
        (b"\xff", malformed),
        (b"\xef\xbb\xbf{}", malformed),
        (&utf16, malformed),
        (b"{\"account_id\":\"\xc3\x28\"}", malformed),
        (br#"{"account_id":"\ud800"}"#, either),
        (
            br#"{"account_id":"a","account_id":"b","password":"hunter2"}"#,
            invalid,
        ),
        (
            br#"{"account_id":"a","password":"hunter2","hunter2":1}"#,
            invalid,
        ),
        (br#"{"account_id":"a"}"#, invalid),
        (
            br#"{"account_id":["hunter2"],"password":"hunter2"}"#,
            invalid,
        ),
        (br#"{"account_id":"a","password":1e999}"#, malformed),
        (br#"{"account_id":"a","password":NaN}"#, malformed),
        (br#"{"account_id":"a","password":-Infinity}"#, malformed),
        (br#"NaN"#, malformed),
        (
            br#"{"account_id":9007199254740993,"password":"hunter2"}"#,
            invalid,
        ),
        (br#"{"account_id":"a","password":"hunter2"}{}"#, malformed),
        (&nested(120), either),
        (&nested(127), either),
        (&nested(128), either),
        (&nested(129), either),
        (&nested(30_000), either),
    ];
    for (request, expected) in table {
        let reply = ask(&client, "command.start-login", &[], request).await;
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        let refused = refused(&reply);
        match *expected {
            "" => assert!([malformed, invalid].contains(&refused.as_str()), "{shown}"),
            expected => assert_eq!(refused, expected, "{shown}"),
        }
        assert!(!format!("{reply:?}").contains("hunter2"), "{shown}");
    }
    let next_code = br#"{"account_id":"a","code":"123456","next_code":"12345"}"#;
    let reply = ask(&client, "command.verify-login", &[], next_code).await;
    assert_eq!(refused(&reply), invalid);
    assert_eq!(body(&reply)["errors"][0]["pointer"], "/next_code");
    service.stop().await;
}

#[tokio::test]
async fn a_payload_of_65536_bytes_is_read_and_one_more_is_not() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    let padded = |len: usize| {
        let mut body = register("ada");
        body.resize(len, b' ');
        body
    };
    let subject = "command.register-account";
    let reply = ask(&client, subject, &[], &padded(PAYLOAD_BYTES_MAX)).await;
    assert_eq!(body(&reply)["account_id"], "ada");
    let reply = ask(
        &client,
        subject,
        &[(MSG_ID, "m")],
        &padded(PAYLOAD_BYTES_MAX + 1),
    )
    .await;
    assert_eq!(refused(&reply), "413 payload.too_large");
    assert_eq!(header(&reply, MSG_ID), Some("m"));
    service.stop().await;
}

#[tokio::test]
async fn unreadable_headers_are_refused() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    let long = "x".repeat(129);
    let past = "2020-01-01T00:00:00Z";
    for (pairs, expected) in [
        (&[(MSG_ID, "")][..], "422 request.invalid"),
        (&[(MSG_ID, "a"), (MSG_ID, "b")], "422 request.invalid"),
        (&[(ON_BEHALF_OF, &long)], "422 request.invalid"),
        (&[(CALLER, &long)], "422 request.invalid"),
        (&[(DEADLINE, "soon")], "422 request.invalid"),
        (&[(DEADLINE, past)], "504 deadline.exceeded"),
        (&[("countersign-deadline", past)], "504 deadline.exceeded"),
        (
            &[("NATS-MSG-ID", "a"), (MSG_ID, "b")],
            "422 request.invalid",
        ),
        (&[("countersign-caller", &long)], "422 request.invalid"),
        (&[("Countersign-Dead-Line", past)], "422 request.invalid"),
        (&[("countersign_deadline", past)], "422 request.invalid"),
    ] {
        let reply = ask(&client, "command.register-account", pairs, &register("ada")).await;
        assert_eq!(refused(&reply), expected, "{pairs:?}");
    }
    let pairs = [
        (TRACEPARENT, "00-hunter2"),
        (DEADLINE, "2999-01-01T00:00:00Z"),
    ];
    let reply = ask(
        &client,
        "command.register-account",
        &pairs,
        &register("ada"),
    )
    .await;
    assert_eq!(header(&reply, ERROR), None);
    assert_eq!(
        header(&reply, TRACEPARENT),
        None,
        "an unreadable trace is left out"
    );
    let reply = ask(
        &client,
        "query.login-status.ada",
        &[(MIN_POSITION, "x")],
        b"",
    )
    .await;
    assert_eq!(refused(&reply), "422 request.invalid");
    service.stop().await;
}

#[tokio::test]
async fn context_and_trace_are_cut_or_left_out_and_never_refused() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    registered(&client, "ada").await;
    let state = "s".repeat(513);
    let long = "é".repeat(281);
    for (context, source) in [
        (
            json!({"agent": long}),
            json!({"agent": "é".repeat(255) + "…"}),
        ),
        (
            json!({"ip": "i".repeat(99)}),
            json!({"ip": "i".repeat(63) + "…"}),
        ),
        (json!(["hunter2"]), Value::Null),
        (
            json!({"ip": 7, "agent": "Firefox", "more": {}}),
            json!({"agent": "Firefox"}),
        ),
        (json!("Firefox"), Value::Null),
    ] {
        let login = json!({"account_id": "ada", "password": "correct horse", "context": context});
        let pairs = [("Traceparent", PARENT), (TRACESTATE, state.as_str())];
        let login = login.to_string();
        let reply = ask(&client, "command.start-login", &pairs, login.as_bytes()).await;
        assert_eq!(body(&reply)["status"], "complete", "{context}");
        assert_eq!(header(&reply, TRACEPARENT), Some(PARENT));
        assert_eq!(header(&reply, TRACESTATE), None);
        let position = body(&reply)["details"]["position"].as_u64().unwrap();
        let page = json!({"after": position - 1, "limit": 1}).to_string();
        let page = body(&ask(&client, "query.audit-page", &[], page.as_bytes()).await);
        assert_eq!(page["events"][0]["source"], source, "{context}");
    }
    service.stop().await;
}

/// Not even values that no number, text or stack can hold, or headers that are not UTF-8.
#[tokio::test]
async fn context_and_trace_refuse_nothing_however_they_are_written() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    registered(&client, "ada").await;
    let deep = format!("{}{}", "[".repeat(9_000), "]".repeat(9_000));
    let firefox = json!({"agent": "Firefox"});
    let state = |state| (TRACESTATE, state);
    for (context, source, (name, value), kept) in [
        (
            r#"{"agent":"\ud800"}"#,
            json!({"agent": "\u{fffd}"}),
            state("a=1\tb"),
            Some("a=1 b"),
        ),
        (
            r#"{"ip":1e999,"agent":"Firefox"}"#,
            firefox.clone(),
            state("a\u{1}"),
            None,
        ),
        (
            r#"{"\udc00":{},"agent":"Firefox"}"#,
            firefox.clone(),
            state("\t"),
            Some(""),
        ),
        (
            r#"{"agent":"x","agent":"Firefox"}"#,
            firefox,
            ("baggage", "\t\u{7f}"),
            None,
        ),
        ("-1e999", Value::Null, ("User-Agent", "caf\u{85}"), None),
        (&deep, Value::Null, ("X-Forwarded-For", "\u{0}"), None),
    ] {
        let login = r#"{"account_id":"ada","password":"correct horse","context":"#;
        let login = format!("{login}{context}}}");
        let pairs = [(TRACEPARENT, PARENT), (name, value)];
        let reply = ask(&client, "command.start-login", &pairs, login.as_bytes()).await;
        assert_eq!(body(&reply)["status"], "complete", "{context:.80} {name}");
        assert_eq!(header(&reply, TRACEPARENT), Some(PARENT));
        assert_eq!(header(&reply, TRACESTATE), kept, "{value:?}");
        let position = body(&reply)["details"]["position"].as_u64().unwrap();
        let page = json!({"after": position - 1, "limit": 1}).to_string();
        let page = body(&ask(&client, "query.audit-page", &[], page.as_bytes()).await);
        assert_eq!(page["events"][0]["source"], source, "{context:.80}");
    }
    service.stop().await;
}

#[tokio::test]
#[allow(clippy::too_many_lines)]
async fn queries_are_as_strict_as_commands() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    for (subject, request, expected) in [
        ("query.login-status.a%20b", "", "422 request.invalid"),
        (
            "query.login-status.ada",
            r#"{"x":1}"#,
            "422 request.invalid",
        ),
        ("query.login-status.ada", "{", "400 request.malformed"),
        ("query.login-status.ada", "", "404 account.not_found"),
        (
            "query.audit-timeline.ada",
            r#"{"limit":501}"#,
            "422 request.invalid",
        ),
        ("query.audit-page", r#"{"limit":0}"#, "422 request.invalid"),
        ("query.audit-page", "[]", "422 request.invalid"),
        ("query.account-at.ada", "{}", "422 request.invalid"),
        (
            "query.account-at.ada",
            r#"{"position":1,"at":"2026-01-01T00:00:00Z"}"#,
            "422 request.invalid",
        ),
        (
            "query.account-at.ada",
            r#"{"position":99}"#,
            "422 request.invalid",
        ),
        (
            "query.account-at.ada",
            r#"{"position":1}"#,
            "404 account.not_found",
        ),
        ("query.checkpoint", r#"{"x":1}"#, "422 request.invalid"),
        ("query.proof", "", "422 request.invalid"),
        ("query.proof", r#"{"position":0}"#, "422 request.invalid"),
        ("query.consistency", r#"{"from":99}"#, "422 request.invalid"),
        (
            "query.audit-records",
            r#"{"limit":1}"#,
            "422 request.invalid",
        ),
        (
            "query.audit-export",
            r#"{"format":"xml","through":1}"#,
            "422 request.invalid",
        ),
        (
            "query.audit-export",
            r#"{"format":"csv","through":1,"types":["no-such"]}"#,
            "422 request.invalid",
        ),
        ("query.schema.nothing", "", "422 request.invalid"),
        ("query.errors", "[]", "422 request.invalid"),
    ] {
        let reply = ask(&client, subject, &[], request.as_bytes()).await;
        assert_eq!(refused(&reply), expected, "{subject} {request}");
    }
    let page = ask(&client, "query.audit-page", &[], br#"{"limit":500}"#).await;
    // The log's first records, and the access records of the queries above.
    let events = body(&page)["events"].as_array().unwrap().clone();
    let positions: Vec<_> = events
        .iter()
        .map(|event| event["position"].as_u64())
        .collect();
    assert_eq!(
        positions,
        (1..=positions.len() as u64).map(Some).collect::<Vec<_>>()
    );
    assert_eq!(events[0]["type"], "epoch-started");
    let reply = ask(
        &client,
        "query.login-status.ada",
        &[(MIN_POSITION, "9")],
        b"",
    )
    .await;
    assert_eq!(refused(&reply), "503 projection.behind");
    let errors = body(&ask(&client, "query.errors", &[], b"").await);
    assert_eq!(errors["errors"][0]["code"], "request.malformed");
    service.stop().await;
}
