//! The HTML report that the binary writes.

use std::fs;

use overnight_simulator::{Call, Fault, Faults, SimulatorOptions};
use serde_json::Value;

use crate::support::{TestEnv, high_limits};

/// Returns the jobs of a page, as its script reads them.
fn jobs(page: &str) -> Vec<Value> {
    let (_, from) = page.split_once("id=\"jobs\">").expect("jobs");
    let json = from
        .split_once("</script>")
        .expect("the end of the element")
        .0;
    serde_json::from_str(json).expect("JSON")
}

fn read(env: &TestEnv, path: &str) -> String {
    fs::read_to_string(env.dir.path().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Resolves a percent-encoded link against a folder, as a browser does.
fn resolve(folder: &str, link: &str) -> std::path::PathBuf {
    let bytes = link
        .split('%')
        .enumerate()
        .flat_map(|(index, part)| match index {
            0 => part.as_bytes().to_vec(),
            _ => {
                let byte = u8::from_str_radix(&part[..2], 16).expect("two hexadecimal digits");
                [&[byte], &part.as_bytes()[2..]].concat()
            }
        });
    std::path::Path::new(folder).join(String::from_utf8(bytes.collect()).expect("UTF-8"))
}

#[test]
fn a_page_lists_every_job_with_links_to_the_clips() {
    let faults = Faults::default().with(Call::Create, Fault::FailedPrediction, 0.3);
    let env = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    let mut manifest = String::from("id,image,prompt\n");
    for row in 0..12 {
        manifest.push_str(&format!(
            "\"<b>{row}</b> 50% #ü?\",https://images.example.com/{row}.png,\
             \"</script><script>alert({row})\"\n"
        ));
    }
    env.write("spring.csv", &manifest);
    let load = [
        "load",
        "spring.csv",
        "--model",
        "kling-v1-standard",
        "--via",
        "eachlabs",
    ];
    assert_eq!(env.run(&load).code, 0);
    assert_eq!(env.run(&["run", "--attempts", "1"]).code, 3);
    fs::create_dir(env.dir.path().join("pages")).expect("a folder");
    let report = env.run(&["report", "--out", "pages/spring.html"]);
    assert_eq!((report.code, report.stdout.as_str()), (0, ""), "{report:?}");

    let page = read(&env, "pages/spring.html");
    assert_eq!(
        page.matches("<script").count(),
        3,
        "two elements of data, one that runs"
    );
    assert!(!page.contains("<b>"));
    let folder = env.dir.path().join("pages");
    let rows = jobs(&page);
    let records = env.export();
    assert_eq!(rows.len(), 12);
    for (row, record) in rows.iter().zip(&records) {
        assert_eq!(row[1], record["id"]);
        let link = row[5].as_str().expect("a link");
        match record["output"].as_str() {
            Some(clip) => {
                let target = resolve(&folder.to_string_lossy(), link);
                let target = fs::canonicalize(target).expect("a file");
                assert_eq!(target, fs::canonicalize(clip).expect("the clip"), "{link}");
            }
            None => {
                assert_eq!(link, "");
                assert_eq!(row[10], record["error"]);
            }
        }
    }
    // The temporary file that the page was written to no longer exists.
    assert_eq!(fs::read_dir(folder).expect("a folder").count(), 1);
}

#[test]
fn a_page_shows_the_totals_and_the_bill() {
    let env = TestEnv::new(high_limits());
    env.run_all(4, "eachlabs");
    assert_eq!(env.run(&["report", "--batch", "batch"]).code, 0);
    let page = read(&env, "batch.html");
    for html in [
        "<dt>spent</dt><dd>$1.125</dd>",
        "<dd>4 of 4</dd>",
        "<th scope=\"row\">eachlabs/kling-v1-standard-image-to-video</th><td>4</td>",
        "<th scope=\"row\">total</th><td>4</td><td>0</td><td>$1.125</td><td>$1.125</td>",
    ] {
        assert!(page.contains(html), "{html} is not in {page}");
    }
}

#[test]
fn a_page_is_named_after_its_batch_or_written_to_standard_output() {
    let env = TestEnv::new(high_limits());
    env.write_manifest("batch.csv", 2);
    let load = [
        "load",
        "batch.csv",
        "--model",
        "kling-v1-standard",
        "--batch",
        "../spring/1",
    ];
    assert_eq!(env.run(&load).code, 0);
    let report = env.run(&["report", "--batch", "../spring/1"]);
    assert_eq!(report.code, 0, "{report:?}");
    let name = report
        .stderr
        .trim()
        .strip_prefix("wrote ")
        .expect("a name")
        .to_owned();
    assert!(!name.contains('/'), "{name}");
    let page = read(&env, &name);
    assert!(page.contains("<h1>../spring/1</h1>"), "{name}");
    assert_eq!(env.run(&["report"]).code, 0);
    let page = read(&env, "report.html");
    let printed = env.run(&["report", "--out", "-"]);
    assert_eq!((printed.code, printed.stderr.as_str()), (0, ""));
    assert_eq!(jobs(&printed.stdout), jobs(&page));
}

#[test]
fn a_page_that_cannot_be_written_keeps_the_previous_one() {
    let env = TestEnv::new(high_limits());
    env.load(1, "fal");
    env.write("report.html", "the previous page");
    let unknown_batch = env.run(&["report", "--batch", "sprong", "--out", "report.html"]);
    assert_eq!(unknown_batch.code, 2);
    assert_eq!(read(&env, "report.html"), "the previous page");
    let missing_folder = env.run(&["report", "--out", "no/folder/report.html"]);
    assert_eq!(missing_folder.code, 1);
    assert!(
        missing_folder
            .stderr
            .contains("cannot write no/folder/report.html"),
        "{missing_folder:?}"
    );
}
