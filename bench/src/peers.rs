//! The libraries, each used as its own documentation does.

use std::future::{Future, pending};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// One shutdown, shared by all that wait for it.
pub trait Peer: Sync + 'static {
    const NAME: &'static str;
    fn new() -> Self;
    fn is_requested(&self) -> bool;
    /// A future that is ready once the shutdown was requested. Its output differs.
    fn waiter(&self) -> impl Future + Send;
    fn request(&self);
}

/// Adds every peer that can be waited for to a row: `$contender::<P>($args)`, winddown first.
macro_rules! row_of_peers {
    ($row:expr, $contender:ident $(, $arg:expr)?) => {
        $row.with($contender::<$crate::peers::Winddown>($($arg)?))
            .with($contender::<$crate::peers::Token>($($arg)?))
            .with($contender::<$crate::peers::OwnedToken>($($arg)?))
            .with($contender::<$crate::peers::SwansongInterrupt>($($arg)?))
            .with($contender::<$crate::peers::SwansongWaiter>($($arg)?))
            .with($contender::<$crate::peers::Triggered>($($arg)?))
            .with($contender::<$crate::peers::SignalMod>($($arg)?))
            .with($contender::<$crate::peers::AsyncShutdown>($($arg)?))
            .with($contender::<$crate::peers::Watch>($($arg)?))
            .with($contender::<$crate::peers::RawEvent>($($arg)?))
            .with($contender::<$crate::peers::StopToken>($($arg)?))
    };
}
pub(crate) use row_of_peers;

pub use winddown::Shutdown as Winddown;

impl Peer for Winddown {
    const NAME: &'static str = crate::harness::OURS;

    fn new() -> Self {
        Winddown::new()
    }

    fn is_requested(&self) -> bool {
        self.is_requested()
    }

    fn waiter(&self) -> impl Future + Send {
        self.waiter()
    }

    fn request(&self) {
        self.request_shutdown();
    }
}

pub use tokio_util::sync::CancellationToken as Token;

/// A waiter that borrows the token.
impl Peer for Token {
    const NAME: &'static str = "CancellationToken";

    fn new() -> Self {
        Token::new()
    }

    fn is_requested(&self) -> bool {
        self.is_cancelled()
    }

    fn waiter(&self) -> impl Future + Send {
        self.cancelled()
    }

    fn request(&self) {
        self.cancel();
    }
}

/// A waiter that is its own, as winddown's.
pub struct OwnedToken(Token);

impl Peer for OwnedToken {
    const NAME: &'static str = "CancellationToken (owned)";

    fn new() -> Self {
        Self(Token::new())
    }

    fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    fn waiter(&self) -> impl Future + Send {
        self.0.clone().cancelled_owned()
    }

    fn request(&self) {
        self.0.cancel();
    }
}

/// The cheaper of swansong's two ways to wait.
pub struct SwansongInterrupt(swansong::Swansong);

impl Peer for SwansongInterrupt {
    const NAME: &'static str = "swansong";

    fn new() -> Self {
        Self(swansong::Swansong::new())
    }

    fn is_requested(&self) -> bool {
        !self.0.state().is_running()
    }

    fn waiter(&self) -> impl Future + Send {
        self.0.interrupt(pending::<()>())
    }

    fn request(&self) {
        self.0.shut_down();
    }
}

/// The other: a future of its own.
pub struct SwansongWaiter(swansong::Swansong);

impl Peer for SwansongWaiter {
    const NAME: &'static str = "swansong (shutting_down)";

    fn new() -> Self {
        Self(swansong::Swansong::new())
    }

    fn is_requested(&self) -> bool {
        !self.0.state().is_running()
    }

    fn waiter(&self) -> impl Future + Send {
        self.0.shutting_down()
    }

    fn request(&self) {
        self.0.shut_down();
    }
}

pub struct Triggered {
    trigger: triggered::Trigger,
    listener: triggered::Listener,
}

impl Peer for Triggered {
    const NAME: &'static str = "triggered";

    fn new() -> Self {
        let (trigger, listener) = triggered::trigger();
        Self { trigger, listener }
    }

    fn is_requested(&self) -> bool {
        self.listener.is_triggered()
    }

    fn waiter(&self) -> impl Future + Send {
        self.listener.clone()
    }

    fn request(&self) {
        self.trigger.trigger();
    }
}

/// Without its listeners for signals.
pub struct SignalMod {
    trigger: signal_mod::ShutdownTrigger,
    pub token: signal_mod::ShutdownToken,
}

impl Peer for SignalMod {
    const NAME: &'static str = "signal-mod";

    fn new() -> Self {
        let coordinator = signal_mod::Coordinator::builder().build();
        Self {
            trigger: coordinator.trigger(),
            token: coordinator.token(),
        }
    }

    fn is_requested(&self) -> bool {
        self.token.is_initiated()
    }

    fn waiter(&self) -> impl Future + Send {
        self.token.wait()
    }

    fn request(&self) {
        self.trigger.trigger(signal_mod::ShutdownReason::Requested);
    }
}

pub struct AsyncShutdown(async_shutdown::ShutdownManager<()>);

impl Peer for AsyncShutdown {
    const NAME: &'static str = "async-shutdown";

    fn new() -> Self {
        Self(async_shutdown::ShutdownManager::new())
    }

    fn is_requested(&self) -> bool {
        self.0.is_shutdown_triggered()
    }

    fn waiter(&self) -> impl Future + Send {
        self.0.wait_shutdown_triggered()
    }

    fn request(&self) {
        let _ = self.0.trigger_shutdown(());
    }
}

/// A channel of one flag.
pub struct Watch {
    sender: tokio::sync::watch::Sender<bool>,
    receiver: tokio::sync::watch::Receiver<bool>,
}

impl Peer for Watch {
    const NAME: &'static str = "tokio watch";

    fn new() -> Self {
        let (sender, receiver) = tokio::sync::watch::channel(false);
        Self { sender, receiver }
    }

    fn is_requested(&self) -> bool {
        *self.receiver.borrow()
    }

    fn waiter(&self) -> impl Future + Send {
        let mut receiver = self.receiver.clone();
        async move { receiver.wait_for(|stop| *stop).await.is_ok() }
    }

    fn request(&self) {
        let _ = self.sender.send(true);
    }
}

/// A flag and an event: check, listen, check.
pub struct RawEvent {
    flag: AtomicBool,
    event: event_listener::Event,
}

impl Peer for RawEvent {
    const NAME: &'static str = "event-listener";

    fn new() -> Self {
        Self {
            flag: AtomicBool::new(false),
            event: event_listener::Event::new(),
        }
    }

    fn is_requested(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    fn waiter(&self) -> impl Future + Send {
        async {
            while !self.is_requested() {
                let listener = self.event.listen();
                if self.is_requested() {
                    break;
                }
                listener.await;
            }
        }
    }

    fn request(&self) {
        self.flag.store(true, Ordering::Release);
        self.event.notify(usize::MAX);
    }
}

/// It ends when its source is dropped; it can't be asked.
pub struct StopToken {
    source: Mutex<Option<stop_token::StopSource>>,
    token: stop_token::StopToken,
}

impl Peer for StopToken {
    const NAME: &'static str = "stop-token";

    fn new() -> Self {
        let source = stop_token::StopSource::new();
        Self {
            token: source.token(),
            source: Mutex::new(Some(source)),
        }
    }

    fn is_requested(&self) -> bool {
        unimplemented!("a StopToken can only be awaited")
    }

    fn waiter(&self) -> impl Future + Send {
        self.token.clone()
    }

    fn request(&self) {
        self.source.lock().expect("no holder panicked").take();
    }
}
