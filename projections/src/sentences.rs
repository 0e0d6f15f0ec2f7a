//! Events in plain words, and in the form that auditors get.

use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::{PasswordCause, PasswordRejected, Purpose};
use countersign_schemas::event::attempts::v1::SuspendedCause;
use countersign_schemas::event::backup_codes::v1::{
    BackupCodeAccepted, BackupCodeReason, BackupCodeRejected, BackupCodesIssued, IssueCause,
};
use countersign_schemas::event::enrolment::v1::{
    DisabledBy, EnrolmentCodeRejected, EnrolmentStarted, FirstFactor, Mismatch,
};
use countersign_schemas::event::log::v1::{DataKeysRewrapped, EpochStarted, KeysRotated};
use countersign_schemas::event::login::v1::{TotpAccepted, TotpReason, TotpRejected};
use countersign_schemas::ids::AccountId;
use countersign_schemas::record::{SourceFacts, StreamKind};
use countersign_schemas::reply::{AuditEvent, Caller, Source};
use countersign_schemas::time::Micros;

use crate::Entry;
use crate::access_sentences as access;
use crate::reset_sentences as reset;

/// The number of the rendering with which this build writes an event's readable text. It is raised
/// with every change of a `text`, so that an export names its rendering. A test compares `text` and
/// `data` with the golden file of that number. The `data` of a stored form never changes, since
/// exports of every build are compared by it.
pub const RENDERING: u32 = 1;

/// Returns an event in one plain English sentence: no secret, no username, nothing that was sealed.
pub fn sentence(event: &Event) -> String {
    match event {
        Event::EpochStarted(e) => epoch_started(e),
        Event::PolicyInForce(_) => "A policy came into force.".to_owned(),
        Event::SchemasInForce(e) => format!("{} stored forms came into use.", e.forms.len()),
        Event::UnknownNameRefused(e) => unknown_name_refused(e.count),
        Event::ClockJumped(e) => clock_jumped(e.by_us),
        Event::ClockBackAccepted(e) => clock_back_accepted(e.behind_us),
        Event::AccountRegistered(_) => "The account was registered.".to_owned(),
        Event::PasswordSet(e) => password_set(e.cause),
        Event::PasswordRejected(e) => password_rejected(e),
        Event::EnrolmentStarted(e) => enrolment_started(e),
        Event::EnrolmentCodeRejected(e) => enrolment_code_rejected(e),
        Event::EnrolmentCancelled(_) => "An enrolment was cancelled.".to_owned(),
        Event::EnrolmentExpired(_) => {
            "An enrolment lapsed because no code confirmed it in time.".to_owned()
        }
        Event::TwoFactorEnabled(e) => two_factor_enabled(e.step),
        Event::TwoFactorDisabled(e) => two_factor_disabled(&e.by),
        Event::BackupCodesIssued(e) => backup_codes_issued(e),
        Event::BackupCodeAccepted(e) => backup_code_accepted(e),
        Event::BackupCodeRejected(e) => backup_code_rejected(e),
        Event::LoginStarted(e) => format!(
            "The password was right and a second factor was asked for, until {:.0}.",
            e.expires_at
        ),
        Event::LoginCompleted(_) => {
            "Signed in with the password alone, since two-factor authentication is off.".to_owned()
        }
        Event::TotpAccepted(e) => totp_accepted(e),
        Event::TotpRejected(e) => totp_rejected(e),
        Event::CodeReplayed(e) => code_replayed(e.step),
        Event::LoginPairRejected(_) => {
            "A password and a code that came together were refused, while passwords waited."
                .to_owned()
        }
        Event::AttemptsThrottled(e) => attempts_throttled(e.until),
        Event::DoubleCodeRequired(e) => double_code_required(e.until),
        Event::FactorSuspended(e) => factor_suspended(e.cause),
        Event::AttemptsSuppressed(e) => attempts_suppressed(e.count),
        Event::AttemptsCleared(_) => {
            "Support let authenticator codes be tried again; a suspension stays.".to_owned()
        }
        Event::ResetRequested(e) => reset::requested(e),
        Event::ResetApproved(e) => reset::approved(e),
        Event::ResetRejected(_) => reset::REJECTED.to_owned(),
        Event::ResetCancelled(e) => reset::cancelled(e.by).to_owned(),
        Event::ResetExpired(_) => reset::EXPIRED.to_owned(),
        Event::ResetExecuted(_) => reset::EXECUTED.to_owned(),
        Event::ResetRequestsRefused(e) => reset::refused(e),
        Event::AccountErased(_) => {
            "The account was erased: what was sealed for it can no longer be read.".to_owned()
        }
        Event::PasswordRehashed(_) => {
            "The password was proved and is kept with the protection of today.".to_owned()
        }
        Event::KeysRotated(e) => keys_rotated(e),
        Event::DataKeysRewrapped(e) => data_keys_rewrapped(e),
        Event::SubjectViewed(e) => access::subject_viewed(e),
        Event::AuditExported(e) => access::audit_exported(e),
        Event::LookUpsCounted(e) => access::look_ups_counted(e),
        Event::AgentActsRefused(e) => access::agent_acts_refused(e),
        Event::OperatorActed(e) => access::operator_acted(e),
    }
}

fn clock_jumped(by_us: u64) -> String {
    format!("The wall clock jumped forward by {} s.", seconds(by_us))
}

fn clock_back_accepted(behind_us: u64) -> String {
    format!(
        "A wall clock {} s behind the log was accepted, so codes are checked by it again.",
        seconds(behind_us)
    )
}

fn two_factor_enabled(step: u64) -> String {
    format!("Two-factor authentication was turned on with an authenticator code (step {step}).")
}

fn code_replayed(step: u64) -> String {
    format!("An authenticator code was refused because it had been used before (step {step}).")
}

fn attempts_throttled(until: Micros) -> String {
    format!("No authenticator code is compared until {until:.0} because of wrong ones.")
}

fn double_code_required(until: Micros) -> String {
    format!(
        "Two consecutive authenticator codes are asked for until {until:.0} because of many wrong ones."
    )
}

fn attempts_suppressed(count: u32) -> String {
    match count {
        1 => "1 attempt was refused without being compared.".to_owned(),
        count => format!("{count} attempts were refused without being compared."),
    }
}

/// Returns an entry in the form for auditors.
///
/// `source` are the opened facts of the record's sealed source, `None` if they stay sealed.
pub fn audit_event(entry: &Entry, source: Option<SourceFacts>) -> AuditEvent {
    let record = &entry.record;
    let meta = &record.meta;
    let account_id = match record.stream_kind {
        StreamKind::Account => AccountId::parse(&meta.account_id).ok(),
        StreamKind::Log => None,
    };
    let SourceFacts {
        ip,
        agent,
        on_behalf_of,
    } = source.unwrap_or_default();
    AuditEvent {
        position: entry.position,
        kind: entry.event.name().to_owned(),
        account_id,
        version: record.version,
        at: record.recorded_at,
        caller: Caller {
            name: meta.caller.to_string(),
            role: meta.role.as_str().to_owned(),
            verified: meta.verified,
        },
        on_behalf_of,
        command_id: meta.command_id.to_string(),
        trace_id: meta
            .trace_id
            .map(|id| format!("{:032x}", u128::from_be_bytes(id))),
        source: (ip.is_some() || agent.is_some()).then_some(Source { ip, agent }),
        data: entry.event.data(),
        text: sentence(&entry.event),
    }
}

fn keys_rotated(e: &KeysRotated) -> String {
    let key_id = e.key_id;
    format!("A new key-encryption key and a new pepper came into use (number {key_id}).")
}

fn data_keys_rewrapped(e: &DataKeysRewrapped) -> String {
    let (count, key_id) = (e.count, e.key_id);
    format!("All {count} data keys are protected by key-encryption key {key_id}.")
}

fn epoch_started(e: &EpochStarted) -> String {
    match e.lost_from {
        None => format!("The log began (epoch {}).", e.epoch),
        Some(from) => format!(
            "The log went on as epoch {} after everything from position {from} had been lost; every account of before is suspended until a reset.",
            e.epoch
        ),
    }
}

fn seconds(micros: u64) -> u64 {
    micros / Micros::SECOND
}

fn unknown_name_refused(count: u32) -> String {
    match count {
        1 => "A login was refused because nobody has that name.".to_owned(),
        count => format!("{count} logins were refused because nobody has those names."),
    }
}

fn password_set(cause: PasswordCause) -> String {
    match cause {
        PasswordCause::Registered => "A password was set with the account.".to_owned(),
        PasswordCause::Changed => "The password was changed.".to_owned(),
    }
}

fn password_rejected(e: &PasswordRejected) -> String {
    let refused = format!("A wrong password was refused {}", occasion(e.purpose));
    match (e.wait_until, e.all_wait_until) {
        (None, None) => format!("{refused}."),
        (Some(until), all) if all.is_none_or(|all| all <= until) => {
            format!("{refused}; its source must wait until {until:.0}.")
        }
        (_, Some(all)) => format!(
            "{refused}; every source must wait until {all:.0}, since there were {} wrong ones in a day.",
            e.day_failures
        ),
        (Some(_), None) => unreachable!("a wait of the source alone is handled above"),
    }
}

fn occasion(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Login => "at login",
        Purpose::ChangePassword => "when changing the password",
        Purpose::Enable => "when turning on two-factor authentication",
        Purpose::Regenerate => "when asking for new backup codes",
        Purpose::Disable => "when turning off two-factor authentication",
    }
}

/// Returns what a code did: it completed a login, or it proved the owner for another purpose.
fn proved(purpose: Purpose) -> String {
    match purpose {
        Purpose::Login => "Signed in".to_owned(),
        other => format!("The owner was proved {}", occasion(other)),
    }
}

fn enrolment_started(e: &EnrolmentStarted) -> String {
    let (until, proof) = (e.expires_at, proof(&e.proof));
    format!("An enrolment began after {proof}, to be confirmed by a code until {until:.0}.")
}

fn enrolment_code_rejected(e: &EnrolmentCodeRejected) -> String {
    let why = match e.reason {
        Mismatch::Wrong => "it was wrong".to_owned(),
        Mismatch::ClockOff(steps) if steps < 0 => {
            format!(
                "the app's clock is behind, by {} steps",
                steps.unsigned_abs()
            )
        }
        Mismatch::ClockOff(steps) => format!("the app's clock is ahead, by {steps} steps"),
        Mismatch::WrongKind => "it was no authenticator code".to_owned(),
    };
    let left = match e.tries_left {
        0 => "no tries were left, so the enrolment was dropped".to_owned(),
        1 => "1 try was left".to_owned(),
        tries => format!("{tries} tries were left"),
    };
    format!("A confirming code was refused because {why}; {left}.")
}

fn two_factor_disabled(by: &DisabledBy) -> String {
    match by {
        DisabledBy::User(by) => format!(
            "Two-factor authentication was turned off by the user after {}.",
            proof(by)
        ),
    }
}

fn backup_codes_issued(e: &BackupCodesIssued) -> String {
    let (slots, set_no) = (e.slots, e.set_no);
    match &e.cause {
        IssueCause::Enrolment => format!("{slots} backup codes were issued (set {set_no})."),
        IssueCause::Regenerated(by) => format!(
            "{slots} new backup codes were issued (set {set_no}) after {}; every earlier code became worthless ({} unused).",
            proof(by),
            e.superseded_unused
        ),
    }
}

fn backup_code_accepted(e: &BackupCodeAccepted) -> String {
    format!(
        "{} with backup code {} of set {}; {} left.",
        proved(e.purpose),
        e.ordinal,
        e.set_no,
        e.remaining
    )
}

fn backup_code_rejected(e: &BackupCodeRejected) -> String {
    let (ordinal, set_no) = (e.ordinal, e.set_no);
    match e.reason {
        BackupCodeReason::Wrong => {
            format!("A backup code was refused because it is not in set {set_no}.")
        }
        BackupCodeReason::Used => format!(
            "Backup code {ordinal} of set {set_no} was refused because it had been used before."
        ),
    }
}

fn totp_accepted(e: &TotpAccepted) -> String {
    let step = e.step;
    let proved = proved(e.purpose);
    if e.double_code {
        format!("{proved} with two consecutive authenticator codes (up to step {step}).")
    } else {
        format!("{proved} with an authenticator code (step {step}).")
    }
}

fn totp_rejected(e: &TotpRejected) -> String {
    let what = match e.reason {
        TotpReason::Wrong => "An authenticator code was refused because it was wrong",
        TotpReason::WrongPair => {
            "Two authenticator codes were refused because they are no consecutive pair"
        }
    };
    format!("{what} (failure {} in a row).", e.consecutive)
}

fn factor_suspended(cause: SuspendedCause) -> String {
    match cause {
        SuspendedCause::Failures => {
            "Authenticator codes were suspended because too many in a row were wrong.".to_owned()
        }
        SuspendedCause::Support => {
            "Support suspended the authenticator codes and every open login, for a stolen phone."
                .to_owned()
        }
    }
}

fn proof(first_factor: &FirstFactor) -> &'static str {
    match first_factor {
        FirstFactor::Password(_) => "the password was proved",
        FirstFactor::Vouched => "the caller vouched for the user",
    }
}

#[cfg(test)]
#[path = "sentences_tests.rs"]
mod tests;
