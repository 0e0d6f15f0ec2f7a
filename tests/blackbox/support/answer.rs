//! A reply, compared with the rules of the contract for every reply.

use async_nats::HeaderMap;
use serde_json::Value;

/// The words of docs/reference/errors.md and their status numbers, copied by hand.
pub const STATUS: &[(&str, u16)] = &[
    ("request.malformed", 400),
    ("request.invalid", 422),
    ("payload.too_large", 413),
    ("actor.unverified", 401),
    ("actor.forbidden", 403),
    ("credentials.invalid", 401),
    ("code.invalid", 401),
    ("code.second_required", 428),
    ("account.throttled", 429),
    ("factor.suspended", 403),
    ("account.not_found", 404),
    ("account.exists", 409),
    ("factor.already_on", 409),
    ("factor.not_on", 409),
    ("factor.not_pending", 409),
    ("case.not_found", 404),
    ("reset.open", 409),
    ("reset.closed", 409),
    ("reset.none", 409),
    ("approval.self", 403),
    ("reset.cooling_off", 425),
    ("quota.exceeded", 429),
    ("version.conflict", 409),
    ("idempotency.mismatch", 409),
    ("outcome.unseen", 409),
    ("enrolment.expired", 410),
    ("challenge.expired", 410),
    ("password.unacceptable", 422),
    ("overloaded", 503),
    ("draining", 503),
    ("directory.unavailable", 503),
    ("projection.behind", 503),
    ("deadline.exceeded", 504),
];

/// Values shorter than this can be in a sentence by chance.
const TELLING_BYTES_MIN: usize = 4;

/// The reply to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

impl Answer {
    /// Reads a reply to `sent`; a refusal that breaks a law of the contract fails the test.
    pub fn read(headers: Option<HeaderMap>, payload: &[u8], sent: &[u8]) -> Self {
        let text = String::from_utf8(payload.to_vec()).unwrap();
        let answer = Self {
            headers: headers.unwrap_or_default(),
            body: serde_json::from_str(&text).unwrap(),
            text,
        };
        if answer.is_refusal() {
            answer.check_refusal(sent);
        }
        answer
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name);
        let first = values.next();
        assert!(values.next().is_none(), "{name} appears more than once");
        first.map(|value| value.as_str())
    }

    /// The word of a refusal; `None` for a success.
    pub fn word(&self) -> Option<&str> {
        self.header("Countersign-Error")
    }

    pub fn is_replayed(&self) -> bool {
        let header = self.header("Countersign-Replayed");
        assert!(matches!(header, None | Some("true")));
        header.is_some()
    }

    /// Header and body alone each show the same: a refusal or none.
    fn is_refusal(&self) -> bool {
        let signs = [
            self.header("Nats-Service-Error").is_some(),
            self.header("Nats-Service-Error-Code").is_some(),
            self.word().is_some(),
            self.body.get("code").is_some_and(Value::is_string),
        ];
        assert!(
            signs == [true; 4] || signs == [false; 4],
            "headers and body disagree: {self:?}"
        );
        signs[0]
    }

    fn check_refusal(&self, sent: &[u8]) {
        let word = self.word().unwrap();
        let (_, status) = STATUS
            .iter()
            .find(|(known, _)| *known == word)
            .unwrap_or_else(|| panic!("an unknown word: {self:?}"));
        assert_eq!(
            self.header("Nats-Service-Error-Code").unwrap(),
            status.to_string()
        );
        let body = &self.body;
        assert_eq!(body["type"], format!("urn:countersign:error:{word}"));
        assert_eq!(body["code"], word);
        assert_eq!(body["status"], *status);
        assert!(body["retryable"].is_boolean(), "{body}");
        assert_eq!(body["title"], self.header("Nats-Service-Error").unwrap());
        let wait = self
            .header("Countersign-Retry-After")
            .map(|s| s.parse::<u64>().unwrap());
        assert_eq!(body.get("retry_after_s").and_then(Value::as_u64), wait);
        let known = [
            "type",
            "code",
            "status",
            "title",
            "detail",
            "retryable",
            "retry_after_s",
            "errors",
            "diagnosis",
        ];
        for name in body.as_object().unwrap().keys() {
            assert!(known.contains(&name.as_str()), "{name} in {body}");
        }
        self.check_that_nothing_is_repeated(sent);
    }

    fn check_that_nothing_is_repeated(&self, sent: &[u8]) {
        let values = values_in(sent);
        let reply = format!(
            "{} {}",
            self.header("Nats-Service-Error").unwrap(),
            self.text
        );
        for value in values.iter().filter(|v| v.len() >= TELLING_BYTES_MIN) {
            assert!(!reply.contains(value), "{reply} repeats {value}");
        }
    }

    /// The body of a success.
    pub fn ok(&self) -> &Value {
        assert_eq!(self.word(), None, "{}", self.text);
        &self.body
    }

    /// The body of a refusal with this word.
    pub fn refused(&self, word: &str) -> &Value {
        assert_eq!(self.word(), Some(word), "{}", self.text);
        &self.body
    }

    /// A text field of a success.
    pub fn field(&self, name: &str) -> String {
        self.ok()[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name} in {}", self.text))
            .into()
    }

    /// The position of a command's last event.
    pub fn position(&self) -> u64 {
        self.ok()["details"]["position"].as_u64().unwrap()
    }
}

/// The values of a request; of a request that is not JSON, the quoted texts that are not names, and
/// the numbers.
fn values_in(sent: &[u8]) -> Vec<String> {
    let mut values = Vec::new();
    if let Ok(body) = serde_json::from_slice(sent) {
        leaves(&body, &mut values);
        return values;
    }
    let text = String::from_utf8_lossy(sent);
    let mut parts = text.split('"').peekable();
    let mut is_quoted = false;
    while let Some(part) = parts.next() {
        let names_something = parts
            .peek()
            .is_some_and(|next| next.trim_start().starts_with(':'));
        match is_quoted {
            true if names_something => {}
            true => values.push(part.into()),
            false => {
                let words = part.split(|c: char| !c.is_alphanumeric());
                values.extend(words.map(Into::into));
            }
        }
        is_quoted = !is_quoted;
    }
    values
}

fn leaves(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Number(number) => into.push(number.to_string()),
        Value::Array(values) => values.iter().for_each(|value| leaves(value, into)),
        Value::Object(fields) => fields.values().for_each(|value| leaves(value, into)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Text that is not JSON is not repeated either.
#[test]
fn the_values_of_a_malformed_request_are_known() {
    let sent = br#"{"username": "ada lovelace", "password": "correct horse", "n": 123456, rest"#;
    let expected = ["ada lovelace", "correct horse", "n", "123456", "rest"];
    let found = values_in(sent);
    for value in expected.iter().filter(|value| value.len() > 1) {
        assert!(
            found.iter().any(|found| found == value),
            "{value}: {found:?}"
        );
    }
    assert!(!found.iter().any(|found| found == "username"));
    assert_eq!(values_in(br#"{"a": "b", "c": 1}"#), ["b", "1"]);
}
