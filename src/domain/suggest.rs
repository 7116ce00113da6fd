//! The nearest name, for messages about a mistyped one.

use super::printable::shown;

/// A longer name is no slip, and comparing takes the product of both lengths.
const LONGEST: usize = 100;

/// Finds the candidate a mistyped name most likely meant; `None` where nothing is close.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let name = name.to_lowercase();
    let candidates = candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST);
    let scored = candidates.map(|candidate| {
        let known = candidate.to_lowercase();
        // A name that holds the other (`image_link` for `image`) is near although many letters differ.
        let holds =
            name.len() >= 4 && known.len() >= 4 && (name.contains(&known) || known.contains(&name));
        (
            if holds { 0.8_f64 } else { 0.0 }.max(strsim::jaro_winkler(&name, &known)),
            candidate,
        )
    });
    scored
        .filter(|(score, _)| *score >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Writes `, did you mean X?`, or nothing.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, candidates).map_or(String::new(), |near| {
        format!(", did you mean `{}`?", shown(near))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let fields = ["image", "prompt", "duration", "aspect_ratio"];
        assert_eq!(nearest("promt", fields), Some("prompt"));
        assert_eq!(nearest("Image_Link", fields), Some("image"));
        assert_eq!(nearest("aspectratio", fields), Some("aspect_ratio"));
        assert_eq!(nearest("warehouse", fields), None);
    }
}
