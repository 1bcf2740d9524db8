//! How a shutdown takes its course: what is set on the builder, and seldom is.

use std::time::Duration;

use crate::Cause;

/// Which second signal forces.
///
/// The first signal asks, whatever the policy. A signal that may not force is dropped, and
/// [`request_shutdown`](crate::Shutdown::request_shutdown), which is not an interrupt, then returns
/// `false`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForcePolicy {
    /// A second signal of any kind, as Kubernetes' API server does.
    #[default]
    SecondSignal,
    /// Only SIGINT, or Ctrl-C and Ctrl-Break: a supervisor and a wrapper often send SIGTERM both, but
    /// nobody presses Ctrl-C twice by accident.
    OnlyInterrupt,
    /// None. The supervisor has SIGKILL.
    Never,
}

#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) lame_duck: Duration,
    pub(crate) lame_duck_on_interrupt: bool,
    pub(crate) grace: Option<Duration>,
    pub(crate) force: ForcePolicy,
    pub(crate) debounce: Duration,
    pub(crate) last_words: Duration,
}

impl Policy {
    pub(crate) const DEFAULT: Self = Self {
        lame_duck: Duration::ZERO,
        lame_duck_on_interrupt: false,
        grace: None,
        force: ForcePolicy::SecondSignal,
        debounce: Duration::ZERO,
        last_words: Duration::ZERO,
    };

    pub(crate) fn lame_duck_for(&self, cause: &Cause) -> Duration {
        if is_interrupt(cause) && !self.lame_duck_on_interrupt {
            Duration::ZERO
        } else {
            self.lame_duck
        }
    }

    pub(crate) fn may_force(&self, cause: &Cause) -> bool {
        match self.force {
            ForcePolicy::SecondSignal => true,
            ForcePolicy::OnlyInterrupt => is_interrupt(cause),
            ForcePolicy::Never => false,
        }
    }

    /// Whether the first signal arms the handler. If not, the second must be read by a thread, and
    /// nobody else's code may run on that.
    #[cfg(feature = "signals")]
    pub(crate) fn first_arms(&self) -> bool {
        self.debounce.is_zero() && self.last_words.is_zero()
    }
}

fn is_interrupt(cause: &Cause) -> bool {
    match cause {
        #[cfg(feature = "signals")]
        Cause::Signal(signal) => *signal == crate::Signal::Int,
        _ => false,
    }
}
