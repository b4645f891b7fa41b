//! A hook around every call into the core, for whoever measures what the core does.

use std::sync::OnceLock;

use midge_proto::Config;

static METER: OnceLock<fn(&Metered<'_>, bool)> = OnceLock::new();

/// Whose connection is called, for a [`meter()`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Metered<'a> {
    /// The [number](crate::CoreClient::number) of the client.
    pub client: u64,
    /// What its connection was made with.
    pub config: &'a Config,
}

/// Has `hook` called before (`true`) and after (`false`) every call that the driver or a user of a
/// [`CoreClient`](crate::CoreClient) makes into its [`Connection`](midge_proto::Connection).
///
/// It is for an allocator that books memory to the core, of which a process has one: so the hook is
/// that of the process, on every thread, and cannot be changed any more. What the core hands over
/// while it is called, such as a message to a sink, is taken outside. A panic in it fails the run;
/// in the midst of another panic it must not panic.
///
/// # Panics
///
/// When there is a hook already, and it is another one.
pub fn meter(hook: fn(whose: &Metered<'_>, inside: bool)) {
    let present = METER.get_or_init(|| hook);
    assert!(std::ptr::fn_addr_eq(*present, hook), "a process has one meter");
}

/// Inside from now on until it is dropped, unless it is left for a while.
pub(crate) struct Inside<'a>(Metered<'a>);

impl<'a> Inside<'a> {
    pub(crate) fn of(client: u64, config: &'a Config) -> Self {
        let metered = Metered { client, config };
        tell(&metered, true);
        Self(metered)
    }

    /// Runs what does not belong to the core.
    pub(crate) fn leave<T>(&self, run: impl FnOnce() -> T) -> T {
        tell(&self.0, false);
        let result = run();
        tell(&self.0, true);
        result
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        tell(&self.0, false);
    }
}

fn tell(metered: &Metered<'_>, inside: bool) {
    if let Some(hook) = METER.get() {
        hook(metered, inside);
    }
}
