//! What is counted beside the accounts, by where a request came from and by the text that names an
//! account: bounded, and times are arguments.

pub(super) mod by_text;
pub(super) mod right_codes;
pub(super) mod source;
pub(super) mod source_budget;
