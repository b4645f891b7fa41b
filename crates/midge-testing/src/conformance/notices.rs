//! What readers of streams noticed.

use std::sync::{Arc, Mutex, MutexGuard};

use midge::jetstream::Notice;

/// What one reader noticed so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noticed(Arc<Mutex<Vec<Notice>>>);

/// A function for `on_notice`, and what it was told.
pub(crate) fn noticing() -> (Noticed, impl FnMut(Notice) + Send + 'static) {
    let noticed = Noticed::default();
    let told = noticed.clone();
    (noticed, move |notice| told.all().push(notice))
}

impl Noticed {
    pub(crate) fn told(&self) -> Vec<Notice> {
        self.all().clone()
    }

    pub(crate) fn has(&self, wanted: &Notice) -> bool {
        self.all().contains(wanted)
    }

    fn all(&self) -> MutexGuard<'_, Vec<Notice>> {
        self.0.lock().expect("nobody panics here")
    }
}
