#![no_main]

#[path = "../src/choices.rs"]
mod choices;
#[path = "../src/reading.rs"]
mod reading;

libfuzzer_sys::fuzz_target!(|data: &[u8]| reading::reading(data));
