//! The place of a new clip, and what is in it already.

use crate::domain::{KeptClip, Location, SavedFile};
use crate::failpoint::fail_point;
use crate::output::{ClipLocation, OutputError};

use super::object::{Found, InPlace, Object, is_one_part};
use super::spool::Spool;
use super::storage::Storage;

/// How often a clip is stored anew because something has come into its place in the meantime.
const MAX_TRIES: usize = 3;

/// The place of a new clip.
pub(super) struct Place<'a> {
    storage: &'a Storage,
    location: &'a ClipLocation,
    new: &'a SavedFile,
    object: Object,
}

impl<'a> Place<'a> {
    pub(super) fn new(
        storage: &'a Storage,
        location: &'a ClipLocation,
        new: &'a SavedFile,
    ) -> Result<Self, OutputError> {
        Ok(Self {
            storage,
            location,
            new,
            object: storage.object(&new.location)?,
        })
    }

    /// Stores the clip here. What was here and is of another attempt is kept under another name.
    ///
    /// # Errors
    /// Returns [`OutputError::TakenOver`] if another process stores here all the time.
    pub(super) async fn store(&self, clip: &Spool) -> Result<(), OutputError> {
        self.move_others_aside().await?;
        // Most places are empty: a storage that means conditions tells if this one is not.
        if self.object.has_conditions() == Some(true)
            && is_one_part(clip)
            && self.send(clip, InPlace::Keep).await?
        {
            return Ok(());
        }
        for _ in 0..MAX_TRIES {
            let found = self.clear().await?;
            fail_point!("place cleared");
            let is_empty = found.is_none();
            let in_place = match found {
                _ if self.object.has_conditions() == Some(false) => InPlace::ReplaceAny,
                None => InPlace::Keep,
                Some(found) => InPlace::Replace(found.version),
            };
            if self.send(clip, in_place).await? {
                if is_empty && self.object.has_conditions().is_none() {
                    self.try_conditions(clip).await;
                }
                return Ok(());
            }
        }
        Err(OutputError::TakenOver)
    }

    async fn send(&self, clip: &Spool, in_place: InPlace) -> Result<bool, OutputError> {
        let token = &self.location.client_token;
        let buffers = self.storage.buffers();
        self.object.store(clip, token, in_place, buffers).await
    }

    /// Finds out whether the storage means conditions, by a clip that it has just stored: it must not store it once
    /// more.
    async fn try_conditions(&self, clip: &Spool) {
        // A failure says nothing of it, and the next clip is as good.
        if is_one_part(clip)
            && let Ok(is_replaced) = self.send(clip, InPlace::Keep).await
        {
            self.object.note_conditions(!is_replaced);
        }
    }

    /// Copies a clip here, as [`store`](Self::store) does.
    pub(super) async fn copy(&self, source: &Object) -> Result<(), OutputError> {
        self.move_others_aside().await?;
        if let Some(found) = self.clear().await?
            && found.is(self.new)
        {
            return Ok(());
        }
        source.copy_to(&self.object).await
    }

    /// Keeps what is here under another name, unless it is of this attempt or has the same content. Returns what
    /// is here.
    async fn clear(&self) -> Result<Option<Found>, OutputError> {
        let Some(found) = self.object.find().await? else {
            return Ok(None);
        };
        let is_own = found.client_token.as_ref() == Some(&self.location.client_token);
        if is_own || found.is(self.new) {
            return Ok(Some(found));
        }
        let mut kept = self.location.kept.iter();
        let known =
            kept.find(|clip| clip.file.location == self.new.location && found.is(&clip.file));
        let aside = match known {
            Some(clip) => clip.earlier_location(),
            None => self.free_name().await?,
        };
        self.keep(&self.object, &found, &aside).await?;
        if known.is_none() {
            tracing::warn!(
                "an object that is not as this queue wrote it was in the place of a clip: {} is now {aside}",
                self.new.location
            );
        }
        Ok(Some(found))
    }

    /// Moves the job's earlier clips aside that have the name of the new one with another ending.
    async fn move_others_aside(&self) -> Result<(), OutputError> {
        for clip in &self.location.kept {
            let is_other =
                clip.file.location != self.new.location && clip.file.sha256 != self.new.sha256;
            if !is_other || !clip.file.has_place_of(self.new) {
                continue;
            }
            let object = self.storage.object(&clip.file.location)?;
            if let Some(found) = object.find().await?
                && found.is(&clip.file)
            {
                self.keep(&object, &found, &clip.earlier_location()).await?;
                object.remove().await?;
            }
        }
        Ok(())
    }

    async fn keep(
        &self,
        object: &Object,
        found: &Found,
        aside: &Location,
    ) -> Result<(), OutputError> {
        let aside = self.storage.object(aside)?;
        object.copy_to(&aside).await?;
        let copy = aside.find().await?;
        if copy.is_none_or(|copy| copy.bytes != found.bytes) {
            return Err(OutputError::Unavailable {
                location: aside.location,
                reason: "the copy is not there, or has another length".into(),
            });
        }
        fail_point!("earlier object kept");
        Ok(())
    }

    /// Returns a name for what is not known, which nothing has.
    async fn free_name(&self) -> Result<Location, OutputError> {
        for number in 1.. {
            let file = self.new.clone();
            let earlier = KeptClip { number, file }.earlier_location();
            let name = format!("found-{}", earlier.file_name().to_string_lossy());
            let free = earlier.folder().join(name);
            if self.storage.object(&free)?.find().await?.is_none() {
                return Ok(free);
            }
        }
        Err(OutputError::TakenOver)
    }
}
