//! The stored forms of this build against those that the log says it was written with.
//!
//! postcard's bytes do not describe themselves: a payload whose struct was changed in place would
//! be read as something else. So the log names the fingerprint of every form before it holds one.

use std::collections::BTreeSet;

use countersign_schemas::event::log::v1::Form;
use countersign_schemas::event::{Event, SCHEMAS_IN_FORCE};
use countersign_schemas::stored_forms;
use countersign_schemas::time::Micros;

use super::error::StartError;
use super::foundation::{Foundation, recorded};
use crate::account::service;

/// Checks what an event says of forms: one that this build has as well must be the same.
///
/// A form that this build does not have is refused where a record holds it.
///
/// # Errors
/// [`StartError::Form`] names the form and where the log came to use it.
pub(super) fn check(position: u64, event: &Event) -> Result<(), StartError> {
    let Event::SchemasInForce(named) = event else {
        return Ok(());
    };
    let own = stored_forms();
    let differs = |form: &&Form| {
        let twin = own.iter().find(|own| is_same_version(own, form));
        twin.is_some_and(|own| own.fingerprint != form.fingerprint)
    };
    match named.forms.iter().find(differs) {
        None => Ok(()),
        Some(form) => Err(StartError::Form {
            name: form.name.clone(),
            version: form.version,
            position,
        }),
    }
}

fn is_same_version(one: &Form, other: &Form) -> bool {
    one.name == other.name && one.version == other.version
}

/// Names the forms that the log has not named yet, before the first record that could hold one.
pub(super) fn put_in_force(found: &mut Foundation, now: Micros) -> Result<(), StartError> {
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
