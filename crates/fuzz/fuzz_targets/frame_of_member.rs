//! The target `frame_of_member`, for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fasti_fuzz::run("frame_of_member", bytes));
