//! What a field's value may be, and what is wrong with one that may not.

use serde_json::Value;
use url::Url;

use super::printable::shown;
use super::public_address::is_public_host;
use super::{Field, LocalImage};

/// What a value may be.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Text, free or one of the choices.
    Text {
        /// The allowed values; empty allows any.
        choices: Vec<String>,
    },
    /// A whole number.
    Integer {
        /// The allowed values; empty allows any.
        choices: Vec<i64>,
    },
    /// A number.
    Number {
        /// The smallest allowed value.
        min: Option<f64>,
        /// The largest allowed value.
        max: Option<f64>,
    },
    /// An image: a link to it, or a file that was found on disk.
    Image,
    /// A list.
    List {
        /// What each item may be.
        item: Box<Self>,
        /// The fewest items.
        min_items: usize,
        /// The most items.
        max_items: usize,
    },
    /// An object.
    Object {
        /// Its fields.
        fields: Vec<Field>,
    },
}

impl Shape {
    /// Reads a cell of text. Lists and objects are written as JSON.
    pub fn read_text(&self, text: &str) -> Result<Value, String> {
        match self {
            Self::Text { .. } | Self::Image => Ok(Value::from(text)),
            Self::Integer { choices } => match text.trim().parse::<i64>() {
                Ok(number) => Ok(Value::from(number)),
                Err(_) => Err(format!(
                    "{} is not {}",
                    quoted(text),
                    self.describe_integer(choices)
                )),
            },
            Self::Number { .. } => match text.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::from(number)),
                _ => Err(format!("{} is not a number", quoted(text))),
            },
            Self::List { .. } | Self::Object { .. } => {
                serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
            }
        }
    }

    /// Checks a value; the error says what is wrong, with a path where it lies deeper.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        match self {
            Self::Text { choices } => {
                let Some(text) = value.as_str() else {
                    return Err(unlike(value, "text"));
                };
                if text.trim().is_empty() {
                    return Err("is empty".into());
                }
                if text.contains('\0') {
                    return Err("holds a NUL character".into());
                }
                if !choices.is_empty() && !choices.iter().any(|choice| choice == text) {
                    return Err(format!(
                        "{} is not one of {}",
                        quoted(text),
                        choices.join(", ")
                    ));
                }
                Ok(())
            }
            Self::Integer { choices } => {
                let whole = value.as_i64().or_else(|| {
                    let float = value
                        .as_f64()
                        .filter(|float| float.fract() == 0.0 && float.abs() < 1e15)?;
                    format!("{float:.0}").parse().ok()
                });
                match whole {
                    Some(number) if choices.is_empty() || choices.contains(&number) => Ok(()),
                    Some(number) => Err(format!(
                        "{number} is not {}",
                        self.describe_integer(choices)
                    )),
                    None => Err(unlike(value, &self.describe_integer(choices))),
                }
            }
            Self::Number { min, max } => {
                let Some(number) = value.as_f64() else {
                    return Err(unlike(value, "a number"));
                };
                if min.is_some_and(|min| number < min) || max.is_some_and(|max| number > max) {
                    let bound =
                        |bound: &Option<f64>| bound.map_or("…".into(), |bound| bound.to_string());
                    return Err(format!(
                        "{number} is not between {} and {}",
                        bound(min),
                        bound(max)
                    ));
                }
                Ok(())
            }
            Self::Image => match value.as_str() {
                Some(link) => check_image(link),
                None => Err(unlike(value, "a link to an image, or its file")),
            },
            Self::List {
                item,
                min_items,
                max_items,
            } => {
                let Some(items) = value.as_array() else {
                    return Err(unlike(value, "a list"));
                };
                if items.len() < *min_items || items.len() > *max_items {
                    return Err(format!(
                        "has {} items, allowed are {min_items} to {max_items}",
                        items.len()
                    ));
                }
                for (index, value) in items.iter().enumerate() {
                    item.check(value)
                        .map_err(|problem| format!("[{index}]: {problem}"))?;
                }
                Ok(())
            }
            Self::Object { fields } => {
                let Some(object) = value.as_object() else {
                    return Err(unlike(value, "an object"));
                };
                for key in object.keys() {
                    if !fields.iter().any(|field| field.name == *key) {
                        let names = fields
                            .iter()
                            .map(|field| field.name.as_str())
                            .collect::<Vec<_>>()
                            .join(", ");
                        return Err(format!("unknown key {}, known are {names}", quoted(key)));
                    }
                }
                for field in fields {
                    match object.get(&field.name) {
                        Some(value) => {
                            field
                                .shape
                                .check(value)
                                .map_err(|problem| format!("{}: {problem}", field.name))?;
                        }
                        None if field.required => {
                            return Err(format!("{}: is missing", field.name));
                        }
                        None => {}
                    }
                }
                Ok(())
            }
        }
    }

    /// Tells in a few words what is allowed.
    pub fn describe(&self) -> String {
        match self {
            Self::Text { choices } if choices.is_empty() => "text".into(),
            Self::Text { choices } => choices.join(" | "),
            Self::Integer { choices } if choices.is_empty() => "whole number".into(),
            Self::Integer { choices } => choices
                .iter()
                .map(i64::to_string)
                .collect::<Vec<_>>()
                .join(" | "),
            Self::Number {
                min: Some(min),
                max: Some(max),
            } => format!("number {min} to {max}"),
            Self::Number { .. } => "number".into(),
            Self::Image => "image link or file".into(),
            Self::List {
                item,
                min_items,
                max_items,
            } => {
                format!("list of {min_items} to {max_items}: {}", item.describe())
            }
            Self::Object { fields } => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|field| format!("{}: {}", field.name, field.shape.describe()))
                    .collect();
                format!("{{{}}}", fields.join(", "))
            }
        }
    }

    fn describe_integer(&self, choices: &[i64]) -> String {
        if choices.is_empty() {
            "a whole number".into()
        } else {
            format!(
                "one of {}",
                choices
                    .iter()
                    .map(i64::to_string)
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        }
    }
}

/// Refuses what no hosted API could fetch: the job would be paid or refused for a picture nobody can see.
fn check_image(link: &str) -> Result<(), String> {
    if link.trim() != link || link.is_empty() {
        return Err(if link.trim().is_empty() {
            "is empty".into()
        } else {
            "has spaces around the link".into()
        });
    }
    // A parser drops some of them; the provider would get the link as it is written.
    if link.chars().any(char::is_control) {
        return Err("holds a control character".into());
    }
    if LocalImage::parse(link).is_some() {
        return Ok(());
    }
    if let Some(data) = link.strip_prefix("data:") {
        return if data.starts_with("image/") && data.contains(";base64,") {
            Ok(())
        } else {
            Err("is a data URI but not data:image/…;base64,…".into())
        };
    }
    let Ok(url) = Url::parse(link) else {
        return Err(format!(
            "{} is not a link; write it like https://example.com/cup.jpg",
            quoted(link)
        ));
    };
    if !matches!(url.scheme(), "https" | "http") {
        return Err(format!("{} does not start with https://", quoted(link)));
    }
    if !url.host().is_some_and(is_public_host) {
        return Err(format!(
            "{} is on a private address that no provider can reach",
            quoted(link)
        ));
    }
    Ok(())
}

fn unlike(value: &Value, wanted: &str) -> String {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) => return format!("{number} is not {wanted}"),
        Value::String(text) => return format!("{} is not {wanted}", quoted(text)),
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    format!("is {kind}, not {wanted}")
}

fn quoted(text: &str) -> String {
    format!("`{}`", shown(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn image_links_nobody_else_can_reach_are_refused() {
        for link in [
            "http://localhost/a.png",
            "http://127.0.0.1/a.png",
            "https://10.1.2.3/a.png",
            "https://169.254.169.254/latest",
            "https://[::1]/a.png",
            "https://[::ffff:10.0.0.1]/a.png",
            "ftp://example.com/a.png",
            "photos/a.png",
            "",
            " https://example.com/a.png",
            "data:text/html,hi",
        ] {
            assert!(Shape::Image.check(&json!(link)).is_err(), "{link}");
        }
        for link in [
            "https://example.com/a.png",
            "http://example.com/a%20b.png?x=1",
            "data:image/png;base64,AAAA",
        ] {
            assert_eq!(Shape::Image.check(&json!(link)), Ok(()), "{link}");
        }
    }

    #[test]
    fn whole_numbers_may_be_written_as_floats_but_must_be_one_of_the_choices() {
        let shape = Shape::Integer {
            choices: vec![5, 10],
        };
        assert_eq!(shape.check(&json!(5)), Ok(()));
        assert_eq!(shape.check(&json!(10.0)), Ok(()));
        assert_eq!(shape.check(&json!(7)), Err("7 is not one of 5, 10".into()));
        assert_eq!(
            shape.check(&json!("5")),
            Err("`5` is not one of 5, 10".into())
        );
        assert_eq!(
            shape.read_text("five"),
            Err("`five` is not one of 5, 10".into())
        );
    }

    #[test]
    fn a_deep_mistake_is_told_with_its_path() {
        let point = Shape::Object {
            fields: vec![Field {
                name: "x".into(),
                shape: Shape::Integer { choices: vec![] },
                required: true,
                default: None,
                help: String::new(),
            }],
        };
        let shape = Shape::List {
            item: Box::new(point),
            min_items: 1,
            max_items: 2,
        };
        assert_eq!(
            shape.check(&json!([{"x": 1}, {}])),
            Err("[1]: x: is missing".into())
        );
        assert_eq!(
            shape.check(&json!([{"y": 1}])),
            Err("[0]: unknown key `y`, known are x".into())
        );
        assert_eq!(
            shape.check(&json!([])),
            Err("has 0 items, allowed are 1 to 2".into())
        );
    }

    #[test]
    fn long_values_are_cut_in_messages() {
        let long = "x".repeat(10_000);
        assert!(
            Shape::Number {
                min: None,
                max: None
            }
            .read_text(&long)
            .unwrap_err()
            .len()
                < 100
        );
    }
}
