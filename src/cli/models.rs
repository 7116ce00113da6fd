//! `models`: the catalog of models, with their fields, prices and routes.

use crate::domain::suggest::did_you_mean;
use crate::domain::{Model, Money, PriceRule};

use super::args::{Global, ModelsArgs};
use super::exit::{Exit, Usage};
use super::render;
use super::setup::Setup;

/// Columns of a terminal that the allowed values of a field may take.
const MAX_SHAPE_COLUMNS: usize = 44;

/// Prints every model with its routes, or one model with its fields.
pub(super) fn models(global: &Global, args: ModelsArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    if let Some(name) = args.model {
        let names = setup
            .app
            .catalog
            .models
            .iter()
            .map(|model| model.name.as_str());
        let unknown = || {
            Usage(format!(
                "unknown model `{name}`{}\nhint: `{}` lists the models",
                did_you_mean(&name, names),
                setup.suggest("models")
            ))
        };
        print_model(setup.app.catalog.model(&name).ok_or_else(unknown)?)?;
        return Ok(Exit::Success);
    }
    for model in &setup.app.catalog.models {
        render::print_line(format_args!("{}  {}", model.name, model.title))?;
        print_routes(model)?;
    }
    Ok(Exit::Success)
}

fn print_routes(model: &Model) -> anyhow::Result<()> {
    let routes = model.routes.iter().map(|route| {
        vec![
            format!("  {}", route.provider),
            route.wire_model.clone(),
            format_price(&route.price),
            format!("about {}", render::format_duration(route.typical.as_secs())),
        ]
    });
    render::print_table(&routes.collect::<Vec<_>>())
}

fn format_price(rule: &PriceRule) -> String {
    match (rule.base, rule.per_second) {
        (Money::ZERO, per_second) => format!("${per_second:#} per second"),
        (base, Money::ZERO) => format!("${base:#} per clip"),
        (base, further) => format!(
            "${base:#} for {} s, then ${further:#} per second",
            rule.base_seconds
        ),
    }
}

fn print_model(model: &Model) -> anyhow::Result<()> {
    render::print_line(format_args!("{}\n{}\n", model.name, model.title))?;
    let mut table = vec![
        [
            "field",
            "required",
            "allowed",
            "default",
            "providers",
            "meaning",
        ]
        .map(String::from)
        .to_vec(),
    ];
    for field in &model.fields {
        let accepting = model
            .routes
            .iter()
            .filter(|route| route.wire_fields.contains_key(&field.name));
        let accepting: Vec<&str> = accepting.map(|route| route.provider.as_str()).collect();
        let default = field
            .default
            .as_ref()
            .map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
        table.push(vec![
            field.name.clone(),
            if field.required { "yes" } else { "no" }.into(),
            render::truncate(&field.shape.describe(), MAX_SHAPE_COLUMNS),
            default.unwrap_or_default(),
            if accepting.len() == model.routes.len() {
                "all".into()
            } else {
                accepting.join(", ")
            },
            field.help.clone(),
        ]);
    }
    render::print_table(&table)?;
    render::print_line("")?;
    print_routes(model)
}
