//! The suite that every adapter runs, on threads.

use std::future::Future;
use std::io;
use std::net::TcpStream;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use midge_std::midge::{ConnectOptions, Connecting, OptionsError};
use midge_std::{Stream, Wait};
use midge_testing::{Adapter, Serving};

struct Std;

impl Adapter for Std {
    fn block_on<F: Future>(test: F) -> F::Output {
        test.wait()
    }

    fn serve(options: ConnectOptions) -> Result<(Connecting, Serving), OptionsError> {
        let (connecting, driver) = midge_std::connect_with(options)?;
        let fuse = Arc::new(Fuse::default());
        let (serving, ending) = Serving::new({
            let fuse = Arc::clone(&fuse);
            move || fuse.blow()
        });
        let driver = driver.through(move |to| {
            fuse.check();
            let stream = Arc::new(midge_std::tcp(to)?);
            *fuse.stream.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&stream);
            Ok(Fused { stream, fuse: Arc::clone(&fuse) })
        });
        thread::spawn(move || {
            let _ending = ending;
            driver.run();
        });
        Ok((connecting, serving))
    }

    fn spawn(task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        thread::spawn(|| task.wait());
    }
}

/// A thread cannot be cancelled. What comes nearest is a panic in code of the application, here in
/// what dials, reads and writes.
#[derive(Default)]
struct Fuse {
    blown: AtomicBool,
    stream: Mutex<Weak<TcpStream>>,
}

impl Fuse {
    fn blow(&self) {
        self.blown.store(true, Ordering::SeqCst);
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(stream) = stream {
            Stream::shutdown(&*stream);
        }
    }

    fn check(&self) {
        if self.blown.load(Ordering::SeqCst) {
            resume_unwind(Box::new("cancelled"));
        }
    }
}

struct Fused {
    stream: Arc<TcpStream>,
    fuse: Arc<Fuse>,
}

impl Stream for Fused {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = Stream::read(&*self.stream, buffer);
        self.fuse.check();
        read
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.fuse.check();
        Stream::write(&*self.stream, bytes)
    }

    fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        Stream::set_write_timeout(&*self.stream, timeout)
    }

    fn shutdown(&self) {
        Stream::shutdown(&*self.stream);
    }
}

midge_testing::conformance!(Std);
midge_testing::cluster_conformance!(Std);
