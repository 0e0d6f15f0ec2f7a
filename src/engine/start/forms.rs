//! The stored forms of this build against those that the log says it was written with.
//!
//! postcard's bytes do not describe themselves: a payload whose struct was changed in place would
//! be read as something else. So the log names the fingerprint of every form before it holds one.

use countersign_schemas::event::Event;
use countersign_schemas::event::log::v1::Form;
use countersign_schemas::stored_forms;

use super::error::StartError;

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
