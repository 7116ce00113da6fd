//! The written page: no text of a queue becomes markup, and the data is complete and small.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::domain::{CostSource, JobId, JobState, Money, ProviderName};
use crate::queue::{BatchStatus, BillGrouping, BillLine, BillSums, Status};

/// Text that would become markup if it were not escaped.
const MARKUP: &str = "\"'><script>alert(1)</script></title></style><!--{{script}}&amp;";

fn job(number: i64, id: &str, prompt: &str, image: &str) -> JobRecord {
    let input = json!({ "prompt": prompt, "image": image });
    JobRecord {
        versions: Vec::new(),
        job_id: JobId(number),
        batch: "spring".into(),
        id: id.into(),
        line: 2,
        state: JobState::Succeeded,
        model: "kling-v1-standard".into(),
        provider: Some(ProviderName::Eachlabs),
        prediction_id: Some("0b1c2d3e".into()),
        attempts: 1,
        estimate_usd: Money::from_micros(225_000),
        cost_usd: Some(Money::from_micros(225_000)),
        cost_source: Some(CostSource::Reported),
        output: Some(format!("/w/renders/spring/SKU-{number}.mp4")),
        bytes: Some(3_000_000),
        sha256: Some("ab".into()),
        error: None,
        queued_at: "2026-08-20T20:00:00Z".parse().unwrap(),
        submitted_at: Some("2026-08-20T22:00:00Z".parse().unwrap()),
        finished_at: Some("2026-08-20T22:04:40Z".parse().unwrap()),
        input: serde_json::from_value(input).unwrap(),
        due_at: None,
        attempt_state: None,
    }
}

/// Returns the page of a batch of 999 clips and a failure, with rows for `jobs`.
fn page(batch: &str, jobs: &[JobRecord]) -> String {
    let mut counts: std::collections::BTreeMap<_, _> = JobState::ALL.map(|state| (state, 0)).into();
    counts.insert(JobState::Succeeded, 999);
    counts.insert(JobState::Failed, 1);
    let batch = BatchStatus {
        batch: batch.into(),
        model: "kling-v1-standard".into(),
        folder: "/w/renders/spring".into(),
        jobs: counts,
        spent: Money::from_micros(225_000_000),
        reserved: Money::ZERO,
        at_risk: Money::from_micros(450_000),
        presumed: Money::ZERO,
        budget: None,
        held: 0,
        recent_completions: Vec::new(),
    };
    let sums = BillSums {
        attempts: 1000,
        cost_usd: batch.spent,
        first_submitted_at: Some("2026-08-20T22:00:00Z".parse().unwrap()),
        last_finished_at: Some("2026-08-21T06:10:00Z".parse().unwrap()),
        ..BillSums::default()
    };
    let bills = [(
        BillGrouping::Batch,
        vec![BillLine {
            name: batch.batch.clone(),
            sums,
        }],
    )];
    let status = Status {
        routes: Vec::new(),
        batches: vec![batch],
        providers: Vec::new(),
        pools: Vec::new(),
    };
    let now = "2026-08-21T07:00:00Z".parse().unwrap();
    let header = PageHeader {
        folder: Path::new("/w"),
        nonce: "n0nce",
        now,
        status: &status,
        bills: &bills,
        remote: &RemoteClips::default(),
        commands: &PageCommands {
            resolve: "resolve JOB".into(),
            retry: "retry JOB".into(),
        },
    };
    let mut page = PageWriter::new(Vec::new(), &header).unwrap();
    for job in jobs {
        page.write_job(job, &BTreeMap::new()).unwrap();
    }
    String::from_utf8(page.finish(&header).unwrap()).unwrap()
}

/// Returns the content of the script element with an id.
fn script_element<'a>(page: &'a str, id: &str) -> &'a str {
    let (_, from) = page.split_once(&format!("id=\"{id}\">")).unwrap();
    from.split_once("</script>").unwrap().0
}

#[test]
fn text_of_a_queue_does_not_become_markup() {
    let mut hostile = job(1, MARKUP, MARKUP, &format!("https://e.com/{MARKUP}"));
    hostile.error = Some(MARKUP.into());
    let page = page(MARKUP, &[hostile]);
    let expected = super::TEMPLATE.matches("<script").count();
    assert_eq!(page.matches("<script").count(), expected);
    assert_eq!(page.matches("</script").count(), expected);
    assert_eq!(page.matches("</style").count(), 1);
    assert_eq!(page.matches("<!--").count(), 0);
    assert_eq!(
        page.matches("'use strict'").count(),
        1,
        "a placeholder in a job's text is not filled in"
    );
    assert!(
        page.contains("<h1>&quot;&#39;&gt;&lt;script&gt;alert(1)"),
        "{page}"
    );
    let jobs: Value = serde_json::from_str(script_element(&page, "jobs")).unwrap();
    assert_eq!(jobs[0][1], MARKUP);
    assert_eq!(jobs[0][10], MARKUP);
}

#[test]
fn the_page_requests_nothing_from_the_network() {
    let page = page("spring", &[]);
    let policy = "default-src 'none'; script-src 'nonce-n0nce'; style-src 'nonce-n0nce'; \
                  img-src 'self' file: http: https: data:; media-src 'self' file:; \
                  base-uri 'none'; form-action 'none'";
    assert!(page.contains(&format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">"
    )));
    // Apart from the jobs' data the page contains no address, and no style that loads one.
    for text in ["://", "url(", "@import", " src=", " style=", "{{"] {
        assert!(!page.contains(text), "{text} is in {page}");
    }
    let links: Vec<&str> = page
        .split(" href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(links, ["data:,", "#gallery"]);
}

#[test]
fn the_header_shows_the_period_and_the_totals() {
    let page = page("spring", &[]);
    for text in [
        "<title>spring · Overnight</title>",
        "2026-08-20 22:00 – 2026-08-21 06:10 · as of 2026-08-21 07:00 (UTC)",
        "<dt>clips</dt><dd>999 of 1000</dd>",
        "<dt>succeeded</dt><dd>99.9 %</dd>",
        "<dt>spent</dt><dd>$225.00</dd>",
        "<dt>at risk</dt><dd>$0.45</dd>",
        "<dt>time</dt><dd>8 h 10 min</dd>",
        "<li class=\"failed\">1 failed</li>",
    ] {
        assert!(page.contains(text), "{text} is not in {page}");
    }
}

#[test]
fn a_row_holds_what_a_card_shows() {
    let page = page("spring", &[job(7, "SKU-7", "Turn", "https://e.com/7.png")]);
    let jobs: Value = serde_json::from_str(script_element(&page, "jobs")).unwrap();
    let row = json!([
        0,
        "SKU-7",
        5,
        "https://e.com/7.png",
        "Turn",
        "renders/spring/SKU-7.mp4",
        "0.225",
        0,
        1,
        280,
        "",
        []
    ]);
    assert_eq!(jobs, json!([row]));
    let names: Value = serde_json::from_str(script_element(&page, "names")).unwrap();
    assert_eq!(names["states"][5], json!("succeeded"));
    assert_eq!(names["batches"][0], json!("spring"));
    assert_eq!(names["providers"][0], json!(ProviderName::Eachlabs));
}

#[test]
fn links_that_are_not_web_links_are_left_out() {
    for image in [
        "javascript:alert(1)//://",
        "data:image/png;base64,AAAA",
        "file:///etc/passwd",
        "x.png",
    ] {
        let page = page("spring", &[job(1, "a", "p", image)]);
        let jobs: Value = serde_json::from_str(script_element(&page, "jobs")).unwrap();
        assert_eq!(jobs[0][3], "", "{image}");
    }
}

#[test]
fn a_typical_job_takes_less_than_220_bytes_and_the_longest_less_than_1500() {
    let size = |job: &JobRecord| {
        page("spring", &[job.clone(), job.clone()]).len()
            - page("spring", std::slice::from_ref(job)).len()
    };
    let prompt = "Slow turntable on a linen cloth, soft light from the left";
    let typical = job(
        4711,
        "MUG-BLUE-4711",
        prompt,
        "https://cdn.shop.example.com/products/mug-blue-4711.jpg",
    );
    assert!(size(&typical) < 220, "{} bytes", size(&typical));
    let long_text = "x".repeat(100_000);
    let mut longest = job(1, "a", &long_text, &format!("https://e.com/{long_text}"));
    longest.error = Some(long_text);
    assert!(size(&longest) < 1500, "{} bytes", size(&longest));
}
