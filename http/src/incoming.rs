//! [`Incoming`]: what a server takes its connections from.

use std::io;

use futures_lite::Stream;

/// A stream of connections, as [`Server::serve`](crate::Server::serve) takes it: a listener in a
/// [`TokioIncoming`](crate::TokioIncoming) or a [`SmolIncoming`](crate::SmolIncoming), or any other stream whose
/// items are `io::Result`s.
///
/// It is implemented for all of those; no other code implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a stream of connections",
    note = "wrap a listener of tokio in `TokioIncoming::new`, and one of smol in `SmolIncoming::new`",
    note = "any other stream needs `io::Result`s as its items"
)]
pub trait Incoming<I>: Stream<Item = io::Result<I>> {}

#[diagnostic::do_not_recommend]
impl<St: Stream<Item = io::Result<I>>, I> Incoming<I> for St {}
