//! What a decision on an agent's command may know across accounts: how often the agent did the
//! same, and whose the account is.

use countersign_schemas::command::Command;
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

/// When the caller did what the command asks for, to whatever account, those that the batch holds
/// and nobody else sees yet included; none where it is not counted so.
///
/// # Errors
/// `store.unavailable` when the index cannot be read.
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

/// Whether an agent's own name is the account's, by its id or by its username, in any letter case;
/// asked of resets only.
///
/// # Errors
/// `store.unavailable` when the index cannot be read.
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

/// Whether another account, perhaps one of the batch, holds the name that a command asks for.
///
/// # Errors
/// `store.unavailable` when the index cannot be read.
pub fn name_taken(shared: &Shared, command: &Command, batch: &Batch) -> Result<bool, ErrorCode> {
    match command {
        Command::RegisterAccount(c) => {
            let name = shared.vault.keyring().name_hash(c.username.as_str());
            let holder = shared
                .index
                .name(&name)
                .map_err(|error| unavailable(&error))?;
            Ok(holder.is_some() || batch.has_name(&name))
        }
        Command::ChangePassword(_)
        | Command::Enable2fa(_)
        | Command::ConfirmCode(_)
        | Command::CancelEnrolment(_)
        | Command::RegenerateBackupCodes(_)
        | Command::Disable2fa(_)
        | Command::StartLogin(_)
        | Command::VerifyLogin(_)
        | Command::UserCancelReset(_)
        | Command::ClearAttempts(_)
        | Command::SuspendFactor(_)
        | Command::RequestReset(_)
        | Command::ApproveReset(_)
        | Command::RejectReset(_)
        | Command::CancelReset(_)
        | Command::ExecuteReset(_)
        | Command::EraseAccount(_)
        | Command::RotateKeys(_) => Ok(false),
    }
}

/// The number that a rotation would give to its keys; none for other commands, and while the last
/// rotation is under way.
///
/// # Errors
/// `store.unavailable` when the index cannot be read.
pub fn next_key_id(shared: &Shared, command: &Command) -> Result<Option<u32>, ErrorCode> {
    let Command::RotateKeys(_) = command else {
        return Ok(None);
    };
    let busy = is_under_way(&shared.index).map_err(|error| unavailable(&error))?;
    Ok((!busy).then(|| shared.vault.keyring().next_id()))
}
