//! A JSON Schema validator for exactly the keywords that our documents use.
//!
//! The `jsonschema` crate would do, at 45 s of compiling and some 60 crates more; a keyword that
//! is unknown here is a breach, so nothing passes by being overlooked.

use serde_json::Value;

/// Returns how `value` breaks `schema`, empty when it does not.
pub fn breaches(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, value, "", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let Some(keywords) = schema.as_object() else {
        if schema != &Value::Bool(true) {
            found.push(format!("{at}: nothing may stand here"));
        }
        return;
    };
    for (keyword, rule) in keywords {
        let fits = |sub: &Value| {
            let mut inner = Vec::new();
            check(root, sub, value, at, &mut inner);
            inner.is_empty()
        };
        let list = || rule.as_array().map(Vec::as_slice).unwrap_or_default();
        let ok = match keyword.as_str() {
            "$schema" | "title" | "description" | "$defs" | "writeOnly" | "default" => true,
            "format" => is_of_format(rule, value),
            "$ref" => {
                let pointer = rule
                    .as_str()
                    .and_then(|text| text.strip_prefix('#'))
                    .unwrap();
                check(root, root.pointer(pointer).unwrap(), value, at, found);
                true
            }
            "type" => match rule {
                Value::Array(types) => types.iter().any(|one| is_of_type(one, value)),
                one => is_of_type(one, value),
            },
            "const" => rule == value,
            "enum" => list().contains(value),
            "anyOf" => list().iter().any(fits),
            "oneOf" => list().iter().filter(|sub| fits(sub)).count() == 1,
            "required" => list()
                .iter()
                .all(|name| value.get(name.as_str().unwrap()).is_some()),
            "properties" => {
                for (name, sub) in rule.as_object().unwrap() {
                    if let Some(member) = value.get(name) {
                        check(root, sub, member, &format!("{at}/{name}"), found);
                    }
                }
                true
            }
            "additionalProperties" if rule == &Value::Bool(true) => true,
            "additionalProperties" if rule == &Value::Bool(false) => {
                let known = keywords.get("properties").unwrap_or(&Value::Null);
                let members = value.as_object().into_iter().flatten();
                members
                    .into_iter()
                    .all(|(name, _)| known.get(name).is_some())
            }
            "items" => {
                for (index, member) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, member, &format!("{at}/{index}"), found);
                }
                true
            }
            "minLength" => value
                .as_str()
                .is_none_or(|text| text.chars().count() as u64 >= rule.as_u64().unwrap()),
            "maxLength" => value
                .as_str()
                .is_none_or(|text| text.chars().count() as u64 <= rule.as_u64().unwrap()),
            "minimum" => value
                .as_f64()
                .is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value
                .as_f64()
                .is_none_or(|number| number <= rule.as_f64().unwrap()),
            unknown => {
                found.push(format!(
                    "{at}: the keyword {unknown} is not checked yet: add it here"
                ));
                true
            }
        };
        if !ok {
            found.push(format!("{at}: {value} breaks {keyword}: {rule}"));
        }
    }
}

fn is_of_type(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        _ => false,
    }
}

fn is_of_format(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("date-time") => value
            .as_str()
            .is_none_or(|text| text.parse::<jiff::Timestamp>().is_ok()),
        Some("uint8") => value
            .as_u64()
            .is_none_or(|number| u8::try_from(number).is_ok()),
        Some("uint16") => value
            .as_u64()
            .is_none_or(|number| u16::try_from(number).is_ok()),
        Some("uint32") => value
            .as_u64()
            .is_none_or(|number| u32::try_from(number).is_ok()),
        Some("uint64" | "int64") => true,
        _ => false,
    }
}

#[test]
fn what_breaks_a_schema_is_found() {
    use countersign_schemas::catalogue::document;
    use serde_json::json;

    let login = document("start-login-request").unwrap();
    assert_eq!(
        breaches(&login, &json!({"username": "a", "password": "p"})),
        [""; 0]
    );
    for broken in [
        json!([]),
        json!({"password": "p"}),
        json!({"username": "a", "account_id": "a", "password": "p"}),
        json!({"username": "", "password": "p"}),
        json!({"username": "a", "password": 1}),
        json!({"username": "a", "password": "p", "now": 1}),
        json!({"username": "a", "password": "p", "context": {"ip": 7}}),
    ] {
        assert_ne!(breaches(&login, &broken), [""; 0], "{broken}");
    }
    let confirm = document("confirm-code-request").unwrap();
    assert_ne!(
        breaches(&confirm, &json!({"account_id": "a", "code": "123456"})),
        [""; 0]
    );
    let page = document("audit-page-request").unwrap();
    for broken in [
        json!({"limit": -1}),
        json!({"limit": 65536}),
        json!({"types": [1]}),
        json!({"from": "now"}),
    ] {
        assert_ne!(breaches(&page, &broken), [""; 0], "{broken}");
    }
    assert_ne!(breaches(&json!({"pattern": "^a$"}), &json!("a")), [""; 0]);
}
