//! Reading and writing of little-endian fields without indexing.

use alloc::vec::Vec;

use crate::{DateTime, DecodeError, Decoded, EncodeError, MedFloat};

/// Longest value of an attribute (Core Specification, Vol 3 Part F, 3.2.9).
pub(crate) const MAX_ATTRIBUTE_BYTES: usize = 512;

/// Takes fields from the front of a packet whose needed length was checked first.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    need: usize,
    got: usize,
}

impl<'a> Reader<'a> {
    /// Starts reading a packet that must have at least `need` bytes.
    pub(crate) fn new(bytes: &'a [u8], need: usize) -> Result<Self, DecodeError> {
        let got = bytes.len();
        if got < need {
            return Err(DecodeError::TooShort { need, got });
        }
        Ok(Self { rest: bytes, need, got })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(*head)
            }
            None => Err(DecodeError::TooShort {
                need: self.need,
                got: self.got,
            }),
        }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.take::<2>().map(u16::from_le_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, DecodeError> {
        self.take::<2>().map(i16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.take::<4>().map(u32::from_le_bytes)
    }

    pub(crate) fn sfloat(&mut self) -> Result<MedFloat, DecodeError> {
        self.u16().map(MedFloat::from_sfloat)
    }

    pub(crate) fn date_time(&mut self) -> Result<DateTime, DecodeError> {
        self.take::<{ DateTime::LENGTH }>().map(DateTime::from_bytes)
    }

    /// All that was not taken yet.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    /// Bytes not taken yet.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn finish<T>(self, value: T) -> Decoded<T> {
        Decoded {
            value,
            trailing_bytes: self.rest.len(),
        }
    }
}

/// Appends `value` as SFLOAT with the exponent it carries.
pub(crate) fn put_sfloat(out: &mut Vec<u8>, value: &MedFloat) -> Result<(), EncodeError> {
    out.extend_from_slice(&value.to_sfloat(None)?.to_le_bytes());
    Ok(())
}

/// Appends `value` as Date Time.
pub(crate) fn put_date_time(out: &mut Vec<u8>, value: &DateTime) -> Result<(), EncodeError> {
    out.extend_from_slice(&value.to_bytes()?);
    Ok(())
}

/// Total length of a packet: `fixed` bytes and, for each mask set in `flags`, its width.
pub(crate) fn length_by_flags(fixed: usize, flags: u8, optional: &[(u8, usize)]) -> usize {
    optional
        .iter()
        .filter(|(mask, _)| flags & mask != 0)
        .fold(fixed, |sum, (_, width)| sum.saturating_add(*width))
}

/// The first byte, or 0 for an empty packet: the shortest layout is then what was missing.
pub(crate) fn flags_of(bytes: &[u8]) -> u8 {
    bytes.first().copied().unwrap_or(0)
}

/// `mask` if `present`.
pub(crate) const fn flag(present: bool, mask: u8) -> u8 {
    if present { mask } else { 0 }
}

/// Checks that reserved flag bits do not overlap the defined ones.
pub(crate) fn check_rfu(rfu_flags: u8, rfu_mask: u8) -> Result<u8, EncodeError> {
    if rfu_flags & !rfu_mask == 0 {
        Ok(rfu_flags)
    } else {
        Err(EncodeError::OutOfRange { field: "rfu_flags" })
    }
}
