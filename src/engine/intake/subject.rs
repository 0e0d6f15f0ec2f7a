//! The account that a command concerns, and the key under which failures of its source are counted.

use countersign_schemas::command::Command;
use countersign_schemas::concerns::Target;
use countersign_schemas::ids::{CaseId, ChallengeId, StreamKey, Username};
use countersign_schemas::refusal::ErrorCode;

use crate::account::Account;
use crate::engine::Request;
use crate::engine::counts::source::SourceKey;
use crate::engine::message::Subject;
use crate::engine::request::unavailable;
use crate::engine::shared::Shared;

/// Finds the account that a command concerns.
///
/// # Errors
/// `store.unavailable` if the index cannot be read.
pub fn subject(shared: &Shared, command: &Command) -> Result<Subject, ErrorCode> {
    let account_id = match command.target() {
        Target::Name(username) => return by_name(shared, username),
        Target::Challenge(challenge) => return by_challenge(shared, challenge),
        Target::Case(case) => return by_case(shared, case),
        Target::Account(id) => Some(id),
        Target::NewAccount(id, _) => id,
        Target::Log => None,
    };
    Ok(Subject {
        stream: account_id.map(StreamKey::of),
        text: account_id.map_or([0; 16], |id| {
            // In lower case, as usernames are stored.
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

/// Returns the key under which failures from a request's source are counted at an account; computed
/// once per command, at its gate.
///
/// # Errors
/// `store.unavailable` if the account's data key cannot be read.
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
