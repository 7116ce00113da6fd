//! A buffered reader that skips ahead and knows where the file ends.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// A file that is read from its start. What is beyond its end is `None`, not an error.
pub(super) struct Reader<'a, F: Read + Seek> {
    file: BufReader<&'a mut F>,
    position: u64,
    length: u64,
}

impl<'a, F: Read + Seek> Reader<'a, F> {
    pub(super) fn new(file: &'a mut F) -> io::Result<Self> {
        let length = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Self {
            file: BufReader::new(file),
            position: 0,
            length,
        })
    }

    /// Returns the number of bytes that are left.
    pub(super) fn left(&self) -> u64 {
        self.length - self.position
    }

    /// Reads the next bytes; `None` if there are fewer.
    pub(super) fn read<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        if self.left() < N as u64 {
            return Ok(None);
        }
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        self.position += N as u64;
        Ok(Some(bytes))
    }

    /// Reads the next byte; `None` at the end.
    pub(super) fn read_byte(&mut self) -> io::Result<Option<u8>> {
        Ok(self.read::<1>()?.map(|[byte]| byte))
    }

    /// Skips bytes; `None` if there are fewer.
    pub(super) fn skip(&mut self, bytes: u64) -> io::Result<Option<()>> {
        let Ok(offset) = i64::try_from(bytes) else {
            return Ok(None);
        };
        if self.left() < bytes {
            return Ok(None);
        }
        self.file.seek_relative(offset)?;
        self.position += bytes;
        Ok(Some(()))
    }
}

/// Returns the error of a file that ends too early.
pub(super) fn truncated<T>(what: &str) -> io::Result<Result<T, String>> {
    Ok(Err(format!("it is truncated: {what}")))
}
