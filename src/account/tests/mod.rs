//! Scenarios, properties and a second model: the rules without a clock, a disk or a network.

mod attempts_tests;
mod backup_codes_tests;
mod bound_tests;
mod clear_tests;
mod credentials_tests;
mod enrolment_tests;
mod erasure_tests;
pub(super) mod gathering;
pub(super) mod lives;
mod login_tests;
mod memory_tests;
mod mismatch_properties;
mod model;
mod model_reset;
mod pair_tests;
mod proof_tests;
mod properties;
mod quota_tests;
mod reasons_tests;
mod rerun_tests;
mod reset_tests;
pub(super) mod reset_words;
mod rotation_tests;
pub(super) mod scenario;
pub(super) mod sentences;
mod stale_tests;
mod suspension_tests;
