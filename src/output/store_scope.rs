//! How far a failure to write reaches.

use std::io::{Error, ErrorKind};

/// The system's numbers for too many open files, in this process and on this machine.
#[cfg(unix)]
const TOO_MANY_FILES: [i32; 2] = [24, 23];

#[cfg(not(unix))]
const TOO_MANY_FILES: [i32; 1] = [4];

/// What else fails where a file could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreScope {
    /// Every file, until the user has mended it: the disk is full, read-only or has failed.
    Disk,
    /// Whatever this machine does now, and nothing later: it has run out of memory or open files.
    Machine,
    /// Only this file, unless the folder cannot be used either: something else is in its place, it is
    /// protected, or its name cannot be used.
    File,
}

impl From<&Error> for StoreScope {
    fn from(error: &Error) -> Self {
        if error
            .raw_os_error()
            .is_some_and(|number| TOO_MANY_FILES.contains(&number))
        {
            return Self::Machine;
        }
        match error.kind() {
            ErrorKind::OutOfMemory | ErrorKind::Interrupted | ErrorKind::WouldBlock => {
                Self::Machine
            }
            ErrorKind::AlreadyExists
            | ErrorKind::CrossesDevices
            | ErrorKind::DirectoryNotEmpty
            | ErrorKind::InvalidFilename
            | ErrorKind::InvalidInput
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::NotFound
            | ErrorKind::Other
            | ErrorKind::PermissionDenied
            | ErrorKind::ResourceBusy
            | ErrorKind::TooManyLinks
            | ErrorKind::UnexpectedEof => Self::File,
            // A loop of symbolic links has no kind of its own yet.
            _ if cfg!(unix) && error.raw_os_error() == Some(40) => Self::File,
            _ => Self::Disk,
        }
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_everybodys_and_a_folder_in_the_place_of_a_file_is_not() {
        for (number, scope) in [
            (28, StoreScope::Disk),
            (30, StoreScope::Disk),
            (5, StoreScope::Disk),
            (122, StoreScope::Disk),
            (13, StoreScope::File),
            (24, StoreScope::Machine),
            (23, StoreScope::Machine),
            (12, StoreScope::Machine),
            (21, StoreScope::File),
            (20, StoreScope::File),
            (36, StoreScope::File),
            (40, StoreScope::File),
        ] {
            let error = Error::from_raw_os_error(number);
            assert_eq!(StoreScope::from(&error), scope, "{error}");
        }
    }
}
