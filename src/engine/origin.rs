//! By whom the service itself records.

use countersign_schemas::ids::CommandId;
use countersign_schemas::record::{Meta, Role};

/// The name of the service where it is itself the caller.
const SERVICE: &str = "countersign";

/// The meta block of what the service records of itself.
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
