//! The links of images in manifests.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::{Model, NewJob, Shape};
use crate::manifest::{Mistake, Problem, Remark, RowSink};

/// The distinct links of images, each with the first place that has it: manifest and line.
#[derive(Debug, Default)]
pub struct ImageLinks {
    /// The links.
    pub places: BTreeMap<String, (String, u64)>,
    /// Number of mistakes in the manifests.
    pub mistakes: u64,
}

/// Collects links while manifests are read.
pub(super) struct LinkCollector<'a> {
    pub(super) model: &'a Model,
    /// The manifest that is read.
    pub(super) file: String,
    pub(super) links: ImageLinks,
}

impl LinkCollector<'_> {
    fn add(&mut self, shape: &Shape, value: &Value, line: u64) {
        match (shape, value) {
            (Shape::Image, Value::String(link)) if link.contains("://") => {
                let is_local = link.starts_with("file:");
                if !is_local && !self.links.places.contains_key(link) {
                    let place = (self.file.clone(), line);
                    self.links.places.insert(link.clone(), place);
                }
            }
            (Shape::List { item, .. }, Value::Array(items)) => {
                items.iter().for_each(|value| self.add(item, value, line));
            }
            (Shape::Object { fields }, Value::Object(values)) => {
                for field in fields {
                    if let Some(value) = values.get(&field.name) {
                        self.add(&field.shape, value, line);
                    }
                }
            }
            _ => {}
        }
    }
}

impl RowSink for LinkCollector<'_> {
    fn rows(&mut self, jobs: Vec<NewJob>) -> anyhow::Result<Vec<(u64, Mistake)>> {
        let model = self.model;
        for job in jobs {
            for field in &model.fields {
                if let Some(value) = job.input.get(&field.name) {
                    self.add(&field.shape, value, job.line);
                }
            }
        }
        Ok(Vec::new())
    }

    fn problem(&mut self, _: Problem) {
        self.links.mistakes += 1;
    }

    fn remark(&mut self, _: &Remark, _: u64, _: u64) {}
}
