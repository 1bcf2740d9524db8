//! Access to what a wrapper holds.

/// Implements `get_ref`, `get_mut` and `into_inner`.
macro_rules! inner {
    ($type:ident<$($param:ident),+>, $field:ident, $inner:ident) => {
        impl<$($param),+> $type<$($param),+> {
            /// Returns a reference to the wrapped value.
            pub fn get_ref(&self) -> &$inner {
                &self.$field
            }

            /// Returns a mutable reference to the wrapped value.
            pub fn get_mut(&mut self) -> &mut $inner {
                &mut self.$field
            }

            /// Returns the wrapped value.
            pub fn into_inner(self) -> $inner {
                self.$field
            }
        }
    };
}

pub(crate) use inner;
