//! A small picture of makespans against the ideal, for the README.

use std::fmt::Write;

/// What one distribution of times gave.
pub(crate) struct Group {
    pub(crate) mean: u64,
    pub(crate) deviation: u64,
    /// Makespan by the ideal: slots only, with some that wait there, the script.
    pub(crate) ratios: [f64; 3],
}

/// What each bar is, and its colour: one that the three can be told apart by without colour as well.
const BARS: [(&str, &str); 3] = [
    (
        "overnight, provider refuses what exceeds its slots",
        "#1f6f54",
    ),
    ("overnight, provider lets it wait", "#7fc4a8"),
    ("ten threads that ask every 15 s", "#b9b9b9"),
];

const WIDTH: f64 = 640.0;
const LEFT: f64 = 96.0;
const TOP: f64 = 78.0;
const BAR: f64 = 16.0;
const GROUP: f64 = 68.0;

/// Draws bars that begin at the ideal: what is shown is what was lost.
pub(crate) fn draw(groups: &[Group]) -> String {
    let most = groups
        .iter()
        .flat_map(|group| group.ratios)
        .fold(1.0, f64::max)
        - 1.0;
    let scale = (WIDTH - LEFT - 70.0) / most.max(0.01);
    let height = TOP + GROUP * groups.len() as f64 + 12.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"20\" font-size=\"14\" fill=\"#222222\">How much longer than the ideal a night takes</text>\n"
    );
    for (index, (name, colour)) in BARS.iter().enumerate() {
        let y = 30.0 + 15.0 * index as f64;
        // Strings into a string cannot fail.
        let _ = writeln!(
            svg,
            "<rect x=\"8\" y=\"{y}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"24\" y=\"{}\" fill=\"#444444\">{name}</text>",
            y + 9.0
        );
    }
    for (index, group) in groups.iter().enumerate() {
        let y = TOP + GROUP * index as f64 + 6.0;
        let _ = writeln!(
            svg,
            "<text x=\"8\" y=\"{}\" fill=\"#222222\">{} ± {} s</text>",
            y + 1.5 * BAR + 4.0,
            group.mean,
            group.deviation
        );
        for (bar, (ratio, (_, colour))) in group.ratios.iter().zip(BARS).enumerate() {
            let y = y + (BAR + 2.0) * bar as f64;
            let width = ((ratio - 1.0) * scale).max(1.0);
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{}\" fill=\"#222222\">+{:.1} %</text>",
                LEFT + width + 6.0,
                y + 12.0,
                (ratio - 1.0) * 100.0
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}
