//! A folder of clips that is open: what is done in it is done there, wherever its path leads by then, and
//! no link in it leads outside.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use cap_fs_ext::{FollowSymlinks, MetadataExt, OpenOptionsFollowExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, Metadata, OpenOptions};

use crate::domain::SavedFile;

use super::disk::{create_folder, find_damage_in, folder_of, if_there};

/// An open folder. Names that are passed to it are names in it.
pub(super) struct ClipFolder {
    /// The folder, as the queue knows it.
    path: PathBuf,
    /// Where the path led when the folder was opened, with every link resolved.
    place: PathBuf,
    handle: Dir,
}

impl ClipFolder {
    /// Opens a folder, which is created if it does not exist.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        create_folder(path)?;
        let place = path.canonicalize()?;
        let handle = Dir::open_ambient_dir(&place, ambient_authority())?;
        Ok(Self {
            path: path.to_owned(),
            place,
            handle,
        })
    }

    /// Returns the folder, as the queue knows it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where the folder is, with every link resolved.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// Returns where the folder's path leads now; `None` if it is still here.
    pub(super) fn leads_elsewhere(&self) -> io::Result<Option<PathBuf>> {
        let place = self.path.canonicalize()?;
        let named = Dir::open_ambient_dir(&place, ambient_authority())?;
        let is_here = place == self.place
            && is_same_file(&named.dir_metadata()?, &self.handle.dir_metadata()?);
        Ok((!is_here).then_some(place))
    }

    /// Creates an empty file.
    ///
    /// # Errors
    /// Fails if there is a file or a link of this name.
    pub(super) fn create(&self, name: &OsStr) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        self.handle.open_with(name, &options)
    }

    /// Opens a file to read it, unless it is a link.
    pub(super) fn open_file(&self, name: &OsStr) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).follow(FollowSymlinks::No);
        self.handle.open_with(name, &options)
    }

    /// Opens a folder in this one, which is created if it does not exist.
    pub(super) fn open_folder(&self, name: &OsStr) -> io::Result<Self> {
        match self.handle.create_dir(name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => {
                created?;
                self.sync()?;
            }
        }
        Ok(Self {
            path: self.path.join(name),
            place: self.place.join(name),
            handle: self.handle.open_dir(name)?,
        })
    }

    /// Returns what has a name; `None` if nothing has it.
    pub(super) fn metadata(&self, name: &OsStr) -> io::Result<Option<Metadata>> {
        if_there(self.handle.symlink_metadata(name))
    }

    /// Returns whether a name is that of a file as it was saved.
    ///
    /// # Errors
    /// Fails if it is the name of a folder.
    pub(super) fn has_whole(&self, name: &OsStr, saved: &SavedFile) -> io::Result<bool> {
        let Some(found) = self.metadata(name)? else {
            return Ok(false);
        };
        if found.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !found.is_file() {
            return Ok(false);
        }
        let mut file = self.open_file(name)?;
        Ok(find_damage_in(&mut file, found.len(), saved)?.is_none())
    }

    /// Gives a file elsewhere a name in this folder too.
    ///
    /// # Errors
    /// Fails if there is a file or a link of this name, and if `from` is no file or on another file system.
    pub(super) fn link(&self, from: &Path, name: &OsStr) -> io::Result<()> {
        let folder = Dir::open_ambient_dir(folder_of(from), ambient_authority())?;
        folder.hard_link(from.file_name().unwrap_or_default(), &self.handle, name)?;
        // A link to a symbolic link would not be the file.
        let is_file = self.metadata(name)?.is_some_and(|linked| linked.is_file());
        if is_file {
            return Ok(());
        }
        self.remove_if_there(name)?;
        Err(io::ErrorKind::InvalidInput.into())
    }

    /// Moves a file to another name, whose file is replaced, in this folder or another one.
    pub(super) fn rename(&self, name: &OsStr, to: &Self, new_name: &OsStr) -> io::Result<()> {
        self.handle.rename(name, &to.handle, new_name)
    }

    /// Removes a file or a link, if there is one.
    pub(super) fn remove_if_there(&self, name: &OsStr) -> io::Result<()> {
        if_there(self.handle.remove_file(name)).map(|_| ())
    }

    /// Syncs the names of the folder where the system supports it. Windows does not, and journals them.
    pub(super) fn sync(&self) -> io::Result<()> {
        if cfg!(unix) {
            self.handle.open(".")?.sync_all()
        } else {
            Ok(())
        }
    }
}

/// Returns whether two names are of one file.
pub(super) fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}
