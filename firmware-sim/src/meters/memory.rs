//! The memory of a meter: its records, oldest first, and what became of them.

use std::collections::VecDeque;

use chrono::NaiveDateTime;

use super::RecordId;

/// One record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) id: RecordId,
    /// The sequence number, for glucose.
    pub(crate) sequence: Option<u16>,
    /// The time by which requests filter; unknown when the clock was unset.
    pub(crate) user_time: Option<NaiveDateTime>,
    /// The user id that it carries.
    pub(crate) slot: Option<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) context: Option<Vec<u8>>,
    /// A client has had it.
    pub(crate) sent: bool,
}

/// A bounded memory in which the oldest record gives way to the newest.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    size: usize,
    records: VecDeque<Record>,
    made: u64,
}

impl Memory {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            size: size.clamp(1, super::MAX_MEMORY),
            records: VecDeque::new(),
            made: 0,
        }
    }

    /// Records made so far, also those that are gone.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    pub(crate) fn next_id(&mut self) -> RecordId {
        self.made = self.made.saturating_add(1);
        RecordId(self.made)
    }

    /// Stores a record; gives back the one that had to go.
    pub(crate) fn push(&mut self, record: Record) -> Option<RecordId> {
        let gone = (self.records.len() >= self.size)
            .then(|| self.records.pop_front())
            .flatten();
        self.records.push_back(record);
        gone.map(|record| record.id)
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn unsent(&self) -> usize {
        self.records.iter().filter(|record| !record.sent).count()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Record> + ExactSizeIterator {
        self.records.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        self.records.iter_mut()
    }

    pub(crate) fn get(&self, id: RecordId) -> Option<&Record> {
        // Ids ascend, also where records were deleted in between.
        let at = self.records.binary_search_by_key(&id, |record| record.id).ok()?;
        self.records.get(at)
    }

    pub(crate) fn mark_sent(&mut self, id: RecordId) {
        if let Ok(at) = self.records.binary_search_by_key(&id, |record| record.id)
            && let Some(record) = self.records.get_mut(at)
        {
            record.sent = true;
        }
    }

    pub(crate) fn remove(&mut self, id: RecordId) -> bool {
        match self.records.binary_search_by_key(&id, |record| record.id) {
            Ok(at) => self.records.remove(at).is_some(),
            Err(_) => false,
        }
    }

    /// Forgets the oldest records until so many are left.
    pub(crate) fn keep_newest(&mut self, count: usize) -> Vec<RecordId> {
        let surplus = self.records.len().saturating_sub(count);
        self.records.drain(..surplus).map(|record| record.id).collect()
    }
}
