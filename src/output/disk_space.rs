//! Whether a folder takes clips, and how many bytes of them.

use std::io;
use std::path::{Path, PathBuf};

/// Tells how many bytes a folder has space for, if it can be written in. Where it is not there yet, the nearest folder
/// above it, in which it would be made, is asked.
pub(super) fn of(folder: &Path) -> io::Result<Option<u64>> {
    let folder = nearest_there(folder)?;
    // Written and not only opened: a full disk and a spent quota still let one make a file.
    let mut file = tempfile::tempfile_in(&folder)?;
    io::Write::write_all(&mut file, &[0])?;
    file.sync_all()?;
    Ok(fs4::available_space(&folder).ok())
}

/// Finds the folder itself, or the nearest one above it that is there. What is there and no folder is an error.
fn nearest_there(folder: &Path) -> io::Result<PathBuf> {
    let folder = std::path::absolute(folder)?;
    for above in folder.ancestors() {
        match above.metadata() {
            Ok(found) if found.is_dir() => return Ok(above.to_owned()),
            Ok(_) => {
                let reason = format!("{} is a file", above.display());
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
    fn a_folder_that_is_not_there_yet_has_the_space_of_the_one_above_and_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let there = of(dir.path()).unwrap();
        let to_come = dir.path().join("renders/spring");
        assert_eq!(of(&to_come).unwrap().is_some(), there.is_some());
        assert!(
            std::fs::read_dir(dir.path()).unwrap().next().is_none(),
            "something was left behind"
        );
        std::fs::write(dir.path().join("renders"), "in the way").unwrap();
        assert!(
            of(&to_come)
                .unwrap_err()
                .to_string()
                .ends_with("renders is a file")
        );
    }
}
