//! Whether the file system of a queue can hold it: its locks must hold, and a synced commit must stay.

use std::path::Path;

use rusqlite::Connection;

use crate::queue::{Result, UnsafePlace};

use super::{open, paths};

/// Returns why a queue is not safe where it is; `None` if nothing is known against it.
pub(super) fn check(path: &Path) -> Result<Option<UnsafePlace>> {
    if let Some(unsafe_place) = file_system(path).and_then(|name| classify(&name)) {
        return Ok(Some(unsafe_place));
    }
    if let Some(names) = count_names(path).filter(|names| *names > 1) {
        return Ok(Some(UnsafePlace::SeveralNames(names)));
    }
    let connection = open::open_read_only(path)?;
    let has_log = is_write_ahead(&connection)? || can_write_ahead(path);
    Ok((!has_log).then_some(UnsafePlace::NoWriteAheadLog))
}

/// Returns the number of names that a file has; `None` if it is not known.
#[cfg(unix)]
fn count_names(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().map(|file| file.nlink())
}

#[cfg(not(unix))]
fn count_names(_: &Path) -> Option<u64> {
    None
}

fn is_write_ahead(connection: &Connection) -> Result<bool> {
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    Ok(mode.eq_ignore_ascii_case("wal"))
}

/// Tries the write-ahead log with another file in the folder: a queue that was copied has none before it
/// is opened for writing. Returns `true` if it cannot be tried, because the folder is not writable.
fn can_write_ahead(path: &Path) -> bool {
    let Ok(dir) = tempfile::tempdir_in(paths::folder_of(path)) else {
        return true;
    };
    let try_it = || {
        let connection = Connection::open(dir.path().join("try.db"))?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        is_write_ahead(&connection)
    };
    try_it().unwrap_or(false)
}

/// Returns what is to be said about a type of file system, as `/proc/self/mountinfo` names it.
fn classify(name: &str) -> Option<UnsafePlace> {
    const NETWORK: [&str; 17] = [
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "glusterfs",
        "gpfs",
        "lustre",
        "nfs",
        "nfs4",
        "orangefs",
        "prl_fs",
        "smb2",
        "smb3",
        "smbfs",
        "vboxsf",
    ];
    const FUSE_NETWORK: [&str; 10] = [
        "sshfs",
        "s3fs",
        "rclone",
        "glusterfs",
        "gcsfuse",
        "cephfs",
        "davfs",
        "goofys",
        "vmhgfs-fuse",
        "moosefs",
    ];
    if NETWORK.contains(&name) {
        return Some(UnsafePlace::Network(name.to_owned()));
    }
    // A folder that a virtual machine shares with its host comes by way of FUSE as well.
    let program = match name {
        "fuse" | "virtiofs" => "",
        _ => name.strip_prefix("fuse.")?,
    };
    Some(if FUSE_NETWORK.contains(&program) {
        UnsafePlace::Network(name.to_owned())
    } else {
        UnsafePlace::MaybeNetwork(name.to_owned())
    })
}

/// Returns the type of the file system that a file is on; `None` if it is not known. Tests name another
/// one, in debug builds, by an environment variable.
fn file_system(path: &Path) -> Option<String> {
    if cfg!(debug_assertions)
        && let Ok(name) = std::env::var("OVERNIGHT_FILE_SYSTEM")
    {
        return Some(name);
    }
    let path = path.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mount_type(&mounts, &path)
}

/// Returns the type of the mount that a path is on: of those whose mount point the path is in, the
/// longest, and of equal ones the last, which hides the others.
fn mount_type(mounts: &str, path: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        // `36 35 98:0 /root /mnt/point rw,noatime master:1 - ext3 /dev/root rw`
        let (before, after) = line.split_once(" - ")?;
        let point = unescape(before.split(' ').nth(4)?);
        let name = after.split(' ').next()?;
        path.starts_with(&point).then_some((point.len(), name))
    });
    let (_, name) = mounts.max_by_key(|(length, _)| *length)?;
    Some(name.to_owned())
}

/// Replaces the octal escapes in a mount point: `\\040` is a blank.
fn unescape(text: &str) -> String {
    let escapes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    escapes
        .iter()
        .fold(text.to_owned(), |text, (escape, plain)| {
            text.replace(escape, plain)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_and_others_of_user_space_are_uncertain() {
        for name in [
            "nfs",
            "nfs4",
            "cifs",
            "smb3",
            "9p",
            "fuse.sshfs",
            "fuse.rclone",
            "ceph",
        ] {
            assert_eq!(classify(name), Some(UnsafePlace::Network(name.into())));
        }
        for name in ["fuse", "fuse.gocryptfs", "virtiofs"] {
            assert_eq!(classify(name), Some(UnsafePlace::MaybeNetwork(name.into())));
        }
        for name in [
            "ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "apfs", "fuseblk", "vfat",
        ] {
            assert_eq!(classify(name), None, "{name}");
        }
    }

    #[test]
    fn the_innermost_mount_that_hides_the_others_decides() {
        let mounts = "\
            22 1 8:1 / / rw,relatime - ext4 /dev/root rw\n\
            30 22 0:40 / /srv rw shared:1 - nfs4 host:/srv rw\n\
            31 30 8:2 / /srv/my\\040shop rw - xfs /dev/sdb rw\n\
            32 22 0:41 / /data rw - ext4 /dev/sdc rw\n\
            33 22 0:42 / /data rw - fuse.sshfs host: rw\n";
        for (path, expected) in [
            ("/home/q.db", "ext4"),
            ("/srv/q.db", "nfs4"),
            ("/srv2/q.db", "ext4"),
            ("/srv/my shop/q.db", "xfs"),
            ("/data/q.db", "fuse.sshfs"),
        ] {
            assert_eq!(
                mount_type(mounts, Path::new(path)).as_deref(),
                Some(expected),
                "{path}"
            );
        }
    }
}
