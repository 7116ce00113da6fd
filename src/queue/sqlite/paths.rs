//! Paths as a queue stores them: relative to its own folder where they lie in it, so that a project
//! that is moved or renamed stays whole; absolute otherwise.
//!
//! SQLite reports the absolute path of an open file, with symbolic links resolved.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use rusqlite::{Connection, params};
use serde_json::Value;

use crate::domain::{Input, LocalImage, Location, NewJob};
use crate::queue::{QueueError, Result};

/// Returns the folder of the queue's file; `None` if its path is not UTF-8, or if it has no file.
fn queue_folder(connection: &Connection) -> Option<&Path> {
    let file = connection.path().filter(|path| !path.is_empty())?;
    Path::new(file).parent()
}

/// Returns the folder of a file, which may be named without one.
pub(super) fn folder_of(file: &Path) -> &Path {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Returns the text to store for a location.
pub(super) fn to_stored(connection: &Connection, location: &Location) -> String {
    let relative = queue_folder(connection)
        .zip(location.path())
        .and_then(|(folder, path)| relative_to(folder, path));
    relative.map_or_else(
        || location.to_string(),
        |path| path.to_string_lossy().into_owned(),
    )
}

/// Returns the location that a stored text stands for; its path is absolute.
pub(super) fn from_stored(connection: &Connection, stored: &str) -> Location {
    let location = Location::from(stored);
    match queue_folder(connection) {
        Some(folder) => location.in_folder(folder),
        None => location,
    }
}

/// Returns the path of a batch's folder as it is read from the queue once it is stored. A folder that
/// is named by way of a symbolic link, by `..`, or in another case than on disk may be in the queue's
/// folder all the same.
pub(super) fn normalize_folder(connection: &Connection, location: &Location) -> Location {
    let (Some(folder), Location::Path(path)) = (queue_folder(connection), location) else {
        return location.clone();
    };
    if relative_to(folder, path).is_some() {
        return location.clone();
    }
    let resolved = resolve(path);
    let real_folder = folder.canonicalize().ok();
    let relative = real_folder
        .iter()
        .zip(&resolved)
        .find_map(|(folder, path)| relative_to(folder, path));
    relative.map_or_else(|| location.clone(), |relative| folder.join(relative).into())
}

/// Returns the path with the symbolic links and `..` of its existing part resolved; `None` if what does
/// not exist contains `..`.
fn resolve(path: &Path) -> Option<PathBuf> {
    for ancestor in path.ancestors() {
        let Ok(real) = ancestor.canonicalize() else {
            continue;
        };
        let missing = path.strip_prefix(ancestor).ok()?;
        return is_plain(missing).then(|| real.join(missing));
    }
    None
}

/// Returns the path relative to a folder that it is in, without `..`.
fn relative_to<'a>(folder: &Path, path: &'a Path) -> Option<&'a Path> {
    let relative = path.strip_prefix(folder).ok()?;
    let is_inside = relative.components().next().is_some();
    (is_inside && is_plain(relative)).then_some(relative)
}

fn is_plain(path: &Path) -> bool {
    path.components()
        .all(|component| matches!(component, Component::Normal(_)))
}

/// Returns the input of a new job as it is stored: its local images are named by paths relative to the
/// queue's folder where they lie in it.
pub(super) fn input_to_stored<'a>(connection: &Connection, job: &'a NewJob) -> Cow<'a, str> {
    let folder = queue_folder(connection).filter(|_| job.has_local_images);
    folder.map_or(Cow::Borrowed(&job.input_text), |folder| {
        make_input_relative(folder, job.input.clone()).into()
    })
}

fn make_input_relative(folder: &Path, mut input: Input) -> String {
    for value in input.0.values_mut() {
        replace_texts(value, &|text| image_to_stored(folder, text));
    }
    input.to_string()
}

/// Returns the input that a stored text stands for.
pub(super) fn input_from_stored(connection: &Connection, stored: &str) -> Result<Input> {
    let input = serde_json::from_str(stored);
    let mut input: Input = input.map_err(|error| QueueError::unparsable("input", error))?;
    // Most inputs name no file, and are not searched.
    if let Some(folder) = queue_folder(connection).filter(|_| LocalImage::may_be_relative(stored)) {
        for value in input.0.values_mut() {
            replace_texts(value, &|text| image_from_stored(folder, text));
        }
    }
    Ok(input)
}

/// Returns the text of an input with its local images by absolute paths.
pub(super) fn absolute_input(connection: &Connection, stored: String) -> Result<String> {
    if !LocalImage::may_be_relative(&stored) {
        return Ok(stored);
    }
    Ok(input_from_stored(connection, &stored)?.to_string())
}

/// Returns the text of an input with its local images by relative paths where they lie in the queue's folder.
pub(super) fn relative_input(connection: &Connection, text: String) -> String {
    match (queue_folder(connection), serde_json::from_str(&text)) {
        (Some(folder), Ok(input)) if text.contains("file:") => make_input_relative(folder, input),
        _ => text,
    }
}

/// Returns the text to store for a local image.
pub(super) fn relative_image(connection: &Connection, text: String) -> String {
    let stored = queue_folder(connection).and_then(|folder| image_to_stored(folder, &text));
    stored.unwrap_or(text)
}

/// Returns the text to store for the local image of an upload.
pub(super) fn upload_to_stored(connection: &Connection, image: &LocalImage) -> String {
    relative_image(connection, image.to_string())
}

/// Returns the local image that the stored text of an upload stands for.
pub(super) fn upload_from_stored(connection: &Connection, stored: &str) -> Option<LocalImage> {
    let absolute = queue_folder(connection).and_then(|folder| image_from_stored(folder, stored));
    LocalImage::parse(absolute.as_deref().unwrap_or(stored))
}

fn image_to_stored(folder: &Path, text: &str) -> Option<String> {
    let image = LocalImage::parse(text)?;
    image.to_relative(relative_to(folder, image.path())?)
}

fn image_from_stored(folder: &Path, text: &str) -> Option<String> {
    Some(LocalImage::parse_relative(text, folder)?.to_string())
}

/// Replaces texts in a value, at any depth, where `replace` returns another.
fn replace_texts(value: &mut Value, replace: &impl Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(replacement) = replace(text) {
                *text = replacement;
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| replace_texts(item, replace)),
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|value| replace_texts(value, replace)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Makes the paths in the queue's folder relative that an older version stored as absolute ones.
pub(super) fn make_relative(tx: &Connection) -> Result<()> {
    let Some(folder) = queue_folder(tx) else {
        return Ok(());
    };
    let prefix = folder.join("").to_string_lossy().into_owned();
    for (table, column) in [
        ("batches", "folder"),
        ("jobs", "output"),
        ("attempts", "output"),
    ] {
        let sql = format!(
            "UPDATE {table} SET {column} = substr({column}, length(?1) + 1)
             WHERE substr({column}, 1, length(?1)) = ?1 AND {column} NOT LIKE '%..%'"
        );
        tx.execute(&sql, [&prefix])?;
    }
    let inputs = texts(
        tx,
        "SELECT job_id, input FROM jobs WHERE input LIKE '%file:%#sha256=%'",
    )?;
    for (job_id, text) in inputs {
        let input = serde_json::from_str(&text);
        let input = input.map_err(|error| QueueError::unparsable("input", error))?;
        let relative = make_input_relative(folder, input);
        let sql = "UPDATE jobs SET input = ?2 WHERE job_id = ?1 AND input <> ?2";
        tx.execute(sql, params![job_id, relative])?;
    }
    for (upload_id, text) in texts(tx, "SELECT upload_id, file FROM uploads")? {
        if let Some(relative) = image_to_stored(folder, &text) {
            let sql = "UPDATE uploads SET file = ?2 WHERE upload_id = ?1";
            tx.execute(sql, params![upload_id, relative])?;
        }
    }
    Ok(())
}

/// Returns the texts that a query selects, each with the number before it.
fn texts(tx: &Connection, sql: &str) -> Result<Vec<(i64, String)>> {
    let mut statement = tx.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    /// Returns a connection to a file in a folder `project`, and the folder above that.
    fn project() -> (tempfile::TempDir, PathBuf, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        fs::create_dir(real.join("project")).unwrap();
        let connection = Connection::open(real.join("project/q.db")).unwrap();
        (dir, real, connection)
    }

    #[test]
    fn only_paths_in_the_folder_of_the_queue_are_stored_relative_to_it() {
        let (_dir, real, connection) = project();
        for (path, stored) in [
            ("project/renders/spring", Some("renders/spring")),
            ("project/r", Some("r")),
            ("project", None),
            ("project-2/renders", None),
            ("Project/renders", None),
            ("renders", None),
            ("project/../renders", None),
        ] {
            let path = Location::from(real.join(path));
            let expected = stored.map_or_else(|| path.to_string(), str::to_owned);
            assert_eq!(to_stored(&connection, &path), expected);
            assert_eq!(from_stored(&connection, &expected), path);
        }
        let object = Location::from("s3://shop/renders/spring");
        assert_eq!(to_stored(&connection, &object), "s3://shop/renders/spring");
        assert_eq!(from_stored(&connection, "s3://shop/renders/spring"), object);
    }

    #[test]
    #[cfg(unix)]
    fn a_folder_named_by_way_of_a_link_or_of_the_parent_is_found_in_the_folder_of_the_queue() {
        let (_dir, real, connection) = project();
        std::os::unix::fs::symlink(real.join("project"), real.join("link")).unwrap();
        fs::create_dir(real.join("other")).unwrap();
        std::os::unix::fs::symlink(real.join("other"), real.join("project/out")).unwrap();
        let inside = Location::from(real.join("project/renders/spring"));
        for path in [
            "project/renders/spring",
            "link/renders/spring",
            "other/../project/renders/spring",
            "project/../project/renders/spring",
        ] {
            assert_eq!(
                normalize_folder(&connection, &real.join(path).into()),
                inside,
                "{path}"
            );
        }
        // A link in the project moves with it.
        let linked = Location::from(real.join("project/out/spring"));
        assert_eq!(normalize_folder(&connection, &linked), linked);
        for path in ["other/spring", "missing/../project/renders"] {
            let path = Location::from(real.join(path));
            assert_eq!(normalize_folder(&connection, &path), path);
        }
    }

    #[test]
    fn only_images_in_the_folder_of_the_queue_are_stored_relative_to_it() {
        let (_dir, real, connection) = project();
        let image = |path: &str| LocalImage::new(&real.join(path), HASH).unwrap();
        for path in ["project/a b/cup #1.png", "photos/cup.png"] {
            let image = image(path);
            let stored = upload_to_stored(&connection, &image);
            assert_eq!(stored == image.to_string(), path == "photos/cup.png");
            assert_eq!(upload_from_stored(&connection, &stored), Some(image));
        }
        let prompt = "queue: people who wait";
        let text = serde_json::json!({"prompt": prompt}).to_string();
        let input = input_from_stored(&connection, &text).unwrap();
        assert_eq!(input.get("prompt"), Some(&prompt.into()));
    }
}
