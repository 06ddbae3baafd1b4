//! The target `http`, for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fasti_fuzz::run("http", bytes));
