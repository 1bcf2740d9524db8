//! What the crate does not do, and why.
//!
//! # Signals
//!
//! - The kernel merges pending signals of the same number. Two SIGINTs that are sent before the thread ran that is to
//!   handle them, often a `main` that sleeps, may arrive as one: on a machine that is overloaded, of two that were
//!   300 ms apart, 3 in 24. A SIGINT and a SIGTERM are always two. The same goes for signals of one
//!   number that arrive before the thread `winddown` has run, where that thread has to count them: with
//!   a [`debounce`](crate::Builder::debounce) or an [`abort_timeout`](crate::Builder::abort_timeout).
//! - Two signals that two threads handle in the same instant may both be taken for the first. The
//!   thread `winddown` then forces when it reads the second; if a waker hangs on that very thread, only a
//!   third signal forces.
//! - A signal that another thread takes in the instant in which `install` sets its handler is lost. A program
//!   that has no other thread yet loses none.
//! - A handler that was set before this crate's runs first. One that ends the process, as that of Go's
//!   runtime without `signal.Notify`, ends it. A thread in `sigwait`, and a `signalfd`, take signals that
//!   the handler would get.
//! - A sandbox that refuses `sendto` or `recvfrom` keeps the first signal from the thread `winddown`, and nothing
//!   says so. The second still forces.
//! - Handlers stay registered until the process ends. A program that sets another handler for the same
//!   signal later, without chaining to the earlier one, takes the signal from this crate.
//! - A signal that comes while the last handle is dropped may ask no part of the program any more. It ends by
//!   itself then, or by the next signal.
//! - When every handle, and all that was made by one, is gone before the first signal, Ctrl-C ends the
//!   program although `tokio::signal`, `ctrlc` or another library handles it too. Keep a handle, or leave the
//!   signal out of [`signals`](crate::Builder::signals).
//! - A signal that was ignored when the process started, as a shell does with SIGINT for what it runs
//!   in the background, is handled all the same. Leave it out of
//!   [`signals`](crate::Builder::signals) if it is to be ignored.
//! - A signal counts only if the handler has seen it in this process: a child between `fork` and `exec`
//!   has a copy of the handler, whose signals are not taken for the parent's. After `fork` without
//!   `exec`, as a daemon does, the child has the handlers but not the thread that reads: the first signal
//!   that is sent to it is lost. The second forces; but it is lost too where the force needs the thread, as
//!   with a [`debounce`](crate::Builder::debounce) or an [`abort_timeout`](crate::Builder::abort_timeout), or
//!   where the [`ForcePolicy`](crate::ForcePolicy) forbids it. In the child
//!   [`install`](crate::Shutdown::install) returns [`InstallError::Forked`](crate::InstallError::Forked). So
//!   fork first, and install then. The times of shutdowns that were begun before the fork end in the parent
//!   alone, and so do the timers of async-io, if its thread was running at the fork: fork before any future
//!   has waited.
//! - A read with a timeout that blocks in the main thread is interrupted by the signal, whatever `SA_RESTART`
//!   says. Try again on [`Interrupted`](std::io::ErrorKind::Interrupted), or the error ends the program in place
//!   of the shutdown.
//! - The force takes as long as the kernel takes to free the memory of the process, beside the 50 ms of G4:
//!   some 100 ms for each GiB that is in use. And a thread has to get a processor: under a quota, as of a
//!   container, that is a period of 100 ms or more once its other threads have used it up. At a tenth of a
//!   processor, with 16 threads that compute, the second signal took up to 0.7 s, and the deadline 1.4 s.
//! - For PID 1, the kernel has no default action. Once every handle is gone, a signal ends that process with
//!   code 128 + n.
//! - On Windows, console events stand for signals: Ctrl-C and Ctrl-Break for
//!   [`Signal::INT`](crate::Signal::INT); a closed console, a logoff and the end of the system for
//!   [`Signal::TERM`](crate::Signal::TERM). After one of the last three, Windows ends the process in
//!   some seconds (5 for a closed console), drained or not, and no other event arrives. A service is
//!   told of every user's logoff. There are no other signals.
//!
//! - SIGHUP, which a closed terminal sends, is not among the default signals: it ends the program at once,
//!   with all that is in flight. Add it to [`signals`](crate::Builder::signals) if that is to be finished.
//! - A request is for good, so Ctrl-C can't cancel one operation of a program and leave the rest
//!   running. Where it should, leave SIGINT out of [`signals`](crate::Builder::signals), handle it by the
//!   runtime, and give each operation a [`child`](crate::Shutdown::child) that the handler requests.
//!
//! # Threads and wakers
//!
//! - A waker or callback that hangs, as opposed to one that panics, keeps those behind it waiting: the
//!   wakers of the same request, and on the background thread also later lame ducks, delays and time limits,
//!   of every shutdown of the process, what systemd is told, and what comes of a signal or the deadline of
//!   the installed shutdown, if one of the settings below needs the thread `winddown`: its wakers, and
//!   children and phases, which are not even forced then. Threads that wait for the installed shutdown
//!   itself are woken all the same. Neither its force nor its deadline waits for a waker. The deadline of a
//!   shutdown that is not installed does.
//! - With a [`debounce`](crate::Builder::debounce), an [`abort_timeout`](crate::Builder::abort_timeout) or
//!   [`force_at_deadline`](crate::Builder::force_at_deadline), the thread `winddown` has to run for the
//!   process to end. It calls no foreign code then, and on Linux and Windows it takes no memory. So the
//!   process ends in time though a thread has the lock of the allocator for good, as after a signal handler
//!   that allocates. The force by the handler needs neither the thread nor memory.
//! - Should descriptors run out in the middle of `install`, after it has made sure that there are
//!   enough, a handler stays that does what the system does by default. Should threads run out then,
//!   async-io panics; at the very limit they may, because a thread that has ended still counts for an
//!   instant.
//! - async-io's timer makes its descriptors and its thread when a future first waits for a time, and panics
//!   without free ones. `install` makes them, and so do the adapters that will need them; a shutdown that
//!   is not installed makes them for its first [`drain`](crate::Shutdown::drain) at the latest.
//! - A waker that hangs on async-io's thread, as one may that waits for a timer of smol's, keeps all timers of
//!   async-io waiting, and so the timeouts of drains and of wrapped futures. Threads that block, the force and
//!   [`force_at_deadline`](crate::Builder::force_at_deadline) do not depend on it.
//! - A callback may be called by a thread of this crate that ends soon. A child process that is started there
//!   with `PR_SET_PDEATHSIG` is killed when it does.
//! - With `panic = "abort"` the panic of a waker, a callback or a task ends the process, as any does.
//! - async-io drops wakers under its own lock. One whose drop drops more than a thousand timers may
//!   deadlock all of them. The force does not depend on it.
//! - The background thread is started when it is first needed, and the system may refuse that: at the
//!   request, or when a phase is asked. Then there is no lame duck and no delay, and a time limit never
//!   runs out. A shutdown that is not installed is then not forced at its deadline. Where the thread
//!   `winddown` has to run for the process to end, `install` starts both.
//! - With the feature `tracing`, a subscriber that blocks, as on a pipe whose reader has stopped, holds up the
//!   thread that emits the event: one of the program that requests, drains or drops the last guard, when it
//!   has called the wakers; and the thread `winddown`, unless it has to run for the process to end. That one
//!   reads no signal meanwhile: the handler still forces, but an interrupt that may not force ends no lame
//!   duck. The events of the background thread come from a third thread, `winddown-events`, which is there
//!   while there are any: later ones wait, and no timer and no waker does. If the system refuses that thread,
//!   they do wait. The end of a drain waits up to 50 ms for them. What is not emitted when the process ends is
//!   lost.
//!
//! # Runtimes
//!
//! - `#[tokio::main]` drops its runtime before std prints the error that `main` returned. The drop waits
//!   for every `spawn_blocking`, and for every task that blocks its thread: for ever, if they never end. So
//!   print what a drain returns, and end by `std::process::exit`, or by
//!   [`force_at_deadline`](crate::Builder::force_at_deadline).
//!
//! # Output
//!
//! - `println!` and `eprintln!` panic when their reader is gone, and in `server | tee log` Ctrl-C ends `tee`
//!   too. Between the request and the end of the drain such a panic of `main` cuts off what is in flight. Use
//!   `let _ = writeln!(std::io::stdout(), "...")` there, or a log that does not panic.
//!
//! # Time
//!
//! - The [`lame_duck`](crate::Builder::lame_duck), the
//!   [`grace_period`](crate::Builder::grace_period), the timeout of a [`drain`](crate::Shutdown::drain),
//!   the [`delay`](crate::PhaseBuilder::delay) and [`time_limit`](crate::PhaseBuilder::time_limit) of a
//!   phase, and the few milliseconds of
//!   [`on_shutdown`](crate::ShutdownExt::on_shutdown) and
//!   [`finish_on_shutdown`](crate::ShutdownExt::finish_on_shutdown) are real time, also in a test with a
//!   paused clock: that jumps to the test's own time-out while they run. So test a server in real time.
//! - A process that is stopped (SIGSTOP, Ctrl-Z) while it shuts down gets no time back: if the grace period is over
//!   when it goes on, [`force_at_deadline`](crate::Builder::force_at_deadline) ends it.
//! - Without the feature `signals` there is no timer for futures: deadlines are seen when a task polls, and
//!   for their few milliseconds `on_shutdown` and `finish_on_shutdown` wake their task all the time, which
//!   keeps a processor busy. On wasm they wait for 64 polls instead, and for no time.
//!   Use [`drain_until`](crate::Shutdown::drain_until) and
//!   [`limit_on_shutdown_with`](crate::ShutdownExt::limit_on_shutdown_with) with a timer of your own.
//! - Where std has no clock, as on `wasm32-unknown-unknown`, whatever reads the time panics: a
//!   [`grace_period`](crate::Builder::grace_period), a [`debounce`](crate::Builder::debounce), and
//!   timeouts other than zero and `Duration::MAX`. What needs a thread, or blocks one, is not there on wasm: lame
//!   ducks, delays, time limits, `force_at_deadline`, and `wait_blocking`, `wait_blocking_timeout`,
//!   `drain_blocking` and `drained_blocking`.
//!
//! # Guards
//!
//! - A guard that is dropped is released, for whatever reason: a task that is aborted, or dropped with its
//!   runtime, counts as done. [`supervise`](crate::Shutdown::supervise) has the drop of a task begin the
//!   shutdown, as a failure; once it has begun, it changes nothing.
//! - A counter refuses guards while it counts `usize::MAX / 16`: 268 million on a 32-bit processor. A
//!   node counts those of its descendants too. A child has one counter. A shutdown without a parent has
//!   up to eight, each for some of the threads, so it may hold as many times more.
//! - The panics of a [`Report`](crate::Report) are counted up to `usize::MAX`: 4 billion on a 32-bit
//!   processor. Handles and waiters are counted by an `Arc`, which aborts the process at `isize::MAX`:
//!   2 billion there. Only with forgotten ones does a program come so far.
//!
//! # systemd
//!
//! - With the feature `systemd`, systemd is reached at a socket with a path, as its own is, and not at
//!   one with an abstract name (`@...`).
