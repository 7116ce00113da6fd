//! The boxes inside of a box that was read into memory.

/// Iterates over boxes: the kind of each, and its content. Ends where they are no longer whole.
pub(super) struct Boxes<'a>(&'a [u8]);

impl<'a> Boxes<'a> {
    pub(super) fn new(content: &'a [u8]) -> Self {
        Self(content)
    }

    /// Returns the content of the first box of a kind.
    pub(super) fn find(content: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
        let mut boxes = Self::new(content);
        boxes.find_map(|(found, content)| (found == *kind).then_some(content))
    }
}

impl<'a> Iterator for Boxes<'a> {
    type Item = ([u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let kind = *self.0.get(4..)?.first_chunk()?;
        let (header, size) = match u32_at(self.0, 0)? {
            0 => (8, self.0.len()),
            1 => (16, usize::try_from(u64_at(self.0, 8)?).ok()?),
            size => (8, size as usize),
        };
        let content = self.0.get(header..size)?;
        self.0 = &self.0[size..];
        Some((kind, content))
    }
}

/// Returns a number of four bytes at a position; `None` if it is beyond the end.
pub(super) fn u32_at(bytes: &[u8], position: usize) -> Option<u32> {
    let bytes = bytes.get(position..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

/// Returns a number of eight bytes at a position; `None` if it is beyond the end.
pub(super) fn u64_at(bytes: &[u8], position: usize) -> Option<u64> {
    let bytes = bytes.get(position..)?.first_chunk()?;
    Some(u64::from_be_bytes(*bytes))
}
