//! What belongs to the ids of the core: by place, or by number.

use std::collections::BTreeMap;

use midge_proto::{RequestId, Sid};

/// An id that names a place in a small, dense table.
pub(crate) trait Place: Copy + Eq {
    fn place(self) -> usize;

    /// No other id has it.
    fn number(self) -> u64;
}

impl Place for Sid {
    fn place(self) -> usize {
        self.index()
    }

    fn number(self) -> u64 {
        Self::number(self)
    }
}

impl Place for RequestId {
    fn place(self) -> usize {
        self.index()
    }

    fn number(self) -> u64 {
        Self::number(self)
    }
}

/// One entry per id.
///
/// The core may use a place again before it has told of the end of the id that had it. The older
/// entry moves aside then, so that its end still finds it.
#[derive(Debug)]
pub(crate) struct Table<I, T> {
    places: Vec<Option<(I, T)>>,
    aside: ByNumber<T>,
}

impl<I: Place, T> Table<I, T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), aside: ByNumber::new() }
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
            self.aside.insert(older.number(), entry);
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
            _ => self.aside.get_mut(id.number()),
        }
    }

    pub(crate) fn remove(&mut self, id: I) -> Option<T> {
        match self.places.get_mut(id.place()) {
            Some(place) if place.as_ref().is_some_and(|(found, _)| *found == id) => {
                place.take().map(|(_, entry)| entry)
            }
            _ => self.aside.remove(id.number()),
        }
    }
}

/// Entries that a vector holds when the last one goes, at most.
const SPARE: usize = 64;

/// One entry per number, in the order of numbers.
///
/// Whatever the entries are, the map is of one type: each type of map is ten kilobytes of a program.
#[derive(Debug)]
pub(crate) struct ByNumber<T> {
    places: BTreeMap<u64, usize>,
    entries: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> ByNumber<T> {
    pub(crate) const fn new() -> Self {
        Self { places: BTreeMap::new(), entries: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// There is no entry of this number.
    pub(crate) fn insert(&mut self, number: u64, entry: T) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.entries[place] = Some(entry);
        self.places.insert(number, place);
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let place = *self.places.get(&number)?;
        self.entries[place].as_mut()
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        let place = self.places.remove(&number)?;
        let entry = self.entries[place].take();
        self.free.push(place);
        if self.places.is_empty() {
            self.entries.clear();
            self.entries.shrink_to(SPARE);
            self.free.clear();
            self.free.shrink_to(SPARE);
        }
        entry
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.values().filter_map(|place| self.entries[*place].as_ref())
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

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Id(usize, u32);

    impl Place for Id {
        fn place(self) -> usize {
            self.0
        }

        fn number(self) -> u64 {
            u64::from(self.1) << 32 | self.0 as u64
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

    #[test]
    fn entries_come_in_the_order_of_their_numbers_and_leave_no_memory() {
        let mut table = ByNumber::new();
        for number in (0..1000).rev() {
            table.insert(number, number);
        }
        for number in (0..1000).filter(|number| number % 3 > 0) {
            assert_eq!(table.remove(number), Some(number));
            assert_eq!(table.remove(number), None);
        }
        table.insert(1, 1);
        assert_eq!(table.iter().take(4).copied().collect::<Vec<_>>(), [0, 1, 3, 6]);
        *table.get_mut(3).unwrap() = 7;
        assert_eq!(table.remove(3), Some(7));
        for number in 0..1000 {
            table.remove(number);
        }
        assert!(table.is_empty() && table.entries.capacity() <= SPARE);
    }
}
