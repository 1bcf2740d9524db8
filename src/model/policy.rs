//! [`ForcePolicy`], and the settings of the builder as one value.

use std::time::Duration;

#[cfg(feature = "signals")]
use async_signal::Signal;

use crate::model::cause::Cause;

/// Which second signal forces.
///
/// The first signal requests the shutdown, whatever the policy. A signal that may not force is
/// dropped, and [`request_shutdown`](crate::Shutdown::request_shutdown), which is no interrupt, then
/// returns `false`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForcePolicy {
    /// A second signal of any kind, as in Kubernetes' API server.
    #[default]
    SecondSignal,
    /// Only SIGINT, or Ctrl-C and Ctrl-Break: a supervisor and a wrapper often both send SIGTERM, but
    /// no user presses Ctrl-C twice by accident.
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

    /// Returns whether the first signal arms the handler. If not, a thread must read the second
    /// signal, and no foreign code may run on that thread.
    #[cfg(feature = "signals")]
    pub(crate) fn first_arms(&self) -> bool {
        self.debounce.is_zero() && self.last_words.is_zero()
    }
}

fn is_interrupt(cause: &Cause) -> bool {
    match cause {
        #[cfg(feature = "signals")]
        Cause::Signal(signal) => *signal == Signal::Int,
        _ => false,
    }
}
