//! The bar chart of makespans in the README.

use std::fmt::Write;

/// The bars of one distribution of processing times.
pub(crate) struct Group {
    /// Mean of the distribution, in seconds.
    pub(crate) mean: u64,
    /// Standard deviation of the distribution, in seconds.
    pub(crate) deviation: u64,
    /// Makespan divided by the ideal, for each of [`BARS`].
    pub(crate) ratios: [f64; 3],
}

/// Label and colour of each bar. The colours differ in brightness, so that the bars can be told
/// apart without colour vision.
const BARS: [(&str, &str); 3] = [
    (
        "overnight, provider refuses submissions beyond its slots",
        "#1f6f54",
    ),
    ("overnight, provider queues them", "#7fc4a8"),
    ("ten threads that poll every 15 s", "#b9b9b9"),
];

const WIDTH: f64 = 640.0;
const LEFT: f64 = 96.0;
const TOP: f64 = 78.0;
const BAR_HEIGHT: f64 = 16.0;
const GROUP_HEIGHT: f64 = 68.0;

/// Returns an SVG image. The bars begin at the ideal, so that their length is the time lost.
pub(crate) fn draw(groups: &[Group]) -> String {
    let max_loss = groups
        .iter()
        .flat_map(|group| group.ratios)
        .fold(1.0, f64::max)
        - 1.0;
    let scale = (WIDTH - LEFT - 70.0) / max_loss.max(0.01);
    let height = TOP + GROUP_HEIGHT * groups.len() as f64 + 12.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"20\" font-size=\"14\" fill=\"#222222\">\
         How much longer than the ideal a run takes</text>\n"
    );
    for (index, (label, colour)) in BARS.iter().enumerate() {
        let y = 30.0 + 15.0 * index as f64;
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<rect x=\"8\" y=\"{y}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"24\" y=\"{}\" fill=\"#444444\">{label}</text>",
            y + 9.0
        );
    }
    for (index, group) in groups.iter().enumerate() {
        let y = TOP + GROUP_HEIGHT * index as f64 + 6.0;
        let _ = writeln!(
            svg,
            "<text x=\"8\" y=\"{}\" fill=\"#222222\">{} ± {} s</text>",
            y + 1.5 * BAR_HEIGHT + 4.0,
            group.mean,
            group.deviation
        );
        for (bar, (ratio, (_, colour))) in group.ratios.iter().zip(BARS).enumerate() {
            let y = y + (BAR_HEIGHT + 2.0) * bar as f64;
            let width = ((ratio - 1.0) * scale).max(1.0);
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" \
                 fill=\"{colour}\"/>\
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
