//! Whose history a command belongs to, and where it came from.

use countersign_schemas::command::Command;
use countersign_schemas::concerns::Target;
use countersign_schemas::ids::{CaseId, ChallengeId, StreamKey, Username};
use countersign_schemas::refusal::ErrorCode;

use crate::account::Account;
use crate::engine::keys::vault::SourceKey;
use crate::engine::writer::batch::Batch;
use crate::engine::{Request, Shared};

/// Whose history a command belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The account's stream; none where a name or a challenge belongs to nobody.
    pub stream: Option<StreamKey>,
    /// Keyed hash of the text that names the account, under which wrong passwords are counted beside
    /// the account: the same whether it is taken as an id or as a username, and whoever has it.
    pub text: [u8; 16],
}

impl Subject {
    /// The key under which the command's slow work is queued.
    pub fn queue_key(&self) -> StreamKey {
        self.stream.unwrap_or(StreamKey(self.text))
    }
}

/// Finds whose history a command belongs to.
///
/// # Errors
/// `store.unavailable` when the index cannot be read.
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

/// Whether another account, perhaps one of the batch, holds the name that a command asks for.
///
/// # Errors
/// `store.unavailable` when the index cannot be read.
pub fn name_taken(shared: &Shared, command: &Command, batch: &Batch) -> Result<bool, ErrorCode> {
    let Target::NewAccount(_, username) = command.target() else {
        return Ok(false);
    };
    let name = shared.vault.keyring().name_hash(username.as_str());
    let holder = shared
        .index
        .name(&name)
        .map_err(|error| unavailable(&error))?;
    Ok(holder.is_some() || batch.has_name(&name))
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

/// Says why a store cannot answer, and gives the word for it.
pub fn unavailable(error: &dyn std::fmt::Display) -> ErrorCode {
    tracing::error!(%error, "a command is refused because a store cannot be read");
    ErrorCode::StoreUnavailable
}
