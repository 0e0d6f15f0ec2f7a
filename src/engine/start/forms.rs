//! Compares the stored forms of this build with those that the log names.
//!
//! The bytes of postcard do not describe themselves: a payload whose struct was changed in place
//! would be misread. So the log names the fingerprint of each form before the first record that
//! uses it.

use countersign_schemas::event::Event;
use countersign_schemas::event::log::v1::Form;
use countersign_schemas::stored_forms;

use super::error::StartError;

/// Checks the forms that an event names: a form that this build has too must be the same.
///
/// A form that this build does not have is refused where a record uses it.
///
/// # Errors
/// [`StartError::Form`] with the form and the position of the event that names it.
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
