//! The cases that the event fixtures are made from: smallest, largest, odd, and each variant.
//!
//! Their order and names are free; their bytes are held by the files.

use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1 as account;
use countersign_schemas::event::attempts::v1 as attempts;
use countersign_schemas::event::audit::v1 as audit;
use countersign_schemas::event::backup_codes::v1 as backup_codes;
use countersign_schemas::event::enrolment::v1 as enrolment;
use countersign_schemas::event::log::v1 as log;
use countersign_schemas::event::login::v1 as login;
use countersign_schemas::event::login::v2::LoginStarted;
use countersign_schemas::sealed::{Protected, Sealed};
use countersign_schemas::time::Micros;

use account::{PasswordCause, Purpose};
use backup_codes::{BackupCodeReason, IssueCause};
use enrolment::{DisabledBy, FirstFactor, Mismatch};
use login::TotpReason;

/// The last microsecond of the last whole second before the end of jiff's time.
pub const LAST: Micros = Micros(253_402_207_199_999_999);
/// An ordinary instant, with microseconds.
pub const NOW: Micros = Micros(1_771_837_200_123_456);
/// Characters of one to four bytes, a combining one, a direction mark, a control and a quote.
pub const ODD: &str = "é e\u{301} 漢 🦀 \u{202e}\u{7}\"\\";

/// A case's name, without extension, and its event.
pub type Case = (&'static str, Event);

/// Every case of every event type.
pub fn cases() -> Vec<Case> {
    let families = [
        log_wide(),
        accounts(),
        enrolments(),
        codes(),
        logins(),
        waits(),
        erasures(),
        look_ups(),
        crate::reset_cases::events(),
    ];
    families.into_iter().flatten().collect()
}

/// A sealed value of `length` ciphertext bytes, the tag included.
pub fn sealed(key: u32, length: u8) -> Sealed<'static> {
    Sealed {
        key,
        nonce: std::array::from_fn(|at| 0xf0 ^ at as u8),
        ciphertext: (0..length).map(|at| at.wrapping_mul(37)).collect(),
    }
}

pub fn protected(key: u32, length: u8) -> Protected {
    Protected::Sealed(sealed(key, length))
}

/// A purpose for each first factor, so that the fixtures show the first, the last and one between.
fn purpose_beside(first_factor: FirstFactor) -> Purpose {
    match first_factor {
        FirstFactor::Vouched => Purpose::Login,
        FirstFactor::Password(u32::MAX) => Purpose::Disable,
        FirstFactor::Password(_) => Purpose::Regenerate,
    }
}

pub fn longest() -> String {
    "Z".repeat(64)
}

fn log_wide() -> Vec<Case> {
    let epoch = |epoch, log_id, lost_from, spent_through, reason: &str| {
        Event::EpochStarted(log::EpochStarted {
            epoch,
            log_id: [log_id; 16],
            lost_from,
            spent_through,
            reason: reason.into(),
        })
    };
    let policy = |policy: &str| {
        Event::PolicyInForce(log::PolicyInForce {
            policy: policy.into(),
        })
    };
    let schemas = |forms: &[(&str, u16, u8)]| {
        let form = |(name, version, byte): &(&str, u16, u8)| log::Form {
            name: (*name).to_owned(),
            version: *version,
            fingerprint: [*byte; 16],
        };
        Event::SchemasInForce(log::SchemasInForce {
            forms: forms.iter().map(form).collect(),
        })
    };
    let unknown = |count| Event::UnknownNameRefused(log::UnknownNameRefused { count });
    let jumped = |by_us| Event::ClockJumped(log::ClockJumped { by_us });
    let accepted = |wall, behind_us, reason: &str| {
        Event::ClockBackAccepted(log::ClockBackAccepted {
            wall,
            behind_us,
            reason: reason.into(),
        })
    };
    vec![
        ("smallest", epoch(1, 0, None, 0, "")),
        (
            "largest",
            epoch(u32::MAX, 0xff, Some(u64::MAX), u64::MAX, &"r".repeat(100)),
        ),
        ("unicode", epoch(2, 7, Some(1), 60_000_001, ODD)),
        ("smallest", policy("")),
        (
            "largest",
            policy(&format!(r#"{{"text":"{}"}}"#, "p".repeat(200))),
        ),
        ("unicode", policy(r#"{"é":"🦀","n":[1,2.5,null]}"#)),
        ("smallest", unknown(0)),
        ("largest", unknown(u32::MAX)),
        ("two-bytes", unknown(128)),
        ("smallest", schemas(&[])),
        (
            "largest",
            schemas(&[(&longest(), u16::MAX, 0xff), ("a", 0, 0)]),
        ),
        ("unicode", schemas(&[(ODD, 2, 7)])),
        ("smallest", jumped(0)),
        ("largest", jumped(u64::MAX)),
        ("ordinary", jumped(90_000_000)),
        ("smallest", accepted(Micros(0), 0, "")),
        ("largest", accepted(LAST, u64::MAX, &"r".repeat(500))),
        ("unicode", accepted(NOW, 600_000_000, ODD)),
    ]
}

fn accounts() -> Vec<Case> {
    let registered = |username| Event::AccountRegistered(account::AccountRegistered { username });
    let set = |verifier, cause| Event::PasswordSet(account::PasswordSet { verifier, cause });
    let rejected = |purpose, credential, failures, wait_until| {
        Event::PasswordRejected(account::PasswordRejected {
            purpose,
            credential,
            failures,
            wait_until,
            day_failures: failures,
            all_wait_until: wait_until.filter(|_| failures > 100),
        })
    };
    vec![
        ("smallest", registered(None)),
        ("largest", registered(Some(protected(u32::MAX, 80)))),
        ("shortest-name", registered(Some(protected(1, 17)))),
        ("smallest", set(protected(0, 0), PasswordCause::Registered)),
        (
            "largest",
            set(protected(u32::MAX, 120), PasswordCause::Changed),
        ),
        ("second-key", set(protected(2, 16), PasswordCause::Changed)),
        ("smallest", rejected(Purpose::Login, 0, 0, None)),
        (
            "largest",
            rejected(Purpose::Disable, u32::MAX, u32::MAX, Some(LAST)),
        ),
        (
            "change-password",
            rejected(Purpose::ChangePassword, 2, 11, Some(NOW)),
        ),
        (
            "enable",
            rejected(Purpose::Enable, 127, 128, Some(Micros(0))),
        ),
        ("regenerate", rejected(Purpose::Regenerate, 128, 1, None)),
    ]
}

fn enrolments() -> Vec<Case> {
    let started = |id: &str, sealed: [Option<Protected>; 2], expires_at, proof| {
        let [account_name, label] = sealed;
        Event::EnrolmentStarted(enrolment::EnrolmentStarted {
            authenticator_id: id.into(),
            secret: protected(1, 36),
            account_name,
            label,
            expires_at,
            proof,
        })
    };
    let rejected = |id: &str, reason, tries_left| {
        Event::EnrolmentCodeRejected(enrolment::EnrolmentCodeRejected {
            authenticator_id: id.into(),
            reason,
            tries_left,
        })
    };
    let enabled = |id: &str, step, drift| {
        Event::TwoFactorEnabled(enrolment::TwoFactorEnabled {
            authenticator_id: id.into(),
            step,
            drift,
        })
    };
    let disabled = |proof| {
        Event::TwoFactorDisabled(enrolment::TwoFactorDisabled {
            by: DisabledBy::User(proof),
        })
    };
    let both = [Some(protected(u32::MAX, 100)), Some(protected(2, 60))];
    let password = FirstFactor::Password;
    let mut cases = vec![
        (
            "smallest",
            started("a", [None, None], Micros(0), FirstFactor::Vouched),
        ),
        (
            "largest",
            started(&longest(), both, LAST, password(u32::MAX)),
        ),
        (
            "label-only",
            started("A_b-9", [None, Some(protected(1, 17))], NOW, password(2)),
        ),
        (
            "unicode",
            started(ODD, [Some(protected(1, 17)), None], NOW, password(128)),
        ),
        ("smallest", rejected("a", Mismatch::Wrong, 0)),
        (
            "largest",
            rejected(&longest(), Mismatch::ClockOff(i64::MIN), u8::MAX),
        ),
        ("clock-ahead", rejected("A_b-9", Mismatch::ClockOff(10), 3)),
        ("wrong-kind", rejected("A_b-9", Mismatch::WrongKind, 4)),
        ("unicode", rejected(ODD, Mismatch::ClockOff(-1), 1)),
        ("smallest", enabled("a", 0, 0)),
        ("largest", enabled(&longest(), u64::MAX, i8::MIN)),
        ("unicode", enabled(ODD, 59_061_240, -1)),
        ("smallest", disabled(FirstFactor::Vouched)),
        ("largest", disabled(password(u32::MAX))),
        ("two-bytes", disabled(password(128))),
    ];
    for (name, id) in [("smallest", "a"), ("largest", &longest()), ("unicode", ODD)] {
        let authenticator_id = id.to_owned();
        let cancelled = enrolment::EnrolmentCancelled { authenticator_id };
        cases.push((name, Event::EnrolmentCancelled(cancelled)));
        let authenticator_id = id.to_owned();
        let expired = enrolment::EnrolmentExpired { authenticator_id };
        cases.push((name, Event::EnrolmentExpired(expired)));
    }
    cases
}

fn codes() -> Vec<Case> {
    let issued = |set_no, fingerprint: &str, cause, slots, verifiers, superseded_unused| {
        Event::BackupCodesIssued(backup_codes::BackupCodesIssued {
            set_no,
            fingerprint: fingerprint.into(),
            cause,
            slots,
            verifiers,
            superseded_unused,
        })
    };
    let accepted = |set_no, ordinal, remaining, first_factor, challenge| {
        Event::BackupCodeAccepted(backup_codes::BackupCodeAccepted {
            set_no,
            ordinal,
            remaining,
            purpose: purpose_beside(first_factor),
            first_factor,
            challenge,
        })
    };
    let rejected = |set_no, ordinal, reason, first_factor| {
        Event::BackupCodeRejected(backup_codes::BackupCodeRejected {
            set_no,
            ordinal,
            reason,
            purpose: purpose_beside(first_factor),
            first_factor,
        })
    };
    let (password, vouched) = (FirstFactor::Password, FirstFactor::Vouched);
    let regenerated = IssueCause::Regenerated;
    vec![
        (
            "smallest",
            issued(0, "", IssueCause::Enrolment, 0, protected(0, 0), 0),
        ),
        (
            "largest",
            issued(
                u32::MAX,
                &longest(),
                regenerated(password(u32::MAX)),
                255,
                protected(u32::MAX, 130),
                255,
            ),
        ),
        (
            "vouched",
            issued(2, "K7QM", regenerated(vouched), 10, protected(1, 40), 7),
        ),
        (
            "unicode",
            issued(3, ODD, IssueCause::Enrolment, 10, protected(1, 16), 0),
        ),
        ("smallest", accepted(0, 0, 0, vouched, None)),
        (
            "largest",
            accepted(u32::MAX, 255, 255, password(u32::MAX), Some([0xff; 16])),
        ),
        (
            "with-challenge",
            accepted(1, 10, 9, password(2), Some(*b"0123456789abcdef")),
        ),
        ("smallest", rejected(0, 0, BackupCodeReason::Wrong, vouched)),
        (
            "largest",
            rejected(u32::MAX, 255, BackupCodeReason::Used, password(u32::MAX)),
        ),
        ("used", rejected(1, 3, BackupCodeReason::Used, vouched)),
    ]
}

fn logins() -> Vec<Case> {
    let started = |challenge, expires_at, credential, audience: Option<String>| {
        Event::LoginStarted(LoginStarted {
            challenge,
            expires_at,
            credential,
            audience,
        })
    };
    let completed = |credential| Event::LoginCompleted(login::LoginCompleted { credential });
    let accepted = |step, drift, enrolment, double_code, first_factor, challenge| {
        Event::TotpAccepted(login::TotpAccepted {
            step,
            drift,
            enrolment,
            double_code,
            purpose: purpose_beside(first_factor),
            first_factor,
            challenge,
        })
    };
    let rejected = |reason, enrolment, failures, consecutive, first_factor| {
        Event::TotpRejected(login::TotpRejected {
            reason,
            enrolment,
            failures,
            consecutive,
            day_failures: consecutive / 2,
            purpose: purpose_beside(first_factor),
            first_factor,
        })
    };
    let replayed = |step, enrolment, failures, consecutive, first_factor| {
        Event::CodeReplayed(login::CodeReplayed {
            step,
            enrolment,
            failures,
            consecutive,
            day_failures: failures,
            purpose: purpose_beside(first_factor),
            first_factor,
        })
    };
    let pair_rejected =
        |credential| Event::LoginPairRejected(login::LoginPairRejected { credential });
    let (password, vouched) = (FirstFactor::Password, FirstFactor::Vouched);
    let (max32, max16) = (u32::MAX, u16::MAX);
    vec![
        ("smallest", started([0; 16], Micros(0), 0, None)),
        (
            "largest",
            started([0xff; 16], LAST, max32, Some("~".repeat(128))),
        ),
        (
            "ordinary",
            started(
                *b"0123456789abcdef",
                NOW,
                2,
                Some("https://shop.example".into()),
            ),
        ),
        ("smallest", completed(0)),
        ("largest", completed(max32)),
        ("two-bytes", completed(128)),
        ("smallest", accepted(0, 0, 0, false, vouched, None)),
        (
            "largest",
            accepted(
                u64::MAX,
                i8::MAX,
                max32,
                true,
                password(max32),
                Some([0xff; 16]),
            ),
        ),
        (
            "behind",
            accepted(
                59_061_240,
                -1,
                3,
                false,
                password(2),
                Some(*b"0123456789abcdef"),
            ),
        ),
        ("ahead", accepted(59_061_241, 1, 128, true, vouched, None)),
        ("smallest", rejected(TotpReason::Wrong, 0, 0, 0, vouched)),
        (
            "largest",
            rejected(TotpReason::WrongPair, max32, max16, max16, password(max32)),
        ),
        (
            "ordinary",
            rejected(TotpReason::Wrong, 3, 127, 128, password(2)),
        ),
        ("smallest", replayed(0, 0, 0, 0, vouched)),
        (
            "largest",
            replayed(u64::MAX, max32, max16, max16, password(max32)),
        ),
        ("ordinary", replayed(59_061_240, 3, 4, 1, password(2))),
        ("smallest", pair_rejected(0)),
        ("largest", pair_rejected(max32)),
        ("ordinary", pair_rejected(2)),
    ]
}

fn waits() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, until) in [
        ("smallest", Micros(0)),
        ("largest", LAST),
        ("ordinary", NOW),
    ] {
        let throttled = attempts::AttemptsThrottled { until };
        cases.push((name, Event::AttemptsThrottled(throttled)));
        let double = attempts::DoubleCodeRequired { until };
        cases.push((name, Event::DoubleCodeRequired(double)));
    }
    let suspended = |cause, reason, ticket| {
        Event::FactorSuspended(attempts::FactorSuspended {
            cause,
            reason,
            ticket,
        })
    };
    let (failures, support) = (
        attempts::SuspendedCause::Failures,
        attempts::SuspendedCause::Support,
    );
    let largest = || Some(protected(u32::MAX, 130));
    cases.push(("failures", suspended(failures, None, None)));
    cases.push(("largest", suspended(support, largest(), largest())));
    let reason = Some(protected(1, 40));
    cases.push((
        "support",
        suspended(support, reason, Some(protected(1, 20))),
    ));
    for (name, by, reason) in [
        ("smallest", String::new(), protected(0, 0)),
        ("largest", longest(), protected(u32::MAX, 130)),
        ("unicode", ODD.to_owned(), protected(1, 40)),
    ] {
        let cleared = attempts::AttemptsCleared { by, reason };
        cases.push((name, Event::AttemptsCleared(cleared)));
    }
    for (name, count) in [("smallest", 0), ("largest", u32::MAX), ("two-bytes", 128)] {
        let suppressed = attempts::AttemptsSuppressed { count };
        cases.push((name, Event::AttemptsSuppressed(suppressed)));
    }
    cases
}

fn erasures() -> Vec<Case> {
    let erased = |reason| Event::AccountErased(account::AccountErased { reason });
    let rehashed = |verifier| Event::PasswordRehashed(account::PasswordRehashed { verifier });
    let rotated = |key_id, reason| Event::KeysRotated(log::KeysRotated { key_id, reason });
    let rewrapped =
        |key_id, count| Event::DataKeysRewrapped(log::DataKeysRewrapped { key_id, count });
    vec![
        ("smallest", erased(None)),
        ("largest", erased(Some(protected(u32::MAX, 130)))),
        ("ordinary", erased(Some(protected(1, 40)))),
        ("smallest", rehashed(protected(0, 0))),
        ("largest", rehashed(protected(u32::MAX, 130))),
        ("ordinary", rehashed(protected(1, 71))),
        ("smallest", rotated(0, None)),
        ("largest", rotated(u32::MAX, Some(protected(u32::MAX, 130)))),
        ("ordinary", rotated(2, Some(protected(1, 40)))),
        ("smallest", rewrapped(0, 0)),
        ("largest", rewrapped(u32::MAX, u64::MAX)),
        ("ordinary", rewrapped(2, 12_000)),
    ]
}

fn look_ups() -> Vec<Case> {
    let viewed =
        |account_id, query| Event::SubjectViewed(audit::SubjectViewed { account_id, query });
    let exported = |account_id, format, filter| {
        Event::AuditExported(audit::AuditExported {
            account_id,
            format,
            filter,
        })
    };
    let counted = |account_id, query, count| {
        Event::LookUpsCounted(audit::LookUpsCounted {
            account_id,
            query,
            count,
        })
    };
    let operator =
        |act, view, reason| Event::OperatorActed(audit::OperatorActed { act, view, reason });
    let acts = |by, act, count| Event::AgentActsRefused(audit::AgentActsRefused { by, act, count });
    vec![
        ("smallest", viewed(None, String::new())),
        ("largest", viewed(Some("a".repeat(64)), longest())),
        (
            "ordinary",
            viewed(Some("ada".into()), "audit-timeline".into()),
        ),
        ("smallest", exported(None, String::new(), String::new())),
        (
            "largest",
            exported(Some("a".repeat(64)), longest(), ODD.into()),
        ),
        ("ordinary", exported(None, "jsonl".into(), "{}".into())),
        ("smallest", counted(None, String::new(), 0)),
        (
            "largest",
            counted(Some("a".repeat(64)), longest(), u32::MAX),
        ),
        ("ordinary", counted(None, "find-account".into(), 1_700)),
        (
            "smallest",
            acts(String::new(), audit::AgentAct::SuspendFactor, 0),
        ),
        (
            "largest",
            acts(longest(), audit::AgentAct::EraseAccount, u32::MAX),
        ),
        (
            "clears",
            acts("eve".into(), audit::AgentAct::ClearAttempts, 1),
        ),
        ("resets", acts("eve".into(), audit::AgentAct::EndReset, 128)),
        (
            "smallest",
            operator(audit::OperatorAct::Backup, None, protected(0, 0)),
        ),
        (
            "largest",
            operator(
                audit::OperatorAct::ViewRebuild,
                Some(longest()),
                protected(u32::MAX, 130),
            ),
        ),
        (
            "ordinary",
            operator(
                audit::OperatorAct::ViewRebuild,
                Some("audit-trail".into()),
                protected(1, 40),
            ),
        ),
    ]
}
