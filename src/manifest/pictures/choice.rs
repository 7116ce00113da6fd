//! Which of a product's pictures become jobs.

use super::links::WrittenLink;
use super::odd_link::odd_link;
use crate::manifest::remark::Remark;

/// Keeps the pictures that become jobs: the first or, with `each`, all of them. Those that seem to be no
/// pictures are passed over if there is one; returns what is to be said of them.
pub(in crate::manifest) fn choose<P>(
    pictures: &mut Vec<P>,
    written: impl Fn(&P) -> &WrittenLink,
    each: bool,
) -> Vec<Remark> {
    let unusable = |picture: &P| odd_link(written(picture)).filter(|odd| odd.is_unusable());
    let mut passed_over = Vec::new();
    let first = pictures
        .iter()
        .position(|picture| unusable(picture).is_none());
    if let Some(first) = first {
        if !each {
            pictures.truncate(first + 1);
        }
        pictures.retain(|picture| {
            let odd = unusable(picture);
            passed_over.extend(odd.map(Remark::PassedOver));
            odd.is_none()
        });
    }
    if !each {
        pictures.truncate(1);
    }
    passed_over
}
