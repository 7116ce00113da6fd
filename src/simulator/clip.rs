//! The clip every prediction gives: one small playable MP4, made different for each by a trailing box.

/// A one-second test picture, H.264 in MP4.
const CLIP: &[u8] = include_bytes!("clip.mp4");

/// Length and type, with which every box begins.
const BOX_HEAD: usize = 8;

/// Makes the clip of one prediction: the same video, and its id at the end of a `free` box that players skip. The box is
/// as long as it takes for the clip to have so many bytes.
pub(super) fn of(prediction_id: &str, at_least: usize) -> Vec<u8> {
    let id = prediction_id.as_bytes();
    let length = at_least.max(CLIP.len() + BOX_HEAD + id.len());
    let mut clip = Vec::with_capacity(length);
    clip.extend_from_slice(CLIP);
    clip.extend_from_slice(
        &u32::try_from(length - CLIP.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    clip.extend_from_slice(b"free");
    clip.resize(length - id.len(), 0);
    clip.extend_from_slice(id);
    clip
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use crate::output::container;

    use super::of;

    #[test]
    fn a_clip_is_as_long_as_it_has_to_be_and_a_whole_video_that_ends_with_its_id() {
        for (at_least, length) in [(0, 2932 + 8 + 4), (3000, 3000), (65_536, 65_536)] {
            let clip = of("p-17", at_least);
            assert_eq!(clip.len(), length);
            assert!(clip.ends_with(b"p-17"));
            assert_eq!(container::check(&mut Cursor::new(clip)).unwrap(), Ok(()));
        }
    }
}
