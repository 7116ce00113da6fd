//! The clip of every prediction: one small playable MP4, made unique by a trailing box.

/// A one-second test pattern, H.264 in MP4.
const CLIP: &[u8] = include_bytes!("clip.mp4");

/// Size of an MP4 box header, in bytes: the length and the type of the box.
const BOX_HEADER_BYTES: usize = 8;

/// Returns the clip of one prediction: the common video, then a `free` box, which players skip,
/// that ends with the prediction's id. The box is padded so that the clip has at least `min_bytes`
/// bytes.
pub fn for_prediction(prediction_id: &str, min_bytes: usize) -> Vec<u8> {
    let id = prediction_id.as_bytes();
    let length = min_bytes.max(CLIP.len() + BOX_HEADER_BYTES + id.len());
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
    use super::for_prediction;

    #[test]
    fn a_clip_has_the_minimum_size_and_ends_with_its_id() {
        for (min_bytes, length) in [(0, 2932 + 8 + 4), (3000, 3000), (65_536, 65_536)] {
            let clip = for_prediction("p-17", min_bytes);
            assert_eq!(clip.len(), length);
            assert!(clip.ends_with(b"p-17"));
        }
    }
}
