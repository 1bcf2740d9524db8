//! [`PhaseBuilder`]: the settings of a phase.

use std::sync::Arc;
use std::time::Duration;

use crate::node::Node;
use crate::node::phases::PhaseSettings;
use crate::shutdown::Shutdown;

/// The settings of a phase; made by [`Shutdown::phase`].
#[must_use = "a phase does nothing until `build`"]
pub struct PhaseBuilder {
    parent: Arc<Node>,
    settings: PhaseSettings,
}

// Here and not beside the other verbs, because a phase is a `Shutdown`, and so its builder stands above.
impl Shutdown {
    /// Returns a builder for a phase: a [child](Shutdown::child) that is asked later than its parent.
    ///
    /// A phase is asked to stop once its parent is stopping, the phases that it comes
    /// [`after`](PhaseBuilder::after) are over, and its [`delay`](PhaseBuilder::delay) has passed. It is
    /// *over* when it was asked and holds no guard: then it is closed for work in the same step. So take
    /// the guards of a phase before it is asked, as when its workers are started. Or it is over when its
    /// [`time_limit`](PhaseBuilder::time_limit) has run out.
    ///
    /// In all else it is a child: its guards count here, its cause and its deadline are those of this
    /// shutdown, and the force reaches it at once. It may be requested alone, as any child; that asks no
    /// other phase, but it counts as asked. Then it has a cause of its own, also if the whole fails later,
    /// and a deadline that may be earlier: take the exit code from the cause of the whole. All that goes for
    /// a failure too: to stop the whole when a task of a phase fails, wrap the task with
    /// [`supervise`](Shutdown::supervise) or [`critical`](Shutdown::critical) of the whole, and
    /// [`track`](Shutdown::track) it in the phase.
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let workers = shutdown.phase("workers").build();
    /// let storage = shutdown.phase("storage").after(&workers).build();
    /// let working = workers.guard();
    ///
    /// shutdown.request_shutdown();
    /// assert!(workers.is_stopping() && !storage.is_stopping());
    /// drop(working); // the last job is done
    /// assert!(storage.is_stopping());
    /// shutdown.drain_blocking(Duration::ZERO).unwrap();
    /// ```
    ///
    /// The order needs no task or thread of the program: the thread that drops the last guard of a phase
    /// asks the next one, and calls its wakers and callbacks; so does the thread that drops the last handle
    /// of a phase without guards, which keeps no other waiting. One that holds no guard is over as it is
    /// asked, so that the next is asked in the same step: their wakers and callbacks come in no order.
    pub fn phase(&self, name: &'static str) -> PhaseBuilder {
        let settings = PhaseSettings {
            name,
            delay: Duration::ZERO,
            time_limit: None,
            by_hand: false,
            after: Vec::new(),
        };
        PhaseBuilder {
            parent: self.node().clone(),
            settings,
        }
    }
}

impl PhaseBuilder {
    /// Sets how long the phase is asked after its turn has come: after the parent is stopping, and the
    /// phases that it comes after are over. Defaults to none.
    ///
    /// During the delay of a phase of connections every answer has to say `connection: close`. Otherwise each
    /// connection that is kept may lose a request when it is told; see [a server that loses
    /// nothing](crate#a-server-that-loses-nothing).
    ///
    /// It is real time, kept by a thread of this crate. The force cuts it short. If the system refuses to
    /// start that thread, there is no delay.
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// let server = Shutdown::new();
    /// // 500 ms after the listener has stopped: so a connection that was just
    /// // accepted can still send its first request.
    /// let pause = Duration::from_millis(500);
    /// let connections = server.phase("connections").delay(pause).build();
    /// server.request_shutdown();
    /// assert!(server.is_stopping() && !connections.is_stopping());
    /// ```
    #[cfg(not(target_family = "wasm"))]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.settings.delay = delay;
        self
    }

    /// Has the phase asked only when `phase` is over. May be called several times. Defaults to no such
    /// phase.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let server = Shutdown::new();
    /// let http = server.phase("HTTP").build();
    /// let workers = server.phase("workers").build();
    /// let storage = server.phase("storage").after(&http).after(&workers);
    /// let storage = storage.build();
    /// let request = http.guard();
    /// server.request_shutdown();
    /// assert!(!storage.is_stopping()); // HTTP is not over
    /// drop(request);
    /// assert!(storage.is_stopping());
    /// ```
    ///
    /// # Panics
    ///
    /// If `phase` is not a phase of the same shutdown.
    #[track_caller]
    pub fn after(mut self, phase: &Shutdown) -> Self {
        assert!(
            phase.node().is_phase_of(&self.parent),
            "phase '{}' can only come after phases of the same shutdown",
            self.settings.name,
        );
        self.settings.after.push(phase.node().clone());
        self
    }

    /// Leaves it to the program to ask the phase, by any verb that requests a shutdown. Defaults to off.
    ///
    /// The verbs are methods of the handle, so keep one, or a [`DropGuard`](crate::DropGuard). Once only
    /// waiters and guards of the phase are left, it can't be asked any more: its waiters and the phases that
    /// come after it wait until the force.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let metrics = shutdown.phase("metrics").by_hand().build();
    /// shutdown.request_shutdown();
    /// assert!(!metrics.is_stopping());
    /// metrics.trigger("all else is done");
    /// assert!(metrics.is_stopping());
    /// ```
    pub fn by_hand(mut self) -> Self {
        self.settings.by_hand = true;
        self
    }

    /// Sets how long the phase may take once it is asked, before those that come after it are asked all
    /// the same. Defaults to no limit.
    ///
    /// Guards that are still held then count in the parent as before, and more can be taken; the report
    /// names them with the phase, and says that its time limit has run out. When they are dropped in time
    /// after all, a drain is `Ok`, though the order was not kept:
    /// [`Report::timed_out_phases`](crate::Report::timed_out_phases) names the phase for good. It is real
    /// time, kept by a thread of this crate. If the system refuses to start that thread, the limit never
    /// runs out.
    ///
    /// The limits and delays of phases that follow one another have to add up to less than the
    /// [grace period](crate::Builder::grace_period). Otherwise the later ones may not have been asked when it ends,
    /// and if it [forces](crate::Builder::force_at_deadline), they never are.
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let limit = Duration::from_secs(5);
    /// let workers = shutdown.phase("workers").time_limit(limit).build();
    /// let storage = shutdown.phase("storage").after(&workers).build();
    /// # let _ = storage;
    /// ```
    #[cfg(not(target_family = "wasm"))]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.settings.time_limit = Some(limit);
        self
    }

    /// Makes the phase. If it is due already, it is asked at once; and as it holds no guard, it is over then,
    /// and refuses any.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let early = shutdown.phase("early").build();
    /// assert!(!early.is_stopping());
    /// shutdown.request_shutdown();
    /// let late = shutdown.phase("late").build();
    /// assert!(early.is_stopping() && late.is_stopping());
    /// ```
    ///
    /// # Panics
    ///
    /// If it is [`by_hand`](PhaseBuilder::by_hand) and has an [`after`](PhaseBuilder::after) or a
    /// [`delay`](PhaseBuilder::delay) too, which would have no meaning.
    #[track_caller]
    #[must_use = "a phase without a handle has no waiters and no guards"]
    pub fn build(self) -> Shutdown {
        let PhaseSettings {
            name,
            delay,
            by_hand,
            ref after,
            ..
        } = self.settings;
        assert!(
            !by_hand || (after.is_empty() && delay.is_zero()),
            "phase '{name}' is asked by hand, so it takes neither `after` nor `delay`",
        );
        Shutdown::below(Node::phase(&self.parent, self.settings))
    }
}

impl std::fmt::Debug for PhaseBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PhaseBuilder")
            .field("name", &self.settings.name)
            .finish_non_exhaustive()
    }
}
