//! What a page says before the first clip: totals, states and the bill.

use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use crate::domain::{JobState, Money, ProviderName};
use crate::queue::{BatchStatus, BillBy, BillLine, BillSums, Status};

use super::text::{self, Html};

/// What a page is about.
#[derive(Debug)]
pub struct Head<'a> {
    /// Where the page will stand.
    pub folder: &'a Path,
    /// Random: only a script and a style that carry it are taken for the page's own.
    pub nonce: &'a str,
    /// When the page is written.
    pub now: Timestamp,
    /// The batches it shows.
    pub status: &'a Status,
    /// What they have cost, summed in several ways; the first tells the total.
    pub bills: &'a [(BillBy, Vec<BillLine>)],
}

impl Head<'_> {
    /// Writes what stands for a name of the template.
    pub(super) fn write(&self, name: &str, out: &mut impl Write) -> io::Result<()> {
        match name {
            "nonce" => write!(out, "{}", Html(self.nonce)),
            "title" => write!(out, "{}", Html(&self.title())),
            "when" => self.write_when(out),
            "tiles" => self.write_tiles(out),
            "bar" => self.write_bar(out),
            "states" => self.write_states(out),
            "bills" => self
                .bills
                .iter()
                .try_for_each(|(by, lines)| write_bill(*by, lines, out)),
            "words" => {
                let batches: Vec<&str> = self
                    .status
                    .batches
                    .iter()
                    .map(|batch| batch.batch.as_str())
                    .collect();
                let words = json!({ "batches": batches, "states": JobState::ALL, "providers": ProviderName::ALL });
                write!(out, "{}", text::json(&words)?)
            }
            unknown => Err(io::Error::other(format!("the page has no {unknown}"))),
        }
    }

    fn title(&self) -> String {
        match self.status.batches.as_slice() {
            [] => "An empty queue".into(),
            [batch] => batch.batch.clone(),
            several => format!("{} batches", several.len()),
        }
    }

    fn count(&self, state: JobState) -> u64 {
        self.status
            .batches
            .iter()
            .map(|batch| batch.count(state))
            .sum()
    }

    fn sums(&self) -> BillSums {
        self.bills
            .first()
            .into_iter()
            .flat_map(|(_, lines)| lines)
            .map(|line| line.sums)
            .sum()
    }

    fn write_when(&self, out: &mut impl Write) -> io::Result<()> {
        let sums = self.sums();
        if let Some(from) = sums.from {
            write!(out, "{} – ", minute(from))?;
            match sums.until {
                // A day that has been said need not be said again.
                Some(until) if day(until) == day(from) => {
                    write!(out, "{} · ", until.strftime("%H:%M"))?
                }
                Some(until) => write!(out, "{} · ", minute(until))?,
                None => write!(out, "now · ")?,
            }
        }
        write!(out, "as of {} (UTC)", minute(self.now))
    }

    fn write_tiles(&self, out: &mut impl Write) -> io::Result<()> {
        let total: u64 = self.status.batches.iter().map(BatchStatus::total).sum();
        let made = self.count(JobState::Succeeded);
        let over = made + self.count(JobState::Failed);
        let rate = match (made * 1000).checked_div(over) {
            // Rounded down: 100 % means all.
            Some(tenths) => format!("{}.{} %", tenths / 10, tenths % 10),
            None => "–".into(),
        };
        let sum = |money: fn(&BatchStatus) -> Money| {
            format!(
                "${:#}",
                self.status.batches.iter().map(money).sum::<Money>()
            )
        };
        let sums = self.sums();
        let took = sums
            .from
            .zip(sums.until)
            .map_or("–".into(), |(from, until)| span(from, until));
        for (name, value) in [
            ("clips", format!("{made} of {total}")),
            ("succeeded", rate),
            ("spent", sum(|batch| batch.spent)),
            ("reserved", sum(|batch| batch.reserved)),
            ("at risk", sum(|batch| batch.at_risk)),
            ("time", took),
        ] {
            write!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", Html(&value))?;
        }
        Ok(())
    }

    /// A bar as long as there are jobs; its widths are attributes, because the page allows no style beside its own.
    fn write_bar(&self, out: &mut impl Write) -> io::Result<()> {
        let total: u64 = self.status.batches.iter().map(BatchStatus::total).sum();
        write!(
            out,
            "<svg class=\"bar\" viewBox=\"0 0 {} 1\" preserveAspectRatio=\"none\" aria-hidden=\"true\">",
            total.max(1)
        )?;
        let mut from = 0;
        for state in [
            JobState::Succeeded,
            JobState::Downloading,
            JobState::Running,
            JobState::Submitting,
            JobState::InDoubt,
            JobState::Failed,
            JobState::Cancelled,
        ] {
            let jobs = self.count(state);
            if jobs > 0 {
                write!(
                    out,
                    "<rect class=\"{state}\" x=\"{from}\" width=\"{jobs}\" height=\"1\"/>"
                )?;
            }
            from += jobs;
        }
        write!(out, "</svg>")
    }

    fn write_states(&self, out: &mut impl Write) -> io::Result<()> {
        for state in JobState::ALL {
            let jobs = self.count(state);
            if jobs > 0 {
                write!(
                    out,
                    "<li class=\"{state}\">{jobs} {}</li>",
                    state.as_str().replace('_', " ")
                )?;
            }
        }
        Ok(())
    }
}

fn write_bill(by: BillBy, lines: &[BillLine], out: &mut impl Write) -> io::Result<()> {
    let by = by.as_str();
    write!(
        out,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Bill by {by}\"><table><thead><tr>\
         <th scope=\"col\">{by}</th>"
    )?;
    for column in [
        "attempts", "refused", "estimate", "cost", "refunds", "reserved", "at risk",
    ] {
        write!(out, "<th scope=\"col\">{column}</th>")?;
    }
    write!(out, "</tr></thead><tbody>")?;
    for line in lines {
        write_line(&line.name, &line.sums, out)?;
    }
    write!(out, "</tbody><tfoot>")?;
    write_line("total", &lines.iter().map(|line| line.sums).sum(), out)?;
    writeln!(out, "</tfoot></table></div>")
}

fn write_line(name: &str, sums: &BillSums, out: &mut impl Write) -> io::Result<()> {
    let refunds = match sums.refunds {
        0 => "–".into(),
        refunds => format!("{refunds} of ${:#}", sums.refunded_usd),
    };
    write!(
        out,
        "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>${:#}</td><td>${:#}</td><td>{refunds}</td><td>${:#}</td><td>${:#}</td></tr>",
        Html(name),
        sums.attempts,
        sums.refused,
        sums.estimate_usd,
        sums.cost_usd,
        sums.reserved_usd,
        sums.at_risk_usd,
    )
}

fn day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M").to_string()
}

fn span(from: Timestamp, until: Timestamp) -> String {
    match until.duration_since(from).as_secs() {
        seconds @ ..90 => format!("{seconds} s"),
        seconds @ 90..5400 => format!("{} min", seconds / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
