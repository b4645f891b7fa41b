//! The suite that every adapter runs, on a runtime of one thread and on one of two.

use std::future::Future;
use std::pin::Pin;

use midge::{ConnectOptions, Connecting, OptionsError};
use midge_testing::{Adapter, Serving};
use tokio::runtime::Builder;

fn serve(options: ConnectOptions) -> Result<(Connecting, Serving), OptionsError> {
    let (connecting, driver) = midge_tokio::connect_with(options)?;
    let (serving, driver) = Serving::of(driver);
    tokio::spawn(driver);
    Ok((connecting, serving))
}

fn block_on<F: Future>(mut runtime: Builder, test: F) -> F::Output {
    runtime.enable_all().build().expect("there are threads").block_on(test)
}

struct OneThread;

impl Adapter for OneThread {
    fn block_on<F: Future>(test: F) -> F::Output {
        block_on(Builder::new_current_thread(), test)
    }

    fn serve(options: ConnectOptions) -> Result<(Connecting, Serving), OptionsError> {
        serve(options)
    }

    fn spawn(task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(task);
    }
}

struct TwoThreads;

impl Adapter for TwoThreads {
    fn block_on<F: Future>(test: F) -> F::Output {
        let mut runtime = Builder::new_multi_thread();
        runtime.worker_threads(2);
        block_on(runtime, test)
    }

    fn serve(options: ConnectOptions) -> Result<(Connecting, Serving), OptionsError> {
        serve(options)
    }

    fn spawn(task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(task);
    }
}

mod one_thread {
    use super::OneThread;

    midge_testing::conformance!(OneThread);
}

mod two_threads {
    use super::TwoThreads;

    midge_testing::conformance!(TwoThreads);
    midge_testing::cluster_conformance!(TwoThreads);
}
