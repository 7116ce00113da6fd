//! Pictures that models show wrongly, written again so that they show them right: upright, in colours for
//! screens, without transparency, and still.

use std::io::{self, BufReader, Cursor, Write};
use std::path::{Path, PathBuf};

use ::image::codecs::jpeg::JpegEncoder;
use ::image::codecs::png::PngEncoder;
use ::image::error::{LimitError, LimitErrorKind};
use ::image::metadata::Orientation;
use ::image::{
    DynamicImage, ImageDecoder, ImageEncoder, ImageError as CodecError, ImageFormat, ImageReader,
    Rgb, RgbImage,
};
use sha2::{Digest, Sha256};

use crate::domain::LocalImage;

use super::{ImageError, MAX_IMAGE_BYTES, PictureFacts, cannot_read, display_path};

/// Quality of a JPEG that is written, of at most 100: its losses are not seen.
const QUALITY: u8 = 95;

/// Quality of one that would be too large otherwise.
const LOW_QUALITY: u8 = 80;

/// Maximum length of the pixels of a picture that is decoded, in bytes.
const MAX_DECODED_BYTES: u64 = 512 << 20;

/// Where pictures are written that are not sent as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFixes {
    /// The folder, which is created with the first picture.
    pub folder: PathBuf,
    /// Whether pictures are written, and not only named as they would be.
    pub writes: bool,
}

impl ImageFixes {
    /// Returns the picture to send in place of one that is not shown right, and what it is like. The same
    /// picture is written once.
    ///
    /// # Errors
    /// Returns an error if the picture cannot be decoded, or another one not written.
    pub fn fix(&self, image: &LocalImage) -> Result<(LocalImage, PictureFacts), ImageError> {
        let path = image.path();
        let file = std::fs::File::open(path).map_err(|error| cannot_read(path, &error))?;
        let cannot_fix = |error: CodecError| {
            ImageError::permanent(format!("cannot fix {}: {error}", display_path(path)))
        };
        let encoded = encode(BufReader::new(file)).map_err(cannot_fix)?;
        let ending = encoded.ending;
        let new_path = self
            .folder
            .join(format!("{}.{ending}", &image.sha256()[..32]));
        if self.writes {
            write(&new_path, &encoded.bytes).map_err(|error| {
                let path = display_path(&new_path);
                ImageError::permanent(format!("cannot write {path}: {error}"))
            })?;
        }
        let fixed = LocalImage::new(&new_path, &hex::encode(Sha256::digest(&encoded.bytes)));
        let fixed = fixed.ok_or_else(|| {
            let path = display_path(&new_path);
            ImageError::permanent(format!("{path} is not an absolute path"))
        })?;
        let facts = PictureFacts {
            width: encoded.width,
            height: encoded.height,
            is_turned: false,
            is_cmyk: false,
            is_animated: false,
            has_alpha: false,
            is_fixed: true,
        };
        Ok((fixed, facts))
    }
}

/// A picture as it should be shown.
struct Encoded {
    bytes: Vec<u8>,
    /// The ending of its file.
    ending: &'static str,
    width: u32,
    height: u32,
}

/// Returns a picture as it should be shown.
fn encode(source: impl io::BufRead + io::Seek) -> Result<Encoded, CodecError> {
    let reader = ImageReader::new(source).with_guessed_format()?;
    let is_png = reader.format() == Some(ImageFormat::Png);
    let mut decoder = reader.into_decoder()?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    // The colours keep their meaning where they have a profile. That of a print has four colours, which
    // the decoder has turned into three.
    let profile = decoder.icc_profile()?.filter(|profile| {
        let space = profile.get(16..20);
        space == Some(b"RGB ")
    });
    if decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(CodecError::Limits(LimitError::from_kind(
            LimitErrorKind::InsufficientMemory,
        )));
    }
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    let picture = on_white(picture);
    let (width, height) = picture.dimensions();
    let encoded = |bytes, ending| Encoded {
        bytes,
        ending,
        width,
        height,
    };
    let mut bytes = Vec::new();
    if is_png {
        let mut encoder = PngEncoder::new(Cursor::new(&mut bytes));
        if let Some(profile) = &profile {
            let _ = encoder.set_icc_profile(profile.clone());
        }
        picture.write_with_encoder(encoder)?;
        if bytes.len() as u64 <= MAX_IMAGE_BYTES {
            return Ok(encoded(bytes, "png"));
        }
    }
    for quality in [QUALITY, LOW_QUALITY] {
        bytes.clear();
        let mut encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
        if let Some(profile) = &profile {
            // A profile that is too long for the file is left out.
            let _ = encoder.set_icc_profile(profile.clone());
        }
        encoder.encode_image(&picture)?;
        if bytes.len() as u64 <= MAX_IMAGE_BYTES {
            return Ok(encoded(bytes, "jpg"));
        }
    }
    Err(CodecError::Limits(LimitError::from_kind(
        LimitErrorKind::DimensionError,
    )))
}

/// Returns a picture without transparency, on white.
fn on_white(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let picture = picture.into_rgba8();
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [red, green, blue, alpha] = picture.get_pixel(x, y).0;
        let blend = |colour: u8| {
            let colour = u32::from(colour) * u32::from(alpha) + 255 * (255 - u32::from(alpha));
            u8::try_from((colour + 127) / 255).unwrap_or(u8::MAX)
        };
        Rgb([blend(red), blend(green), blend(blue)])
    })
}

/// Writes a file, unless it is there with this content.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if std::fs::read(path).is_ok_and(|known| known == bytes) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use ::image::{GenericImageView, Rgba, RgbaImage};

    use super::super::identify;
    use super::*;

    /// Returns the fixes into a folder, and a picture in it.
    fn with_picture(name: &str, bytes: &[u8]) -> (tempfile::TempDir, ImageFixes, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let fixes = ImageFixes {
            folder: dir.path().join("fixed"),
            writes: true,
        };
        (dir, fixes, path)
    }

    #[test]
    fn a_turned_picture_is_written_upright() {
        let mut bytes = Cursor::new(Vec::new());
        let picture = RgbImage::from_fn(30, 20, |x, _| Rgb([if x < 15 { 255 } else { 0 }; 3]));
        picture.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
        // Orientation 6: to be turned by 90 degrees to the right.
        let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let plain = bytes.into_inner();
        let turned = [&plain[..2], exif, &plain[2..]].concat();
        let (_dir, fixes, path) = with_picture("cup.jpg", &turned);
        let (image, _) = identify(&path).unwrap();
        let (fixed, fixed_facts) = fixes.fix(&image).unwrap();
        assert_eq!((fixed_facts.width, fixed_facts.height), (20, 30));
        let (found, found_facts) = identify(fixed.path()).unwrap();
        assert_eq!(found, fixed);
        assert!(!found_facts.is_turned);
        // The left side is at the top.
        let upright = ::image::open(fixed.path()).unwrap();
        assert!(upright.get_pixel(10, 2).0[0] > 200);
        assert!(upright.get_pixel(10, 27).0[0] < 50);
        // Again, it is the same file; without writing, it has the same name.
        assert_eq!(fixes.fix(&image).unwrap().0, fixed);
        let named = ImageFixes {
            writes: false,
            ..fixes
        };
        assert_eq!(named.fix(&image).unwrap().0, fixed);
    }

    #[test]
    fn a_picture_for_printing_keeps_its_colour_and_of_an_animated_one_the_first_is_kept() {
        let pictures: [(&str, &[u8]); 3] = [
            (
                "print.jpg",
                include_bytes!("../../tests/pictures/print.jpg"),
            ),
            (
                "moving.webp",
                include_bytes!("../../tests/pictures/moving.webp"),
            ),
            (
                "moving.png",
                include_bytes!("../../tests/pictures/moving.png"),
            ),
        ];
        for (name, bytes) in pictures {
            let (_dir, fixes, path) = with_picture(name, bytes);
            let (image, facts) = identify(&path).unwrap();
            assert!(facts.is_cmyk || facts.is_animated, "{name}");
            let (fixed, _) = fixes.fix(&image).unwrap();
            let (_, facts) = identify(fixed.path()).unwrap();
            assert!(!facts.is_cmyk && !facts.is_animated, "{name}");
            let [red, green, blue, _] = ::image::open(fixed.path()).unwrap().get_pixel(9, 9).0;
            assert!(
                red > 200 && green < 60 && blue < 60,
                "{name}: {red} {green} {blue}"
            );
        }
    }

    #[test]
    fn transparency_becomes_white() {
        let mut bytes = Cursor::new(Vec::new());
        let picture = RgbaImage::from_fn(4, 4, |x, _| Rgba([0, 0, 0, if x < 2 { 0 } else { 255 }]));
        picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
        let (_dir, fixes, path) = with_picture("cup.png", &bytes.into_inner());
        let (image, _) = identify(&path).unwrap();
        let (fixed, _) = fixes.fix(&image).unwrap();
        let (_, facts) = identify(fixed.path()).unwrap();
        assert!(!facts.has_alpha);
        let white = ::image::open(fixed.path()).unwrap();
        assert_eq!(white.get_pixel(0, 0).0[..3], [255, 255, 255]);
        assert_eq!(white.get_pixel(3, 0).0[..3], [0, 0, 0]);
    }
}
