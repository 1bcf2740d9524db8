//! What the crate promises. A test of each promise carries its label.
//!
//! - **G1** No lost wake-up: a waiter made before, during or after the request completes, on every
//!   runtime.
//! - **G2** When `request_shutdown` has returned `true`, `is_requested` is true and `cause` is
//!   `Some`, on every thread.
//! - **G3** At most two sends are ever accepted; the caller that fills the second slot owns the force.
//! - **G4** The second signal ends the process with the exit code within 50 ms, beside what the kernel takes to
//!   free its memory, even if every executor thread is blocked, `main` is already inside `exit`, a waker hangs
//!   or stdout is blocked. With an [`abort_timeout`](crate::Builder::abort_timeout) the next one after the
//!   force does, or the end of that time. Which signals force, and how the process ends, the program may set:
//!   [`force_policy`](crate::Builder::force_policy), [`debounce`](crate::Builder::debounce),
//!   [`force_by_signal`](crate::Builder::force_by_signal).
//! - **G5** No foreign code (a waker, a callback) runs under a lock of this crate. A waker or callback that
//!   panics, that drops, polls or clones waiters, or that requests the shutdown again, keeps no other waiter
//!   asleep.
//! - **G6** Installing twice is an `Err` that changes nothing; after a failed install each signal does
//!   what it did before, and it can be retried.
//! - **G7** Dropping a handle never begins a shutdown (a phase that is dropped keeps no other waiting), and
//!   Ctrl-C is never dead: when every handle is gone, and every waiter, guard, callback and future that was
//!   made by one, a signal does what the system does by default. After a first signal the next is the second
//!   all the same, and G4 holds, or the [`ForcePolicy`](crate::ForcePolicy).
//! - **G8** A drain returns `Ok` only after every guard was dropped, and what was written before each
//!   drop is visible after.
//! - **G9** A drain that runs out of time says how many guards are left and on which lines they were
//!   taken. It names no guard that was never held.
//! - **G10** A waiter's re-poll takes no lock and allocates nothing; dropped waiters, guards, callbacks,
//!   children and phases leave no memory behind. (The room of waiters that were dropped is used again, and
//!   room for more than 64 is given back when none is left.)
//! - **G11** `#![forbid(unsafe_code)]`.
//! - **G12** With [`force_at_deadline`](crate::Builder::force_at_deadline) the process ends within 50 ms
//!   after the deadline, and the [`abort_timeout`](crate::Builder::abort_timeout) if there is one, in every
//!   case that G4 names.
//! - **G13** A phase is asked only when its parent is stopping, what it comes after is over, and its delay
//!   has passed, and always then, unless it is asked by hand; or before, when it is requested alone, or
//!   forced. No interleaving asks it twice or never.
//! - **G14** A connection in the listen queue, or accepted and not yet read, when the shutdown comes is
//!   answered by the example servers and by `winddown-http`, or it was refused. What remains is mostly a
//!   handshake that takes longer than 50 ms, or a request that is sent more than half a second later; and
//!   before Linux 5.7, and elsewhere, a handshake that ends between the last look at the queue and the
//!   close. [The docs of winddown-http](https://docs.rs/winddown-http/latest/winddown_http/#what-remains)
//!   list all of it.
