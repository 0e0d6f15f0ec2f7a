//! Evidence and histories that no engine produces: nothing panics, and nothing is accepted for
//! them.

use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::{
    AccountRegistered, PasswordCause, PasswordRejected, PasswordSet, Purpose,
};
use countersign_schemas::event::attempts::v1::{
    AttemptsThrottled, DoubleCodeRequired, FactorSuspended, SuspendedCause,
};
use countersign_schemas::event::backup_codes::v1::{
    BackupCodeAccepted, BackupCodesIssued, IssueCause,
};
use countersign_schemas::event::enrolment::v1::{
    DisabledBy, EnrolmentCancelled, EnrolmentCodeRejected, EnrolmentExpired, EnrolmentStarted,
    FirstFactor, Mismatch, TwoFactorDisabled, TwoFactorEnabled,
};
use countersign_schemas::event::login::v1::{
    CodeReplayed, LoginCompleted, TotpAccepted, TotpReason, TotpRejected,
};
use countersign_schemas::event::login::v2::LoginStarted;
use countersign_schemas::event::reset::v1::{
    CancelledBy, ResetApproved, ResetCancelled, ResetExecuted, ResetExpired, ResetRequested,
};
use countersign_schemas::ids::{AuthenticatorId, ChallengeId};
use countersign_schemas::sealed::Protected;
use countersign_schemas::time::Micros;
use proptest::prelude::*;

use super::lives::{begin, happen, life, policy};
use super::properties::submit;
use super::reset_words::{clear_attempts, request_reset, suspend_factor, user_cancel};
use super::scenario::{ACCOUNT, Outcome, Password, START, Scenario};
use super::sentences::*;
use crate::account::{
    Account, CodeEvidence, Created, Evidence, Issued, Kept, ProofEvidence, Recorded,
};
use crate::crypto::otp::TotpSecret;

fn proof() -> impl Strategy<Value = ProofEvidence> {
    prop_oneof![
        Just(ProofEvidence::Absent),
        Just(ProofEvidence::NotCompared),
        Just(ProofEvidence::Vouched),
        (0..12_u32, any::<bool>())
            .prop_map(|(credential, right)| ProofEvidence::Compared { credential, right }),
    ]
}

/// Steps at both ends of time, near enough to each other to be in one window.
fn step() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..4_u64, u64::MAX - 2..=u64::MAX]
}

fn steps() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(step(), 0..4)
}

fn code() -> impl Strategy<Value = CodeEvidence> {
    prop_oneof![
        2 => Just(CodeEvidence::None),
        4 => (0..12_u32, step(), steps(), steps()).prop_map(
            |(enrolment, step_now, matched, next_matched)| CodeEvidence::Totp {
                enrolment,
                step_now,
                matched,
                next_matched,
            }
        ),
        1 => Just(CodeEvidence::Nothing),
        2 => (0..4_u32, 0..12_u8, any::<bool>()).prop_map(|(set_no, ordinal, right)| {
            CodeEvidence::Backup {
                set_no,
                ordinal,
                right,
            }
        }),
    ]
}

fn created() -> impl Strategy<Value = Created> {
    (0..3_u8).prop_map(|kind| match kind {
        0 => Created::None,
        1 => Created::Verifier(Protected::clear(&[])),
        _ => Created::Codes(Issued {
            codes: Vec::new(),
            verifiers: Protected::clear(&[]),
            fingerprint: String::new(),
        }),
    })
}

/// Evidence, and whether it must name the credential, enrolment and set in force.
fn evidence() -> impl Strategy<Value = (Evidence, bool)> {
    let received_at = prop_oneof![any::<u64>(), Just(u64::MAX)].prop_map(Micros);
    let parts = (received_at, proof(), code(), created(), any::<bool>());
    parts.prop_map(|(received_at, proof, code, created, fits)| {
        let evidence = Evidence {
            received_at,
            proof,
            code,
            created,
            display_name: String::new(),
            kept: match fits {
                true => Kept::Rehashed(Protected::clear(&[])),
                false => Kept::Outdated,
            },
        };
        (evidence, fits)
    })
}

/// Makes the evidence name the credential, enrolment and set in force.
fn fit(evidence: &mut Evidence, account: &Account) {
    let on = account.on();
    if let ProofEvidence::Compared { credential, .. } = &mut evidence.proof {
        *credential = account.credential.as_ref().map_or(0, |c| c.version);
    }
    match &mut evidence.code {
        CodeEvidence::Totp { enrolment, .. } => {
            let pending = account.pending().map(|p| p.enrolment);
            *enrolment = on.map(|on| on.enrolment).or(pending).unwrap_or(0);
        }
        CodeEvidence::Backup { set_no, .. } => *set_no = on.map_or(0, |on| on.codes.set_no),
        CodeEvidence::None | CodeEvidence::Nothing => {}
    }
}

/// Each command once, with the only authenticator and challenge.
fn asks() -> Vec<BoxedAsk> {
    vec![
        boxed(register("a good password")),
        boxed(change_password(Password::Right, "another password")),
        boxed(enable(Password::Right)),
        boxed(confirm(wrong_code())),
        boxed(confirm(wrong_backup_code(1))),
        boxed(confirm_unknown()),
        boxed(with_code(start_login(Password::Right), wrong_code(), None)),
        boxed(with_code(
            start_login(Password::Right),
            wrong_backup_code(1),
            None,
        )),
        boxed(cancel_nth(0)),
        boxed(regenerate(Password::Right)),
        boxed(with_code(regenerate(Password::Right), wrong_code(), None)),
        boxed(with_code(
            disable(Password::Right),
            wrong_backup_code(1),
            None,
        )),
        boxed(disable(Password::Right)),
        boxed(start_login(Password::Right)),
        boxed(verify_vouched(wrong_code())),
        boxed(verify_pair(wrong_code(), wrong_code())),
        boxed(verify_vouched(wrong_backup_code(2))),
        boxed(verify_login(wrong_code())),
        boxed(with_code(
            change_password(Password::Right, "another password"),
            wrong_code(),
            None,
        )),
        boxed(clear_attempts),
        boxed(suspend_factor),
        boxed(request_reset),
        boxed(user_cancel),
    ]
}

/// Asserts that an accepted code or password was compared with the secret in force.
fn assert_rests_on_the_account(before: &Account, evidence: &Evidence, outcome: &Outcome) {
    let credential = before.credential.as_ref().map(|c| c.version);
    let is_proven = match evidence.proof {
        ProofEvidence::Vouched | ProofEvidence::Elsewhere { right: true } => true,
        ProofEvidence::Compared {
            credential: c,
            right,
        } => right && Some(c) == credential,
        ProofEvidence::Absent
        | ProofEvidence::NotCompared
        | ProofEvidence::Elsewhere { right: false } => false,
    };
    for event in &outcome.events {
        match (event, &evidence.code) {
            (Event::PasswordSet(e), _) if e.cause == PasswordCause::Registered => {}
            (
                Event::PasswordSet(_)
                | Event::EnrolmentStarted(_)
                | Event::TwoFactorDisabled(_)
                | Event::LoginStarted(_)
                | Event::LoginCompleted(_),
                _,
            ) => assert!(is_proven, "{event:?}"),
            (Event::TotpAccepted(e), CodeEvidence::Totp { enrolment, .. }) => {
                let on = before.on().expect("on");
                assert_eq!((on.enrolment, on.enrolment), (*enrolment, e.enrolment));
                assert!(e.step > on.last_step);
            }
            (Event::TwoFactorEnabled(_), CodeEvidence::Totp { enrolment, .. }) => {
                assert_eq!(before.pending().map(|p| p.enrolment), Some(*enrolment));
            }
            (Event::BackupCodeAccepted(e), CodeEvidence::Backup { set_no, right, .. }) => {
                let codes = &before.on().expect("on").codes;
                assert!(right & codes.is_unused(e.ordinal));
                assert_eq!((codes.set_no, codes.set_no), (*set_no, e.set_no));
            }
            (
                Event::TotpAccepted(_) | Event::TwoFactorEnabled(_) | Event::BackupCodeAccepted(_),
                _,
            ) => panic!("{event:?} without its evidence"),
            _ => {}
        }
    }
}

/// Mostly within fifty days, so that waits and windows meet.
fn time() -> impl Strategy<Value = Micros> {
    prop_oneof![
        12 => (0..4_000_000_u64).prop_map(|s| START.plus_s(s)),
        1 => any::<u64>().prop_map(Micros),
        1 => Just(Micros(u64::MAX)),
    ]
}

/// Any event of an account, with any numbers in it.
fn event() -> impl Strategy<Value = Event> {
    (0..24_u8, any::<u64>(), any::<u16>(), any::<u8>(), time()).prop_map(any_event)
}

/// The random parts of one event: its kind and numbers of every size.
type Parts = (u8, u64, u16, u8, Micros);

fn any_event(parts: Parts) -> Event {
    match parts.0 {
        0..=11 => any_factor_event(parts),
        12..=19 => any_code_event(parts),
        20.. => any_reset_event(parts),
    }
}

fn any_factor_event((kind, n, _, byte, at): Parts) -> Event {
    let authenticator_id = "the one".to_owned();
    let first_factor = FirstFactor::Password(n as u32);
    match kind {
        0 => Event::AccountRegistered(AccountRegistered { username: None }),
        1 => Event::PasswordSet(PasswordSet {
            verifier: Protected::clear(b"verifier"),
            cause: PasswordCause::Changed,
        }),
        2 => Event::PasswordRejected(PasswordRejected {
            purpose: Purpose::Login,
            credential: n as u32,
            failures: n as u32,
            wait_until: Some(at),
            day_failures: u32::from(byte),
            all_wait_until: (byte > 127).then_some(at),
        }),
        3 | 4 => Event::EnrolmentStarted(EnrolmentStarted {
            authenticator_id,
            secret: Protected::clear(&[7; 20]),
            account_name: None,
            label: None,
            expires_at: at,
            proof: first_factor,
        }),
        5 => Event::EnrolmentCodeRejected(EnrolmentCodeRejected {
            authenticator_id,
            reason: Mismatch::ClockOff(n.cast_signed()),
            tries_left: byte,
        }),
        6 => Event::EnrolmentCancelled(EnrolmentCancelled { authenticator_id }),
        7 => Event::EnrolmentExpired(EnrolmentExpired { authenticator_id }),
        8..=10 => Event::TwoFactorEnabled(TwoFactorEnabled {
            authenticator_id,
            step: n,
            drift: byte.cast_signed(),
        }),
        _ => Event::TwoFactorDisabled(TwoFactorDisabled {
            by: DisabledBy::User(first_factor),
        }),
    }
}

fn any_code_event((kind, n, short, byte, at): Parts) -> Event {
    let first_factor = FirstFactor::Password(n as u32);
    let challenge = the_challenge().hash();
    let purpose = match byte % 2 {
        0 => Purpose::Login,
        _ => Purpose::Disable,
    };
    let (enrolment, failures, consecutive) = (n as u32, short, short);
    match kind {
        12 => Event::BackupCodesIssued(BackupCodesIssued {
            set_no: u32::from(short),
            fingerprint: String::new(),
            cause: IssueCause::Enrolment,
            slots: byte,
            verifiers: Protected::clear(&[7; 20]),
            superseded_unused: byte,
        }),
        13 => Event::BackupCodeAccepted(BackupCodeAccepted {
            set_no: u32::from(short),
            ordinal: byte,
            remaining: byte,
            purpose,
            first_factor,
            challenge: Some(challenge),
        }),
        14 => Event::LoginStarted(LoginStarted {
            challenge,
            expires_at: at,
            credential: n as u32,
            audience: None,
        }),
        15 => Event::LoginCompleted(LoginCompleted {
            credential: n as u32,
        }),
        16 => Event::TotpAccepted(TotpAccepted {
            step: n,
            drift: byte.cast_signed(),
            enrolment,
            double_code: byte > 127,
            purpose,
            first_factor,
            challenge: Some(challenge),
        }),
        17 => Event::TotpRejected(TotpRejected {
            reason: match byte {
                0..128 => TotpReason::Wrong,
                128.. => TotpReason::WrongPair,
            },
            enrolment,
            failures,
            consecutive,
            day_failures: failures,
            purpose,
            first_factor,
        }),
        18 => Event::CodeReplayed(CodeReplayed {
            step: n,
            enrolment,
            failures,
            consecutive,
            day_failures: failures,
            purpose,
            first_factor,
        }),
        _ => any_limit(byte, at),
    }
}

fn any_limit(byte: u8, at: Micros) -> Event {
    match byte % 3 {
        0 => Event::AttemptsThrottled(AttemptsThrottled { until: at }),
        1 => Event::DoubleCodeRequired(DoubleCodeRequired { until: at }),
        _ => Event::FactorSuspended(FactorSuspended {
            cause: match byte {
                0..128 => SuspendedCause::Failures,
                128.. => SuspendedCause::Support,
            },
            reason: None,
            ticket: None,
        }),
    }
}

fn any_reset_event((kind, _, _, byte, at): Parts) -> Event {
    let (case_id, reason) = ("the one".to_owned(), Protected::clear(b"reason"));
    match kind {
        20 => Event::ResetRequested(ResetRequested {
            case_id,
            expires_at: at,
            lost: None,
            ticket: reason.clone(),
            reason,
        }),
        21 => Event::ResetApproved(ResetApproved {
            case_id,
            execute_after: at,
            reason,
        }),
        22 if byte < 128 => Event::ResetExpired(ResetExpired { case_id }),
        22 => Event::ResetCancelled(ResetCancelled {
            case_id,
            by: CancelledBy::User,
            reason: None,
        }),
        _ => Event::ResetExecuted(ResetExecuted {
            case_id,
            told_until: at,
            reason,
        }),
    }
}

fn the_challenge() -> ChallengeId {
    ChallengeId::from_random([1; 16])
}

fn fold(events: &[(Event, Micros)]) -> Account {
    let mut account = Account::default();
    for (version, (event, at)) in (1..).zip(events) {
        account.evolve(&Recorded {
            account_id: ACCOUNT,
            version,
            at: *at,
            caller: "shop",
            source_key: [1; 8],
            event,
        });
    }
    account
}

/// Adds what `asks` needs to any account.
fn complete(s: &mut Scenario) {
    if s.authenticators.is_empty() {
        let id = AuthenticatorId::parse("the-one").expect("an id");
        s.authenticators.push(id);
        s.secrets.push(TotpSecret::new(&[7; 20]));
    }
    if s.challenges.is_empty() {
        s.challenges.push(the_challenge());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn mismatched_evidence_is_never_accepted_and_never_panics(
        policy in policy(),
        ops in life(),
        offered in prop::collection::vec(evidence(), 16),
    ) {
        let mut s = begin(policy, 0);
        for op in &ops {
            if let Some((ask, _)) = happen(&mut s, op) {
                submit(&mut s, &ask);
            }
        }
        complete(&mut s);
        for (ask, (mut evidence, fits)) in asks().into_iter().zip(offered) {
            let mut s = s.clone();
            if fits {
                fit(&mut evidence, &s.account);
            }
            let (command, _) = ask(&s);
            let before = s.account.clone();
            let outcome = s.submit(&command, &evidence);
            assert_rests_on_the_account(&before, &evidence, &outcome);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_history_folds_alike_twice_and_takes_any_command(
        policy in policy(),
        history in prop::collection::vec((event(), time()), 0..60),
        wall in prop_oneof![4 => Just(START.plus_s(4_000_000)), 1 => time()],
        offered in prop::collection::vec(evidence(), 16),
    ) {
        // The log's first event of an account makes it; nothing else can come before.
        let made = Event::AccountRegistered(AccountRegistered { username: None });
        let history: Vec<_> = [(made, Micros(0))].into_iter().chain(history).collect();
        let mut s = begin(policy, 0);
        s.account = fold(&history);
        prop_assert_eq!(&fold(&history), &s.account);
        complete(&mut s);
        for (ask, (mut evidence, fits)) in asks().into_iter().zip(offered) {
            let mut s = s.clone();
            if fits {
                fit(&mut evidence, &s.account);
            }
            let (command, _) = ask(&s);
            s.wall = wall;
            s.submit(&command, &evidence);
        }
    }
}
