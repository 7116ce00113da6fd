//! The file storage of each::labs and fal.ai: slots that a client requests with its key, and fills
//! with one file each without.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::api::Api;
use crate::ledger::StoredFile;

/// Lifetime of an upload slot, in milliseconds.
const UPLOAD_SLOT_LIFE_MS: i64 = 15 * 60 * 1000;

/// The upload slots of all APIs, empty and filled.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    /// By name, which is unique over all APIs.
    slots: HashMap<String, UploadSlot>,
}

/// A place in an API's storage that accepts one file.
#[derive(Clone, Debug)]
pub struct UploadSlot {
    /// The API whose storage it is in.
    pub api: Api,
    /// Its name, unique over all APIs.
    pub name: String,
    /// The content type that the upload must have.
    pub content_type: String,
    /// The secret that authorizes the upload.
    pub token: String,
    /// When it stops accepting uploads, in milliseconds since 1970.
    pub expires_at: i64,
    is_filled: bool,
}

/// A file as it arrives at a storage.
#[derive(Clone, Debug)]
pub struct FileUpload<'a> {
    /// Its content type; `None` if the client sent none.
    pub content_type: Option<&'a str>,
    /// The token that the client sent; `None` if it sent none.
    pub token: Option<&'a str>,
    /// Length in bytes.
    pub bytes: usize,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// Why a storage refuses a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadRefusal {
    /// There is no such slot, or no longer.
    NoSlot,
    /// The content type differs from the one that the slot was requested for.
    ContentType,
    /// The token is missing or wrong.
    Token,
}

impl UploadSlot {
    /// Returns the public URL of its file. `file_name` is the last part of its path; if empty, the
    /// name of the slot is. Nothing is served there: only the API itself reads the files.
    pub fn public_url(&self, file_name: &str) -> String {
        let separator = if file_name.is_empty() { "" } else { "/" };
        format!("{}{}{separator}{file_name}", base_url(self.api), self.name)
    }
}

impl Storage {
    /// Allocates an upload slot.
    pub(crate) fn allocate_slot(&mut self, api: Api, content_type: &str, now: i64) -> UploadSlot {
        let count = self.slots.len();
        let slot = UploadSlot {
            api,
            name: format!("file-{}", count + 1),
            content_type: content_type.to_owned(),
            token: format!("{:016x}", fastrand::Rng::with_seed(count as u64).u64(..)),
            expires_at: now + UPLOAD_SLOT_LIFE_MS,
            is_filled: false,
        };
        self.slots.insert(slot.name.clone(), slot.clone());
        slot
    }

    /// Fills a slot with a file.
    pub(crate) fn store(
        &mut self,
        api: Api,
        name: &str,
        file: FileUpload<'_>,
        now: i64,
    ) -> Result<StoredFile, UploadRefusal> {
        let slot = self.slots.get_mut(name);
        let slot = slot
            .filter(|slot| slot.api == api && now < slot.expires_at)
            .ok_or(UploadRefusal::NoSlot)?;
        if file.content_type != Some(&slot.content_type) {
            return Err(UploadRefusal::ContentType);
        }
        // fal.ai has the token in the URL alone.
        if api == Api::Eachlabs && file.token != Some(&slot.token) {
            return Err(UploadRefusal::Token);
        }
        slot.is_filled = true;
        Ok(StoredFile {
            api,
            name: slot.name.clone(),
            content_type: slot.content_type.clone(),
            bytes: file.bytes,
            sha256: file.sha256,
        })
    }

    /// Returns the first field of an input whose URL points into an API's storage but to no
    /// uploaded file.
    pub(crate) fn field_without_file<'a>(
        &self,
        api: Api,
        input: &'a Map<String, Value>,
    ) -> Option<&'a str> {
        let lacks_file = |url: &str| {
            let name = url
                .strip_prefix(&base_url(api))
                .and_then(|path| path.split('/').next());
            name.is_some_and(|name| !self.slots.get(name).is_some_and(|slot| slot.is_filled))
        };
        input
            .iter()
            .find(|(_, value)| value.as_str().is_some_and(lacks_file))
            .map(|(field, _)| field.as_str())
    }
}

/// Returns the prefix of the public URLs of an API's files.
fn base_url(api: Api) -> String {
    format!("https://files.{}.example/", api.name())
}
