//! Iterators that end when a shutdown comes.

use std::borrow::Borrow;
use std::iter::FusedIterator;

use crate::ext::inner::inner;
use crate::waiter::Waiter;

/// Made by [`ShutdownExt::stop_on_shutdown`](crate::ShutdownExt::stop_on_shutdown).
#[must_use = "iterators do nothing unless consumed"]
#[derive(Debug)]
pub struct StopOnShutdown<I, W = Waiter> {
    iterator: I,
    waiter: W,
    ended: bool,
}

impl<I, W> StopOnShutdown<I, W> {
    pub(crate) fn new(iterator: I, waiter: W) -> Self {
        Self {
            iterator,
            waiter,
            ended: false,
        }
    }
}

impl<I: Iterator, W: Borrow<Waiter>> Iterator for StopOnShutdown<I, W> {
    type Item = I::Item;

    #[inline]
    fn next(&mut self) -> Option<I::Item> {
        if !self.ended && !self.waiter.borrow().is_stopping() {
            if let Some(item) = self.iterator.next() {
                return Some(item);
            }
        }
        self.ended = true;
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self.ended {
            true => (0, Some(0)),
            // It may end at any time.
            false => (0, self.iterator.size_hint().1),
        }
    }
}

impl<I: Iterator, W: Borrow<Waiter>> FusedIterator for StopOnShutdown<I, W> {}

inner!(StopOnShutdown<I, W>, iterator, I);
