//! JSON values as YAML blocks; strings stay quoted, so that none is read as anything else.

use serde_json::Value;

/// A document, with a line break at its end.
pub fn written(document: &Value) -> String {
    let mut text = String::new();
    block(document, 0, &mut text);
    text
}

fn block(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (at, (name, member)) in members.iter().enumerate() {
                if at > 0 {
                    text.push_str(&"  ".repeat(depth));
                }
                text.push_str(&key(name));
                text.push(':');
                after(member, depth + 1, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push_str(&"  ".repeat(depth));
                }
                text.push_str("- ");
                block(item, depth + 1, text);
            }
        }
        other => {
            text.push_str(&other.to_string());
            text.push('\n');
        }
    }
}

/// The value after a name: on the same line, or as a block below.
fn after(value: &Value, depth: usize, text: &mut String) {
    let has_members = match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if has_members {
        text.push('\n');
        text.push_str(&"  ".repeat(depth));
    } else {
        text.push(' ');
    }
    block(value, depth, text);
}

fn key(name: &str) -> String {
    let is_plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if is_plain && !name.is_empty() {
        name.to_owned()
    } else {
        Value::from(name).to_string()
    }
}
