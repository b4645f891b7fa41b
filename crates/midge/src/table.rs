//! What belongs to the ids of the core: a vector by place, and a map for ids whose place was taken.

use std::collections::BTreeMap;

use midge_proto::{RequestId, Sid};

/// An id that names a place in a small, dense table.
pub(crate) trait Place: Copy + Ord {
    fn place(self) -> usize;
}

impl Place for Sid {
    fn place(self) -> usize {
        self.index()
    }
}

impl Place for RequestId {
    fn place(self) -> usize {
        self.index()
    }
}

/// One entry per id.
///
/// The core may use a place again before it has told of the end of the id that had it. The older
/// entry moves aside then, so that its end still finds it.
#[derive(Debug)]
pub(crate) struct Table<I, T> {
    places: Vec<Option<(I, T)>>,
    aside: BTreeMap<I, T>,
}

impl<I: Place, T> Table<I, T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), aside: BTreeMap::new() }
    }

    pub(crate) fn insert(&mut self, id: I, entry: T) {
        let place = id.place();
        if place >= self.places.len() {
            let more = place + 1 - self.places.len();
            if place >= self.places.capacity() {
                // Of many, few places are empty.
                self.places.reserve_exact(more.max(self.places.len() / 8).max(8));
            }
            self.places.resize_with(place + 1, || None);
        }
        if let Some((older, entry)) = self.places[place].replace((id, entry)) {
            self.aside.insert(older, entry);
        }
    }

    /// The entry of `id`, unless another has taken its place.
    #[inline]
    pub(crate) fn get_mut_here(&mut self, id: I) -> Option<&mut T> {
        match self.places.get_mut(id.place()) {
            Some(Some((found, entry))) if *found == id => Some(entry),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, id: I) -> Option<&mut T> {
        match self.places.get_mut(id.place()) {
            Some(Some((found, entry))) if *found == id => Some(entry),
            _ => self.aside.get_mut(&id),
        }
    }

    pub(crate) fn remove(&mut self, id: I) -> Option<T> {
        match self.places.get_mut(id.place()) {
            Some(place) if place.as_ref().is_some_and(|(found, _)| *found == id) => {
                place.take().map(|(_, entry)| entry)
            }
            _ => self.aside.remove(&id),
        }
    }
}

#[cfg(test)]
impl<I, T> Table<I, T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.aside.is_empty() && self.places.iter().all(Option::is_none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Id(usize, u32);

    impl Place for Id {
        fn place(self) -> usize {
            self.0
        }
    }

    #[test]
    fn an_id_whose_place_was_taken_is_still_found() {
        let mut table = Table::new();
        table.insert(Id(2, 0), "old");
        table.insert(Id(2, 1), "new");
        assert_eq!(table.get_mut(Id(2, 0)), Some(&mut "old"));
        assert_eq!(table.remove(Id(2, 1)), Some("new"));
        assert_eq!(table.get_mut(Id(2, 1)), None);
        assert_eq!(table.remove(Id(2, 0)), Some("old"));
        assert_eq!(table.remove(Id(2, 0)), None);
        assert_eq!(table.get_mut(Id(9, 0)), None);
    }
}
