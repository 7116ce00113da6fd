//! Exports of shop systems, read without changes.

use serde_json::Value;

use super::*;

const SHOPIFY: &str = "\
Handle,Title,Body (HTML),Vendor,Option1 Value,Variant SKU,Image Src,Image Position,Status
cup,Blue Cup,\"<p>A <b>cup</b> &amp; saucer</p>\",Clay,Small,C-S,,,active
cup,,,,Large,C-L,https://e.com/cup-1.jpg,1,
cup,,,,,,https://e.com/cup-2.jpg,2,
vase,Tall Vase,,Clay,Default Title,V,https://e.com/vase.jpg,1,active
lamp,Lamp,,Clay,Default Title,L,,,draft
";

fn read_with(text: &str, layout: MappingOptions) -> Collected {
    let catalog = catalog::load(&[]).unwrap();
    let model = catalog.model("kling-v1-standard").unwrap();
    let mapper = RowMapper::new(model, ProviderName::ALL.to_vec(), layout).unwrap();
    let mut collected = Collected::default();
    read(
        text.as_bytes(),
        "m",
        RowFormat::CSV,
        &mapper,
        &mut collected,
    )
    .unwrap();
    collected
}

fn layout_for(preset: Preset) -> MappingOptions {
    let prompt = Some("Turn {Title|the product}, {Option1 Value|plain}".into());
    MappingOptions {
        preset: Some(preset),
        prompt,
        ..MappingOptions::default()
    }
}

/// Returns the key, image and prompt of each job.
fn jobs(read: &Collected) -> Vec<[&str; 3]> {
    read.jobs
        .iter()
        .map(|job| {
            let field = |name| {
                job.input
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            [job.row_key.as_str(), field("image"), field("prompt")]
        })
        .collect()
}

/// Returns the key and image of each job.
fn images(read: &Collected) -> Vec<(&str, &str)> {
    jobs(read)
        .into_iter()
        .map(|[key, image, _]| (key, image))
        .collect()
}

#[test]
fn a_product_is_one_job_with_its_first_image_and_empty_cells_filled_from_its_first_row() {
    let layout = MappingOptions {
        skip_missing: vec!["image".into()],
        all_statuses: true,
        ..layout_for(Preset::Shopify)
    };
    let read = read_with(SHOPIFY, layout);
    assert_eq!(read.problems, [""; 0]);
    assert_eq!(
        jobs(&read),
        [
            ["cup", "https://e.com/cup-1.jpg", "Turn Blue Cup, Large"],
            ["vase", "https://e.com/vase.jpg", "Turn Tall Vase, plain"],
        ]
    );
    assert_eq!(read.remarks[&Remark::WithoutField("image".into())], 1);
}

#[test]
fn each_image_becomes_a_job_numbered_from_the_second_on() {
    let layout = MappingOptions {
        each_image: true,
        skip_missing: vec!["image".into()],
        ..layout_for(Preset::Shopify)
    };
    let read = read_with(SHOPIFY, layout);
    assert_eq!(read.problems, [""; 0]);
    assert_eq!(
        jobs(&read),
        [
            ["cup", "https://e.com/cup-1.jpg", "Turn Blue Cup, Large"],
            ["cup-2", "https://e.com/cup-2.jpg", "Turn Blue Cup, Small"],
            ["vase", "https://e.com/vase.jpg", "Turn Tall Vase, plain"],
        ]
    );
}

#[test]
fn a_product_without_an_image_is_a_mistake_unless_such_rows_are_skipped() {
    let layout = MappingOptions {
        all_statuses: true,
        ..layout_for(Preset::Shopify)
    };
    let read = read_with(SHOPIFY, layout);
    assert_eq!(read.problems, ["m:6: image: is missing"]);
}

#[test]
fn several_links_in_a_cell_are_a_mistake_unless_the_first_or_each_is_asked_for() {
    let text = "ID,Type,SKU,Name,Images,Option1 Value,Title\n\
        7,simple,W-7,Mug,\"https://e.com/1.jpg, https://e.com/2.jpg\",,Mug\n\
        8,simple,,Jug,https://e.com/3.jpg,,Jug\n";
    let first = read_with(text, layout_for(Preset::Woocommerce));
    assert_eq!(first.problems, [""; 0]);
    assert_eq!(
        images(&first),
        [("W-7", "https://e.com/1.jpg"), ("8", "https://e.com/3.jpg")]
    );
    let each = read_with(
        text,
        MappingOptions {
            each_image: true,
            ..layout_for(Preset::Woocommerce)
        },
    );
    assert_eq!(
        images(&each),
        [
            ("W-7", "https://e.com/1.jpg"),
            ("W-7-2", "https://e.com/2.jpg"),
            ("8", "https://e.com/3.jpg")
        ]
    );
    let map = vec![
        ("image".to_owned(), "Images".to_owned()),
        ("id".to_owned(), "ID".to_owned()),
    ];
    let ungrouped = read_with(
        text,
        MappingOptions {
            preset: None,
            map,
            ..layout_for(Preset::Woocommerce)
        },
    );
    assert_eq!(ungrouped.problems, ["m:2: image: contains 2 links"]);
}

#[test]
fn rows_are_grouped_by_any_column_which_then_provides_the_key() {
    let text = "Model,image,Colour\nA,https://e.com/1.jpg,red\nA,https://e.com/2.jpg,blue\n\
        B,https://e.com/3.jpg,\n";
    let layout = MappingOptions {
        one_per: Some("Model".into()),
        prompt: Some("{Colour|grey}".into()),
        ..MappingOptions::default()
    };
    let read = read_with(text, layout.clone());
    assert_eq!(
        jobs(&read),
        [
            ["A", "https://e.com/1.jpg", "red"],
            ["B", "https://e.com/3.jpg", "grey"]
        ]
    );
    let typo = read_with(
        text,
        MappingOptions {
            one_per: Some("Modell".into()),
            ..layout
        },
    );
    let missing = Mistake::MissingColumn {
        option: ColumnOption::OnePer,
        column: "Modell".into(),
        nearest: Some("Model".into()),
        known: ["Model", "image", "Colour"].map(str::to_owned).into(),
    };
    assert!(typo.mistakes.contains(&missing), "{:?}", typo.mistakes);
}

#[test]
fn rows_of_a_product_that_are_not_consecutive_and_incomplete_rows_are_reported() {
    let text = "Handle,Image Src,Title,Option1 Value\n\
        a,https://e.com/1.jpg,A,\nb,https://e.com/2.jpg,B,\na,https://e.com/3.jpg,A,\n\
        c,https://e.com/4.jpg\n";
    let read = read_with(text, layout_for(Preset::Shopify));
    assert_eq!(
        read.problems,
        [
            "m:4: id: `a` is on line 2 already",
            "m:5: the row has 2 cells, but the header has 4"
        ]
    );
    let other = read_with(
        "Product,Image\nx,https://e.com/1.jpg\n",
        layout_for(Preset::Shopify),
    );
    let missing = Mistake::MissingColumn {
        option: ColumnOption::Preset("shopify"),
        column: "Handle".into(),
        nearest: None,
        known: ["Product", "Image"].map(str::to_owned).into(),
    };
    assert_eq!(other.mistakes[0], missing);
}

#[test]
fn the_sample_export_of_20_products_on_41_rows_gives_20_jobs_or_41() {
    let text = include_str!("../../../jobs/shop-export.csv");
    let layout = MappingOptions {
        prompt: Some("Slow turntable of {Title}, {Option1 Value}. {Body (HTML)}".into()),
        ..layout_for(Preset::Shopify)
    };
    let read = read_with(text, layout.clone());
    assert_eq!((read.problems.len(), read.jobs.len()), (0, 20));
    assert_eq!(
        jobs(&read)[0],
        [
            "blue-stoneware-mug",
            "https://images.example.com/blue-stoneware-mug-1.jpg",
            "Slow turntable of Blue Stoneware Mug, Sand. \
             Blue Stoneware Mug, made by hand. Each piece is a little different & signed.",
        ]
    );
    assert!(
        images(&read)
            .iter()
            .all(|(key, image)| image.ends_with(&format!("{key}-1.jpg")))
    );
    let each = read_with(
        text,
        MappingOptions {
            each_image: true,
            ..layout
        },
    );
    assert_eq!((each.problems.len(), each.jobs.len()), (0, 41));
    assert_eq!(
        images(&each)[..3],
        [
            (
                "blue-stoneware-mug",
                "https://images.example.com/blue-stoneware-mug-1.jpg"
            ),
            (
                "blue-stoneware-mug-2",
                "https://images.example.com/blue-stoneware-mug-2.jpg"
            ),
            (
                "blue-stoneware-mug-3",
                "https://images.example.com/blue-stoneware-mug-3.jpg"
            ),
        ]
    );
}

#[test]
fn an_export_read_without_its_preset_is_reported_with_the_preset() {
    let read = read_with(SHOPIFY, MappingOptions::default());
    assert_eq!(
        read.mistakes,
        [Mistake::ShopExport {
            preset: "shopify",
            title: "Title"
        }]
    );
    let plain = read_with(
        "id,image,prompt,SKU\na,https://e.com/1.jpg,p,1\n",
        MappingOptions::default(),
    );
    assert_eq!(plain.problems.len(), 1);
    assert!(
        plain.problems[0].contains("unknown column `SKU`"),
        "{:?}",
        plain.problems
    );
}
