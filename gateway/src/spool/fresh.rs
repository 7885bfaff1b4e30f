//! Packets that were written down just now, for whoever settles them: to read them back takes as long as to write them.
//!
//! What is here is what the file has. New records are added, and any other transaction that writes makes it forget
//! everything, as a rule that needs no list of what touches a packet: then the file is read.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::NewPacket;

/// Most packets that are kept. More wait only while nobody settles them.
const MOST: usize = 4_096;

/// A packet of the file by its row, and whether its sitting is a guess. It has no context: those are joined to it by another
/// transaction.
pub(super) type Fresh = (i64, NewPacket, bool);

/// How often everything was forgotten: what was begun under another count may have been changed by somebody else since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count(u64);

#[derive(Debug, Default)]
pub(super) struct FreshPackets(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// All that the file has behind the row `behind`, in its order.
    packets: VecDeque<Fresh>,
    /// Nobody knows what the file has while this is absent.
    behind: Option<i64>,
    forgotten: u64,
}

impl FreshPackets {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> Count {
        Count(self.state().forgotten)
    }

    /// To be called before anything is changed in the file that is not a new packet at its end, or the removal of one that
    /// was taken from here.
    pub(super) fn forget(&self) {
        let mut state = self.state();
        state.packets.clear();
        state.behind = None;
        state.forgotten += 1;
    }

    /// Adds packets that are durable in the file's last rows from `first` on. Nothing is added if something was forgotten
    /// since their transaction began.
    pub(super) fn add(&self, count: Count, first: i64, packets: impl IntoIterator<Item = (NewPacket, bool)>) {
        let mut state = self.state();
        if Count(state.forgotten) != count {
            return;
        }
        state.behind.get_or_insert(first.saturating_sub(1));
        let rows = (first..).zip(packets);
        state
            .packets
            .extend(rows.map(|(row, (packet, guess))| (row, packet, guess)));
        if state.packets.len() > MOST {
            drop(state);
            self.forget();
        }
    }

    /// Takes at most so many of the first packets behind the row `after`, if it is known what the file has there. What it says holds for as long as
    /// the count stays.
    pub(super) fn take(&self, after: i64, most: u32) -> Option<(Vec<Fresh>, Count)> {
        let mut state = self.state();
        if state.behind.is_none_or(|behind| behind > after) {
            return None;
        }
        while state.packets.pop_front_if(|(row, ..)| *row <= after).is_some() {}
        state.behind = Some(after);
        let page = state.packets.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        let taken: Vec<Fresh> = state.packets.drain(..page).collect();
        let last = taken.last()?.0;
        state.behind = Some(last);
        Some((taken, Count(state.forgotten)))
    }
}
