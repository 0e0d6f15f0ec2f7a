//! The headers of a request: each known header appears at most once, is readable and is within its
//! bound.
//!
//! Header names ignore letter case (RFC 9110 §5.1). An unknown name with the service's prefix is
//! refused, since the sender relies on what the header promises. The trace only informs, so an
//! unreadable one is ignored.

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use countersign_schemas::ids::CommandId;
use countersign_schemas::is_seen;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::time::Micros;

use super::header_block::UNREADABLE;

/// The idempotency key of a command.
pub const MSG_ID: &str = "Nats-Msg-Id";
/// The broker's statement about the caller.
pub const REQUEST_INFO: &str = "Nats-Request-Info";
/// The caller's own name, in dev mode.
pub const CALLER: &str = "Countersign-Caller";
/// The person or service that the caller says it acts for.
pub const ON_BEHALF_OF: &str = "Countersign-On-Behalf-Of";
/// The deadline; after it nothing is appended.
pub const DEADLINE: &str = "Countersign-Deadline";
/// The position that a query's view must have reached.
pub const MIN_POSITION: &str = "Countersign-Min-Position";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace context, the vendors' part.
pub const TRACESTATE: &str = "tracestate";
/// The safe sentence of a refusal.
pub const SERVICE_ERROR: &str = "Nats-Service-Error";
/// The status number of a refusal.
pub const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";
/// The stable word of a refusal.
pub const ERROR: &str = "Countersign-Error";
/// Whole seconds until a retry can succeed.
pub const RETRY_AFTER: &str = "Countersign-Retry-After";
/// Marks a repeated reply: the stored outcome of an earlier identical command.
pub const REPLAYED: &str = "Countersign-Replayed";

/// The headers of this service that a request may have.
pub(super) const OWN: [&str; 4] = [CALLER, ON_BEHALF_OF, DEADLINE, MIN_POSITION];
/// The first letters of the service's own header names.
const PREFIX: &str = "Countersign";

const ON_BEHALF_OF_BYTES_MAX: usize = 128;
const TRACESTATE_BYTES_MAX: usize = 512;

/// The message for a command without the command id that it needs.
pub const MSG_ID_REQUIRED: &str =
    "Nats-Msg-Id is required here, 1 to 64 printable ASCII characters";

const MSG_ID_RULE: &str = "Nats-Msg-Id is 1 to 64 printable ASCII characters, once";
const ON_BEHALF_OF_RULE: &str = "Countersign-On-Behalf-Of is 1 to 128 bytes, at least one of them visible, without control characters, once";
const DEADLINE_RULE: &str = "Countersign-Deadline is one RFC 3339 time";
const MIN_POSITION_RULE: &str = "Countersign-Min-Position is one whole number in decimal digits";
const NO_POSITION_RULE: &str = "Countersign-Min-Position is only for requests that read the log or a view: this request waits for no position";
const UNKNOWN_RULE: &str = "the only headers that begin with Countersign in a request are Countersign-Caller, Countersign-On-Behalf-Of, Countersign-Deadline and Countersign-Min-Position";

/// The trace that a request belongs to; the reply repeats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The trace id.
    pub id: [u8; 16],
    /// `traceparent` as it arrived.
    pub parent: String,
    /// `tracestate` as it arrived; several are joined with commas (RFC 9110 §5.3).
    pub state: Option<String>,
}

/// The headers of a request, apart from its caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// The caller's idempotency key.
    pub command_id: Option<CommandId>,
    /// The person or service that the caller says it acts for.
    pub on_behalf_of: Option<String>,
    /// The deadline; after it nothing is appended.
    pub deadline: Option<Micros>,
    /// The position that a query's view must have reached.
    pub min_position: Option<u64>,
}

impl Headers {
    /// Reads the headers of a request that takes these of [`OWN`].
    ///
    /// # Errors
    /// `request.invalid` with the rule of the first header that breaks its rule, or that has the
    /// service's prefix and is unknown or not taken by this request.
    pub fn read(map: Option<&HeaderMap>, taken: &[&str]) -> Result<Self, Refusal> {
        let on_behalf_of = parsed(map, ON_BEHALF_OF, ON_BEHALF_OF_RULE, |text| {
            let fits = (1..=ON_BEHALF_OF_BYTES_MAX).contains(&text.len());
            let fits = fits && is_seen(text) && !text.chars().any(char::is_control);
            fits.then(|| text.to_owned())
        })?;
        if map.is_some_and(|map| has_ours_beside(map, &OWN)) {
            return Err(refused(UNKNOWN_RULE));
        }
        if map.is_some_and(|map| has_ours_beside(map, taken)) {
            return Err(refused(NO_POSITION_RULE));
        }
        Ok(Self {
            command_id: command_id(map)?,
            on_behalf_of,
            deadline: parsed(map, DEADLINE, DEADLINE_RULE, |text| {
                Micros::parse(text).ok()
            })?,
            min_position: parsed(map, MIN_POSITION, MIN_POSITION_RULE, |text| {
                // `parse` alone would accept a sign.
                let digits = text.bytes().all(|b| b.is_ascii_digit());
                text.parse().ok().filter(|_| digits)
            })?,
        })
    }
}

/// Reads only the command id, so that a request with an unreadable header can be answered with it.
///
/// # Errors
/// `request.invalid` if the header appears more than once or does not have its form.
pub fn command_id(map: Option<&HeaderMap>) -> Result<Option<CommandId>, Refusal> {
    parsed(map, MSG_ID, MSG_ID_RULE, |text| CommandId::parse(text).ok())
}

/// Reads the trace context; an unreadable one counts as none (W3C Trace Context §3.2.2.3).
pub fn trace(map: Option<&HeaderMap>) -> Option<Trace> {
    let parent = single(map, TRACEPARENT).ok()??;
    Some(Trace {
        id: trace_id(parent)?,
        parent: parent.to_owned(),
        state: tracestate(map).filter(|state| state.len() <= TRACESTATE_BYTES_MAX),
    })
}

/// Returns the value of a header; `Ok(None)` without the header.
///
/// # Errors
/// `()` if the header appears more than once.
pub(super) fn single<'a>(map: Option<&'a HeaderMap>, name: &str) -> Result<Option<&'a str>, ()> {
    let mut values = values(map, name);
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(()),
        (first, None) => Ok(first),
    }
}

/// Returns every value of a header, whatever the letter case of its name.
fn values<'a>(map: Option<&'a HeaderMap>, name: &str) -> impl Iterator<Item = &'a str> {
    let of_name = move |spelled: &&HeaderName| {
        let spelled: &str = (*spelled).as_ref();
        spelled.eq_ignore_ascii_case(name)
    };
    map.into_iter()
        .flat_map(HeaderMap::iter)
        .filter(move |(spelled, _)| of_name(spelled))
        .flat_map(|(_, values)| values.iter().map(HeaderValue::as_str))
}

/// Returns whether a name has the service's prefix and is none of these.
fn has_ours_beside(map: &HeaderMap, these: &[&str]) -> bool {
    map.iter().any(|(name, _)| {
        let name: &str = name.as_ref();
        let start = name.get(..PREFIX.len()).unwrap_or_default();
        let is_of_these = these.iter().any(|own| own.eq_ignore_ascii_case(name));
        start.eq_ignore_ascii_case(PREFIX) && !is_of_these
    })
}

fn parsed<T>(
    map: Option<&HeaderMap>,
    name: &str,
    rule: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Refusal> {
    match single(map, name) {
        Ok(None) => Ok(None),
        Ok(Some(text)) => parse(text).map(Some).ok_or_else(|| refused(rule)),
        Err(()) => Err(refused(rule)),
    }
}

fn refused(rule: &'static str) -> Refusal {
    Refusal::because(ErrorCode::RequestInvalid, rule)
}

fn tracestate(map: Option<&HeaderMap>) -> Option<String> {
    let values: Vec<_> = values(map, TRACESTATE).collect();
    let state = values.join(",");
    (!values.is_empty() && !state.contains(UNREADABLE)).then_some(state)
}

/// Reads the trace id of a `traceparent` (W3C Trace Context §3.2.2): lower-case hex, no id all
/// zero, version 00 with exactly four fields, later versions with at least four.
fn trace_id(parent: &str) -> Option<[u8; 16]> {
    let mut fields = parent.split('-');
    let version = lower_hex::<1>(fields.next()?)?;
    let trace = lower_hex::<16>(fields.next()?)?;
    let span = lower_hex::<8>(fields.next()?)?;
    lower_hex::<1>(fields.next()?)?;
    let later = fields.next().is_some();
    let valid = version[0] != 0xff && (version[0] != 0 || !later);
    (valid && trace != [0; 16] && span != [0; 8]).then_some(trace)
}

fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, *value);
        }
        headers
    }

    /// Reads the headers of a request that takes all of the service's own.
    fn read(map: &HeaderMap) -> Result<Headers, Refusal> {
        Headers::read(Some(map), &OWN)
    }

    #[test]
    fn readable_headers_are_read() {
        let map = headers(&[
            (MSG_ID, "id 1"),
            (ON_BEHALF_OF, "Zoë"),
            (DEADLINE, "2026-11-24T12:00:00Z"),
            (MIN_POSITION, "42"),
        ]);
        let read = read(&map).unwrap();
        assert_eq!(read.command_id.unwrap().as_str(), "id 1");
        assert_eq!(read.on_behalf_of.as_deref(), Some("Zoë"));
        assert_eq!(read.deadline, Micros::parse("2026-11-24T12:00:00Z").ok());
        assert_eq!(read.min_position, Some(42));
        assert_eq!(Headers::read(None, &OWN), Ok(Headers::default()));
    }

    #[test]
    fn an_unreadable_header_is_refused_without_its_value() {
        let (id, name) = ("i".repeat(65), "n".repeat(129));
        for pairs in [
            &[(MSG_ID, "")][..],
            &[(MSG_ID, "é")],
            &[(MSG_ID, &id)],
            &[(MSG_ID, "a"), (MSG_ID, "a")],
            &[(ON_BEHALF_OF, "")],
            &[(ON_BEHALF_OF, &name)],
            &[(ON_BEHALF_OF, "a\tb")],
            &[(DEADLINE, "soon")],
            &[
                (DEADLINE, "2026-11-24T12:00:00Z"),
                (DEADLINE, "2026-11-24T12:00:00Z"),
            ],
            &[(MIN_POSITION, "+1")],
            &[(MIN_POSITION, "-1")],
            &[(MIN_POSITION, "1.0")],
            &[(MIN_POSITION, "")],
            &[(MIN_POSITION, "18446744073709551616")],
            &[(ON_BEHALF_OF, "\u{200b}\u{3164}")],
            &[
                (DEADLINE, "2026-11-24T12:00:00Z"),
                ("countersign-deadline", "2026-11-24T12:00:00Z"),
            ],
            &[("NATS-MSG-ID", "a"), (MSG_ID, "b")],
            &[("countersign-min-position", "x")],
            &[("Countersign-Dead-Line", "2026-11-24T12:00:00Z")],
            &[("COUNTERSIGN_DEADLINE", "2026-11-24T12:00:00Z")],
            &[("countersign", "")],
            &[(ERROR, "internal")],
        ] {
            let refusal = read(&headers(pairs)).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::RequestInvalid, "{pairs:?}");
            assert!(!format!("{refusal:?}").contains(&"n".repeat(9)));
        }
    }

    #[test]
    fn a_name_is_one_in_whatever_letter_case() {
        let pairs = [
            (MSG_ID, "id 1"),
            (ON_BEHALF_OF, "Zoë"),
            (DEADLINE, "2026-11-24T12:00:00Z"),
            (MIN_POSITION, "42"),
            (TRACEPARENT, PARENT),
            (TRACESTATE, "a=1"),
        ];
        let canonical = headers(&pairs);
        let spell: [fn(&str) -> String; 2] = [str::to_lowercase, str::to_uppercase];
        for spell in spell {
            let names = pairs.map(|(name, _)| spell(name));
            let spelled: Vec<_> = names
                .iter()
                .zip(pairs)
                .map(|(n, (_, v))| (n.as_str(), v))
                .collect();
            let spelled = headers(&spelled);
            assert_eq!(read(&spelled), read(&canonical));
            assert_eq!(trace(Some(&spelled)), trace(Some(&canonical)));
        }
        // Headers that others add on the way are not the service's concern.
        let others = headers(&[
            ("X-Countersign-Y", "1"),
            ("Nats-Expected-Stream", "x"),
            ("Count", ""),
        ]);
        assert_eq!(read(&others), Ok(Headers::default()));
    }

    #[test]
    fn a_trace_state_that_is_too_long_or_not_readable_is_left_out() {
        for state in ["s".repeat(513), format!("a={UNREADABLE}")] {
            let map = headers(&[(TRACEPARENT, PARENT), (TRACESTATE, &state)]);
            assert_eq!(read(&map), Ok(Headers::default()));
            assert_eq!(trace(Some(&map)).unwrap().state, None);
        }
    }

    #[test]
    fn an_unreadable_trace_is_no_trace() {
        let read = trace(Some(&headers(&[
            (TRACEPARENT, PARENT),
            (TRACESTATE, "a=1"),
            (TRACESTATE, "b=2"),
        ])));
        let read = read.unwrap();
        assert_eq!((read.id[0], read.id[15]), (0x0a, 0x9c));
        assert_eq!(read.state.as_deref(), Some("a=1,b=2"));
        for bad in [
            "",
            "x",
            &PARENT.to_uppercase(),
            &PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &PARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
            &PARENT.replacen("00", "ff", 1),
            &format!("{PARENT}-x"),
        ] {
            assert_eq!(trace(Some(&headers(&[(TRACEPARENT, bad)]))), None, "{bad}");
        }
        let later = format!("{}-x", PARENT.replacen("00", "01", 1));
        assert!(trace(Some(&headers(&[(TRACEPARENT, &later)]))).is_some());
        let twice = headers(&[(TRACEPARENT, PARENT), (TRACEPARENT, PARENT)]);
        assert_eq!(trace(Some(&twice)), None);
    }
}
