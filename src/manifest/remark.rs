//! What a load did with rows and cells that is not a mistake. The user should know it before paying.

use super::row_status::RowStatus;

/// How often something was done, and where first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemarkCount {
    /// Number of rows, products, cells or links.
    pub count: u64,
    /// The first place: `file:line`.
    pub first: String,
}

impl RemarkCount {
    /// Counts more of them. The place is that of the first, and kept.
    pub fn add(&mut self, count: u64, place: impl FnOnce() -> String) {
        if self.count == 0 {
            self.first = place();
        }
        self.count += count;
    }
}

/// Something that was done with rows or cells, which are counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remark {
    /// Rows were left out because they lack a field that the user named for that.
    WithoutField(String),
    /// Rows or products were left out by the user's conditions.
    Filtered,
    /// Products were left out because of their status in the shop.
    StatusLeftOut(RowStatus),
    /// Products have a status that the user may not expect to pay for, and are taken.
    StatusTaken(RowStatus),
    /// Lines before the header, which is on line `line`, were not read.
    AboveHeader {
        /// The line of the header, from 1.
        line: u64,
    },
    /// Rows are variations of a product, and jobs of their own.
    Variation,
    /// Rows are variations of a product, which is one job with all of them.
    VariationOfJob,
    /// Products have variations.
    WithVariations,
    /// Rows have no picture, and take that of their product.
    PictureOfProduct,
    /// Rows of a sheet are hidden, and were left out.
    HiddenRow,
    /// Sheets of a workbook are hidden, and were not read.
    HiddenSheet,
    /// Cells are merged with the one above, whose text was taken.
    MergedCell,
    /// Cells are formulas of a text, `="00123"`, of which the text was taken.
    TextFormula,
    /// Ids look like dates, which a spreadsheet program may have made of them.
    DateLikeId,
    /// Links were changed.
    Link(LinkChange),
    /// Rows have no id: they are named after what they ask for.
    WithoutId,
    /// Rows were combined with the first of their product.
    Combined,
    /// Rows are of the same product as the one above, by the shop's own group, and jobs of their own.
    SameGroup,
    /// Rows have other texts for the prompt than the one row of their product that is used.
    OtherText,
    /// Links do not seem to lead to pictures.
    OddLink(OddLink),
    /// Links do not seem to lead to pictures, and others of their products were taken.
    PassedOver(OddLink),
    /// Pictures are not what a model renders well.
    Picture(PictureNote),
}

impl Remark {
    /// Returns whether it is about a job, and does not matter if none is made of the row.
    pub(super) fn is_about_job(&self) -> bool {
        matches!(
            self,
            Self::StatusTaken(_) | Self::PictureOfProduct | Self::PassedOver(_) | Self::TextFormula
        )
    }
}

/// What a link seems to lead to in place of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OddLink {
    /// A page that shows a shared file, not the file.
    SharePage,
    /// A page or a document, by its ending.
    Page,
    /// A picture of a kind that providers do not take, by its ending.
    OtherKind,
    /// A small copy of a picture, for lists.
    Thumbnail,
    /// A file whose link ends some hours after it was exported.
    Expiring,
}

impl OddLink {
    /// Returns whether it is no picture that providers take.
    pub(super) fn is_unusable(self) -> bool {
        matches!(self, Self::SharePage | Self::Page | Self::OtherKind)
    }
}

/// Why a picture may not be rendered well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PictureNote {
    /// A side is shorter than the model takes, in pixels.
    Small {
        /// Minimum length of each side, in pixels.
        min_side: u32,
    },
    /// One side is too long for the other.
    Long {
        /// Maximum length of the longer side, in percent of the shorter one.
        max_percent: u32,
    },
    /// It is stored turned or mirrored.
    Turned,
    /// Its colours are those of printing (CMYK).
    Printing,
    /// It has several pictures.
    Animated,
    /// Parts of it may be transparent.
    Transparent,
    /// It was written again so that it is shown right.
    Fixed,
}

/// What was changed in a link so that a provider can request it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkChange {
    /// Blanks and invisible characters around it were removed.
    Trimmed,
    /// Its scheme, or the part of it that is the same in the whole export, was added.
    Completed,
    /// Its blanks and letters that are not ASCII were percent-encoded.
    Encoded,
    /// HTML's `&amp;` was read as `&`.
    Unescaped,
}
