//! The suite that every adapter runs, on smol's global executor.

use std::future::Future;
use std::pin::Pin;

use midge_smol::midge::{ConnectOptions, Connecting, OptionsError};
use midge_testing::{Adapter, Serving};

struct Smol;

impl Adapter for Smol {
    fn block_on<F: Future>(test: F) -> F::Output {
        smol::block_on(test)
    }

    fn serve(options: ConnectOptions) -> Result<(Connecting, Serving), OptionsError> {
        let (connecting, driver) = midge_smol::connect_with(options)?;
        let (serving, driver) = Serving::of(driver);
        smol::spawn(driver).detach();
        Ok((connecting, serving))
    }

    fn spawn(task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        smol::spawn(task).detach();
    }
}

midge_testing::conformance!(Smol);
midge_testing::cluster_conformance!(Smol);
