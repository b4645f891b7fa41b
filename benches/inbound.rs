//! The way in: reads of a transport become messages in a sink that counts them.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use midge_benches::{Copy, Count, MESSAGES, SIZES, Up, headers, messages};
use midge_proto::HeaderMap;

fn main() {
    divan::main();
}

fn per_message<'a, 'b>(bencher: Bencher<'a, 'b>, bytes: usize) -> Bencher<'a, 'b> {
    bencher.counter(ItemsCount::new(MESSAGES)).counter(BytesCount::new(bytes))
}

/// The same bytes, copied once; every read of the others does that too.
#[divan::bench(args = SIZES)]
fn limit(bencher: Bencher<'_, '_>, size: usize) {
    let bytes = messages(size, None, &[1]);
    let bencher = per_message(bencher, bytes.len());
    let mut copy = Copy::new(bytes);
    bencher.bench_local(|| black_box(copy.run()).len());
}

#[divan::bench(args = SIZES)]
fn one_subscription(bencher: Bencher<'_, '_>, size: usize) {
    deliver(bencher, size, 1, None);
}

#[divan::bench(args = SIZES)]
fn one_thousand_subscriptions(bencher: Bencher<'_, '_>, size: usize) {
    deliver(bencher, size, 1000, None);
}

/// With three headers, which nobody reads.
#[divan::bench(args = SIZES)]
fn headers_unread(bencher: Bencher<'_, '_>, size: usize) {
    deliver(bencher, size, 1, Some(&headers()));
}

fn deliver(
    bencher: Bencher<'_, '_>,
    size: usize,
    subscriptions: usize,
    headers: Option<&HeaderMap>,
) {
    let mut up = Up::new(subscriptions);
    let bytes = messages(size, headers, &up.sids);
    per_message(bencher, bytes.len()).bench_local(|| {
        let mut count = Count::default();
        up.deliver(black_box(&bytes), &mut count);
        assert_eq!(count.messages, MESSAGES);
        count.bytes
    });
}
