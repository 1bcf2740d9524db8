//! What decides which operation comes next.

use std::iter::Peekable;

/// The choices of a world, made from bytes: those of an input, or random ones without an end.
pub(crate) struct Choices(Peekable<Box<dyn Iterator<Item = u8> + Send>>);

impl Choices {
    pub(crate) fn new<B>(bytes: B) -> Self
    where
        B: IntoIterator<Item = u8, IntoIter: Send + 'static>,
    {
        let bytes: Box<dyn Iterator<Item = u8> + Send> = Box::new(bytes.into_iter());
        Self(bytes.peekable())
    }

    /// Returns a number below `end`, which is at most 65,536. After the last byte it is zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let width = if end > 256 { 2 } else { 1 };
        let bytes = self.0.by_ref().take(width);
        bytes.fold(0, |high, low| (high << 8) | usize::from(low)) % end
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    /// Returns whether the input has no byte left.
    pub(crate) fn are_used_up(&mut self) -> bool {
        self.0.peek().is_none()
    }
}
