//! Makes a recorded decision again, and says why it had this result.

pub mod reasons;
pub(super) mod reasons_support;
pub mod recording;
pub mod rerun;
pub(super) mod scene;
pub(super) mod scene_enrolment;
pub(super) mod scene_pair;
pub(super) mod scene_support;
pub(super) mod stand_ins;
pub mod taken_as_recorded;
