//! [`ForcePolicy`], and the settings of the builder as one value.

use std::time::Duration;

use crate::model::cause::Cause;
use crate::model::signal::Signal;

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
    pub(crate) grace_period: Option<Duration>,
    pub(crate) force_at_deadline: bool,
    pub(crate) force: ForcePolicy,
    pub(crate) debounce: Duration,
    pub(crate) abort_timeout: Duration,
}

impl Policy {
    pub(crate) const DEFAULT: Self = Self {
        lame_duck: Duration::ZERO,
        lame_duck_on_interrupt: false,
        grace_period: None,
        force_at_deadline: false,
        force: ForcePolicy::SecondSignal,
        debounce: Duration::ZERO,
        abort_timeout: Duration::ZERO,
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

    /// Returns whether the settings contradict each other: a deadline that forces, and none set.
    pub(crate) fn lacks_deadline(&self) -> bool {
        self.force_at_deadline && self.grace_period.is_none()
    }

    /// Returns whether a shutdown may set timers on the background thread.
    pub(crate) fn sets_timers(&self) -> bool {
        !self.lame_duck.is_zero() || self.force_at_deadline
    }

    /// Returns whether the first signal arms the handler. If not, a thread must arm it later, or read the
    /// second signal.
    #[cfg(feature = "signals")]
    pub(crate) fn first_arms(&self) -> bool {
        self.debounce.is_zero() && self.abort_timeout.is_zero()
    }

    /// Returns whether the process depends on the thread `winddown` to end in time. Then no foreign
    /// code may run on that thread.
    #[cfg(feature = "signals")]
    pub(crate) fn needs_timekeeper(&self) -> bool {
        !self.first_arms() || self.force_at_deadline
    }
}

fn is_interrupt(cause: &Cause) -> bool {
    matches!(cause, Cause::Signal(Signal::INT))
}
