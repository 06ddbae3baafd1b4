//! The target `bundle`, for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fasti_fuzz::run("bundle", bytes));
