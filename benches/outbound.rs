//! The outbound queue: messages go in, a transport takes them, a server confirms them.

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Mutex;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use midge_benches::{Copy, MESSAGES, SIZES, Up, WRITE_BYTES, headers, payload, publishes};
use midge_proto::HeaderMap;

fn main() {
    divan::main();
}

fn per_message<'a, 'b>(bencher: Bencher<'a, 'b>, bytes: usize) -> Bencher<'a, 'b> {
    bencher.counter(ItemsCount::new(MESSAGES)).counter(BytesCount::new(bytes))
}

/// The same bytes, copied once.
#[divan::bench(args = SIZES)]
fn limit(bencher: Bencher<'_, '_>, size: usize) {
    let bytes = publishes(size, None);
    let bencher = per_message(bencher, bytes.len());
    let mut copy = Copy::new(bytes);
    bencher.bench_local(|| black_box(copy.run()).len());
}

/// Into the queue only. It is emptied between two iterations, which is not counted. The megabyte
/// of the largest size is more than the queue keeps memory for, so growing is part of it.
#[divan::bench(args = SIZES, sample_size = 1, sample_count = 1000)]
fn publish(bencher: Bencher<'_, '_>, size: usize) {
    publish_only(bencher, size, None);
}

/// As `publish`, with three headers.
#[divan::bench(args = SIZES, sample_size = 1, sample_count = 1000)]
fn publish_with_headers(bencher: Bencher<'_, '_>, size: usize) {
    publish_only(bencher, size, Some(&headers()));
}

fn publish_only(bencher: Bencher<'_, '_>, size: usize, headers: Option<&HeaderMap>) {
    let up = RefCell::new(Up::new(0));
    let payload = payload(size);
    per_message(bencher, publishes(size, headers).len())
        .with_inputs(|| up.borrow_mut().settle())
        .bench_local_values(|()| {
            let up = &mut *up.borrow_mut();
            for _ in 0..MESSAGES {
                up.publish(black_box(headers), black_box(&payload));
            }
        });
}

/// As `publish`, with a lock taken and given back for each message.
#[divan::bench(args = SIZES, sample_size = 1, sample_count = 1000)]
fn publish_locked(bencher: Bencher<'_, '_>, size: usize) {
    let up = Mutex::new(Up::new(0));
    let payload = payload(size);
    per_message(bencher, publishes(size, None).len())
        .with_inputs(|| up.lock().expect("no bench panics").settle())
        .bench_local_values(|()| {
            for _ in 0..MESSAGES {
                up.lock().expect("no bench panics").publish(None, black_box(&payload));
            }
        });
}

/// Through the queue, written 256 KiB at a time: `transmit` and `advance`, and the confirmations
/// that the bytes cost.
#[divan::bench(args = SIZES)]
fn publish_and_advance(bencher: Bencher<'_, '_>, size: usize) {
    through(bencher, size, Up::write);
}

/// As `publish_and_advance`, by `take_transmit` and `settle`.
#[divan::bench(args = SIZES)]
fn publish_and_settle(bencher: Bencher<'_, '_>, size: usize) {
    through(bencher, size, Up::write_batches);
}

fn through(bencher: Bencher<'_, '_>, size: usize, write: impl Fn(&mut Up)) {
    let mut up = Up::new(0);
    let payload = payload(size);
    let bytes = publishes(size, None).len();
    per_message(bencher, bytes).bench_local(|| {
        for _ in 0..MESSAGES {
            up.publish(None, black_box(&payload));
            if up.connection.pending_bytes() >= WRITE_BYTES {
                write(&mut up);
            }
        }
        write(&mut up);
        up.confirm(bytes);
    });
}
