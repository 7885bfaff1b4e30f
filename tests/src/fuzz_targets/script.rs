//! Bytes read as a script: numbers and pieces from the front, zeros when there are no more.

/// What is left of an input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    pub(super) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn u8(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((first, rest)) => {
                self.rest = rest;
                *first
            }
            None => 0,
        }
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    pub(super) fn u64(&mut self) -> u64 {
        (0..8).fold(0, |number, _| (number << 8) | u64::from(self.u8()))
    }

    /// The next bytes, as many as a first byte says, or as there are.
    pub(super) fn piece(&mut self) -> &'a [u8] {
        let wanted = usize::from(self.u8());
        let (piece, rest) = self.rest.split_at(wanted.min(self.rest.len()));
        self.rest = rest;
        piece
    }
}
