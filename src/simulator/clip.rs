//! The clip every prediction gives: one small playable MP4, made different for each by a trailing box.

/// A one-second test picture, H.264 in MP4.
const CLIP: &[u8] = include_bytes!("clip.mp4");

/// Makes the clip of one prediction: the same video, and its id in a `free` box that players skip.
pub(super) fn of(prediction_id: &str) -> Vec<u8> {
    let mut clip = CLIP.to_vec();
    let size = u32::try_from(prediction_id.len() + 8).unwrap_or(u32::MAX);
    clip.extend_from_slice(&size.to_be_bytes());
    clip.extend_from_slice(b"free");
    clip.extend_from_slice(prediction_id.as_bytes());
    clip
}
