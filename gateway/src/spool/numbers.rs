//! Which record numbers an open link of a personal meter has brought: a record with a new one need not be compared with what came
//! before.
//!
//! This knows nothing that the file does not know better. A number that is here without its record is looked for in the file in
//! vain, and one that is not here has no record there: what comes over such a link comes through the capture task of this process,
//! one capture after the other.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::LinkId;

/// Open links, with a bit for each number that a record can have: 8 KiB for a link that brings any.
#[derive(Debug, Default)]
pub(super) struct Numbers(Mutex<HashMap<LinkId, Vec<u64>>>);

/// The numbers, while they are asked for.
pub(super) struct Asked<'a>(MutexGuard<'a, HashMap<LinkId, Vec<u64>>>);

const BITS: u16 = 64;

impl Numbers {
    /// To be called before the first packet of a link comes.
    pub(super) fn open(&self, link: LinkId) {
        self.ask().0.insert(link, Vec::new());
    }

    /// Everything that comes later is compared.
    pub(super) fn close(&self, link: LinkId) {
        self.ask().0.remove(&link);
    }

    pub(super) fn ask(&self) -> Asked<'_> {
        Asked(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Asked<'_> {
    /// Whether a link brings this number for the first time, as far as is known; it does not a second time.
    pub(super) fn is_first(&mut self, link: LinkId, number: u16) -> bool {
        let Some(words) = self.0.get_mut(&link) else {
            return false;
        };
        if words.is_empty() {
            words.resize(usize::from(u16::MAX / BITS) + 1, 0);
        }
        let Some(word) = words.get_mut(usize::from(number / BITS)) else {
            return false;
        };
        let bit = 1 << (number % BITS);
        let first = *word & bit == 0;
        *word |= bit;
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_first_once_on_each_open_link_and_never_on_another() {
        let numbers = Numbers::default();
        let (one, other) = (LinkId(1), LinkId(2));
        let first = |link, number| numbers.ask().is_first(link, number);
        assert!(!first(one, 0), "it is not open");
        numbers.open(one);
        numbers.open(other);
        for number in 0..=u16::MAX {
            assert!(first(one, number) && !first(one, number), "{number}");
        }
        assert!(first(other, 63) && first(other, 64));
        numbers.close(one);
        assert!(!first(one, 1) && !first(other, 63));
    }
}
