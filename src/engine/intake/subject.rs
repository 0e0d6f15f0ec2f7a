//! Whose history a command belongs to, and under what its source is counted.

use countersign_schemas::command::Command;
use countersign_schemas::ids::{CaseId, ChallengeId, StreamKey, Username};
use countersign_schemas::refusal::ErrorCode;

use crate::account::Account;
use crate::engine::Request;
use crate::engine::counts::source::SourceKey;
use crate::engine::message::Subject;
use crate::engine::request::unavailable;
use crate::engine::shared::Shared;

/// Finds whose history a command belongs to.
///
/// # Errors
/// `store.unavailable` when the index cannot be read.
pub fn subject(shared: &Shared, command: &Command) -> Result<Subject, ErrorCode> {
    let account_id = match command {
        Command::RegisterAccount(c) => c.account_id.as_ref(),
        Command::ChangePassword(c) => Some(&c.account_id),
        Command::Enable2fa(c) => Some(&c.account_id),
        Command::ConfirmCode(c) => Some(&c.account_id),
        Command::CancelEnrolment(c) => Some(&c.account_id),
        Command::RegenerateBackupCodes(c) => Some(&c.account_id),
        Command::Disable2fa(c) => Some(&c.account_id),
        Command::StartLogin(c) => match &c.username {
            Some(username) => return by_name(shared, username),
            None => c.account_id.as_ref(),
        },
        Command::UserCancelReset(c) => Some(&c.account_id),
        Command::ClearAttempts(c) => Some(&c.account_id),
        Command::SuspendFactor(c) => Some(&c.account_id),
        Command::RequestReset(c) => Some(&c.account_id),
        Command::ApproveReset(c) => return by_case(shared, &c.case_id),
        Command::RejectReset(c) => return by_case(shared, &c.case_id),
        Command::CancelReset(c) => return by_case(shared, &c.case_id),
        Command::ExecuteReset(c) => return by_case(shared, &c.case_id),
        Command::EraseAccount(c) => Some(&c.account_id),
        Command::RotateKeys(_) => None,
        Command::VerifyLogin(c) => match &c.challenge_id {
            Some(challenge) => return by_challenge(shared, challenge),
            None => c.account_id.as_ref(),
        },
    };
    Ok(Subject {
        stream: account_id.map(StreamKey::of),
        text: account_id.map_or([0; 16], |id| {
            // As a username is kept, in lower case.
            let text = id.as_str().to_ascii_lowercase();
            shared.vault.keyring().name_hash(&text)
        }),
    })
}

fn by_name(shared: &Shared, username: &Username) -> Result<Subject, ErrorCode> {
    let name = shared.vault.keyring().name_hash(username.as_str());
    let stream = shared
        .index
        .name(&name)
        .map_err(|error| unavailable(&error))?;
    Ok(Subject { stream, text: name })
}

fn by_challenge(shared: &Shared, challenge: &ChallengeId) -> Result<Subject, ErrorCode> {
    let hash = challenge.hash();
    let stream = shared
        .index
        .challenge(&hash)
        .map_err(|error| unavailable(&error))?;
    Ok(Subject { stream, text: hash })
}

fn by_case(shared: &Shared, case: &CaseId) -> Result<Subject, ErrorCode> {
    let hash = case.hash();
    let stream = shared
        .index
        .case(&hash)
        .map_err(|error| unavailable(&error))?;
    Ok(Subject { stream, text: hash })
}

/// Under what failures from a request's source are counted at an account: once for a command, at
/// its gate.
///
/// # Errors
/// `store.unavailable` when the account's data key cannot be read.
pub fn source_key(
    shared: &Shared,
    subject: &Subject,
    account: &Account,
    request: &Request,
) -> Result<SourceKey, ErrorCode> {
    let stream = subject.stream.filter(|_| account.exists());
    let key = shared.vault.source_key(stream, request.source());
    key.map_err(|error| unavailable(&error))
}
