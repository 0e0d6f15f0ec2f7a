//! Tests every setting of the stream, taken from the list that it is created with.

use super::*;

const REPLICAS: usize = 3;

fn right() -> Value {
    settings("S", REPLICAS)
}

/// Returns other values that a setting of this kind can have.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(set) => vec![json!(!set), Value::Null],
        Value::Number(number) => {
            let number = number.as_i64().unwrap();
            vec![json!(number - 1), json!(number.abs() + 86_400), Value::Null]
        }
        Value::String(_) => vec![json!("other"), Value::Null],
        Value::Array(_) => vec![
            json!([]),
            json!(["other.>"]),
            json!(["S", "countersign.v1.event.>"]),
        ],
        Value::Null | Value::Object(_) => panic!("no setting is {value}"),
    }
}

#[test]
fn every_setting_that_the_stream_is_made_with_is_demanded_but_those_that_a_person_may_choose() {
    check("S", &right(), REPLICAS).unwrap();
    for (key, value) in right().as_object().unwrap() {
        for other in others(value) {
            let mut found = right();
            found[key] = other.clone();
            let drift = drift("S", &found, REPLICAS);
            let more = other.as_u64().is_some_and(|more| more >= REPLICAS as u64);
            let is_free = FREE.contains(&key.as_str()) || (key == "num_replicas" && more);
            match drift {
                None => assert!(is_free, "{key} is {other}"),
                Some(words) => {
                    assert!(!is_free, "{key} is {other}");
                    assert!(words.starts_with(&format!("{key} is ")), "{words}");
                }
            }
        }
        let mut missing = right();
        missing.as_object_mut().unwrap().remove(key);
        let is_free = FREE.contains(&key.as_str());
        assert_eq!(drift("S", &missing, REPLICAS).is_none(), is_free, "{key}");
    }
}

/// Settings that cannot lose, change or reorder events.
#[test]
fn of_the_settings_that_the_stream_is_made_with_two_may_be_chosen_otherwise() {
    let right = right();
    let made = right.as_object().unwrap().keys();
    let free: Vec<_> = made.filter(|key| FREE.contains(&key.as_str())).collect();
    assert_eq!(free, ["description", "duplicate_window"]);
}

#[test]
fn a_setting_that_it_is_not_made_with_must_be_as_if_it_were_not_there() {
    for key in [
        "mirror",
        "sources",
        "sealed",
        "no_ack",
        "subject_transform",
        "anything new",
    ] {
        assert!(!FREE.contains(&key));
        for unset in [
            json!(null),
            json!(false),
            json!(0),
            json!(""),
            json!([]),
            json!({}),
        ] {
            let mut found = right();
            found[key] = unset;
            check("S", &found, REPLICAS).unwrap();
        }
        for set in [
            json!(true),
            json!(1),
            json!(-1),
            json!("x"),
            json!(["x"]),
            json!({"x": 1}),
        ] {
            let mut found = right();
            found[key] = set;
            let words = drift("S", &found, REPLICAS).unwrap();
            assert!(words.contains(key), "{words}");
        }
    }
    for key in FREE {
        let mut found = right();
        found[*key] = json!("anything");
        check("S", &found, REPLICAS).unwrap();
    }
}

#[test]
fn an_answer_without_settings_is_no_stream_to_publish_to() {
    for none in [json!(null), json!([]), json!("S")] {
        let error = check("S", &none, REPLICAS).unwrap_err();
        assert!(matches!(error, StreamError::Away(_)), "{error}");
    }
}
