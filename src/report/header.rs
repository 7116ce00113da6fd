//! The part of a page above the clips: totals, job states and the bill.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::domain::{JobState, Money, ProviderName};
use crate::queue::{BatchStatus, BillGrouping, BillLine, BillSums, Status};

use super::text::{Escaped, script_json};

/// Everything that a page shows apart from the jobs.
#[derive(Debug)]
pub(crate) struct PageHeader<'a> {
    /// The absolute folder of the page.
    pub folder: &'a Path,
    /// A random text. The page's content security policy allows only the script and the style that
    /// carry it.
    pub nonce: &'a str,
    /// The time at which the page is written.
    pub now: Timestamp,
    /// The batches on the page.
    pub status: &'a Status,
    /// Their bill, summed in several ways. Totals are taken from the first.
    pub bills: &'a [(BillGrouping, Vec<BillLine>)],
    /// The commands that the page tells its reader to use.
    pub commands: &'a PageCommands,
    /// Where clips are that are not beside the page.
    pub remote: &'a RemoteClips,
}

/// Where clips are that are not beside the page.
#[derive(Debug, Default)]
pub(crate) struct RemoteClips {
    /// The origins of the links to them, such as `https://storage.example.com`.
    pub origins: BTreeSet<String>,
    /// When the links stop to work; `None` if they do not.
    pub until: Option<Timestamp>,
}

/// The commands that continue or settle a job, for the page's reader.
#[derive(Debug, Serialize)]
pub(crate) struct PageCommands {
    /// Settles a job in doubt.
    pub resolve: String,
    /// Tries a failed job again.
    pub retry: String,
}

impl PageHeader<'_> {
    /// Writes the value of a placeholder of the template.
    pub(super) fn write(&self, name: &str, out: &mut impl Write) -> io::Result<()> {
        match name {
            "nonce" => write!(out, "{}", Escaped(self.nonce)),
            "title" => write!(out, "{}", Escaped(&self.title())),
            "period" => self.write_period(out),
            "tiles" => self.write_tiles(out),
            "origins" => self
                .remote
                .origins
                .iter()
                .try_for_each(|origin| write!(out, " {}", Escaped(origin))),
            "remote" if self.remote.origins.is_empty() => Ok(()),
            "remote" => write!(out, ", and where the clips are"),
            "bar" => self.write_bar(out),
            "states" => self.write_states(out),
            "bills" => self
                .bills
                .iter()
                .try_for_each(|(by, lines)| write_bill(*by, lines, out)),
            "names" => self.write_names(out),
            unknown => Err(io::Error::other(format!(
                "the page template has an unknown placeholder `{unknown}`"
            ))),
        }
    }

    /// Writes the names that the rows of the jobs refer to by index, and the commands.
    fn write_names(&self, out: &mut impl Write) -> io::Result<()> {
        let batches: Vec<&str> = self
            .status
            .batches
            .iter()
            .map(|batch| batch.batch.as_str())
            .collect();
        let names = json!({
            "batches": batches,
            "states": JobState::ALL,
            "providers": ProviderName::ALL,
            "commands": self.commands,
        });
        write!(out, "{}", script_json(&names)?)
    }

    fn title(&self) -> String {
        match self.status.batches.as_slice() {
            [] => "Empty queue".into(),
            [batch] => batch.batch.clone(),
            several => format!("{} batches", several.len()),
        }
    }

    fn sums(&self) -> BillSums {
        self.bills
            .first()
            .into_iter()
            .flat_map(|(_, lines)| lines)
            .map(|line| line.sums)
            .sum()
    }

    fn write_period(&self, out: &mut impl Write) -> io::Result<()> {
        let sums = self.sums();
        if let Some(from) = sums.first_submitted_at {
            write!(out, "{} – ", format_minute(from))?;
            match sums.last_finished_at {
                Some(until) if format_day(until) == format_day(from) => {
                    write!(out, "{} · ", until.strftime("%H:%M"))?
                }
                Some(until) => write!(out, "{} · ", format_minute(until))?,
                None => write!(out, "now · ")?,
            }
        }
        write!(out, "as of {} (UTC)", format_minute(self.now))?;
        match self.remote.until {
            Some(until) => write!(
                out,
                " · clips can be seen until {} (UTC)",
                format_minute(until)
            ),
            None => Ok(()),
        }
    }

    fn write_tiles(&self, out: &mut impl Write) -> io::Result<()> {
        let total: u64 = self
            .status
            .batches
            .iter()
            .map(BatchStatus::total_jobs)
            .sum();
        let succeeded = self.status.count(JobState::Succeeded);
        let settled = succeeded + self.status.count(JobState::Failed);
        let success_rate = match (succeeded * 1000).checked_div(settled) {
            // Rounded down, so that 100 % means all.
            Some(tenths) => format!("{}.{} %", tenths / 10, tenths % 10),
            None => "–".into(),
        };
        let sum = |money: fn(&BatchStatus) -> Money| {
            let sum: Money = self.status.batches.iter().map(money).sum();
            format!("${sum:#}")
        };
        let sums = self.sums();
        let elapsed = sums
            .first_submitted_at
            .zip(sums.last_finished_at)
            .map_or("–".into(), |(from, until)| format_span(from, until));
        for (name, value) in [
            ("clips", format!("{succeeded} of {total}")),
            ("succeeded", success_rate),
            ("spent", sum(|batch| batch.spent)),
            ("reserved", sum(|batch| batch.reserved)),
            ("at risk", sum(|batch| batch.at_risk)),
            ("time", elapsed),
        ] {
            write!(
                out,
                "<div><dt>{name}</dt><dd>{}</dd></div>",
                Escaped(&value)
            )?;
        }
        Ok(())
    }

    /// Writes a bar that is one unit wide per job. The widths are SVG attributes, because the
    /// content security policy blocks inline styles.
    fn write_bar(&self, out: &mut impl Write) -> io::Result<()> {
        let total: u64 = self
            .status
            .batches
            .iter()
            .map(BatchStatus::total_jobs)
            .sum();
        write!(
            out,
            "<svg class=\"bar\" viewBox=\"0 0 {} 1\" preserveAspectRatio=\"none\" \
             aria-hidden=\"true\">",
            total.max(1)
        )?;
        let mut x = 0;
        for state in [
            JobState::Succeeded,
            JobState::Downloading,
            JobState::Running,
            JobState::Submitting,
            JobState::InDoubt,
            JobState::Failed,
            JobState::Cancelled,
        ] {
            let jobs = self.status.count(state);
            if jobs > 0 {
                write!(
                    out,
                    "<rect class=\"{state}\" x=\"{x}\" width=\"{jobs}\" height=\"1\"/>"
                )?;
            }
            x += jobs;
        }
        write!(out, "</svg>")
    }

    fn write_states(&self, out: &mut impl Write) -> io::Result<()> {
        for state in JobState::ALL {
            let jobs = self.status.count(state);
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

fn write_bill(by: BillGrouping, lines: &[BillLine], out: &mut impl Write) -> io::Result<()> {
    let by = by.as_str();
    write!(
        out,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Bill by {by}\">\
         <table><thead><tr><th scope=\"col\">{by}</th>"
    )?;
    for column in [
        "attempts",
        "refused",
        "estimate",
        "cost",
        "not charged",
        "reserved",
        "at risk",
    ] {
        write!(out, "<th scope=\"col\">{column}</th>")?;
    }
    write!(out, "</tr></thead><tbody>")?;
    for line in lines {
        write_bill_row(&line.name, &line.sums, out)?;
    }
    write!(out, "</tbody><tfoot>")?;
    write_bill_row("total", &lines.iter().map(|line| line.sums).sum(), out)?;
    writeln!(out, "</tfoot></table></div>")
}

fn write_bill_row(name: &str, sums: &BillSums, out: &mut impl Write) -> io::Result<()> {
    let not_charged = match sums.refunds {
        0 => "–".into(),
        failed => format!("{failed} (${:#})", sums.refunded_usd),
    };
    write!(
        out,
        "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>${:#}</td><td>${:#}</td>\
         <td>{not_charged}</td><td>${:#}</td><td>${:#}</td></tr>",
        Escaped(name),
        sums.attempts,
        sums.refused,
        sums.estimate_usd,
        sums.cost_usd,
        sums.reserved_usd,
        sums.at_risk_usd,
    )
}

fn format_day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

fn format_minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M").to_string()
}

fn format_span(from: Timestamp, until: Timestamp) -> String {
    match until.duration_since(from).as_secs() {
        seconds @ ..90 => format!("{seconds} s"),
        seconds @ 90..5400 => format!("{} min", seconds / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
