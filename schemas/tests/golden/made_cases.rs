//! The cases of documents that the code makes by itself: problems, audit and published events.

use countersign_schemas::event::Event;
use countersign_schemas::ids::AccountId;
use countersign_schemas::published::{Group, Notice, PublishedEvent};
use countersign_schemas::refusal::{Diagnosis, ErrorCode, FieldError, Refusal};
use countersign_schemas::reply::{AuditEvent, Caller, Source};
use countersign_schemas::time::Micros;

use crate::event_cases;
use crate::wire_cases::Case;

/// One for every code, and one for every member that can be absent.
pub fn problems() -> Vec<Case> {
    let written = |refusal: &Refusal| serde_json::to_string(&refusal.problem()).unwrap();
    let mut cases: Vec<Case> = ErrorCode::ALL
        .iter()
        .map(|code| {
            (
                "problem",
                code.as_str().to_owned(),
                written(&Refusal::new(*code)),
            )
        })
        .collect();
    let wait = Refusal::after(ErrorCode::AccountThrottled, u64::MAX);
    cases.push(made(
        "problem",
        "account.throttled-with-wait",
        written(&wait),
    ));
    let steps = Some(Diagnosis::ClockOff { steps: -10 });
    for (name, diagnosis) in [
        ("clock-off", steps),
        ("replayed", Some(Diagnosis::Replayed)),
    ] {
        let refusal = Refusal {
            diagnosis,
            ..Refusal::new(ErrorCode::CodeInvalid)
        };
        cases.push(made(
            "problem",
            &format!("code.invalid-{name}"),
            written(&refusal),
        ));
    }
    let field = |pointer: &str| FieldError {
        pointer: pointer.into(),
        detail: AccountId::RULE.into(),
    };
    let fields = Refusal {
        errors: vec![field(""), field("/account_id")],
        ..Refusal::because(
            ErrorCode::RequestInvalid,
            "this is what the detail looks like",
        )
    };
    cases.push(made(
        "problem",
        "request.invalid-with-fields",
        written(&fields),
    ));
    cases
}

/// One for every event type, so that what auditors see of each is held too; one with nothing
/// that can be absent; and two as they are published.
pub fn audit_events() -> Vec<Case> {
    let mut shown = Vec::new();
    for (_, _, name) in Event::ALL {
        let of_type = |(_, event): &event_cases::Case| event.name() == *name;
        let (_, event) = event_cases::cases()
            .into_iter()
            .find(of_type)
            .expect("held elsewhere");
        shown.push(((*name).to_owned(), audit_event(&event)));
    }
    let (_, event) = event_cases::cases().swap_remove(0);
    let full = AuditEvent {
        account_id: AccountId::parse("ada").ok(),
        on_behalf_of: Some(event_cases::ODD.into()),
        trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
        source: Some(Source {
            ip: Some("2001:db8::7".into()),
            agent: Some(event_cases::ODD.into()),
        }),
        ..audit_event(&event)
    };
    let group = Group { index: 1, size: 3 };
    let published = [
        ("plain", audit_event(&event)),
        ("every-member", full.clone()),
    ]
    .map(|(name, event)| (name, PublishedEvent::of(event, group)));
    let notice = Notice {
        kind: "factor-on".into(),
        ends_sessions: true,
    };
    let noticed = published[0].1.clone().with_notice(Some(notice));
    let published = published
        .into_iter()
        .chain([("with-a-notice", noticed)])
        .map(|(name, event)| {
            (
                "published-event",
                name,
                serde_json::to_string(&event).unwrap(),
            )
        })
        .map(|(document, name, body)| made(document, name, body));
    shown.push(("every-member".into(), full));
    let written = |event| serde_json::to_string(&event).unwrap();
    shown
        .into_iter()
        .map(|(name, event)| made("audit-event", &name, written(event)))
        .chain(published)
        .collect()
}

fn audit_event(event: &Event) -> AuditEvent {
    AuditEvent {
        position: 1,
        kind: event.name().into(),
        account_id: None,
        version: 1,
        at: Micros(1_771_837_200_123_456),
        caller: Caller {
            name: "login-gw".into(),
            role: "platform".into(),
            verified: true,
        },
        on_behalf_of: None,
        command_id: "c-1".into(),
        trace_id: None,
        source: None,
        data: event.data(),
        text: "One plain sentence.".into(),
    }
}

fn made(document: &'static str, name: &str, body: String) -> Case {
    (document, name.to_owned(), body)
}
