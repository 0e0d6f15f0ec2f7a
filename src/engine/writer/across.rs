//! The facts across accounts that a decision on an agent's command may use: how often the agent did
//! the same, and whether the account is the agent's own.

use countersign_schemas::command::Command;
use countersign_schemas::concerns::Target;
use countersign_schemas::ids::{Username, is_same_person, person};
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::time::Micros;

use super::batch::Batch;
use crate::account::Account;
use crate::account::rules::quota::Act;
use crate::engine::Request;
use crate::engine::keys::rotations::is_under_way;
use crate::engine::request::unavailable;
use crate::engine::shared::Shared;
use crate::log::index::Fact;

/// Returns when the caller did the same to any account, including what the batch holds and no other
/// thread sees yet; `None` if the command is not counted like this.
///
/// # Errors
/// `store.unavailable` if the index cannot be read.
pub fn requested_at(
    shared: &Shared,
    request: &Request,
    batch: &Batch,
) -> Result<Vec<Micros>, ErrorCode> {
    let Some(act) = Act::of(&request.command) else {
        return Ok(Vec::new());
    };
    let key = act.key(&request.caller.name);
    let mut times = shared
        .index
        .requests(&key)
        .map_err(|error| unavailable(&error))?;
    times.extend(batch.facts.iter().filter_map(|fact| match fact {
        Some(
            Fact::Case { agent, at, .. } | Fact::Acted(agent, at) | Fact::Erased(Some((agent, at))),
        ) if *agent == key => Some(*at),
        Some(_) | None => None,
    }));
    Ok(times)
}

/// Whether an agent's own name is the account's id or username, in any letter case; checked for
/// resets only.
///
/// # Errors
/// `store.unavailable` if the index cannot be read.
pub fn is_own_account(
    shared: &Shared,
    request: &Request,
    account: &Account,
) -> Result<bool, ErrorCode> {
    let (Command::RequestReset(_) | Command::ApproveReset(_) | Command::ExecuteReset(_)) =
        request.command
    else {
        return Ok(false);
    };
    let (Some(id), name) = (&account.id, &request.caller.name) else {
        return Ok(false);
    };
    if is_same_person(id.as_str(), name) {
        return Ok(true);
    }
    let Ok(username) = Username::parse(&person(name)) else {
        return Ok(false);
    };
    let hash = shared.vault.keyring().name_hash(username.as_str());
    let holder = shared
        .index
        .name(&hash)
        .map_err(|error| unavailable(&error))?;
    Ok(holder.is_some() && holder == account.stream_key())
}

/// Whether another account, also one of the batch, holds the name that a command sets.
///
/// # Errors
/// `store.unavailable` if the index cannot be read.
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

/// Returns the number that a rotation would give its keys; `None` for other commands and while the
/// last rotation is under way.
///
/// # Errors
/// `store.unavailable` if the index cannot be read.
pub fn next_key_id(shared: &Shared, command: &Command) -> Result<Option<u32>, ErrorCode> {
    let Command::RotateKeys(_) = command else {
        return Ok(None);
    };
    let busy = is_under_way(&shared.index).map_err(|error| unavailable(&error))?;
    Ok((!busy).then(|| shared.vault.keyring().next_id()))
}
