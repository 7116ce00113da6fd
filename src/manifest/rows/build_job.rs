//! Checks one row: what each value may be, which providers can run it, and what it costs.

use std::path::Path;

use serde_json::Value;

use crate::domain::{Input, NewJob, PictureLimits, ProviderName, Shape};
use crate::image::PictureFacts;

use crate::manifest::cell_text::trim;
use crate::manifest::columns::preset::Preset;
use crate::manifest::columns::row_mapper::RowMapper;
use crate::manifest::problem::{Mistake, Problem};
use crate::manifest::remark::{PictureNote, Remark};
use crate::manifest::row::{ID_FIELD, Row};

/// Maximum length of a row's key, in characters. A longer text is a description, not a key.
const MAX_ID_CHARS: usize = 200;

impl RowMapper<'_> {
    /// Checks a row and builds its job. The estimate is the price of the most expensive provider
    /// that can run it. A row without a key gets one from its input.
    ///
    /// # Errors
    /// Returns all problems of the row.
    pub(super) fn build_job(
        &self,
        file: &str,
        mut row: Row,
    ) -> Result<(NewJob, Vec<Remark>), Vec<Problem>> {
        self.check_fields(file, &mut row);
        if let Some(id) = row.id.take() {
            match check_id(&id) {
                Ok(()) => row.id = Some(trim(&id).to_owned()),
                Err(message) => row.add_problem(ID_FIELD, message),
            }
        }
        let input = Input(std::mem::take(&mut row.fields));
        let mut providers = Vec::new();
        if row.problems.is_empty() {
            providers = self.eligible_providers(&input).unwrap_or_else(|message| {
                row.problems.push((None, message.into()));
                Vec::new()
            });
        }
        if !row.problems.is_empty() {
            let to_problem = |(field, mistake)| Problem {
                file: file.to_owned(),
                line: row.line,
                field,
                mistake,
            };
            return Err(row.problems.into_iter().map(to_problem).collect());
        }
        let routes = providers.iter().filter_map(|name| self.model.route(*name));
        let estimate = routes
            .map(|route| self.model.price(route, &input))
            .max()
            .unwrap_or_default();
        let fingerprint = self.model.fingerprint(&input);
        // Earlier versions took the key of a row without an id from its text as it was.
        let earlier_key = row
            .id
            .is_none()
            .then(|| input.fingerprint(&self.model.name));
        let earlier_key = earlier_key.filter(|earlier| *earlier != fingerprint);
        if row.id.is_none() {
            row.remarks.push(Remark::WithoutId);
        }
        let row_key = row
            .id
            .unwrap_or_else(|| NewJob::key_without_id(&fingerprint));
        let job = NewJob {
            earlier_key: earlier_key.as_ref().map(NewJob::key_without_id),
            product: row.product,
            picture_size: row.picture_size,
            ..NewJob::new(fingerprint, row_key, row.line, input, providers, estimate)
        };
        Ok((job, row.remarks))
    }

    /// Adds the constants to a row, resolves its images, and checks every field of the model.
    fn check_fields(&self, file: &str, row: &mut Row) {
        // Paths in a manifest are relative to the manifest's folder.
        let folder = Path::new(file).parent().unwrap_or(Path::new(""));
        for (field, value) in &self.constants {
            row.fields
                .entry(field.clone())
                .or_insert_with(|| value.clone());
        }
        for field in &self.model.fields {
            let Some(value) = row.fields.get_mut(&field.name) else {
                if field.required && !row.has_problem(&field.name) {
                    row.add_problem(&field.name, Mistake::Missing(field.name.clone()));
                }
                continue;
            };
            let mut pictures = Vec::new();
            let images = &self.images;
            let resolved = images.resolve(&field.shape, value, folder, &mut pictures);
            let notes = pictures
                .iter()
                .flat_map(|facts| picture_notes(facts, self.model.pictures));
            row.remarks.extend(notes.map(Remark::Picture));
            let first = pictures.first().map(|facts| (facts.width, facts.height));
            row.picture_size = row.picture_size.or(first);
            let checked = resolved
                .map_err(Mistake::from)
                .and_then(|()| field.shape.check(value).map_err(Mistake::from));
            match checked {
                Ok(()) => normalize_integers(&field.shape, value),
                Err(Mistake::NoFile { reason, .. }) => {
                    let start = self.preset.and_then(Preset::media_path);
                    row.add_problem(&field.name, Mistake::NoFile { reason, start });
                }
                Err(message) => row.add_problem(&field.name, message),
            }
        }
    }

    /// Returns the allowed providers that can run an input.
    ///
    /// # Errors
    /// Returns why none of them can.
    fn eligible_providers(&self, input: &Input) -> Result<Vec<ProviderName>, String> {
        let mut eligible = Vec::new();
        let mut obstacles = Vec::new();
        for provider in &self.providers {
            match self
                .model
                .route(*provider)
                .map(|route| route.incompatibility(input))
            {
                Some(None) => eligible.push(*provider),
                Some(Some(incompatibility)) => obstacles.push(incompatibility),
                None => obstacles.push(format!("{provider} does not offer {}", self.model.name)),
            }
        }
        if eligible.is_empty() {
            Err(format!(
                "no allowed provider can run this row: {}",
                obstacles.join("; ")
            ))
        } else {
            Ok(eligible)
        }
    }
}

/// Returns why a picture may not be rendered well.
pub fn picture_notes(facts: &PictureFacts, limits: PictureLimits) -> Vec<PictureNote> {
    let small = limits
        .min_side
        .filter(|min_side| facts.shorter_side() < *min_side);
    let long = limits
        .max_side_percent
        .filter(|max| facts.side_ratio() * 100.0 > f64::from(*max));
    let small = small.map(|min_side| PictureNote::Small { min_side });
    let long = long.map(|max_percent| PictureNote::Long { max_percent });
    let others = [
        (facts.is_turned, PictureNote::Turned),
        (facts.is_cmyk, PictureNote::Printing),
        (facts.is_animated, PictureNote::Animated),
        (facts.has_alpha, PictureNote::Transparent),
        (facts.is_fixed, PictureNote::Fixed),
    ];
    let others = others.into_iter().filter(|(is_so, _)| *is_so);
    let others = others.map(|(_, note)| note);
    small.into_iter().chain(long).chain(others).collect()
}

/// Writes `10.0` as `10` in each integer field, at any depth: a provider may reject the decimal
/// point.
fn normalize_integers(shape: &Shape, value: &mut Value) {
    match (shape, value) {
        (Shape::Integer { .. }, value @ Value::Number(_)) => {
            let float = value.as_f64().filter(|_| value.as_i64().is_none());
            if let Some(Ok(integer)) = float.map(|float| format!("{float:.0}").parse::<i64>()) {
                *value = Value::from(integer);
            }
        }
        (Shape::List { item, .. }, Value::Array(items)) => {
            items
                .iter_mut()
                .for_each(|value| normalize_integers(item, value));
        }
        (Shape::Object { fields }, Value::Object(values)) => {
            for field in fields {
                if let Some(value) = values.get_mut(&field.name) {
                    normalize_integers(&field.shape, value);
                }
            }
        }
        _ => {}
    }
}

/// Returns what a spreadsheet program has done to an id; `None` if it seems to be as it was entered.
fn describe_damage(id: &str) -> Option<&'static str> {
    let is_number = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','))
    };
    let exponent = id.split_once("E+").or_else(|| id.split_once("e+"));
    if exponent.is_some_and(|(digits, power)| is_number(digits) && is_number(power)) {
        return Some(
            "is a long number that a spreadsheet program has shortened; format the column as text and \
             enter or export it again",
        );
    }
    let is_error = id.starts_with('#') && (id.ends_with('!') || id.ends_with('?') || id == "#N/A");
    is_error.then_some("is an error of a spreadsheet program; correct it there")
}

/// Returns whether an id is what spreadsheet programs make of one that looks like a date: `2-Mar`.
pub(super) fn is_like_date(id: &str) -> bool {
    const MONTHS: [&str; 12] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ];
    let Some((first, second)) = id.split_once('-') else {
        return false;
    };
    let is_month = |text: &str| MONTHS.contains(&text.to_ascii_lowercase().as_str());
    let is_day = |text: &str| {
        (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    (is_day(first) && is_month(second)) || (is_month(first) && is_day(second))
}

fn check_id(id: &str) -> Result<(), String> {
    let id = trim(id);
    if id.is_empty() {
        return Err("is blank".into());
    }
    if id.chars().count() > MAX_ID_CHARS {
        return Err(format!("is longer than {MAX_ID_CHARS} characters"));
    }
    if let Some(cause) = describe_damage(id) {
        return Err(format!("`{id}` {cause}"));
    }
    if id.chars().any(char::is_control) {
        return Err("contains a control character".into());
    }
    Ok(())
}
