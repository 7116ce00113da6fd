//! What shops export, as it is.

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

fn read_as(text: &str, layout: Layout) -> Collected {
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

fn with(preset: Preset) -> Layout {
    let prompt = Some("Turn {Title|the product}, {Option1 Value|plain}".into());
    Layout {
        preset: Some(preset),
        prompt,
        ..Layout::default()
    }
}

/// Key, image and prompt of each job.
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

/// Key and image of each job.
fn links(read: &Collected) -> Vec<(&str, &str)> {
    jobs(read)
        .into_iter()
        .map(|[key, image, _]| (key, image))
        .collect()
}

#[test]
fn a_product_is_one_job_with_its_first_image_and_what_its_first_row_says() {
    let layout = Layout {
        skip_missing: vec!["image".into()],
        ..with(Preset::Shopify)
    };
    let read = read_as(SHOPIFY, layout);
    assert_eq!(read.problems, [""; 0]);
    assert_eq!(
        jobs(&read),
        [
            ["cup", "https://e.com/cup-1.jpg", "Turn Blue Cup, Large"],
            [
                "vase",
                "https://e.com/vase.jpg",
                "Turn Tall Vase, Default Title"
            ],
        ]
    );
    assert_eq!(read.skipped, [("image".to_owned(), 1)]);
}

#[test]
fn each_image_is_a_job_numbered_from_the_second_on() {
    let layout = Layout {
        each_image: true,
        skip_missing: vec!["image".into()],
        ..with(Preset::Shopify)
    };
    let read = read_as(SHOPIFY, layout);
    assert_eq!(read.problems, [""; 0]);
    assert_eq!(
        jobs(&read),
        [
            ["cup", "https://e.com/cup-1.jpg", "Turn Blue Cup, Large"],
            ["cup-2", "https://e.com/cup-2.jpg", "Turn Blue Cup, Small"],
            [
                "vase",
                "https://e.com/vase.jpg",
                "Turn Tall Vase, Default Title"
            ],
        ]
    );
}

#[test]
fn a_product_without_an_image_is_a_mistake_unless_it_is_to_be_skipped() {
    let read = read_as(SHOPIFY, with(Preset::Shopify));
    assert_eq!(read.problems, ["m:6: image: is missing"]);
}

#[test]
fn several_links_in_a_cell_are_the_first_or_each() {
    let text = "ID,Type,SKU,Name,Images,Option1 Value,Title\n\
        7,simple,W-7,Mug,\"https://e.com/1.jpg, https://e.com/2.jpg\",,Mug\n\
        8,simple,,Jug,https://e.com/3.jpg,,Jug\n";
    let first = read_as(text, with(Preset::Woocommerce));
    assert_eq!(first.problems, [""; 0]);
    assert_eq!(
        links(&first),
        [("W-7", "https://e.com/1.jpg"), ("8", "https://e.com/3.jpg")]
    );
    let each = read_as(
        text,
        Layout {
            each_image: true,
            ..with(Preset::Woocommerce)
        },
    );
    assert_eq!(
        links(&each),
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
    let plain = read_as(
        text,
        Layout {
            preset: None,
            map,
            ..with(Preset::Woocommerce)
        },
    );
    assert_eq!(
        plain.problems,
        [
            "m:2: image: holds 2 links; --one-per id takes the first, --each-image makes a clip of each"
        ]
    );
}

#[test]
fn rows_are_grouped_by_any_column_which_is_the_key_then() {
    let text = "Model,image,Colour\nA,https://e.com/1.jpg,red\nA,https://e.com/2.jpg,blue\nB,https://e.com/3.jpg,\n";
    let layout = Layout {
        one_per: Some("Model".into()),
        prompt: Some("{Colour|grey}".into()),
        ..Layout::default()
    };
    let read = read_as(text, layout.clone());
    assert_eq!(
        jobs(&read),
        [
            ["A", "https://e.com/1.jpg", "red"],
            ["B", "https://e.com/3.jpg", "grey"]
        ]
    );
    let typo = read_as(
        text,
        Layout {
            one_per: Some("Modell".into()),
            ..layout
        },
    );
    assert_eq!(
        typo.problems,
        ["m:1: there is no column `Modell`, which --one-per names, did you mean `Model`?"]
    );
}

#[test]
fn rows_of_a_product_that_stand_apart_and_rows_that_are_damaged_are_told() {
    let text = "Handle,Image Src,Title,Option1 Value\n\
        a,https://e.com/1.jpg,A,\nb,https://e.com/2.jpg,B,\na,https://e.com/3.jpg,A,\nc,https://e.com/4.jpg\n";
    let read = read_as(text, with(Preset::Shopify));
    assert_eq!(
        read.problems,
        [
            "m:4: id: `a` is on line 2 already",
            "m:5: has 2 cells, the header has 4"
        ]
    );
    let other = read_as(
        "Product,Image\nx,https://e.com/1.jpg\n",
        with(Preset::Shopify),
    );
    assert!(
        other.problems[0].contains("there is no column `Handle`, which --preset shopify names"),
        "{:?}",
        other.problems
    );
}

#[test]
fn the_sample_export_of_20_products_on_41_rows_is_20_jobs_or_41() {
    let text = include_str!("../../../jobs/shop-export.csv");
    let layout = Layout {
        prompt: Some("Slow turntable of {Title}, {Option1 Value}. {Body (HTML)}".into()),
        ..with(Preset::Shopify)
    };
    let read = read_as(text, layout.clone());
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
        links(&read)
            .iter()
            .all(|(key, image)| image.ends_with(&format!("{key}-1.jpg")))
    );
    let each = read_as(
        text,
        Layout {
            each_image: true,
            ..layout
        },
    );
    assert_eq!((each.problems.len(), each.jobs.len()), (0, 41));
    assert_eq!(
        links(&each)[..3],
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
fn an_export_that_is_read_as_a_plain_table_is_told_by_its_name() {
    let read = read_as(SHOPIFY, Layout::default());
    assert_eq!(
        read.problems,
        ["m:1: has the columns of shopify; read it with --preset shopify --prompt TEMPLATE"]
    );
    let plain = read_as(
        "id,image,prompt,SKU\na,https://e.com/1.jpg,p,1\n",
        Layout::default(),
    );
    assert_eq!(plain.problems.len(), 1);
    assert!(
        plain.problems[0].contains("unknown column `SKU`"),
        "{:?}",
        plain.problems
    );
}
