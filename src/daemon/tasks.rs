//! The threads of the daemon. If one of them panics, all of them and the process end.

use std::thread::{self, Scope};

use crate::util::cancel::CancelFlag;
use crate::util::threads::{self, ThreadError};

#[derive(Clone, Copy)]
pub(super) struct Tasks<'scope, 'env> {
    pub(super) scope: &'scope Scope<'scope, 'env>,
    /// Ends all threads.
    pub(super) stop: &'scope CancelFlag,
}

impl<'scope> Tasks<'scope, '_> {
    pub(super) fn start(self, work: impl FnOnce() + Send + 'scope) -> Result<(), ThreadError> {
        let stop = self.stop;
        let work = move || {
            let _guard = StopOnPanic(stop);
            work();
        };
        threads::spawn_scoped(self.scope, work).map(drop)
    }
}

/// Sets the flag when its thread panics.
struct StopOnPanic<'a>(&'a CancelFlag);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.set();
        }
    }
}
