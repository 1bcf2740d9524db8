//! [`RequestKind`]: what of a request its answer depends on.

use http::{Method, Version};

/// What of a request its answer depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestKind {
    pub(crate) version: Version,
    /// Whether a success makes a tunnel of the connection or stream.
    pub(crate) connect: bool,
}

impl RequestKind {
    #[inline]
    pub(crate) fn new(method: &Method, version: Version) -> Self {
        let connect = method == Method::CONNECT;
        Self { version, connect }
    }

    pub(crate) fn is_http1(self) -> bool {
        self.version < Version::HTTP_2
    }
}
