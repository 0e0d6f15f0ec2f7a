//! The counts beside the accounts, by the source of a request and by the text that names an
//! account. They are bounded, and times are arguments.

pub(super) mod by_text;
pub(super) mod right_codes;
pub(super) mod source;
pub(super) mod source_budget;
