//! The one place that bounds-checks what emitters write.

use super::Full;

/// A caller's buffer being filled from the front, never beyond `limit`.
#[derive(Debug)]
pub(super) struct Buffer<'b> {
    bytes: &'b mut [u8],
    len: usize,
    limit: usize,
}

impl<'b> Buffer<'b> {
    pub(super) fn new(bytes: &'b mut [u8]) -> Self {
        let limit = bytes.len();
        Self { bytes, len: 0, limit }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Lowers (or raises, up to the buffer's size) the bound of later writes; what is written stays.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(self.bytes.len());
    }

    /// The next `len` bytes, to be filled by the caller; all or nothing.
    pub(super) fn take(&mut self, len: usize) -> Result<&mut [u8], Full> {
        let end = self.len.checked_add(len).filter(|&end| end <= self.limit).ok_or(Full)?;
        let taken = &mut self.bytes[self.len..end];
        self.len = end;
        Ok(taken)
    }

    /// Appends all the parts, or none of them.
    pub(super) fn put(&mut self, parts: &[&[u8]]) -> Result<(), Full> {
        let mut rest = self.take(parts.iter().map(|part| part.len()).sum())?;
        for part in parts {
            let (head, tail) = rest.split_at_mut(part.len());
            head.copy_from_slice(part);
            rest = tail;
        }
        Ok(())
    }

    /// Takes back what was written behind `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub(super) fn into_written(self) -> &'b [u8] {
        &self.bytes[..self.len]
    }

    pub(super) fn written_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

/// Decimal digits of `value`, written at the end of `digits`.
pub(super) fn decimal(mut value: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        // A remainder of ten is always below 256.
        digits[at] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        if value == 0 {
            return &digits[at..];
        }
    }
}

/// The number that `digits` spells: decimal digits only, no sign or space, within 64 bits.
pub(super) fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, &digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

/// `text` up to its first NUL, or all of it.
pub(super) fn until_nul(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == 0).next().unwrap_or(text)
}
