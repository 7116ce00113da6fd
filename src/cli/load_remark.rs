//! What a load did with rows and links that is no mistake, with the flags that change it.

use std::collections::BTreeMap;

use crate::manifest::{LinkChange, OddLink, PictureNote, Remark, RemarkCount};

use super::render::format_count;

/// Returns a line for each remark.
pub(super) fn describe_remarks(remarks: &BTreeMap<Remark, RemarkCount>) -> Vec<String> {
    let count_of = |remark: &Remark| remarks.get(remark).map_or(0, |counted| counted.count);
    let lines = remarks.iter().filter_map(|(remark, counted)| {
        let RemarkCount { count, first } = counted;
        let count = *count;
        Some(match remark {
            Remark::WithoutField(field) => {
                let rows = format_count(count, "row");
                format!("skipped {rows} without `{field}`, first in {first}")
            }
            Remark::Filtered => format!(
                "left out {} by --only or --except",
                format_count(count, "row")
            ),
            Remark::StatusLeftOut(status) => format!(
                "left out {}: {}; --all-statuses takes them",
                format_count(count, "item"),
                status.name
            ),
            Remark::StatusTaken(status) => format!(
                "{} taken: {}; --except '{}' leaves them out",
                format_count(count, "item"),
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
                "the picture of the product is taken where there is none: {}",
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
                "{} such as 2-Mar, first in {first}: if a spreadsheet program made dates of your ids, enter them as text",
                format_count(count, "id")
            ),
            Remark::WithoutId => format!(
                "{} without an id: named after what they ask for, so that an edit makes a new row; --map \
                 id=COLUMN names them",
                format_count(count, "row")
            ),
            Remark::Combined => format!(
                "{} combined with the first of their product; --group-by makes clips of variants, \
                 --each-image of pictures",
                format_count(count, "row")
            ),
            Remark::SameGroup => format!(
                "{} of the same product (item_group_id) as the one above: each is a job; \
                 --one-per item_group_id makes one of each product",
                format_count(count, "row")
            ),
            Remark::OtherText => format!(
                "of those, {count} with another prompt, first in {first}; if they are products of their own, \
                 --one-per names what one is"
            ),
            Remark::OddLink(odd) => format!(
                "{}, first in {first}: {}",
                format_count(count, "link"),
                describe_odd_link(*odd)
            ),
            Remark::PassedOver(odd) => format!(
                "passed over {} for another of the product, first in {first}: {}",
                format_count(count, "link"),
                describe_odd_link(*odd)
            ),
            Remark::Picture(note) => format!(
                "{}, first in {first}: {}",
                format_count(count, "picture"),
                describe_picture(*note)
            ),
            Remark::Link(change) => format!(
                "{}, first in {first}: {}",
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

fn describe_odd_link(odd: OddLink) -> &'static str {
    match odd {
        OddLink::SharePage => {
            "leads to a page that shows a shared file; providers need the file's own link"
        }
        OddLink::Page => "leads to a page or a document, not to a picture",
        OddLink::Thumbnail => {
            "leads to a thumbnail; providers refuse small pictures, or show them blurred"
        }
        OddLink::Expiring => {
            "ends some hours after the export, and is another one in the next; run the batch at once"
        }
        OddLink::OtherKind => "leads to what is not a JPEG, PNG or WebP picture",
    }
}

fn describe_picture(note: PictureNote) -> String {
    match note {
        PictureNote::Fixed => {
            "written again, upright, in colours for screens and without transparency".into()
        }
        PictureNote::Small { min_side } => {
            format!("a side is shorter than {min_side} px; hosts of the model refuse such pictures")
        }
        PictureNote::Long { max_percent } => format!(
            "one side is more than {}.{} times as long as the other; hosts of the model refuse such \
             pictures",
            max_percent / 100,
            max_percent % 100 / 10
        ),
        PictureNote::Turned => {
            "stored turned or mirrored, which most models ignore; --fix-images turns them upright"
                .into()
        }
        PictureNote::Printing => {
            "colours for printing (CMYK), which models show wrongly; --fix-images converts them"
                .into()
        }
        PictureNote::Animated => {
            "animated, of which a model takes the first picture; --fix-images sends that alone"
                .into()
        }
        PictureNote::Transparent => {
            "parts may be transparent, which a model may show black; --fix-images makes them white"
                .into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variations_are_told_with_their_products() {
        let times = |count| RemarkCount {
            count,
            first: "shop.csv:2".into(),
        };
        let remarks = BTreeMap::from([
            (Remark::Variation, times(61)),
            (Remark::WithVariations, times(20)),
        ]);
        assert_eq!(
            describe_remarks(&remarks),
            [
                "20 products, 61 variations: each variation is a job; --one-per product makes one of \
                 each product"
            ]
        );
    }
}
