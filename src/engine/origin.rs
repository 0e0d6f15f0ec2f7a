//! The caller of the events that the service itself records.

use countersign_schemas::ids::CommandId;
use countersign_schemas::record::{Meta, Role};

/// The service's name as a caller.
const SERVICE: &str = "countersign";

/// Returns the meta block of an event that the service itself records.
pub fn service_meta(id: &CommandId) -> Meta<'static> {
    Meta {
        account_id: "".into(),
        command_id: id.as_str().to_owned().into(),
        caller: SERVICE.into(),
        verified: true,
        role: Role::Service,
        trace_id: None,
        body_tag: [0; 16],
        source_key: [0; 8],
        source: None,
        source_commitment: None,
    }
}
