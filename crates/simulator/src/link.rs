//! The link that a finished prediction returns: how long it lives, and what may be in its place.

use strum::VariantArray;

/// What a finished prediction returns in place of a link from which its clip can be downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
pub enum LinkDefect {
    /// The field of the link is missing.
    Absent,
    /// The field is `null`.
    Null,
    /// The link is an empty string.
    Empty,
    /// The link is a word.
    NotAUrl,
    /// The link is not HTTP.
    OtherScheme,
    /// The link leads into the network of the client.
    PrivateAddress,
    /// The field is an empty list.
    EmptyList,
    /// The field is an object without a link.
    NoUrlField,
}

impl LinkDefect {
    /// Every defect.
    pub const ALL: [Self; Self::VARIANTS.len()] =
        *Self::VARIANTS.first_chunk().expect("all variants");
}

/// How the links of finished predictions are.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    /// Lifetime of a link, in seconds.
    pub life_s: u64,
    /// What is returned in place of a link; `None` returns the link.
    pub defect: Option<LinkDefect>,
    /// How long after the end of its prediction a link is returned in spite of `defect`, in seconds.
    pub defect_s: f64,
}

impl Links {
    /// Returns what is returned in place of a link, `ended_ms` milliseconds after the end of its
    /// prediction; `None` returns the link.
    pub fn defect_after(&self, ended_ms: i64) -> Option<LinkDefect> {
        self.defect
            .filter(|_| (ended_ms as f64) < self.defect_s * 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_lasts_until_its_time_has_passed() {
        let forever = Links {
            life_s: 60,
            defect: Some(LinkDefect::Null),
            defect_s: f64::INFINITY,
        };
        assert_eq!(forever.defect_after(i64::MAX), Some(LinkDefect::Null));
        let brief = Links {
            defect_s: 2.0,
            ..forever
        };
        assert_eq!(brief.defect_after(1999), Some(LinkDefect::Null));
        assert_eq!(brief.defect_after(2000), None);
        let sound = Links {
            defect: None,
            ..forever
        };
        assert_eq!(sound.defect_after(0), None);
    }
}
