//! Files as other programs save them, each with what becomes of it: its jobs, or what is said.

use std::fmt::Write as _;
use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;

use rusqlite::Connection;
use rust_xlsxwriter::{Format, Url, Workbook};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::support::{CommandOutput, TestEnv, high_limits};

/// Each file with the options that it is loaded with. What is made in the test is not in the folder.
const CASES: &[(&str, &[&str])] = &[
    // Shops.
    ("shopify.csv", &[]),
    (
        "shopify.csv",
        &[
            "--preset",
            "shopify",
            "--prompt",
            "Turn {Title}, {Option1 Value|plain}",
        ],
    ),
    (
        "shopify.csv",
        &[
            "--preset",
            "shopify",
            "--prompt",
            "Turn {Title} {Option1 Value|}",
            "--group-by",
            "Handle",
            "--map",
            "id=Variant SKU",
        ],
    ),
    (
        "shopify.csv",
        &[
            "--preset",
            "shopify",
            "--prompt",
            "Turn {Title}",
            "--all-statuses",
            "--except",
            "Gift Card=true",
        ],
    ),
    (
        "shopify-new.csv",
        &["--preset", "shopify", "--prompt", "Turn {Title}"],
    ),
    ("woocommerce.csv", &[]),
    (
        "woocommerce.csv",
        &["--preset", "woocommerce", "--prompt", "Turn {Name}"],
    ),
    (
        "woocommerce.csv",
        &[
            "--preset",
            "woocommerce",
            "--prompt",
            "Turn {Name}",
            "--one-per",
            "product",
        ],
    ),
    (
        "woocommerce-parents.csv",
        &[
            "--preset",
            "woocommerce",
            "--prompt",
            "Turn {Name}",
            "--skip-missing",
            "image",
        ],
    ),
    (
        "google.txt",
        &["--preset", "google-merchant", "--prompt", "Turn {title}"],
    ),
    ("google.xml", &[]),
    (
        "google.xml",
        &[
            "--preset",
            "google-merchant",
            "--prompt",
            "Turn {title}",
            "--each-image",
        ],
    ),
    (
        "google-atom.xml",
        &["--preset", "google-merchant", "--prompt", "Turn {title}"],
    ),
    (
        "magento.csv",
        &["--preset", "magento", "--prompt", "Turn {name}"],
    ),
    (
        "magento.csv",
        &[
            "--preset",
            "magento",
            "--prompt",
            "Turn {name}",
            "--image-base",
            "https://shop.example.com/media/catalog/product",
        ],
    ),
    (
        "prestashop.csv",
        &[
            "--preset",
            "prestashop",
            "--prompt",
            "Turn {Name}",
            "--image-base",
            "https://shop.example.com",
        ],
    ),
    (
        "prestashop-import.csv",
        &["--preset", "prestashop", "--prompt", "Turn {Name *}"],
    ),
    ("wix.csv", &["--preset", "wix", "--prompt", "Turn {name}"]),
    (
        "etsy.csv",
        &[
            "--preset",
            "etsy",
            "--prompt",
            "Turn {TITLE}",
            "--each-image",
        ],
    ),
    ("airtable.csv", &[]),
    (
        "airtable.csv",
        &[
            "--map",
            "image=Photos",
            "--map",
            "id=Name",
            "--prompt",
            "{Prompt idea}",
            "--each-image",
        ],
    ),
    (
        "id-column.csv",
        &[
            "--group-by",
            "Handle",
            "--map",
            "id=Variant SKU",
            "--map",
            "image=Image Src",
            "--prompt",
            "Turn {Title}",
        ],
    ),
    (
        "id-column.csv",
        &["--preset", "shopify", "--prompt", "Turn {Title}"],
    ),
    (
        "woocommerce-quote.csv",
        &[
            "--preset",
            "woocommerce",
            "--prompt",
            "Turn {Name}",
            "--one-per",
            "product",
        ],
    ),
    (
        "woocommerce-no-sku.csv",
        &["--preset", "woocommerce", "--prompt", "Turn {Name}"],
    ),
    (
        "woocommerce-no-sku.csv",
        &[
            "--preset",
            "woocommerce",
            "--prompt",
            "Turn {Name}",
            "--one-per",
            "product",
        ],
    ),
    (
        "cut.xml",
        &["--map", "image=image_link", "--prompt", "Turn {title}"],
    ),
    (
        "cyrillic.xml",
        &["--map", "image=picture", "--prompt", "{name}"],
    ),
    (
        "etsy-same-sku.csv",
        &["--preset", "etsy", "--prompt", "Turn {TITLE}"],
    ),
    (
        "magento-none.csv",
        &[
            "--preset",
            "magento",
            "--prompt",
            "Turn {name}",
            "--image-base",
            "https://shop.example.com/media",
        ],
    ),
    ("prestashop-import.csv", &[]),
    ("woocommerce-de.csv", &[]),
    (
        "woocommerce-de.csv",
        &["--preset", "woocommerce", "--prompt", "Turn {Name}"],
    ),
    (
        "shopify-variants.csv",
        &["--preset", "shopify", "--prompt", "Turn {Title}"],
    ),
    (
        "shopify-variants.csv",
        &[
            "--preset",
            "shopify",
            "--prompt",
            "Turn {Title}, {Option1 Value|}",
        ],
    ),
    (
        "shopify-variants.csv",
        &[
            "--preset",
            "shopify",
            "--prompt",
            "Turn {Title} {Option1 Value|}",
            "--group-by",
            "Handle",
            "--map",
            "id=Variant SKU",
        ],
    ),
    (
        "shopify-variants.csv",
        &[
            "--preset",
            "shopify",
            "--prompt",
            "Turn {Title}",
            "--each-image",
        ],
    ),
    (
        "airtable-kinds.csv",
        &[
            "--map",
            "image=Photos",
            "--map",
            "id=Name",
            "--prompt",
            "{Prompt idea}",
            "--one-per",
            "id",
        ],
    ),
    (
        "airtable-kinds.csv",
        &[
            "--map",
            "image=Photos",
            "--map",
            "id=Name",
            "--prompt",
            "{Prompt idea}",
            "--each-image",
        ],
    ),
    (
        "google-groups.csv",
        &["--preset", "google-merchant", "--prompt", "Turn {title}"],
    ),
    (
        "google-groups.csv",
        &[
            "--preset",
            "google-merchant",
            "--prompt",
            "Turn {title}",
            "--one-per",
            "item_group_id",
        ],
    ),
    (
        "google-quotes.txt",
        &["--preset", "google-merchant", "--prompt", "Turn {title}"],
    ),
    // Tables.
    ("same-picture.csv", &[]),
    ("same-rows.csv", &[]),
    ("presta-list.csv", &[]),
    ("cyrillic-columns.csv", &[]),
    ("no-picture-column.csv", &[]),
    (
        "one-per-category.csv",
        &[
            "--map",
            "image=Photo",
            "--one-per",
            "Category",
            "--prompt",
            "Turn {Name}",
        ],
    ),
    (
        "title-above.csv",
        &[
            "--map",
            "id=article",
            "--map",
            "image=picture",
            "--map",
            "prompt=text",
        ],
    ),
    ("header-row.csv", &["--header-row", "3"]),
    ("header-row.csv", &["--header-row", "9"]),
    ("index.csv", &[]),
    ("case.csv", &[]),
    ("shifted.csv", &[]),
    (
        "duplicate-unused.csv",
        &[
            "--map",
            "id=SKU",
            "--map",
            "image=Photo",
            "--prompt",
            "Turn {Title}",
        ],
    ),
    (
        "duplicate-used.csv",
        &[
            "--map",
            "id=SKU",
            "--map",
            "image=Photo",
            "--prompt",
            "Turn {Title}",
        ],
    ),
    ("damaged-ids.csv", &[]),
    ("odd-ids.csv", &[]),
    ("links.csv", &[]),
    ("links-refused.csv", &[]),
    ("several-links.csv", &[]),
    ("several-links.csv", &["--one-per", "id"]),
    (
        "image-columns.csv",
        &[
            "--map",
            "id=SKU",
            "--map",
            "image=Front,Back,Side",
            "--prompt",
            "Turn {Title}",
        ],
    ),
    (
        "image-columns.csv",
        &[
            "--map",
            "id=SKU",
            "--map",
            "image=Front,Back,Side",
            "--prompt",
            "Turn {Title}",
            "--each-image",
        ],
    ),
    (
        "placeholders.csv",
        &[
            "--map",
            "id=SKU",
            "--map",
            "image=Photo",
            "--prompt",
            "Turn {Title}, {Colour|any colour}, {Material|any material}",
        ],
    ),
    (
        "conditions.csv",
        &["--only", "status=active,draft", "--except", "Season=autumn"],
    ),
    (
        "conditions.csv",
        &["--only", "Status!=archived", "--only", "Season="],
    ),
    (
        "conditions.csv",
        &["--only", "State=active", "--except", "Season=autumn"],
    ),
    (
        "image-columns.csv",
        &[
            "--map",
            "id=SKU",
            "--map",
            "image=Front,Bak",
            "--prompt",
            "Turn {Title}",
        ],
    ),
    ("one-column.csv", &["--each-image", "--set", "prompt=Turn"]),
    // Other formats.
    (
        "products.json",
        &[
            "--map",
            "image=images",
            "--prompt",
            "Turn {title}",
            "--skip-missing",
            "image",
        ],
    ),
    (
        "products.json",
        &[
            "--map",
            "image=images",
            "--prompt",
            "Turn {title}",
            "--skip-missing",
            "image",
            "--one-per",
            "id",
        ],
    ),
    (
        "products.json",
        &[
            "--map",
            "image=images",
            "--prompt",
            "Turn {title}",
            "--skip-missing",
            "image",
            "--each-image",
        ],
    ),
    (
        "products.json",
        &[
            "--map",
            "image=images",
            "--prompt",
            "Turn {title}",
            "--skip-missing",
            "image",
            "--group-by",
            "id",
        ],
    ),
    (
        "listings.xml",
        &["--map", "id=vehicle_id", "--prompt", "Turn {title}"],
    ),
    ("bom.json", &[]),
    (
        "keys.jsonl",
        &[
            "--map",
            "id=sku,barcode",
            "--map",
            "image=photo",
            "--prompt",
            "Turn {title}",
            "--only",
            "status=draft,active",
        ],
    ),
    (
        "keys.jsonl",
        &[
            "--map",
            "id=sku,barcode",
            "--map",
            "image=photo",
            "--prompt",
            "Turn {title}",
            "--except",
            "Statsu=draft",
        ],
    ),
    ("array.json", &[]),
    (
        "document.json",
        &[
            "--map",
            "id=handle",
            "--map",
            "image=images",
            "--prompt",
            "Turn {title}",
        ],
    ),
    ("broken.json", &[]),
    (
        "lists.json",
        &[
            "--set",
            "image=https://e.example.com/1.jpg",
            "--set",
            "prompt=Turn",
        ],
    ),
    ("no-list.json", &[]),
    ("no-products.xml", &[]),
    ("page.xls", &[]),
    ("excel-2003.xml", &[]),
    // Pictures.
    ("missing-files.csv", &[]),
    ("pages.csv", &[]),
    ("pictures.csv", &[]),
    ("pictures.csv", &["--fix-images"]),
    ("no-pictures.csv", &[]),
    // Made below.
    (
        "hidden-shop.xlsx",
        &["--preset", "shopify", "--prompt", "Turn {Title|it}"],
    ),
    ("hidden.xlsx", &[]),
    ("hidden.xlsx", &["--hidden"]),
    ("hidden.xlsx", &["--sheet", "Product"]),
    (
        "unused.xlsx",
        &[
            "--map",
            "id=SKU",
            "--map",
            "image=Photo",
            "--prompt",
            "Turn {Title}",
        ],
    ),
    (
        "used.xlsx",
        &[
            "--map",
            "id=SKU",
            "--map",
            "image=Photo",
            "--prompt",
            "Turn {Title} {EAN}",
        ],
    ),
    ("formulas.xlsx", &[]),
    ("sheet.ods", &[]),
    ("sheet.ods", &["--hidden", "--sheet", "Old"]),
    ("protected.ods", &[]),
    ("protected.xlsx", &[]),
    ("old.xls", &[]),
    ("export.numbers", &[]),
    ("letter.docx", &[]),
    ("photos.zip", &[]),
];

#[test]
fn each_file_becomes_its_jobs_or_is_told_what_it_is() {
    let env = TestEnv::new(high_limits());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exports");
    let mut files = 0;
    for entry in fs::read_dir(folder).expect("the files") {
        let path = entry.expect("a file").path();
        let name = path.file_name().expect("a name");
        assert!(
            CASES.iter().any(|(case, _)| name == *case),
            "{name:?} is not loaded"
        );
        fs::copy(&path, env.dir.path().join(name)).expect("copied");
        files += 1;
    }
    write_pictures(&env.dir.path().join("photos"));
    for (name, bytes) in made_files() {
        fs::write(env.dir.path().join(name), bytes).expect("written");
        files += 1;
    }
    assert!(files >= 40, "{files}");
    let mut outcomes = String::new();
    for (number, (name, options)) in CASES.iter().enumerate() {
        let queue = format!("{number}.db");
        let load = [
            "load",
            name,
            "--model",
            "kling-v1-standard",
            "--queue",
            &queue,
            "--via",
            "fal",
        ];
        let loaded = env.run(&[&load, *options].concat());
        let _ = writeln!(outcomes, "## {name} {}", options.join(" "));
        let said = loaded.stderr.lines();
        let is_next = |line: &&str| line.starts_with("created a") || line.starts_with("next: ");
        for line in said.filter(|line| !line.is_empty() && !is_next(line)) {
            let line = line.replace(&env.dir.path().display().to_string(), "/FOLDER");
            let _ = writeln!(outcomes, "{line}");
        }
        if loaded.code == 0 {
            outcomes.push_str(&jobs(&env.dir.path().join(&queue)));
        } else {
            assert_eq!(loaded.code, 2, "{name}: {loaded:?}");
        }
        outcomes.push('\n');
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings.add_filter("sha256=[0-9a-f]{64}", "sha256=HASH");
    settings.add_filter(r"queue:\d+-images", "queue:QUEUE-images");
    settings.bind(|| insta::assert_snapshot!("exports", outcomes));
}

#[test]
fn rows_are_shown_in_full_with_the_sizes_of_their_pictures_before_the_money() {
    let env = TestEnv::new(high_limits());
    write_pictures(&env.dir.path().join("photos"));
    let rows =
        "id,image,prompt,duration\nmug,photos/whole.png,Turn it,10\ncup,photos/small.png,Zoom,5\n";
    env.write("batch.csv", rows);
    let load = [
        "load",
        "batch.csv",
        "--model",
        "kling-v1-standard",
        "--check",
    ];
    let prompts = env.run(&load).stdout;
    assert!(
        prompts.contains("  mug: Turn it (400 × 400 px)\n"),
        "{prompts}"
    );
    let full = env.run(&[&load[..], &["--show", "1"]].concat()).stdout;
    let (_, shown) = full
        .split_once("first rows, as they will be submitted:\n")
        .expect("a row");
    let lines: Vec<&str> = shown.lines().map(str::trim).collect();
    assert_eq!(lines.len(), 4, "{full}");
    assert_eq!(lines[0], "mug (400 × 400 px)");
    assert_eq!(lines[1], "duration: 10");
    assert!(lines[2].starts_with("image: file:///"), "{full}");
    assert_eq!(lines[3], "prompt: Turn it");
}

#[test]
fn links_whose_host_does_not_respond_are_told_once_and_do_not_stop_a_load() {
    let env = TestEnv::new(high_limits());
    let link = "https://images.example.com/mug.jpg";
    env.write(
        "batch.csv",
        &format!("id,image,prompt\na,{link},Turn\nb,{link},Zoom\n"),
    );
    env.write("overnight.toml", "proxied_links = \"unchecked\"\n");
    let load = [
        "load",
        "batch.csv",
        "--model",
        "kling-v1-standard",
        "--probe",
    ];
    // Nothing listens there, so that no other machine is asked.
    let mut command = env.command(&load);
    command.env("HTTPS_PROXY", "http://127.0.0.1:1");
    let loaded = CommandOutput::from_output(command.output().expect("the binary starts"));
    assert_eq!(loaded.code, 0, "{loaded:?}");
    let line = format!(
        "batch.csv:2: image: the link {link} did not respond (not refused: it may later)\n"
    );
    assert!(loaded.stderr.contains(&line), "{loaded:?}");
    assert!(
        loaded
            .stderr
            .contains("asked 1 link for pictures: 1 failed\n"),
        "{loaded:?}"
    );
    assert_eq!(env.export().len(), 2);
}

/// Writes the pictures that the manifests name.
fn write_pictures(folder: &Path) {
    fs::create_dir(folder).expect("a folder");
    let save = |name: &str, picture: image::DynamicImage| {
        picture.save(folder.join(name)).expect("a picture");
    };
    save("whole.png", image::DynamicImage::new_rgb8(400, 400));
    save("small.png", image::DynamicImage::new_rgb8(299, 400));
    save("long.jpg", image::DynamicImage::new_rgb8(1000, 399));
    save("transparent.png", image::DynamicImage::new_rgba8(400, 400));
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures");
    for name in ["print.jpg", "moving.webp", "moving.png"] {
        fs::copy(pictures.join(name), folder.join(name)).expect("copied");
    }
    let whole = fs::read(folder.join("whole.png")).expect("a picture");
    let page = "<!DOCTYPE html><html><body>Not found</body></html>";
    for (name, content) in [
        ("part.png", &whole[..whole.len() / 2]),
        ("empty.jpg", b""),
        ("page.jpg", page.as_bytes()),
        ("phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
    ] {
        fs::write(folder.join(name), content).expect("a file");
    }
}

/// Returns a line for each job of a queue.
fn jobs(queue: &Path) -> String {
    let queue = Connection::open(queue).expect("the queue");
    let mut statement = queue
        .prepare("SELECT row_key, input ->> 'image', input ->> 'prompt' FROM jobs ORDER BY job_id")
        .expect("a query");
    let rows = statement.query_map([], |row| {
        let [key, image, prompt] = [row.get(0)?, row.get(1)?, row.get(2)?];
        let texts: [String; 3] = [key, image, prompt];
        Ok(format!("{}\n", texts.join(" | ")))
    });
    rows.expect("rows").map(|row| row.expect("a row")).collect()
}

/// Returns the files that are archives.
fn made_files() -> Vec<(&'static str, Vec<u8>)> {
    let encrypted: Vec<u8> = "EncryptedPackage"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let compound = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
    let spreadsheet = "application/vnd.oasis.opendocument.spreadsheet";
    vec![
        ("hidden-shop.xlsx", hidden_shop()),
        ("hidden.xlsx", hidden_rows()),
        ("unused.xlsx", errors()),
        ("used.xlsx", errors()),
        ("formulas.xlsx", formulas()),
        (
            "sheet.ods",
            archive(&[("mimetype", spreadsheet), ("content.xml", ODS)]),
        ),
        (
            "protected.ods",
            archive(&[
                ("mimetype", spreadsheet),
                ("META-INF/manifest.xml", "<manifest:encryption-data/>"),
            ]),
        ),
        ("protected.xlsx", [compound.clone(), encrypted].concat()),
        ("old.xls", compound),
        ("export.numbers", archive(&[("Index/Document.iwa", "")])),
        ("letter.docx", archive(&[("word/document.xml", "")])),
        ("photos.zip", archive(&[("photos/1.jpg", "")])),
    ]
}

fn archive(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in parts {
        zip.start_file(*name, SimpleFileOptions::default())
            .expect("a part");
        zip.write_all(content.as_bytes()).expect("its content");
    }
    zip.finish().expect("an archive").into_inner()
}

/// A workbook with a hidden sheet, hidden rows and numbers in a format.
fn hidden_rows() -> Vec<u8> {
    let mut book = Workbook::new();
    let notes = book.add_worksheet().set_name("Notes").expect("a sheet");
    notes.write(0, 0, "old").expect("a cell");
    notes.set_hidden(true);
    let sheet = book.add_worksheet().set_name("Products").expect("a sheet");
    for (column, name) in [(0, "id"), (1, "image"), (2, "prompt")] {
        sheet.write(0, column, name).expect("a cell");
    }
    let code = Format::new().set_num_format("00000");
    for row in 1..4 {
        sheet.write_with_format(row, 0, row, &code).expect("a cell");
        sheet
            .write(row, 1, format!("https://e.example.com/{row}.jpg"))
            .expect("a cell");
        sheet.write(row, 2, "Turn it").expect("a cell");
    }
    sheet.set_row_hidden(2).expect("a row");
    sheet.set_active(true);
    book.save_to_buffer().expect("a workbook")
}

/// A shop's export of which rows are hidden: those that say what the products are.
fn hidden_shop() -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    let rows = [
        ["Handle", "Title", "Status", "Image Src"],
        ["mug", "Mug", "draft", ""],
        ["mug", "", "", "https://e.example.com/mug.jpg"],
        ["cup", "Cup", "active", "https://e.example.com/cup.jpg"],
        ["cup", "", "", "https://e.example.com/cup-2.jpg"],
        ["cup", "", "", "https://e.example.com/cup-3.jpg"],
        ["jug", "Jug", "active", ""],
        ["jug", "", "", "https://e.example.com/jug.jpg"],
    ];
    for (row, cells) in (0..).zip(rows) {
        for (column, text) in (0..).zip(cells) {
            sheet.write(row, column, text).expect("a cell");
        }
    }
    for row in [1, 4, 6] {
        sheet.set_row_hidden(row).expect("a row");
    }
    book.save_to_buffer().expect("a workbook")
}

/// A workbook with errors and long numbers.
fn errors() -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    for (column, name) in [
        (0, "SKU"),
        (1, "Photo"),
        (2, "Title"),
        (3, "EAN"),
        (4, "Stock"),
    ] {
        sheet.write(0, column, name).expect("a cell");
    }
    sheet.write(1, 0, "m").expect("a cell");
    sheet
        .write(1, 1, "https://e.example.com/1.jpg")
        .expect("a cell");
    sheet.write(1, 2, "Mug").expect("a cell");
    sheet
        .write(1, 3, 40_063_813_339_311_234_567.0)
        .expect("a cell");
    let error = rust_xlsxwriter::Formula::new("=VLOOKUP(1,A:B,2)").set_result("#N/A");
    sheet.write(1, 4, error).expect("a cell");
    book.save_to_buffer().expect("a workbook")
}

/// A workbook with links behind texts, merged cells, and formulas that were saved without values.
fn formulas() -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    for (column, name) in [(0, "id"), (1, "image"), (2, "prompt")] {
        sheet.write(0, column, name).expect("a cell");
    }
    for (row, id) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
        sheet.write(row, 0, id).expect("a cell");
    }
    let link = Url::new("https://e.example.com/1.jpg").set_text("Photo");
    sheet.write(1, 1, link).expect("a cell");
    sheet
        .write(2, 1, "https://e.example.com/2.jpg")
        .expect("a cell");
    sheet
        .merge_range(1, 2, 2, 2, "Turn it", &Format::new())
        .expect("merged");
    let image = rust_xlsxwriter::Formula::new("=IMAGE(\"https://e.example.com/3.jpg\")");
    sheet.write(3, 1, image.set_result("")).expect("a cell");
    sheet.write(3, 2, "Zoom in").expect("a cell");
    sheet
        .write(4, 1, "https://e.example.com/4.jpg")
        .expect("a cell");
    let text = rust_xlsxwriter::Formula::new("=A1&B1").set_result("");
    sheet.write(4, 2, text).expect("a cell");
    without_saved_values(&book.save_to_buffer().expect("a workbook"))
}

/// Removes the values of formulas, which programs that do not compute leave out.
fn without_saved_values(workbook: &[u8]) -> Vec<u8> {
    let mut from = zip::ZipArchive::new(Cursor::new(workbook)).expect("an archive");
    let mut to = ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..from.len() {
        let mut part = from.by_index(index).expect("a part");
        let name = part.name().expect("a name").into_owned();
        let mut content = String::new();
        std::io::Read::read_to_string(&mut part, &mut content).expect("its text");
        let content = content.replace("</f><v>0</v>", "</f><v></v>");
        to.start_file(name, SimpleFileOptions::default())
            .expect("a part");
        to.write_all(content.as_bytes()).expect("its content");
    }
    to.finish().expect("an archive").into_inner()
}

/// The content of a spreadsheet with a hidden sheet and row, a merged cell, a link behind a text, a number
/// in a format, and an error that nothing uses.
const ODS: &str = r##"<?xml version="1.0" encoding="UTF-8"?>
<office:document-content><office:automatic-styles>
<style:style style:name="ta1"><style:table-properties table:display="true"/></style:style>
<style:style style:name="ta2"><style:table-properties table:display="false"/></style:style>
</office:automatic-styles><office:body><office:spreadsheet>
<table:table table:name="Old" table:style-name="ta2"><table:table-row>
<table:table-cell><text:p>id</text:p></table:table-cell><table:table-cell><text:p>image</text:p></table:table-cell>
<table:table-cell><text:p>prompt</text:p></table:table-cell></table:table-row><table:table-row>
<table:table-cell><text:p>old</text:p></table:table-cell>
<table:table-cell><text:p>https://e.example.com/0.jpg</text:p></table:table-cell>
<table:table-cell><text:p>Turn</text:p></table:table-cell></table:table-row></table:table>
<table:table table:name="Products" table:style-name="ta1"><table:table-row>
<table:table-cell office:value-type="string"><text:p>id</text:p></table:table-cell>
<table:table-cell><text:p>image</text:p></table:table-cell><table:table-cell><text:p>prompt</text:p></table:table-cell>
<table:table-cell table:number-columns-repeated="1020"/></table:table-row>
<table:table-row><table:table-cell office:value-type="float" office:value="7"><text:p>007</text:p></table:table-cell>
<table:table-cell><text:p><text:a xlink:href="https://e.example.com/1.jpg?a=1&amp;b=2">Photo</text:a></text:p></table:table-cell>
<table:table-cell table:number-rows-spanned="2"><text:p>Turn &amp; stop<office:annotation><text:p>a comment</text:p></office:annotation></text:p></table:table-cell></table:table-row>
<table:table-row><table:table-cell><text:p>b</text:p></table:table-cell>
<table:table-cell><text:p>https://e.example.com/2.jpg</text:p></table:table-cell><table:covered-table-cell/></table:table-row>
<table:table-row table:visibility="filter"><table:table-cell><text:p>c</text:p></table:table-cell>
<table:table-cell><text:p>https://e.example.com/3.jpg</text:p></table:table-cell>
<table:table-cell><text:p>Turn</text:p></table:table-cell></table:table-row>
<table:table-row table:number-rows-repeated="1048570"><table:table-cell table:number-columns-repeated="1024"/></table:table-row>
</table:table></office:spreadsheet></office:body></office:document-content>"##;
