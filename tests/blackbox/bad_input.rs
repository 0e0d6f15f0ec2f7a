//! Malformed input is refused as such and changes nothing (the rows V, S and C, E-10, TM-07).

use serde_json::{Value, json};

use super::support::answer::Answer;
use super::support::bus::{Bus, fresh_id};
use super::support::person::{PASSWORD, Person};
use super::support::{CHEAP, Rig};

/// The words that may refuse a bad request; no other may.
const MALFORMED: &[&str] = &["request.malformed"];
const INVALID: &[&str] = &["request.invalid"];
const EITHER: &[&str] = &["request.malformed", "request.invalid"];

/// Fields that no command has.
const STRANGE: &[(&str, &str)] = &[
    ("version", "1"),
    ("now", "1700000000"),
    ("step", "59061240"),
    ("secret", "\"GEZDGNBVGY3TQOJQ\""),
    ("digits", "8"),
    ("enabled", "true"),
    ("algorithm", "\"SHA1\""),
    ("Account_id", "\"witness\""),
    ("", "1"),
    ("hunter2 hunter2", "\"hunter2\""),
];

/// A well-formed body for each command.
fn good() -> [(&'static str, Value); 9] {
    let proven = json!({"account_id": "witness", "proof": {"password": PASSWORD}});
    let named = json!({"account_id": "witness", "authenticator_id": "x"});
    let mut renewed = json!({"account_id": "witness", "password": PASSWORD});
    renewed["new_password"] = json!(PASSWORD);
    let mut confirming = named.clone();
    confirming["code"] = json!("123456");
    [
        (
            "register-account",
            json!({"username": "grace", "password": PASSWORD}),
        ),
        ("change-password", renewed),
        ("enable-2fa", proven.clone()),
        ("disable-2fa", proven.clone()),
        ("regenerate-backup-codes", proven),
        (
            "start-login",
            json!({"username": "witness", "password": PASSWORD}),
        ),
        (
            "verify-login",
            json!({"account_id": "witness", "code": "123456"}),
        ),
        ("confirm-code", confirming),
        ("cancel-enrolment", named),
    ]
}

/// Sends bad requests and proves that between two good ones nothing was appended.
struct Probe {
    bus: Bus,
    witness: Person,
    head: u64,
}

impl Probe {
    async fn new(rig: &Rig) -> Self {
        let witness = Person::register(&rig.bus, "witness").await;
        let head = witness.start_login().await.position();
        Self {
            bus: rig.bus.clone(),
            witness,
            head,
        }
    }

    async fn bytes(&self, command: &str, payload: &[u8], words: &[&str]) -> Answer {
        let answer = self.bus.bytes_as(command, &fresh_id(), payload).await;
        let shown = String::from_utf8_lossy(&payload[..payload.len().min(200)]).into_owned();
        let word = answer.word().unwrap_or("no refusal");
        assert!(words.contains(&word), "{command} {shown}: {word}");
        answer
    }

    async fn json(&self, command: &str, body: &Value) {
        self.bytes(command, body.to_string().as_bytes(), INVALID)
            .await;
    }

    /// The witness's next login is at the very next position.
    async fn nothing_was_appended(&mut self) {
        let head = self.witness.start_login().await.position();
        assert_eq!(head, self.head + 1, "a bad request was recorded");
        self.head = head;
    }
}

/// V-01, V-02.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_not_one_json_object_is_refused_on_every_command() {
    let rig = Rig::start(CHEAP).await;
    let mut probe = Probe::new(&rig).await;
    let commands = [
        "register-account",
        "change-password",
        "enable-2fa",
        "confirm-code",
        "cancel-enrolment",
        "regenerate-backup-codes",
        "disable-2fa",
        "start-login",
        "verify-login",
    ];
    let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for command in commands {
        for payload in [
            b"".as_slice(),
            b" ",
            b"\xff",
            b"\xc3\x28",
            b"{",
            b"{}{}",
            b"{} x",
            b"{\"account_id\":}",
            b"\xef\xbb\xbf{}",
            &utf16,
            b"{'account_id':1}",
            b"{\"a\":NaN}",
            b"{\"a\":1,}",
            b"{\"a\":01}",
            b"{\"a\":\"\xc3\x28\"}",
            b"{\"a\":\"\n\"}",
        ] {
            probe.bytes(command, payload, MALFORMED).await;
        }
        for payload in ["{}", "[]", "\"x\"", "null", "true", "1", "[[]]", "[{}]"] {
            probe.bytes(command, payload.as_bytes(), INVALID).await;
        }
    }
    probe.nothing_was_appended().await;
}

/// V-03, V-04, E-10, TM-07.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicate_unknown_missing_and_mistyped_fields_are_refused() {
    let rig = Rig::start(CHEAP).await;
    let mut probe = Probe::new(&rig).await;
    for (command, body) in good() {
        let fields = body.as_object().unwrap();
        for (name, value) in fields {
            let twice = format!("{{\"{name}\":{value},");
            let twice = body.to_string().replacen('{', &twice, 1);
            probe.bytes(command, twice.as_bytes(), INVALID).await;
            for wrong in ["90210", "true", "[\"a\"]", "[]", "{\"a\":1}"] {
                let mut body = body.clone();
                body[name] = serde_json::from_str(wrong).unwrap();
                probe.json(command, &body).await;
            }
            // Without a proof the state decides the refusal.
            if name != "proof" {
                let mut without = fields.clone();
                without.remove(name);
                probe.json(command, &Value::Object(without)).await;
            }
        }
        for (name, value) in STRANGE {
            let mut body = body.clone();
            body[name] = serde_json::from_str(value).unwrap();
            let body = body.to_string();
            let answer = probe.bytes(command, body.as_bytes(), INVALID).await;
            assert!(!answer.text.contains("hunter2"), "{}", answer.text);
        }
    }
    let both = json!({"username": "witness", "account_id": "witness", "password": PASSWORD});
    probe.json("start-login", &both).await;
    let both = json!({"account_id": "a", "challenge_id": "0".repeat(32), "code": "123456"});
    probe.json("verify-login", &both).await;
    probe.nothing_was_appended().await;
}

/// V-02, V-05, V-06.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deep_nesting_lone_surrogates_and_monstrous_numbers_do_no_harm() {
    let rig = Rig::start(CHEAP).await;
    let mut probe = Probe::new(&rig).await;
    for depth in [126, 127, 128, 129, 5_000, 30_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let (open, close) = match depth * (open.len() + close.len()) {
                0..=65_000 => (open.repeat(depth), close.repeat(depth)),
                _ => (open.repeat(65_000 / open.len()), String::new()),
            };
            let text = format!("{{\"account_id\":{open}1{close}}}");
            probe.bytes("disable-2fa", text.as_bytes(), EITHER).await;
            let text = format!("{{\"nothing of that name\":{open}1{close}}}");
            probe.bytes("disable-2fa", text.as_bytes(), EITHER).await;
        }
    }
    for text in [
        r#""\ud800""#,
        r#""\udc00x""#,
        r#""\ud800\ud800""#,
        "1e999",
        "-1e999",
        "9007199254740993",
        "1e-999",
        "0.1",
        "-0",
        &"9".repeat(10_000),
    ] {
        let body = format!("{{\"account_id\":{text},\"proof\":{{\"password\":\"{PASSWORD}\"}}}}");
        probe.bytes("disable-2fa", body.as_bytes(), EITHER).await;
        let page = format!("{{\"after\":{text}}}");
        let answer = probe
            .bus
            .send("countersign.v1.query.audit-page", &[], page.as_bytes())
            .await;
        // Both are zero, which JSON writes in many ways.
        let zero = ["1e-999", "-0"].contains(&text);
        assert_eq!(answer.word().is_none(), zero, "{page}: {}", answer.text);
    }
    // The one page that was shown left an access record.
    probe.head += 1;
    probe.nothing_was_appended().await;
}

/// S-01, with the bound of the contract.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_of_65536_bytes_is_read_and_one_more_is_too_large_before_it_is_parsed() {
    let rig = Rig::start(CHEAP).await;
    let mut probe = Probe::new(&rig).await;
    let body = json!({"username": "witness", "password": PASSWORD}).to_string();
    let full = format!("{body}{}", " ".repeat(65_536 - body.len()));
    let answer = probe
        .bus
        .bytes_as("start-login", &fresh_id(), full.as_bytes())
        .await;
    assert_eq!(answer.position(), probe.head + 1);
    probe.head += 1;
    for more in [1, 100_000, 900_000] {
        let over = format!("{full}{}", " ".repeat(more));
        probe
            .bytes("start-login", over.as_bytes(), &["payload.too_large"])
            .await;
        let junk = vec![0xff; 65_536 + more];
        probe
            .bytes("verify-login", &junk, &["payload.too_large"])
            .await;
        let query = probe
            .bus
            .send("countersign.v1.query.audit-page", &[], &junk)
            .await;
        query.refused("payload.too_large");
    }
    probe
        .bytes("start-login", &vec![0xff; 65_536], MALFORMED)
        .await;
    probe.nothing_was_appended().await;
}

/// S-02, V-14.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_and_names_outside_their_alphabets_and_lengths_are_refused() {
    let rig = Rig::start(CHEAP).await;
    let mut probe = Probe::new(&rig).await;
    let long = "x".repeat(65);
    for id in [
        "", &long, "a.b", "*", ">", "a b", "a/b", "a\0", "é", "ada\n", " ada",
    ] {
        for (command, mut body) in good() {
            if body.get("account_id").is_some() || command == "register-account" {
                body["account_id"] = json!(id);
                probe.json(command, &body).await;
            }
        }
        let fits_a_subject = !id.is_empty() && !id.contains([' ', '\n', '\0', '.', '*', '>']);
        if fits_a_subject {
            let query = format!("login-status.{id}");
            let answer = rig.bus.query(&query, json!({})).await;
            answer.refused("request.invalid");
        }
    }
    for name in ["", &long, "a b", "аda", "ada\u{301}", "ada\t", "\u{7f}"] {
        let body = json!({"username": name, "password": PASSWORD});
        probe.json("register-account", &body).await;
        probe.json("start-login", &body).await;
    }
    for id in ["a", &"x".repeat(64), "A_z-9"] {
        let name = format!("n-{}", id.len());
        let body = json!({"account_id": id, "username": name, "password": PASSWORD});
        probe.head = rig.bus.command("register-account", body).await.position();
    }
    probe.nothing_was_appended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_context_of_any_form_refuses_nothing_and_a_label_must_be_visible_and_short() {
    let rig = Rig::start(CHEAP).await;
    let mut probe = Probe::new(&rig).await;
    for context in [
        json!({"ip": "1".repeat(99)}),
        json!({"agent": "x".repeat(257)}),
        json!({"agent": "é".repeat(30_000)}),
        Value::Null,
        json!({"port": 1}),
        json!([]),
        json!({"ip": 1}),
        json!("203.0.113.7"),
    ] {
        let login = json!({"username": "witness", "password": PASSWORD, "context": context});
        probe.head = rig.bus.command("start-login", login).await.position();
    }
    for (name, length) in [("label", 65), ("account_name", 129)] {
        for text in ["x".repeat(length), " ".into(), "\u{200b}\u{2060}".into()] {
            let mut body = probe.witness.proven();
            body[name] = json!(text);
            probe.json("enable-2fa", &body).await;
        }
    }
    probe.nothing_was_appended().await;
}

/// C-02, C-03, C-05, C-06; Vault CVE-2025-6015 and OpenBao CVE-2025-55003, where a spent code with
/// a space was another code.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_is_neither_six_digits_nor_a_backup_code_is_refused_and_not_counted() {
    let rig = Rig::start(CHEAP).await;
    let mut ada = Person::with_2fa(&rig.bus, "ada").await;
    let mut probe = Probe::new(&rig).await;
    let challenge = ada.challenge().await;
    probe.head += 1;
    let code = ada.phone().lasting();
    let typo = {
        let code = &ada.codes[0];
        let other = if code.ends_with('7') { '8' } else { '7' };
        format!("{}{other}", &code[..code.len() - 1])
    };
    let digits = |n| "1".repeat(n);
    let spaced = [
        format!("{code} "),
        format!(" {code}"),
        format!("{} {}", &code[..3], &code[3..]),
        format!("{}-{}", &code[..3], &code[3..]),
        format!("{code}\t"),
        format!("{code}\u{a0}"),
        format!("{code}\0"),
        format!("{code}\n"),
        format!("+{}", &code[1..]),
        format!("-{}", &code[1..]),
        code[1..].to_owned(),
        format!("{code}0"),
        "１２３４５６".into(),
        "٠١٢٣٤٥".into(),
    ];
    let more = ["8e4", "0x13f", "", "abcdef", "12345", "1234567", "12345678"].map(String::from);
    let long = [digits(64), digits(60_000), ada.codes[0].repeat(2)];
    for code in spaced.iter().chain(&more).chain(&long) {
        probe
            .json(
                "verify-login",
                &json!({"challenge_id": challenge, "code": code}),
            )
            .await;
        probe.json("verify-login", &ada.vouching(code)).await;
        probe.json("confirm-code", &ada.confirming(code)).await;
    }
    // Its shape is right and its check character is wrong: a wrong code, found without comparing
    // it.
    for (command, body) in [
        (
            "verify-login",
            json!({"challenge_id": challenge, "code": typo}),
        ),
        ("verify-login", ada.vouching(&typo)),
        ("confirm-code", ada.confirming(&typo)),
    ] {
        let body = body.to_string();
        probe
            .bytes(command, body.as_bytes(), &["code.invalid"])
            .await;
    }
    let number: u64 = code.parse().unwrap();
    for wrong in [
        json!(number),
        Value::Null,
        json!([code]),
        json!(81_804),
        json!(1.5),
    ] {
        probe
            .json(
                "verify-login",
                &json!({"challenge_id": challenge, "code": wrong}),
            )
            .await;
    }
    probe.nothing_was_appended().await;
    // No attempt was counted and the code is not spent: it is still valid.
    ada.verify(&challenge, &code).await.ok();
}

/// V-10: the form of the command id; TM-07.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_header_is_refused_and_a_readable_one_is_not_trusted() {
    let rig = Rig::start(CHEAP).await;
    let mut probe = Probe::new(&rig).await;
    let body = json!({"username": "witness", "password": PASSWORD}).to_string();
    let subject = "countersign.v1.command.start-login";
    let (id, name, state) = ("i".repeat(65), "n".repeat(129), "s".repeat(513));
    let traced = (
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    );
    for headers in [
        vec![("Nats-Msg-Id", "")],
        vec![("Nats-Msg-Id", id.as_str())],
        vec![("Nats-Msg-Id", "né")],
        vec![("Nats-Msg-Id", "twice-1"), ("Nats-Msg-Id", "twice-2")],
        vec![("Countersign-On-Behalf-Of", name.as_str())],
        vec![("Countersign-Deadline", "soon")],
        vec![("Countersign-Deadline", "")],
        vec![("Countersign-Min-Position", "-1")],
        vec![("Countersign-Min-Position", "1e3")],
        vec![("Countersign-Caller", "second")],
        vec![("countersign-deadline", "soon")],
        vec![("Countersign-Step", "59061240")],
        vec![("nats-msg-id", "twice-1"), ("Nats-Msg-Id", "twice-2")],
    ] {
        let answer = rig.bus.send(subject, &headers, body.as_bytes()).await;
        answer.refused("request.invalid");
        for (_, value) in headers.iter().filter(|(_, value)| value.len() > 5) {
            assert!(!answer.text.contains(value), "{}", answer.text);
        }
    }
    probe.nothing_was_appended().await;
    let unknown = [("X-Now", "1"), traced, ("tracestate", state.as_str())];
    rig.bus.send(subject, &unknown, body.as_bytes()).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_are_as_strict_as_commands() {
    let rig = Rig::start(CHEAP).await;
    Person::register(&rig.bus, "ada").await;
    for (query, body, words) in [
        ("audit-page", "[]", INVALID),
        ("audit-page", "{\"limit\":0}", INVALID),
        ("audit-page", "{\"limit\":501}", INVALID),
        ("audit-page", "{\"after\":-1}", INVALID),
        ("audit-page", "{\"from\":\"yesterday\"}", INVALID),
        ("audit-page", "{\"x\":1}", INVALID),
        ("audit-page", "{\"types\":\"totp-accepted\"}", INVALID),
        ("audit-page", "{", MALFORMED),
        ("audit-timeline.ada", "{\"limit\":\"1\"}", INVALID),
        ("audit-timeline.ada", "x", MALFORMED),
        ("audit-timeline.ada", "{\"account_id\":\"eve\"}", INVALID),
        ("login-status.ada", "{\"account_id\":\"ada\"}", INVALID),
        ("login-status.ada", "\u{feff}", MALFORMED),
        ("schema.no-such-thing", "", INVALID),
    ] {
        let subject = format!("countersign.v1.query.{query}");
        let answer = rig.bus.send(&subject, &[], body.as_bytes()).await;
        assert!(
            words.contains(&answer.word().unwrap_or("none")),
            "{query} {body}: {}",
            answer.text
        );
    }
    for query in [
        "audit-page",
        "audit-timeline.ada",
        "login-status.ada",
        "errors",
    ] {
        rig.bus
            .send(&format!("countersign.v1.query.{query}"), &[], b"")
            .await
            .ok();
    }
}
