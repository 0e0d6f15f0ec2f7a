//! What is recorded before the first command: the policy, the stored forms and the clock that apply
//! from then on.

use std::collections::BTreeSet;

use countersign_schemas::event::Event;
use countersign_schemas::event::SCHEMAS_IN_FORCE;
use countersign_schemas::stored_forms;
use countersign_schemas::time::Micros;

use super::accepted_clock::accept_back;
use super::completing;
use super::error::StartError;
use super::foundation::{Foundation, recorded};
use crate::account::{Policy, service};
use crate::engine::entries::record;

/// Completes a rotation, and records the policy, the stored forms and the clock that apply from now
/// on.
pub fn put_in_force(
    found: &mut Foundation,
    policy: &Policy,
    accept_clock_back: Option<&str>,
    now: Micros,
) -> Result<(), StartError> {
    found.vault.tend_tag_keys(now)?;
    if found.vault.keyring().has_old_tag_key() {
        tracing::warn!(
            "the keyring still has the key under which an older build made tags over passwords: `countersign keys rotate` removes it; delete older copies of the keyring too"
        );
    }
    completing::complete(found, now)?;
    put_policy_in_force(found, policy, now)?;
    put_forms_in_force(found, now)?;
    if let Some(reason) = accept_clock_back {
        accept_back(found, policy, reason, now)?;
    }
    Ok(())
}

/// Records the policy if it differs from the one last in force.
fn put_policy_in_force(
    found: &mut Foundation,
    policy: &Policy,
    now: Micros,
) -> Result<(), StartError> {
    let event = service::policy_in_force(policy);
    let last = found
        .index
        .read_at_start(event.type_code())?
        .pop_last()
        .and_then(|position| record(&found.reader(), position));
    match last.map(|record| record.event()) {
        Some(Ok(last)) if last == event => Ok(()),
        _ => found.append(&event, now),
    }
}

/// Names the forms that the log does not name yet, before the first record that could use one.
fn put_forms_in_force(found: &mut Foundation, now: Micros) -> Result<(), StartError> {
    let mut named = BTreeSet::new();
    for position in found.index.read_at_start(SCHEMAS_IN_FORCE)? {
        if let Event::SchemasInForce(event) = recorded(&found.reader(), position)? {
            named.extend(
                event
                    .forms
                    .into_iter()
                    .map(|form| (form.name, form.version)),
            );
        }
    }
    let mut new = stored_forms();
    new.retain(|form| !named.contains(&(form.name.clone(), form.version)));
    match new.is_empty() {
        true => Ok(()),
        false => found.append(&service::schemas_in_force(new), now),
    }
}
