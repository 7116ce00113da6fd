//! What a load did with rows and links that is no mistake, with the flags that change it.

use std::collections::BTreeMap;

use crate::manifest::{LinkChange, Remark};

use super::render::format_count;

/// Returns a line for each remark.
pub(super) fn describe_remarks(remarks: &BTreeMap<Remark, u64>) -> Vec<String> {
    let count_of = |remark: &Remark| remarks.get(remark).copied().unwrap_or_default();
    let lines = remarks.iter().filter_map(|(remark, count)| {
        let count = *count;
        Some(match remark {
            Remark::WithoutField(field) => {
                format!("skipped {} without `{field}`", format_count(count, "row"))
            }
            Remark::Filtered => format!(
                "left out {} by --only and --except",
                format_count(count, "row")
            ),
            Remark::StatusLeftOut(status) => format!(
                "left out {}: {}; --all-statuses takes them",
                format_count(count, "product"),
                status.name
            ),
            Remark::StatusTaken(status) => format!(
                "{} taken: {}; --except '{}' leaves them out",
                format_count(count, "product"),
                status.name,
                status.condition()
            ),
            Remark::AboveHeader { line } => format!(
                "the header is on line {line}; what is above it was not read (--header-row {line} \
                 names it)"
            ),
            Remark::WithVariations => return None,
            Remark::Variation => {
                let products = count_of(&Remark::WithVariations);
                format!(
                    "{}, {}: each variation is a job; --one-per product makes one of each product",
                    format_count(products, "product"),
                    format_count(count, "variation")
                )
            }
            Remark::VariationOfJob => {
                let products = count_of(&Remark::WithVariations);
                format!(
                    "{}, {}: one job for each product",
                    format_count(products, "product"),
                    format_count(count, "variation")
                )
            }
            Remark::PictureOfProduct => format!(
                "{} without a picture: that of the product is taken",
                format_count(count, "row")
            ),
            Remark::HiddenRow => format!(
                "left out {} that the sheet hides; --hidden takes them",
                format_count(count, "row")
            ),
            Remark::HiddenSheet => format!(
                "did not read {}; --sheet NAME does",
                format_count(count, "hidden sheet")
            ),
            Remark::MergedCell => format!(
                "{} merged with the one above: its text is taken",
                format_count(count, "cell")
            ),
            Remark::TextFormula => format!(
                "{} written as =\"text\": the text is taken",
                format_count(count, "cell")
            ),
            Remark::DateLikeId => format!(
                "{} such as 2-Mar: if a spreadsheet program made dates of your ids, enter them as text",
                format_count(count, "id")
            ),
            Remark::Link(change) => format!(
                "{}: {}",
                format_count(count, "link"),
                match change {
                    LinkChange::Trimmed => "blanks around were removed",
                    LinkChange::Completed => "the start was added",
                    LinkChange::Encoded => "blanks and special letters were percent-encoded",
                    LinkChange::Unescaped => "`&amp;` was read as `&`",
                }
            ),
        })
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variations_are_told_with_their_products() {
        let remarks = BTreeMap::from([(Remark::Variation, 61), (Remark::WithVariations, 20)]);
        assert_eq!(
            describe_remarks(&remarks),
            [
                "20 products, 61 variations: each variation is a job; --one-per product makes one of \
                 each product"
            ]
        );
    }
}
