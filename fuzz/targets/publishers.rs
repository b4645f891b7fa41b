#![no_main]

#[path = "../src/choices.rs"]
mod choices;
#[path = "../src/publishers.rs"]
mod publishers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| publishers::publishers(data));
