//! A clip under a temporary name, until it is whole.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use cap_std::fs::File;

use crate::domain::{KeptClip, SavedFile};
use crate::failpoint::fail_point;
use crate::media::{self, ContentError, Media};

use super::clip_folder::{ClipFolder, is_same_file};
use super::disk::{find_damage_in, if_there};
use super::set_aside::set_aside;

/// A file under a temporary name, which is removed unless it gets its own.
pub(super) struct PartialFile<'a> {
    folder: &'a ClipFolder,
    name: OsString,
    file: File,
}

impl<'a> PartialFile<'a> {
    /// Creates an empty file for a clip of this name. What a crash left behind is replaced.
    pub(super) fn create(folder: &'a ClipFolder, clip_name: &OsStr) -> io::Result<Self> {
        let name = free_name(folder, clip_name)?;
        let file = folder.create(&name)?;
        Ok(Self { folder, name, file })
    }

    /// Creates a link to a file or, where the file systems differ, a copy of it. `None` if there is no
    /// such file.
    pub(super) fn link_or_copy(
        from: &Path,
        folder: &'a ClipFolder,
        clip_name: &OsStr,
    ) -> io::Result<Option<Self>> {
        let name = free_name(folder, clip_name)?;
        if folder.link(from, &name).is_err() {
            return if_there(Self::copy(from, folder, clip_name));
        }
        let file = folder.open_file(&name)?;
        Ok(Some(Self { folder, name, file }))
    }

    /// Creates a copy of a file.
    pub(super) fn copy(from: &Path, folder: &'a ClipFolder, clip_name: &OsStr) -> io::Result<Self> {
        let mut from = std::fs::File::open(from)?;
        let copy = Self::create(folder, clip_name)?;
        io::copy(&mut from, &mut &copy.file)?;
        Ok(copy)
    }

    /// Returns the file, to be written.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn check(&self) -> io::Result<Result<Media, ContentError>> {
        media::check(&mut &self.file)
    }

    /// Returns whether the file has the content that was saved.
    pub(super) fn is_whole(&self, saved: &SavedFile) -> io::Result<bool> {
        let bytes = self.file.metadata()?.len();
        Ok(find_damage_in(&mut &self.file, bytes, saved)?.is_none())
    }

    /// Returns whether the temporary name still leads to this file. A process that was stopped for so
    /// long that its lease was lost finds the file of another one there.
    pub(super) fn is_in_place(&self) -> bool {
        let (Ok(Some(named)), Ok(own)) = (self.folder.metadata(&self.name), self.file.metadata())
        else {
            return false;
        };
        is_same_file(&named, &own)
    }

    /// Gives the file the name of a clip, whose earlier files are moved aside. It survives a power loss
    /// then.
    pub(super) fn commit(self, saved: &SavedFile, kept: &[KeptClip]) -> io::Result<()> {
        let name = saved.location.file_name();
        self.file.sync_all()?;
        fail_point!("file synced");
        set_aside(self.folder, kept, saved)?;
        self.rename(name)
    }

    /// Gives the file a name, as [`commit`](Self::commit) does.
    ///
    /// # Errors
    /// Fails if something has this name.
    pub(super) fn commit_new(self, name: &OsStr) -> io::Result<()> {
        self.file.sync_all()?;
        if self.folder.metadata(name)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.rename(name)
    }

    fn rename(self, name: &OsStr) -> io::Result<()> {
        self.folder.rename(&self.name, self.folder, name)?;
        fail_point!("file renamed");
        self.folder.sync()?;
        fail_point!("folder synced");
        Ok(())
    }
}

impl Drop for PartialFile<'_> {
    fn drop(&mut self) {
        // After a commit the temporary name is gone, unless it was a link to a file that had the
        // name already: renaming one link to another changes nothing.
        if self.is_in_place() {
            let _ = self.folder.remove_if_there(&self.name);
        }
    }
}

/// Returns the temporary name of a clip, which is removed first: it may be a link that a crash left,
/// to a file that has other names.
fn free_name(folder: &ClipFolder, clip_name: &OsStr) -> io::Result<OsString> {
    let mut name = OsString::from(".");
    name.push(clip_name);
    name.push(".part");
    folder.remove_if_there(&name)?;
    Ok(name)
}
