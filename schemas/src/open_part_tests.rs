//! Tests every field of every command by its schema: a secret leaves the open part unchanged, and
//! every other field changes it.

use serde_json::{Map, Value, json};

use crate::command::Command;

/// The types of secret values.
const SECRETS: [&str; 2] = ["Secret", "Code"];
/// The words that the name of a secret field contains.
const SECRET_WORDS: [&str; 8] = [
    "password",
    "passphrase",
    "code",
    "secret",
    "pin",
    "token",
    "seed",
    "proof",
];

/// Returns two different values of a type.
fn samples(kind: &str) -> [Value; 2] {
    match kind {
        "Secret" => [json!("password one"), json!("password two")],
        "Code" => [json!("123456"), json!("654321")],
        "Lost" => [json!("app"), json!("both")],
        "Context" => [json!({"ip": "192.0.2.1"}), json!({"agent": "curl"})],
        "AccountId" | "AccountName" | "Audience" | "AuthenticatorId" | "CaseId" | "ChallengeId"
        | "ChallengeText" | "Label" | "Reason" | "Ticket" | "Username" => {
            [json!("one"), json!("two")]
        }
        other => {
            panic!("say here what values the type {other} has, and in open_part what it shows")
        }
    }
}

/// A field of a command: its path, its type, and whether it may be absent.
struct Field {
    path: Vec<String>,
    kind: String,
    is_optional: bool,
}

/// Returns the type that a property's schema refers to.
fn kind_of(property: &Value) -> String {
    let alternatives = property["anyOf"].as_array().cloned().unwrap_or_default();
    let all = [property.clone()].into_iter().chain(alternatives);
    let mut references = all.filter_map(|schema| schema["$ref"].as_str().map(String::from));
    let reference = references
        .next()
        .expect("every field has a type of its own");
    reference.rsplit('/').next().unwrap().to_owned()
}

fn fields(schema: &Value, root: &Value, above: &[String]) -> Vec<Field> {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for (name, property) in schema["properties"].as_object().unwrap() {
        let path = [above, std::slice::from_ref(name)].concat();
        let kind = kind_of(property);
        if kind.ends_with("Proof") {
            found.extend(fields(&root["$defs"][kind], root, &path));
        } else {
            let is_optional = !required.contains(&json!(name));
            found.push(Field {
                path,
                kind,
                is_optional,
            });
        }
    }
    found
}

fn put(body: &mut Value, path: &[String], value: Value) {
    let (last, above) = path.split_last().unwrap();
    let mut at = body;
    for name in above {
        at = at
            .as_object_mut()
            .unwrap()
            .entry(name)
            .or_insert_with(|| json!({}));
    }
    at[last] = value;
}

fn take(body: &mut Value, path: &[String]) {
    let (last, above) = path.split_last().unwrap();
    let mut at = body;
    for name in above {
        at = &mut at[name];
    }
    at.as_object_mut().unwrap().remove(last);
}

fn shown(name: &str, body: &Value) -> Option<Vec<u8>> {
    let body = serde_json::to_vec(body).unwrap();
    Command::decode(name, &body)
        .ok()
        .map(|command| command.open_part())
}

/// Returns the command with as many of its fields as fit together.
fn full(name: &str, fields: &[Field]) -> Value {
    let mut body = Value::Object(Map::new());
    for field in fields.iter().filter(|field| !field.is_optional) {
        put(&mut body, &field.path, samples(&field.kind)[0].clone());
    }
    for field in fields.iter().filter(|field| field.is_optional) {
        let before = body.clone();
        put(&mut body, &field.path, samples(&field.kind)[0].clone());
        // The command decodes only if one of two names for the account is given.
        if shown(name, &before).is_some() && shown(name, &body).is_none() {
            body = before;
        }
    }
    assert!(shown(name, &body).is_some(), "{name}: {body}");
    body
}

fn all() -> impl Iterator<Item = (&'static str, Vec<Field>)> {
    Command::ALL.iter().map(|(name, _)| {
        let schema = Command::schema(name).unwrap().to_value();
        (*name, fields(&schema, &schema, &[]))
    })
}

#[test]
fn no_secret_is_in_the_open_part_of_any_command_and_every_other_field_is() {
    let mut secrets = 0;
    for (name, fields) in all() {
        let body = full(name, &fields);
        for field in &fields {
            let mut other = body.clone();
            put(&mut other, &field.path, samples(&field.kind)[1].clone());
            let Some(other) = shown(name, &other) else {
                continue;
            };
            let is_secret = SECRETS.contains(&field.kind.as_str());
            secrets += usize::from(is_secret);
            let is_hidden = is_secret || field.kind == "Context";
            let same = shown(name, &body) == Some(other);
            assert_eq!(same, is_hidden, "{name}: {}", field.path.join("."));
        }
    }
    assert!(secrets >= 12, "only {secrets} secret fields were tried");
}

#[test]
fn whether_a_secret_is_there_is_in_the_open_part() {
    let mut compared = 0;
    for (name, fields) in all() {
        let body = full(name, &fields);
        for field in fields
            .iter()
            .filter(|field| field.is_optional && field.kind != "Context")
        {
            let mut without = body.clone();
            if without
                .pointer(&format!("/{}", field.path.join("/")))
                .is_none()
            {
                continue;
            }
            take(&mut without, &field.path);
            if let Some(without) = shown(name, &without) {
                compared += 1;
                assert_ne!(
                    shown(name, &body),
                    Some(without),
                    "{name}: {}",
                    field.path.join(".")
                );
            }
        }
    }
    assert!(
        compared >= 8,
        "only {compared} optional fields were left out"
    );
}

#[test]
fn a_field_with_the_name_of_a_secret_has_the_type_of_one() {
    for (name, fields) in all() {
        for field in fields {
            let last = field.path.last().unwrap();
            let sounds_secret = last.split('_').any(|word| SECRET_WORDS.contains(&word));
            let is_secret = SECRETS.contains(&field.kind.as_str());
            assert_eq!(sounds_secret, is_secret, "{name}: {}", field.path.join("."));
        }
    }
}

#[test]
fn values_do_not_run_into_each_other() {
    let of = |body: &[u8]| Command::decode("verify-login", body).unwrap().open_part();
    let by_account = of(br#"{"account_id":"a","code":"123456"}"#);
    let for_audience = of(br#"{"account_id":"a","code":"123456","audience":"b"}"#);
    assert_ne!(by_account, for_audience);
    assert!(!for_audience.starts_with(&by_account));
    let other = Command::decode("clear-attempts", br#"{"account_id":"a","reason":"r"}"#).unwrap();
    let erase = Command::decode("erase-account", br#"{"account_id":"a","reason":"r"}"#).unwrap();
    assert_ne!(other.open_part(), erase.open_part());
}
