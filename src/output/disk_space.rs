//! Free space for clips in a folder.

use std::io;
use std::path::{Path, PathBuf};

/// Returns the free space in a folder, in bytes, after a test that it is writable; `None` if the
/// system does not report it.
///
/// For a folder that does not exist yet, its nearest existing parent is tested, in which it would
/// be created.
pub(super) fn available_space(folder: &Path) -> io::Result<Option<u64>> {
    let folder = nearest_existing_folder(folder)?;
    // Writes a byte, because a file can be created even on a full disk or with an exhausted quota.
    let mut file = tempfile::tempfile_in(&folder)?;
    io::Write::write_all(&mut file, &[0])?;
    file.sync_all()?;
    Ok(fs4::available_space(&folder).ok())
}

/// Returns the folder itself, or its nearest existing parent. Fails if that is not a folder.
fn nearest_existing_folder(folder: &Path) -> io::Result<PathBuf> {
    let folder = std::path::absolute(folder)?;
    for ancestor in folder.ancestors() {
        match ancestor.metadata() {
            Ok(metadata) if metadata.is_dir() => return Ok(ancestor.to_owned()),
            Ok(_) => {
                let reason = format!("{} is a file", ancestor.display());
                return Err(io::Error::new(io::ErrorKind::NotADirectory, reason));
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_folder_has_the_space_of_its_parent_and_is_not_created() {
        let dir = tempfile::tempdir().unwrap();
        let space = available_space(dir.path()).unwrap();
        let missing = dir.path().join("renders/spring");
        assert_eq!(
            available_space(&missing).unwrap().is_some(),
            space.is_some()
        );
        assert!(
            std::fs::read_dir(dir.path()).unwrap().next().is_none(),
            "something was left behind"
        );
        std::fs::write(dir.path().join("renders"), "in the way").unwrap();
        assert!(
            available_space(&missing)
                .unwrap_err()
                .to_string()
                .ends_with("renders is a file")
        );
    }
}
