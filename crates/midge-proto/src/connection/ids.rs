//! The names that a connection hands out.

use core::fmt;

/// Bits of a number that index a slab; the rest counts how often the place was used.
const INDEX_BITS: u32 = 24;
/// The most places that a slab has.
pub(super) const MAX_SLOTS: usize = (1 << INDEX_BITS) - 1;

/// The number of one transport, or of one try to get one.
///
/// Each has its own, so that a late answer of an old one changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub(super) u64);

/// A subscription, by the number that also stands on the wire.
///
/// Numbers are not used twice within a connection: the place in a table is, with a generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid(u64);

/// A request that waits for its reply.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

/// A flush that waits for its PONG.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlushId(pub(super) u64);

macro_rules! slab_id {
    ($name:ident) => {
        impl $name {
            pub(super) fn new(index: usize, generation: u64) -> Self {
                Self((generation << INDEX_BITS) | (index as u64 + 1))
            }

            pub(super) fn from_number(number: u64) -> Self {
                Self(number)
            }

            /// The number as it stands on the wire.
            pub fn number(self) -> u64 {
                self.0
            }

            /// The place in a table: small, dense, used again after the end.
            pub fn index(self) -> usize {
                // Number 0 is never handed out; from the wire it leads to a place that is not there.
                (self.0 & ((1 << INDEX_BITS) - 1)).wrapping_sub(1) as usize
            }

            pub(super) fn generation(self) -> u64 {
                self.0 >> INDEX_BITS
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

slab_id!(Sid);
slab_id!(RequestId);
