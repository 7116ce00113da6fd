//! The words for what is wrong in a manifest and in the options it is read with, with the flags that
//! remedy it.

use crate::domain::printable::printable_excerpt;
use crate::domain::suggest::format_suggestion;
use crate::manifest::{ColumnOption, ID_FIELD, MappingError, Mistake, Problem};

/// Maximum number of columns that a message lists.
const MAX_LISTED_COLUMNS: usize = 20;

/// Formats a problem with its place, and with the flags that remedy it.
pub(super) fn describe_problem(problem: &Problem) -> String {
    problem.with_text(describe_mistake(&problem.mistake))
}

fn describe_mistake(mistake: &Mistake) -> String {
    match mistake {
        Mistake::Text(text) => text.clone(),
        Mistake::Missing(field) => {
            format!("{mistake}; --skip-missing {field} leaves out such rows")
        }
        Mistake::NoFile { start, .. } => {
            let url = start.map_or("URL".to_owned(), |start| format!("https://SHOP{start}"));
            format!("{mistake}; if it is the end of a link, --image-base {url} adds the start")
        }
        Mistake::SameId { .. } => format!(
            "{mistake}; --map {ID_FIELD}=COLUMN names rows by another column, --one-per {ID_FIELD} makes one \
             clip of rows that follow each other"
        ),
        Mistake::UnknownColumn { nearest, .. } => {
            let remove = match nearest {
                Some(_) => " Rename or remove",
                None => "; remove",
            };
            format!(
                "{mistake}{remove} it, or name the columns you need with --map FIELD=COLUMN or \
                 --prompt TEMPLATE"
            )
        }
        Mistake::MissingColumn {
            option,
            column,
            nearest,
            known,
        } => format!(
            "{} names the column `{}`, which is not in the header{}",
            flag(*option),
            printable_excerpt(column),
            match nearest {
                Some(_) => format_suggestion(nearest.as_deref()),
                None => format!("; its columns are {}", list_columns(known)),
            }
        ),
        Mistake::NoColumnFor { field, candidate } => {
            let perhaps = candidate.as_ref().map_or(String::new(), |column| {
                format!(", perhaps `{}`", printable_excerpt(column))
            });
            format!("{mistake}; name one with --map {field}=COLUMN{perhaps}")
        }
        Mistake::NoImageColumn => {
            format!("{mistake}, which --each-image needs; name one with --map image=COLUMN")
        }
        Mistake::ShopExport { preset, title } => format!(
            "{mistake}; read it with --preset {preset} --prompt 'Slow turntable of {{{title}}}'"
        ),
        Mistake::UnknownColumns {
            columns,
            has_prompt,
            prompt,
            key,
            image,
            title,
        } => {
            let or_column = |name: &Option<String>| {
                name.as_deref().map_or("COLUMN".into(), printable_excerpt)
            };
            let prompt = match prompt {
                _ if *has_prompt => String::new(),
                Some(prompt) => format!(" --map prompt='{}'", printable_excerpt(prompt)),
                None => format!(" --prompt 'Slow turntable of {{{}}}'", or_column(title)),
            };
            let key = key.as_deref().map_or(String::new(), |name| {
                format!(" --map {ID_FIELD}='{}'", printable_excerpt(name))
            });
            let picture = match image {
                Some(image) => format!(" --map image='{}'{prompt}", printable_excerpt(image)),
                None => format!("{prompt}, and --map image=COLUMN: none seems to hold pictures"),
            };
            format!(
                "{mistake} ({}); name those you need, such as{key}{picture}",
                list_columns(columns)
            )
        }
        Mistake::NotATable => {
            "--preset, --group-by and --one-per, except --one-per id, work with tables, not with JSON; \
             leave them out"
                .into()
        }
        Mistake::SeveralLinks { .. } => format!(
            "{mistake}; --one-per {ID_FIELD} takes the first, --each-image makes a clip of each"
        ),
        Mistake::AmbiguousColumn(_) => mistake.to_string(),
        Mistake::MissingKey(_) => format!("{mistake}, which {} names", flag(ColumnOption::Filter)),
        Mistake::SameRow { .. } => {
            format!("{mistake}; leave one out, or name the rows with --map {ID_FIELD}=COLUMN")
        }
        Mistake::NoHeaderHere => {
            format!("{mistake}; --header-row takes the number of the header's line")
        }
        Mistake::HugeProduct { .. } => {
            format!("{mistake}; name the column that identifies a product with --one-per COLUMN")
        }
    }
}

/// Lists the first columns of a header.
fn list_columns(columns: &[String]) -> String {
    let names = columns.iter().filter(|name| !name.is_empty());
    let shown: Vec<String> = names
        .clone()
        .take(MAX_LISTED_COLUMNS)
        .map(|name| printable_excerpt(name))
        .collect();
    let more = names.count() - shown.len();
    let rest = if more == 0 {
        String::new()
    } else {
        format!(" and {more} more")
    };
    format!("{}{rest}", shown.join(", "))
}

fn flag(option: ColumnOption) -> String {
    match option {
        ColumnOption::Map => "--map".into(),
        ColumnOption::Preset(preset) => format!("--preset {preset}"),
        ColumnOption::Prompt => "--prompt".into(),
        ColumnOption::OnePer => "--one-per".into(),
        ColumnOption::GroupBy => "--group-by".into(),
        ColumnOption::Filter => "--only or --except".into(),
    }
}

/// Formats why the options about columns and rows cannot be used, with their flags.
pub(super) fn describe_mapping(error: &MappingError) -> String {
    match error {
        MappingError::InvalidColumn {
            field,
            column,
            reason,
        } => format!("--map {field}={column}: {reason}"),
        MappingError::RepeatedColumn(field) => format!("--map names {field} twice"),
        MappingError::InvalidValue {
            field,
            value,
            reason,
        } => format!("--set {field}={value}: {reason}"),
        MappingError::RepeatedValue(field) => format!("--set names {field} twice"),
        MappingError::InvalidPrompt(reason) => format!("--prompt: {reason}"),
        MappingError::RepeatedPrompt => {
            "--prompt and --map prompt=COLUMN both set the prompt; remove one".into()
        }
        MappingError::InvalidSkip { field, reason } => {
            format!("--skip-missing {field}: {reason}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_name_the_flags_that_remedy_or_cause_them() {
        let missing = |option| Mistake::MissingColumn {
            option,
            column: "Titel".into(),
            nearest: Some("Title".into()),
            known: Vec::new(),
        };
        let titel = "names the column `Titel`, which is not in the header, did you mean `Title`?";
        for (mistake, text) in [
            (
                Mistake::UnknownColumn {
                    name: "promt".into(),
                    nearest: Some("prompt".into()),
                },
                "unknown column `promt`, did you mean `prompt`? Rename or remove it, or name the \
                 columns you need with --map FIELD=COLUMN or --prompt TEMPLATE",
            ),
            (
                Mistake::UnknownColumn {
                    name: "SKU".into(),
                    nearest: None,
                },
                "unknown column `SKU`; remove it, or name the columns you need with --map \
                 FIELD=COLUMN or --prompt TEMPLATE",
            ),
            (missing(ColumnOption::Map), &format!("--map {titel}")),
            (
                missing(ColumnOption::Preset("shopify")),
                &format!("--preset shopify {titel}"),
            ),
            (missing(ColumnOption::Prompt), &format!("--prompt {titel}")),
            (missing(ColumnOption::OnePer), &format!("--one-per {titel}")),
            (
                Mistake::NoColumnFor {
                    field: "prompt".into(),
                    candidate: Some("Promt".into()),
                },
                "no column provides `prompt`, which every row needs; name one with --map \
                 prompt=COLUMN, perhaps `Promt`",
            ),
            (
                Mistake::NoImageColumn,
                "no column provides `image`, which --each-image needs; name one with --map \
                 image=COLUMN",
            ),
            (
                Mistake::ShopExport {
                    preset: "shopify",
                    title: "Title",
                },
                "the columns are those of a shopify export; read it with --preset shopify --prompt 'Slow \
                 turntable of {Title}'",
            ),
            (
                Mistake::SeveralLinks { links: 2 },
                "contains 2 links; --one-per id takes the first, --each-image makes a clip of each",
            ),
            (
                Mistake::HugeProduct {
                    key: "mug".into(),
                    max_rows: 10_000,
                },
                "more than 10000 rows belong to the product `mug`; name the column that identifies \
                 a product with --one-per COLUMN",
            ),
            (Mistake::from("is missing"), "is missing"),
        ] {
            assert_eq!(describe_mistake(&mistake), text);
        }
    }

    #[test]
    fn wrong_options_are_reported_with_their_flags() {
        let reason = || "the column name is blank".to_owned();
        for (error, text) in [
            (
                MappingError::InvalidColumn {
                    field: "image".into(),
                    column: " ".into(),
                    reason: reason(),
                },
                "--map image= : the column name is blank",
            ),
            (
                MappingError::RepeatedColumn("image".into()),
                "--map names image twice",
            ),
            (
                MappingError::InvalidValue {
                    field: "duration".into(),
                    value: "7".into(),
                    reason: "7 is not one of 5, 10".into(),
                },
                "--set duration=7: 7 is not one of 5, 10",
            ),
            (
                MappingError::RepeatedValue("duration".into()),
                "--set names duration twice",
            ),
            (
                MappingError::RepeatedPrompt,
                "--prompt and --map prompt=COLUMN both set the prompt; remove one",
            ),
        ] {
            assert_eq!(describe_mapping(&error), text);
        }
    }
}
