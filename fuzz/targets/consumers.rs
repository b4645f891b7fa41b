#![no_main]

#[path = "../src/choices.rs"]
mod choices;
#[path = "../src/consumers.rs"]
mod consumers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| consumers::consumers(data));
