#![no_main]

#[path = "../src/websocket.rs"]
#[allow(dead_code, reason = "it has two targets")]
mod websocket;

libfuzzer_sys::fuzz_target!(|data: &[u8]| websocket::websocket_answer(data));
