//! The page of a night, as the binary writes it.

use std::fs;

use overnight::simulator::{Call, Fault, Faults, SimulatorOptions};
use serde_json::Value;

use crate::support::{TestEnv, high_limits};

/// The jobs of a page, as its script reads them.
fn jobs(page: &str) -> Vec<Value> {
    let (_, from) = page.split_once("id=\"jobs\">").expect("jobs");
    let json = from.split_once("</script>").expect("an end").0;
    serde_json::from_str(json).expect("JSON")
}

fn read(workplace: &TestEnv, path: &str) -> String {
    fs::read_to_string(workplace.dir.path().join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Follows a link of a page as a browser does.
fn follow(folder: &str, link: &str) -> std::path::PathBuf {
    let bytes = link
        .split('%')
        .enumerate()
        .flat_map(|(index, part)| match index {
            0 => part.as_bytes().to_vec(),
            _ => {
                let byte = u8::from_str_radix(&part[..2], 16).expect("a byte");
                [&[byte], &part.as_bytes()[2..]].concat()
            }
        });
    std::path::Path::new(folder).join(String::from_utf8(bytes.collect()).expect("text"))
}

#[test]
fn a_page_shows_every_job_with_links_that_lead_to_the_clips() {
    let faults = Faults::default().with(Call::Create, Fault::FailedPrediction, 0.3);
    let workplace = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    let mut manifest = String::from("id,image,prompt\n");
    for row in 0..12 {
        manifest.push_str(&format!(
            "\"<b>{row}</b> 50% #ü?\",https://images.example.com/{row}.png,\"</script><script>alert({row})\"\n"
        ));
    }
    workplace.write("spring.csv", &manifest);
    let load = [
        "load",
        "spring.csv",
        "--model",
        "kling-v1-standard",
        "--via",
        "eachlabs",
    ];
    assert_eq!(workplace.run(&load).code, 0);
    assert_eq!(workplace.run(&["run", "--attempts", "1"]).code, 3);
    fs::create_dir(workplace.dir.path().join("pages")).expect("a folder");
    let report = workplace.run(&["report", "--out", "pages/spring.html"]);
    assert_eq!((report.code, report.stdout.as_str()), (0, ""), "{report:?}");

    let page = read(&workplace, "pages/spring.html");
    assert_eq!(
        page.matches("<script").count(),
        3,
        "two of data, one that runs"
    );
    assert!(!page.contains("<b>"));
    let (shown, known) = (jobs(&page), workplace.export());
    assert_eq!(shown.len(), 12);
    for (shown, known) in shown.iter().zip(&known) {
        assert_eq!(shown[1], known["id"]);
        let link = shown[5].as_str().expect("a link");
        match known["output"].as_str() {
            Some(clip) => {
                let folder = workplace.dir.path().join("pages");
                let led =
                    fs::canonicalize(follow(&folder.to_string_lossy(), link)).expect("a file");
                assert_eq!(led, fs::canonicalize(clip).expect("the clip"), "{link}");
            }
            None => assert_eq!((link, &shown[10]), ("", &known["error"])),
        }
    }
    // The page stands alone in its folder: what it was written to is gone.
    assert_eq!(
        fs::read_dir(workplace.dir.path().join("pages"))
            .expect("a folder")
            .count(),
        1
    );
}

#[test]
fn a_page_has_the_bill_and_the_books() {
    let workplace = TestEnv::new(high_limits());
    workplace.make_all(4, "eachlabs");
    assert_eq!(workplace.run(&["report", "--batch", "batch"]).code, 0);
    let page = read(&workplace, "batch.html");
    assert!(
        page.contains("<dt>spent</dt><dd>$1.125</dd>") && page.contains("<dd>4 of 4</dd>"),
        "{page}"
    );
    assert!(
        page.contains("<th scope=\"row\">eachlabs/kling-v1-standard-image-to-video</th><td>4</td>"),
        "{page}"
    );
    assert!(
        page.contains(
            "<th scope=\"row\">total</th><td>4</td><td>0</td><td>$1.125</td><td>$1.125</td>"
        ),
        "{page}"
    );
}

#[test]
fn a_page_is_named_by_its_batch_or_goes_to_standard_output() {
    let workplace = TestEnv::new(high_limits());
    workplace.manifest("batch.csv", 2);
    let load = [
        "load",
        "batch.csv",
        "--model",
        "kling-v1-standard",
        "--batch",
        "../spring/1",
    ];
    assert_eq!(workplace.run(&load).code, 0);
    let report = workplace.run(&["report", "--batch", "../spring/1"]);
    assert_eq!(report.code, 0, "{report:?}");
    let name = report
        .stderr
        .trim()
        .strip_prefix("wrote ")
        .expect("a name")
        .to_owned();
    assert!(
        !name.contains('/') && read(&workplace, &name).contains("<h1>../spring/1</h1>"),
        "{name}"
    );
    assert_eq!(workplace.run(&["report"]).code, 0);
    let whole = read(&workplace, "report.html");
    let said = workplace.run(&["report", "--out", "-"]);
    assert_eq!(
        (said.code, jobs(&said.stdout), said.stderr.as_str()),
        (0, jobs(&whole), "")
    );
}

#[test]
fn a_page_that_cannot_be_written_leaves_the_last_one_as_it_was() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(1, "fal");
    workplace.write("report.html", "the last one");
    assert_eq!(
        workplace
            .run(&["report", "--batch", "sprong", "--out", "report.html"])
            .code,
        2
    );
    assert_eq!(read(&workplace, "report.html"), "the last one");
    let nowhere = workplace.run(&["report", "--out", "no/folder/report.html"]);
    assert_eq!(nowhere.code, 1);
    assert!(
        nowhere
            .stderr
            .contains("cannot write no/folder/report.html"),
        "{nowhere:?}"
    );
}
