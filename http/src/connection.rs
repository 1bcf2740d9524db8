//! [`Connection`]: a connection of HTTP/1 or of HTTP/2, as its first bytes tell.
//!
//! hyper-util's `auto` does the same, but hands hyper the first 24 bytes apart from the others. For those hyper
//! doubles its buffer, so that each connection of HTTP/1 keeps 16 KiB in place of 8.

use std::error::Error;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;

use crate::io::Io;
use crate::protocol::Protocol;

/// The settings of each protocol.
pub(crate) struct Builders<E> {
    pub(crate) http1: http1::Builder,
    pub(crate) http2: http2::Builder<E>,
}

/// A connection, until it has ended.
pub(crate) struct Connection<'a, I, S, E>
where
    S: HttpService<Incoming>,
{
    builders: &'a Builders<E>,
    state: State<I, S, E>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "most connections are of HTTP/1, and one without a box takes an allocation less"
)]
enum State<I, S, E>
where
    S: HttpService<Incoming>,
{
    /// The first bytes have not told yet.
    First {
        io: Io<I>,
        service: S,
    },
    Http1(http1::UpgradeableConnection<Io<I>, S>),
    /// Boxed, because it has more than twice the size.
    Http2(Pin<Box<http2::Connection<Io<I>, S, E>>>),
    /// Told to finish before its first bytes have told. It says so to the client, as TLS has to.
    Closing(Io<I>),
    Ended,
}

impl<'a, I, S, E> Connection<'a, I, S, E>
where
    S: HttpService<Incoming>,
{
    pub(crate) fn new(io: Io<I>, service: S, builders: &'a Builders<E>) -> Self {
        let state = State::First { io, service };
        Self { builders, state }
    }
}

impl<I, S, B, E> Connection<'_, I, S, E>
where
    I: Read + Write + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    E: Http2ServerConnExec<S::Future, B>,
{
    /// Has it end once it has answered the requests that have arrived. It is to be polled again.
    pub(crate) fn graceful_shutdown(&mut self) {
        match &mut self.state {
            State::First { .. } => self.state = State::Closing(self.take_first().0),
            State::Http1(connection) => Pin::new(connection).graceful_shutdown(),
            State::Http2(connection) => connection.as_mut().graceful_shutdown(),
            State::Closing(_) | State::Ended => {}
        }
    }

    fn begin(&mut self, protocol: Protocol) {
        let (io, service) = self.take_first();
        let builders = self.builders;
        self.state = match protocol {
            Protocol::Http1 => {
                let connection = builders.http1.serve_connection(io, service);
                State::Http1(connection.with_upgrades())
            }
            Protocol::Http2 => State::Http2(Box::pin(builders.http2.serve_connection(io, service))),
        };
    }

    /// Takes what there is before the first bytes have told. Another state has to follow.
    fn take_first(&mut self) -> (Io<I>, S) {
        match mem::replace(&mut self.state, State::Ended) {
            State::First { io, service } => (io, service),
            _ => unreachable!("a connection begins once"),
        }
    }
}

// Nothing in it is pinned, but for what has a box.
impl<I, S: HttpService<Incoming>, E> Unpin for Connection<'_, I, S, E> {}

/// Ready when the connection has ended. Its errors are those of the client.
impl<I, S, B, E> Future for Connection<'_, I, S, E>
where
    I: Read + Write + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    E: Http2ServerConnExec<S::Future, B>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::First { io, .. } => match ready!(io.poll_protocol(cx)) {
                    Ok(protocol) => this.begin(protocol),
                    Err(_) => this.state = State::Ended,
                },
                State::Http1(connection) => return Pin::new(connection).poll(cx).map(drop),
                State::Http2(connection) => return connection.as_mut().poll(cx).map(drop),
                State::Closing(io) => return Pin::new(io).poll_shutdown(cx).map(drop),
                State::Ended => return Poll::Ready(()),
            }
        }
    }
}
