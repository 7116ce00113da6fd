//! What is to be known of a picture before a clip of it is paid for.

use std::io::{BufRead, Read, Seek};

use ::image::codecs::jpeg::JpegDecoder;
use ::image::codecs::png::PngDecoder;
use ::image::codecs::webp::WebPDecoder;
use ::image::metadata::Orientation;
use ::image::{ImageDecoder, ImageError};

/// Number of colours of a JPEG for printing.
const CMYK_COMPONENTS: u8 = 4;

/// What a picture is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PictureFacts {
    /// The width as it is stored, in pixels.
    pub width: u32,
    /// The height as it is stored, in pixels.
    pub height: u32,
    /// Whether it is stored turned or mirrored, with a note (EXIF) that most models ignore.
    pub is_turned: bool,
    /// Whether its colours are those of printing (CMYK), which models show wrongly.
    pub is_cmyk: bool,
    /// Whether it has several pictures, of which a model takes the first.
    pub is_animated: bool,
    /// Whether parts of it may be transparent, which a model may show black.
    pub has_alpha: bool,
    /// Whether it was written in place of one that is not shown right.
    pub is_fixed: bool,
}

impl PictureFacts {
    /// Reads the facts of a picture of the given media type. Its pixels are not decoded.
    ///
    /// # Errors
    /// Returns why it cannot be read.
    pub(super) fn read(mut source: impl BufRead + Seek, media_type: &str) -> Result<Self, String> {
        let facts = match media_type {
            "image/png" => PngDecoder::new(source).and_then(|decoder| {
                let is_animated = decoder.is_apng()?;
                Self::of_decoder(decoder, is_animated)
            }),
            "image/webp" => WebPDecoder::new(source).and_then(|decoder| {
                let is_animated = decoder.has_animation();
                Self::of_decoder(decoder, is_animated)
            }),
            _ => {
                let components = count_components(&mut source);
                let decoder = source.rewind().map_err(ImageError::from);
                let decoder = decoder.and_then(|()| JpegDecoder::new(source));
                let facts = decoder.and_then(|decoder| Self::of_decoder(decoder, false));
                facts.map(|facts| Self {
                    is_cmyk: components == Some(CMYK_COMPONENTS),
                    ..facts
                })
            }
        };
        facts.map_err(|error| error.to_string())
    }

    fn of_decoder(mut decoder: impl ImageDecoder, is_animated: bool) -> Result<Self, ImageError> {
        let (width, height) = decoder.dimensions();
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        Ok(Self {
            width,
            height,
            is_turned: orientation != Orientation::NoTransforms,
            is_cmyk: false,
            is_animated,
            has_alpha: decoder.color_type().has_alpha(),
            is_fixed: false,
        })
    }

    /// Returns whether a model does not show it as it is meant.
    pub fn is_shown_wrongly(&self) -> bool {
        self.is_turned || self.is_cmyk || self.is_animated || self.has_alpha
    }

    /// Returns the length of the shorter side, in pixels.
    pub fn shorter_side(&self) -> u32 {
        self.width.min(self.height)
    }

    /// Returns how many times as long as the shorter side the longer one is.
    pub fn side_ratio(&self) -> f64 {
        let longer = f64::from(self.width.max(self.height));
        longer / f64::from(self.shorter_side().max(1))
    }
}

/// Returns the number of colours of a JPEG, which the header of its frame has (ISO/IEC 10918-1, B.2.2).
fn count_components(source: &mut (impl Read + Seek)) -> Option<u8> {
    source.seek_relative(2).ok()?;
    loop {
        let mut segment = [0; 4];
        source.read_exact(&mut segment).ok()?;
        let [0xff, marker, length @ ..] = segment else {
            return None;
        };
        let length = i64::from(u16::from_be_bytes(length)) - 2;
        // The frame headers, between which there are tables.
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            let mut frame = [0; 6];
            source.read_exact(&mut frame).ok()?;
            return Some(frame[5]);
        }
        source.seek_relative(length.max(0)).ok()?;
    }
}
