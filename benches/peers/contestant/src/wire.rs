//! The frames of the workloads, as the servers send and expect them and as `limit` sends them.

/// The subject of everything that is published or sent.
pub const SUBJECT: &str = "bench.orders.created";
/// The headers where there are some.
pub const HEADERS: [(&str, &str); 3] =
    [("Nats-Msg-Id", "8a2f41"), ("Content-Type", "text/plain"), ("Trace", "00-4bf92f35")];

/// One of many subjects.
#[must_use]
pub fn numbered(number: u64) -> String {
    format!("bench.orders.{number}")
}

/// One of the keys of a bucket.
#[must_use]
pub fn key(number: u64) -> String {
    format!("orders.{number}")
}

/// Bytes of the values of [`HEADERS`].
#[must_use]
pub fn header_values() -> u64 {
    HEADERS.iter().map(|(_, value)| value.len() as u64).sum()
}

/// A message from the client.
#[must_use]
pub fn publish(subject: &str, reply: Option<&str>, headers: bool, payload: &[u8]) -> Vec<u8> {
    let reply = reply.map_or(String::new(), |reply| format!("{reply} "));
    let word = if headers { "HPUB" } else { "PUB" };
    frame(&format!("{word} {subject} {reply}"), headers, payload)
}

/// A message to the client.
#[must_use]
pub fn message(subject: &str, sid: &str, headers: bool, payload: &[u8]) -> Vec<u8> {
    let word = if headers { "HMSG" } else { "MSG" };
    frame(&format!("{word} {subject} {sid} "), headers, payload)
}

fn frame(start: &str, headers: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = start.as_bytes().to_vec();
    let mut block = String::new();
    if headers {
        block.push_str("NATS/1.0\r\n");
        for (name, value) in HEADERS {
            block.push_str(&format!("{name}: {value}\r\n"));
        }
        block.push_str("\r\n");
        frame.extend(format!("{} ", block.len()).into_bytes());
    }
    frame.extend(format!("{}\r\n{block}", block.len() + payload.len()).into_bytes());
    frame.extend(payload);
    frame.extend(b"\r\n");
    frame
}
