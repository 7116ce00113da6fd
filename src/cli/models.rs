//! `models`: the catalogue.

use crate::domain::suggest::did_you_mean;
use crate::domain::{Model, Money, PriceRule};

use super::args::{Global, ModelsArgs};
use super::exit::{Exit, Usage};
use super::render;
use super::setup::Setup;

/// Shows the models.
pub(super) fn models(global: &Global, args: ModelsArgs) -> anyhow::Result<Exit> {
    let setup = Setup::of(global)?;
    if let Some(name) = args.model {
        let names = setup.catalog.models.iter().map(|model| model.name.as_str());
        let unknown = || {
            Usage(format!(
                "unknown model `{name}`{}",
                did_you_mean(&name, names)
            ))
        };
        show(setup.catalog.model(&name).ok_or_else(unknown)?)?;
        return Ok(Exit::Success);
    }
    for model in &setup.catalog.models {
        render::line(format_args!("{}  {}", model.name, model.title))?;
        routes(model)?;
    }
    Ok(Exit::Success)
}

fn routes(model: &Model) -> anyhow::Result<()> {
    for route in &model.routes {
        render::line(format_args!(
            "  {:<9} {:<46} {:<34} about {}",
            route.provider,
            route.wire_model,
            price(&route.price),
            render::span(route.typical.as_secs()),
        ))?;
    }
    Ok(())
}

fn price(rule: &PriceRule) -> String {
    match (rule.base, rule.per_second) {
        (Money::ZERO, per_second) => format!("${per_second:#} a second"),
        (base, Money::ZERO) => format!("${base:#} a clip"),
        (base, further) => format!(
            "${base:#} for {} s, ${further:#} a further s",
            rule.base_seconds
        ),
    }
}

fn show(model: &Model) -> anyhow::Result<()> {
    render::line(format_args!("{}\n{}\n", model.name, model.title))?;
    let mut table = vec![
        ["field", "allowed", "default", "taken by", ""]
            .map(String::from)
            .to_vec(),
    ];
    for field in &model.fields {
        let takers = model
            .routes
            .iter()
            .filter(|route| route.wire_fields.contains_key(&field.name));
        let takers: Vec<&str> = takers.map(|route| route.provider.as_str()).collect();
        let default = field
            .default
            .as_ref()
            .map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
        table.push(vec![
            field.name.clone(),
            render::clipped(&field.shape.describe(), 44),
            if field.required {
                "required".into()
            } else {
                default.unwrap_or_default()
            },
            if takers.len() == model.routes.len() {
                "all".into()
            } else {
                takers.join(", ")
            },
            field.help.clone(),
        ]);
    }
    render::table(&table)?;
    render::line("")?;
    routes(model)
}
