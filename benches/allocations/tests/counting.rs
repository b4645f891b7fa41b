//! The count itself: what it sees, and what it does not.

use std::hint::black_box;

use midge_allocations::{Meter, live, pay};

#[test]
fn new_grown_and_zeroed_memory_is_counted() {
    let meter = Meter::start();
    let mut grown = black_box(Vec::<u8>::with_capacity(10));
    grown.reserve_exact(100);
    let zeroed = black_box(vec![0u8; 1000]);
    let boxed = black_box(Box::new(7u8));
    let counted = meter.stop();
    drop((grown, zeroed, boxed));
    assert_eq!((counted.allocations, counted.bytes), (4, 10 + 100 + 1000 + 1));
    assert_eq!(counted.origins.len(), 4);
    assert!(counted.to_string().contains("new_grown_and_zeroed"), "{counted}");
}

#[test]
fn other_threads_are_not_counted() {
    let (ask, asked) = std::sync::mpsc::sync_channel::<()>(1);
    let (done, is_done) = std::sync::mpsc::sync_channel::<()>(1);
    let other = std::thread::spawn(move || {
        asked.recv().unwrap();
        let memory = black_box(vec![1u8; 100]);
        done.send(()).unwrap();
        memory.len()
    });
    // The channels set themselves up when they are first used.
    let (warm, is_warm) = std::sync::mpsc::sync_channel::<()>(1);
    warm.send(()).unwrap();
    is_warm.recv().unwrap();
    let before = Meter::start();
    ask.send(()).unwrap();
    let sent = before.stop();
    is_done.recv().unwrap();
    assert_eq!(sent.allocations, 0, "{sent}");
    assert_eq!(other.join().unwrap(), 100);
}

#[test]
fn after_the_end_nothing_is_counted() {
    drop(Meter::start());
    let meter = Meter::start();
    let counted = meter.stop();
    drop(black_box(Box::new(7u8)));
    assert_eq!(counted.allocations, 0);
    assert_eq!(Meter::start().stop().allocations, 0);
}

#[test]
fn memory_is_booked_to_who_pays_until_it_is_freed() {
    pay(Some(7));
    let mut kept = black_box(Vec::<u8>::with_capacity(100));
    let zeroed = black_box(vec![0u8; 1000]);
    let aligned = black_box(Box::new(Aligned([1; 256])));
    pay(None);
    let others = black_box(vec![1u8; 50]);
    assert_eq!((live(7), live(8)), (100 + 1000 + 256, 0));
    assert!((&raw const *aligned).addr().is_multiple_of(128) && aligned.0 == [1; 256]);
    drop(zeroed);
    pay(Some(8));
    kept.extend_from_slice(&[9; 10]);
    kept.reserve_exact(290);
    assert_eq!((live(7), live(8)), (256, 300), "who grows it pays for it");
    assert_eq!(kept[..10], [9; 10]);
    pay(None);
    drop((kept, aligned, others));
    assert_eq!((live(7), live(8)), (0, 0));
}

#[repr(align(128))]
struct Aligned([u8; 256]);
