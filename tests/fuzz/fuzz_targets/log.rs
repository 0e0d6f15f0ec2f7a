//! `log` of `tests/fuzz/targets.rs` under libFuzzer.
//!
//! redb may panic on a damaged file, which the log catches and refuses; libFuzzer's own hook would
//! end the process before. A panic that is not caught still ends it.
#![no_main]

#[path = "../../disk/mod.rs"]
mod disk;
#[path = "../../disk/storage.rs"]
mod storage;
#[path = "../targets.rs"]
mod targets;

use std::sync::Once;

static QUIET: Once = Once::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    targets::log(data);
});
