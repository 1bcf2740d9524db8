//! [`SharedTimer`]: the timer of the runtime.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// How long it is still waited for a client whose time is over, so that the runtime can tell of bytes that the
/// kernel has already. tokio asks the kernel only after a number of tasks. When the process was stopped, or the
/// threads of the runtime were busy, its timers may be faster than that.
pub(crate) const SETTLE: Duration = Duration::from_millis(20);

/// A timer that the tasks of a server share.
#[derive(Clone)]
pub(crate) struct SharedTimer(Arc<dyn Timer + Send + Sync>);

impl SharedTimer {
    pub(crate) fn new(timer: impl Timer + Send + Sync + 'static) -> Self {
        Self(Arc::new(timer))
    }
}

impl Timer for SharedTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.0.sleep(duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.0.sleep_until(deadline)
    }

    fn now(&self) -> Instant {
        self.0.now()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, new_deadline: Instant) {
        self.0.reset(sleep, new_deadline);
    }
}
