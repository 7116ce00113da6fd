//! What differs between the inputs of a job and of its row.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::canonical::canonical_input;
use super::{Field, Input};

/// What two inputs ask for differently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputDiff {
    /// The fields with other values, without those that differ only in the query of a link.
    pub fields: BTreeSet<String>,
    /// The query parameters in which links differ that are the same otherwise.
    pub query: BTreeSet<String>,
}

/// The parameters of a link's query that do not count: shops change them to refresh caches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IgnoredQuery {
    /// Every parameter counts.
    #[default]
    Nothing,
    /// These do not count.
    Names(BTreeSet<String>),
    /// None counts.
    Everything,
}

/// How the rows of a manifest are compared with the jobs that a batch has for them.
#[derive(Clone, Debug, Default)]
pub struct InputComparison {
    /// The fields of the model, which define the normal form of an input.
    pub fields: Arc<[Field]>,
    /// What does not count in a link.
    pub ignored_query: IgnoredQuery,
}

impl InputDiff {
    /// Returns whether the inputs ask for the same clip.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.query.is_empty()
    }
}

impl IgnoredQuery {
    /// Returns whether a parameter does not count.
    fn ignores(&self, name: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Names(names) => names.contains(name),
            Self::Everything => true,
        }
    }
}

impl InputComparison {
    /// Returns what differs between two inputs.
    pub fn diff(&self, before: &Input, after: &Input) -> InputDiff {
        let before = canonical_input(&self.fields, before);
        let after = canonical_input(&self.fields, after);
        let mut diff = InputDiff::default();
        let names: BTreeSet<&String> = before.0.keys().chain(after.0.keys()).collect();
        for name in names {
            let values = before.get(name).zip(after.get(name));
            let query = values.and_then(|(before, after)| differing_query(before, after));
            match query {
                Some(names) => diff.query.extend(names),
                None => {
                    diff.fields.insert(name.clone());
                }
            }
        }
        diff
    }

    /// Returns whether a difference does not count.
    pub fn ignores(&self, diff: &InputDiff) -> bool {
        diff.fields.is_empty()
            && diff
                .query
                .iter()
                .all(|name| self.ignored_query.ignores(name))
    }
}

/// Returns the query parameters in which the links of two values differ, none if the values are equal;
/// `None` if more differs.
fn differing_query(before: &Value, after: &Value) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    match (before, after) {
        _ if before == after => {}
        (Value::String(before), Value::String(after)) => names = query_of_links(before, after)?,
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (before, after) in before.iter().zip(after) {
                names.extend(differing_query(before, after)?);
            }
        }
        (Value::Object(before), Value::Object(after)) if before.len() == after.len() => {
            for (key, before) in before {
                names.extend(differing_query(before, after.get(key)?)?);
            }
        }
        _ => return None,
    }
    Some(names)
}

fn query_of_links(before: &str, after: &str) -> Option<BTreeSet<String>> {
    let is_link = before.starts_with("https://") || before.starts_with("http://");
    let (before, before_query) = split_query(before);
    let (after, after_query) = split_query(after);
    if !is_link || before != after {
        return None;
    }
    let names = before_query.iter().chain(&after_query);
    let differing = names.filter(|parameter| {
        let count = |query: &[&str]| query.iter().filter(|other| other == parameter).count();
        count(&before_query) != count(&after_query)
    });
    let name = |parameter: &&str| parameter.split('=').next().unwrap_or_default().to_owned();
    let mut differing: BTreeSet<String> = differing.map(name).collect();
    if differing.is_empty() {
        // The same parameters in another order.
        differing.extend(before_query.iter().map(name));
    }
    Some(differing)
}

/// Splits the query of a link into its parameters. What is left keeps the fragment.
fn split_query(link: &str) -> (String, Vec<&str>) {
    let (link, fragment) = link.split_once('#').unwrap_or((link, ""));
    let (place, query) = link.split_once('?').unwrap_or((link, ""));
    let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
    (format!("{place}#{fragment}"), parameters.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn diff(before: Value, after: Value) -> InputDiff {
        let input = |value: Value| Input(value.as_object().unwrap().clone());
        InputComparison::default().diff(&input(before), &input(after))
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_difference_names_its_fields_and_the_parameters_of_links() {
        let before = json!({ "image": "https://a/1.jpg?v=1&w=9", "prompt": "Turn", "seed": 1 });
        let after = json!({ "image": "https://a/1.jpg?w=9&v=2&x", "prompt": "Turn", "tail": 1 });
        let found = diff(before.clone(), after);
        assert_eq!(found.fields, names(&["seed", "tail"]));
        assert_eq!(found.query, names(&["v", "x"]));
        assert!(diff(before.clone(), before).is_empty());
    }

    #[test]
    fn only_the_query_of_the_same_link_counts_as_a_query() {
        let image = |link: &str| json!({ "image": link, "masks": [{ "mask": link }] });
        let query = diff(image("https://a/1.jpg?v=1"), image("https://a/1.jpg"));
        assert_eq!((query.fields, query.query), (names(&[]), names(&["v"])));
        let order = diff(
            image("https://a/1.jpg?v=1&w=2"),
            image("https://a/1.jpg?w=2&v=1"),
        );
        assert_eq!(order.query, names(&["v", "w"]));
        for other in [
            "https://a/2.jpg?v=1",
            "https://a/1.jpg?v=1#x",
            "http://a/1.jpg?v=1",
        ] {
            let found = diff(image("https://a/1.jpg?v=1"), image(other));
            assert_eq!(found.fields, names(&["image", "masks"]), "{other}");
        }
        let text = diff(json!({ "prompt": "Why? a" }), json!({ "prompt": "Why? b" }));
        assert_eq!(text.fields, names(&["prompt"]));
    }

    #[test]
    fn ignored_parameters_do_not_count() {
        let only = |ignored_query| InputComparison {
            ignored_query,
            ..InputComparison::default()
        };
        let found = InputDiff {
            query: names(&["v", "w"]),
            ..InputDiff::default()
        };
        assert!(!only(IgnoredQuery::Nothing).ignores(&found));
        assert!(!only(IgnoredQuery::Names(names(&["v"]))).ignores(&found));
        assert!(only(IgnoredQuery::Names(names(&["v", "w"]))).ignores(&found));
        assert!(only(IgnoredQuery::Everything).ignores(&found));
        let more = InputDiff {
            fields: names(&["prompt"]),
            ..found
        };
        assert!(!only(IgnoredQuery::Everything).ignores(&more));
    }
}
