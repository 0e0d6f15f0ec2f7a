//! The published schema of every request and the service agree on every document: valid documents,
//! and documents that were damaged in ways that the schema suggests.
//!
//! A JSON Schema sees only the parsed document: a name that appears twice and text that is not JSON
//! are refused before, and the payload is bounded. A schema also cannot know what depends on the
//! log (a position beyond its head) or on the configuration. There is no other exception.

use countersign_schemas::catalogue;
use countersign_schemas::code::BackupCode;
use countersign_schemas::strict::DecodeError;
use jsonschema::Validator;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Number, Value, json};

use super::endpoints::{Endpoint, Operation, all};
use super::queries::Query;
use super::router::operators_request;
use countersign_schemas::command::Command;
use countersign_schemas::query::{NoFields, decode_query};
use countersign_schemas::refusal::{ErrorCode, Refusal};

/// Returns the service's verdict on a body, without the checks that depend on log and
/// configuration.
fn judged(endpoint: &Endpoint, body: &[u8]) -> Result<(), Refusal> {
    match endpoint.operation {
        Operation::Command(_) => match Command::decode(endpoint.name, body) {
            // The body is this request; only the code is wrong.
            Err(DecodeError::Mistyped) => Ok(()),
            other => other.map(drop).map_err(Refusal::from),
        },
        Operation::Query(kind) => Query::decode(kind, "ada", body).map(drop),
        Operation::Document(_) => Ok(decode_query::<NoFields>(body).map(drop)?),
        Operation::Admin(asked) => operators_request(asked, body).map(drop),
    }
}

struct Subject {
    endpoint: Endpoint,
    schema: Value,
    validator: Validator,
}

fn subjects() -> Vec<Subject> {
    let of = |endpoint: Endpoint| {
        let schema = catalogue::document(&endpoint.request_schema()).unwrap();
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        Subject {
            endpoint,
            schema,
            validator,
        }
    };
    all().into_iter().map(of).collect()
}

/// Texts that nearly match a rule, or that match it and do not look so.
const ODD: &[&str] = &[
    "",
    "a",
    "A-1_",
    "a b",
    "a.b",
    "a\n",
    "\n",
    "é",
    "🦀",
    "a\0",
    " ",
    "\t",
    "\u{a0}",
    "\u{200b}",
    "\u{2060}\u{feff}",
    "\u{e0041}",
    "\u{1d173}",
    "\u{3164}",
    "\u{2800}",
    "\u{fe0f}",
    "\u{200b}x",
    "\u{85}",
    "\u{1c}",
    "~",
    "\u{7f}",
    "app",
    "App",
    "both",
    "backup-codes",
    "waiting-approval",
    "expired",
    "jsonl",
    "xml",
    "totp-accepted",
    "no-such",
    "audit-trail",
    "login-status",
    "true",
    "null",
    "1",
    "123456",
    "１２３４５６",
    "٠١٢٣٤٥",
    "12345",
    "1234567",
    "123 456",
    "123456\n",
    "0000-0000-0000-0000",
    "U000-0000-0000-0000",
    "oooo-iiii-llll-0000",
    "0000 0000 0000 00",
    "2026-11-24T12:00:00Z",
    "2026-11-24t12:00:00.5z",
    "2026-11-24 12:00:00+01:30",
    "2024-02-29T00:00:00Z",
    "2026-02-29T00:00:00Z",
    "2100-02-29T00:00:00Z",
    "2000-02-29T00:00:00Z",
    "9999-12-31T23:59:60-23:59",
    "1970-01-01T00:00:00+23:59",
    "1969-12-31T23:59:59-01:00",
    "2026-11-31T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-00-10T00:00:00Z",
    "2026-11-24T24:00:00Z",
    "2026-11-24T12:00:61Z",
    "2026-11-24T12:00:00",
    "2026-11-24",
    "2026-11-24T12:00:00Z\n",
    "2026-11-24T12:00:00.Z",
    "2026-11-24T12:00:00+24:00",
    "10000-01-01T00:00:00Z",
    "2026-11-24T12:00Z",
    "２026-11-24T12:00:00Z",
];

/// Texts of every sort that a rule distinguishes: lengths at their bounds, in bytes and in
/// characters, invisible characters, and characters that only look like an allowed one.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = ODD.iter().copied().map(String::from).collect();
    for length in [63, 64, 65, 127, 128, 129, 255, 256, 257, 499, 500, 501] {
        for character in ["a", "é", "🦀", " ", "\u{200b}", "1"] {
            texts.push(character.repeat(length));
        }
    }
    let code = BackupCode::from_parts(3, &[7; 9]).reveal();
    texts.extend([
        code.to_lowercase(),
        format!("  {code}  "),
        code + &"-".repeat(45),
    ]);
    texts
}

fn text() -> impl Strategy<Value = Value> {
    let known = texts();
    prop_oneof![
        6 => any::<Index>().prop_map(move |at| json!(known[at.index(known.len())])),
        2 => "[ -~]{0,70}".prop_map(Value::from),
        2 => "\\PC{0,70}".prop_map(Value::from),
        1 => ".{0,70}".prop_map(Value::from),
        2 => "[A-Za-z0-9_-]{1,64}".prop_map(Value::from),
        2 => "[0-9A-Za-z -]{15,24}".prop_map(Value::from),
        2 => "[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,9})?(Z|[+-][0-2][0-9]:[0-6][0-9])".prop_map(Value::from),
    ]
}

fn number() -> impl Strategy<Value = Value> {
    let odd = vec![
        json!(0),
        json!(1),
        json!(-1),
        json!(-0.0),
        json!(1.0),
        json!(0.5),
        json!(500),
        json!(501),
        json!(500.0),
        json!(65_535),
        json!(65_537),
        json!(9_007_199_254_740_991_u64),
        json!(9_007_199_254_740_991.0),
        json!(9_007_199_254_740_992_u64),
        json!(9_007_199_254_740_992.0),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e300),
        json!(-1e-9),
    ];
    let float = any::<f64>().prop_filter_map("a number", |x| Number::from_f64(x).map(Value::from));
    prop_oneof![
        4 => proptest::sample::select(odd),
        1 => any::<u64>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => float,
    ]
}

/// Any JSON that is not too large.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        text(),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let names = prop_oneof![
            proptest::sample::select(NAMES.to_vec()).prop_map(String::from),
            "\\PC{0,9}",
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((names, inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

const NAMES: &[&str] = &[
    "ip",
    "agent",
    "password",
    "code",
    "next_code",
    "app",
    "jsonl",
    "account_id",
    "context",
    "proof",
];

/// A list of choices, used up as a document is made from it.
#[derive(Debug, Clone)]
struct Choices {
    picks: Vec<usize>,
    values: Vec<Value>,
}

impl Choices {
    fn pick(&mut self, of: usize) -> usize {
        self.picks.pop().map_or(0, |pick| pick % of.max(1))
    }

    fn value(&mut self) -> Value {
        self.values.pop().unwrap_or(Value::Null)
    }
}

/// Makes a value that fits a schema, as far as the keywords allow.
fn sample(root: &Value, schema: &Value, choices: &mut Choices) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(&reference[1..]).unwrap();
        return sample(root, target, choices);
    }
    if let Some(ways) = schema["anyOf"]
        .as_array()
        .filter(|_| schema.get("type").is_none())
    {
        let way = &ways[choices.pick(ways.len())];
        return sample(root, way, choices);
    }
    if let Some(words) = schema["enum"].as_array() {
        return words[choices.pick(words.len())].clone();
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return choices.value(),
    };
    match kinds[choices.pick(kinds.len())] {
        "object" => {
            let mut members = Map::new();
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let is_required = required.contains(&json!(name));
                if is_required || choices.pick(3) > 0 {
                    members.insert(name.clone(), sample(root, property, choices));
                }
            }
            Value::Object(members)
        }
        "array" => (0..choices.pick(4))
            .map(|_| sample(root, &schema["items"], choices))
            .collect(),
        "integer" => json!([0, 1, 7, 500][choices.pick(4)]),
        "boolean" => json!(choices.pick(2) == 1),
        "null" => Value::Null,
        _ => match choices.pick(4) {
            0 => json!("123456"),
            1 => json!("2026-11-24T12:00:00Z"),
            2 => json!("ada-7"),
            _ => choices.value(),
        },
    }
}

/// Collects every place of a document, as JSON pointers.
fn places(value: &Value, at: String, into: &mut Vec<String>) {
    into.push(at.clone());
    match value {
        Value::Object(members) => members.iter().for_each(|(name, member)| {
            let name = name.replace('~', "~0").replace('/', "~1");
            places(member, format!("{at}/{name}"), into);
        }),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| {
            places(item, format!("{at}/{index}"), into);
        }),
        _ => {}
    }
}

/// Changes one place: replaces its value, removes a member or adds one.
fn damage(document: &mut Value, choices: &mut Choices) {
    let mut all = Vec::new();
    places(document, String::new(), &mut all);
    let place = &all[choices.pick(all.len())];
    let found = document.pointer_mut(place).unwrap();
    match (choices.pick(4), found) {
        (0, Value::Object(members)) => {
            let name = NAMES[choices.pick(NAMES.len())];
            members.insert(name.into(), choices.value());
        }
        (1, Value::Object(members)) => {
            let name = members.keys().nth(choices.pick(members.len())).cloned();
            name.and_then(|name| members.remove(&name));
        }
        (2, found) => *found = Value::Null,
        (_, found) => *found = choices.value(),
    }
}

fn choices() -> impl Strategy<Value = Choices> {
    let picks = proptest::collection::vec(any::<usize>(), 40);
    let values = proptest::collection::vec(anything(), 12);
    (picks, values).prop_map(|(picks, values)| Choices { picks, values })
}

/// Compares schema and service on one document, and returns their verdict.
fn agree(subject: &Subject, document: &Value) -> bool {
    let body = serde_json::to_vec(document).unwrap();
    let schema = subject.validator.is_valid(document);
    let service = judged(&subject.endpoint, &body);
    assert_eq!(
        service.is_ok(),
        schema,
        "{}: {document}: {service:?}",
        subject.endpoint.name
    );
    if let Err(refusal) = service {
        assert_eq!(refusal.code, ErrorCode::RequestInvalid, "{document}");
    }
    schema
}

/// The number of documents of each sort in a run; `AGREEMENT=100000 cargo test --release --lib
/// agreement` tries more.
fn cases() -> u32 {
    let more = std::env::var("AGREEMENT").ok();
    more.map_or(2_000, |text| text.parse().expect("a number"))
}

#[test]
fn schema_and_service_agree_on_every_document() {
    let subjects = subjects();
    let (mut taken, mut refused) = (0_u32, 0_u32);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let made = (any::<Index>(), choices(), 0..4_usize);
    let counted = std::cell::RefCell::new((&mut taken, &mut refused));
    runner
        .run(&made, |(at, mut choices, damages)| {
            let subject = &subjects[at.index(subjects.len())];
            let mut document = sample(&subject.schema, &subject.schema, &mut choices);
            for _ in 0..damages {
                damage(&mut document, &mut choices);
            }
            let mut counted = counted.borrow_mut();
            if agree(subject, &document) {
                *counted.0 += 1;
            } else {
                *counted.1 += 1;
            }
            Ok(())
        })
        .unwrap();
    // A test that makes only one sort of document shows nothing about the other.
    assert!(
        taken > cases() / 10 && refused > cases() / 10,
        "{taken} taken, {refused} refused"
    );
}

/// Tries every odd text in every field of every request.
#[test]
fn schema_and_service_agree_on_every_odd_text_in_every_field() {
    for subject in subjects() {
        let names = subject.schema["properties"]
            .as_object()
            .into_iter()
            .flatten();
        for (name, _) in names {
            let fixed = |at: usize| Choices {
                picks: vec![at; 60],
                values: vec![json!("ada"); 12],
            };
            // The first choice everywhere, with every optional field.
            let mut document = sample(&subject.schema, &subject.schema, &mut fixed(usize::MAX));
            for text in texts() {
                document[name] = json!(text);
                agree(&subject, &document);
            }
            for odd in [
                json!(null),
                json!(1.0),
                json!(-0.0),
                json!(0.5),
                json!([]),
                json!({}),
            ] {
                document[name] = odd;
                agree(&subject, &document);
            }
        }
    }
}
