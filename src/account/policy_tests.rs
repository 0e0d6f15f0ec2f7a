//! The ranges of the policy, and its waits.

use serde_json::Value;

use super::*;

#[test]
fn the_shipped_policy_is_in_range() {
    assert_eq!(Policy::default().check(), Ok(()));
}

/// Returns the bounds in a rule's words: the smallest and the largest number that it allows.
fn bounds(words: &str, of: &Value) -> (Option<u64>, Option<u64>) {
    let number = |word: &str| {
        let named = || of[word].as_u64();
        let number = word.parse().ok().or_else(named);
        number.unwrap_or_else(|| panic!("a rule's words name a number or another rule: {words}"))
    };
    if let Some(least) = words.strip_suffix(" or more") {
        return (Some(number(least)), None);
    }
    if let Some(limit) = words.strip_prefix("below ") {
        return (None, Some(number(limit) - 1));
    }
    if let Some((limit, most)) = words
        .strip_prefix("above ")
        .and_then(|words| words.split_once(" and at most "))
    {
        return (Some(number(limit) + 1), Some(number(most)));
    }
    let (least, most) = words.split_once(" to ").unwrap_or((words, words));
    (Some(number(least)), Some(number(most)))
}

/// The rows come from the policy itself, so a new number without a range fails this test.
#[test]
fn every_number_of_the_policy_has_a_range_and_is_refused_right_outside_of_it() {
    let shipped = Policy::default();
    let shown = serde_json::to_value(&shipped).expect("a policy is plain numbers");
    let mut unruled: Vec<&str> = shown
        .as_object()
        .expect("an object")
        .iter()
        .filter(|(_, value)| value.is_u64())
        .map(|(name, _)| name.as_str())
        .collect();
    for (_, name, words) in shipped.rules() {
        unruled.retain(|unruled| *unruled != name);
        let with = |number: u64| {
            let mut changed = shown.clone();
            changed[name] = number.into();
            serde_json::from_value::<Policy>(changed).ok()
        };
        let holds = |number: u64| {
            with(number).is_some_and(|policy| {
                let rules = policy.rules();
                let rule = rules.iter().find(|rule| rule.1 == name);
                rule.expect("the same rules for every policy").0
            })
        };
        let (least, most) = bounds(words, &shown);
        for inside in least.into_iter().chain(most) {
            assert!(holds(inside), "{name} may be {inside}: {words}");
        }
        let below = least.and_then(|least| least.checked_sub(1));
        for outside in below.into_iter().chain(most.map(|most| most + 1)) {
            assert!(!holds(outside), "{name} may not be {outside}: {words}");
            let checked = with(outside).map(|policy| policy.check());
            assert!(checked.is_none_or(|checked| checked.is_err()), "{name}");
        }
    }
    assert!(unruled.is_empty(), "without a range: {unruled:?}");
}

#[test]
fn a_window_in_which_no_pair_of_codes_can_lie_is_refused() {
    let policy = Policy {
        window_steps: 0,
        ..Policy::default()
    };
    assert!(policy.check().is_err());
}

#[test]
fn a_number_out_of_range_is_named() {
    let policy = Policy {
        password_bytes_min: 4,
        ..Policy::default()
    };
    let error = policy.check().expect_err("4 bytes are too few");
    assert_eq!(
        error.to_string(),
        "[policy] password_bytes_min is out of range: it must be 8 to 64"
    );
}

#[test]
fn waits_double_from_five_seconds_to_fifteen_minutes() {
    let policy = Policy::default();
    let waits: Vec<_> = [0, 1, 2, 3, 8, 9, 100].map(|n| policy.wait_s(n)).into();
    assert_eq!(waits, [0, 5, 10, 20, 640, 900, 900]);
}
