//! `header` of `tests/fuzz/targets.rs` under libFuzzer.
#![no_main]

#[path = "../../disk/mod.rs"]
mod disk;
#[path = "../../disk/storage.rs"]
mod storage;
#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    targets::header(data);
});
