#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| overnight_fuzz::responses::check_history(bytes));
