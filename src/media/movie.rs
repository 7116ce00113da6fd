//! Checks what is inside of an MP4 or QuickTime movie box: that there is a video track, and that the file
//! holds the samples of every track (ISO/IEC 14496-12, section 8).

use std::time::Duration;

use super::boxes::{Boxes, u32_at, u64_at};

/// Maximum number of samples of a track. A clip of a minute has some thousands.
const MAX_SAMPLES: u64 = 10_000_000;

/// What a movie box says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Movie {
    /// How long it lasts; `None` if that is not known before its fragments are read.
    pub(crate) duration: Option<Duration>,
    /// Whether its samples are in fragments after it.
    pub(crate) is_fragmented: bool,
}

/// Checks the content of a movie box in a file of this length, in bytes. The error says what is wrong.
pub(super) fn check(moov: &[u8], file_bytes: u64) -> Result<Movie, String> {
    let is_fragmented = Boxes::new(moov).any(|(kind, _)| kind == *b"mvex");
    let mut duration = None;
    let mut tracks = 0;
    for (_, trak) in Boxes::new(moov).filter(|(kind, _)| kind == b"trak") {
        tracks += 1;
        let Some(track) = read_track(trak) else {
            return Err(format!("its track {tracks} lacks a part"));
        };
        if !is_fragmented {
            let what = |problem| format!("its track {tracks} {problem}");
            let samples = check_samples(track.table, file_bytes).map_err(what)?;
            if track.is_video && samples == 0 {
                return Err(format!("its video track {tracks} has no picture"));
            }
        }
        if track.is_video {
            duration = duration.max(Some(track.duration));
        }
    }
    match duration {
        Some(duration) => Ok(Movie {
            duration: Some(duration).filter(|_| !is_fragmented),
            is_fragmented,
        }),
        None if tracks == 0 => Err("its movie box is empty".into()),
        None => Err("it has no video track".into()),
    }
}

/// A track, as far as it is checked.
struct Track<'a> {
    is_video: bool,
    duration: Duration,
    /// The content of its sample table.
    table: &'a [u8],
}

fn read_track(trak: &[u8]) -> Option<Track<'_>> {
    let mdia = Boxes::find(trak, b"mdia")?;
    let handler = Boxes::find(mdia, b"hdlr")?.get(8..12)?;
    let minf = Boxes::find(mdia, b"minf")?;
    Some(Track {
        is_video: handler == b"vide",
        duration: read_duration(Boxes::find(mdia, b"mdhd")?)?,
        table: Boxes::find(minf, b"stbl")?,
    })
}

/// Reads the duration of a media header.
fn read_duration(header: &[u8]) -> Option<Duration> {
    let is_long = *header.first()? == 1;
    let (scale, length) = if is_long {
        (u32_at(header, 20)?, u64_at(header, 24)?)
    } else {
        (u32_at(header, 12)?, u32_at(header, 16)?.into())
    };
    let millis = u128::from(length) * 1000 / u128::from(scale.max(1));
    Some(Duration::from_millis(
        u64::try_from(millis).unwrap_or(u64::MAX),
    ))
}

/// Checks that the file holds all samples of a table, and returns how many there are.
fn check_samples(table: &[u8], file_bytes: u64) -> Result<u64, &'static str> {
    const LACKS: &str = "lacks a sample table";
    let sizes = Sizes::read(table).ok_or(LACKS)?;
    let runs = Boxes::find(table, b"stsc").ok_or(LACKS)?;
    let (chunks, is_long) = match Boxes::find(table, b"stco") {
        Some(chunks) => (chunks, false),
        None => (Boxes::find(table, b"co64").ok_or(LACKS)?, true),
    };
    let times = Boxes::find(table, b"stts").ok_or(LACKS)?;
    if sizes.count > MAX_SAMPLES {
        return Err("has more samples than any clip");
    }
    if sizes.count > 0 && u32_at(times, 4).is_none_or(|entries| entries == 0) {
        return Err("says no times of its samples");
    }
    let chunk_count = u32_at(chunks, 4).ok_or(LACKS)?;
    let run_count = u32_at(runs, 4).ok_or(LACKS)? as usize;
    let mut sample = 0;
    let mut run = 0;
    let mut samples_in_chunk = 0;
    let mut bytes = 0_u64;
    for chunk in 0..chunk_count {
        if sample == sizes.count {
            break;
        }
        // A run of chunks begins at this one, counted from 1.
        while run < run_count && u32_at(runs, 8 + 12 * run) == Some(chunk + 1) {
            samples_in_chunk = u32_at(runs, 12 + 12 * run).ok_or(LACKS)?;
            run += 1;
        }
        let index = chunk as usize;
        let start = if is_long {
            u64_at(chunks, 8 + 8 * index)
        } else {
            u32_at(chunks, 8 + 4 * index).map(u64::from)
        };
        let mut end = start.ok_or(LACKS)?;
        for _ in 0..samples_in_chunk {
            if sample == sizes.count {
                break;
            }
            let size = sizes.at(sample).ok_or(LACKS)?;
            end = end.saturating_add(size.into());
            bytes = bytes.saturating_add(size.into());
            sample += 1;
        }
        if end > file_bytes {
            return Err("has samples that the file does not hold");
        }
    }
    if sample < sizes.count {
        return Err("has samples without a place in the file");
    }
    if sizes.count > 0 && bytes == 0 {
        return Err("has only empty samples");
    }
    Ok(sizes.count)
}

/// The sizes of the samples of a track.
struct Sizes<'a> {
    count: u64,
    /// The size of all of them, unless that is 0.
    common: u32,
    /// The table, and how many bits each entry has.
    each: &'a [u8],
    bits: u32,
}

impl<'a> Sizes<'a> {
    fn read(table: &'a [u8]) -> Option<Self> {
        let (sizes, common, bits) = match Boxes::find(table, b"stsz") {
            Some(sizes) => (sizes, u32_at(sizes, 4)?, 32),
            None => {
                let sizes = Boxes::find(table, b"stz2")?;
                (sizes, 0, u32_at(sizes, 4)? & 0xff)
            }
        };
        Some(Self {
            count: u32_at(sizes, 8)?.into(),
            common,
            each: sizes.get(12..)?,
            bits,
        })
    }

    fn at(&self, sample: u64) -> Option<u32> {
        if self.common > 0 {
            return Some(self.common);
        }
        let sample = usize::try_from(sample).ok()?;
        match self.bits {
            32 => u32_at(self.each, 4 * sample),
            16 => {
                let bytes = self.each.get(2 * sample..)?.first_chunk()?;
                Some(u16::from_be_bytes(*bytes).into())
            }
            8 => self.each.get(sample).map(|byte| u32::from(*byte)),
            4 => {
                let byte = u32::from(*self.each.get(sample / 2)?);
                Some(if sample.is_multiple_of(2) {
                    byte >> 4
                } else {
                    byte & 15
                })
            }
            _ => None,
        }
    }
}
