//! The figures as four small plots over the size of the crowd, in one SVG.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::scenario::{Coming, Outcome, Variant, Work};
use super::table::times;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 260.0;
const MARGIN: f64 = 46.0;
const COLOURS: [&str; 6] = ["#1b6ca8", "#7db3d8", "#b3541e", "#e0a878", "#3c7a3c", "#9cc79c"];

type Figure = fn(&Outcome) -> Option<f64>;

/// The panels: a title, and the figure that it shows.
const PANELS: [(&str, Figure); 4] = [
    ("copies that left the origin", |o| Some(o.report.origin_copies())),
    ("offload, %", |o| Some(o.report.offload() * 100.0)),
    ("start-up of streams, 99 %, s", |o| {
        (o.scenario.work != Work::Download).then(|| times(o)[2])?
    }),
    ("the origin's busiest second, Mbit/s", |o| {
        Some(o.report.origin_peak() as f64 / 125_000.0)
    }),
];

/// The usual rows; the variants stand in the table only.
pub(crate) fn svg(outcomes: &[Outcome]) -> String {
    let mut lines: BTreeMap<(Work, Coming), Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes.iter().filter(|o| o.scenario.variant == Variant::Usual) {
        let scenario = &outcome.scenario;
        lines
            .entry((scenario.work, scenario.coming))
            .or_default()
            .push(outcome);
    }
    let (width, height) = (2.0 * WIDTH, 2.0 * HEIGHT + 40.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, (title, figure)) in PANELS.iter().enumerate() {
        let (x, y) = ((index % 2) as f64 * WIDTH, (index / 2) as f64 * HEIGHT);
        let _ = writeln!(svg, "<g transform=\"translate({x},{y})\">");
        panel(&mut svg, title, *figure, &lines);
        svg.push_str("</g>\n");
    }
    for (index, (work, coming)) in lines.keys().enumerate() {
        let name = format!("{work:?}, {coming:?}").to_lowercase();
        let (x, y) = (MARGIN + index as f64 * 130.0, 2.0 * HEIGHT + 22.0);
        let colour = COLOURS[index % COLOURS.len()];
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{}\" width=\"10\" height=\"10\" fill=\"{colour}\"/><text x=\"{}\" y=\"{y}\">{name}</text>",
            y - 9.0,
            x + 14.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, title: &str, figure: Figure, lines: &BTreeMap<(Work, Coming), Vec<&Outcome>>) {
    let values = || lines.values().flatten().filter_map(|outcome| figure(outcome));
    let most = values().fold(0.0, f64::max).max(1e-9);
    // Offload is near its upper end everywhere: its axis need not begin at nothing.
    let least = if title.starts_with("offload") {
        values().fold(most, f64::min).floor().min(most - 1.0)
    } else {
        0.0
    };
    let across = |viewers: usize| MARGIN + (viewers as f64 / 10.0).log10() / 3.0 * (WIDTH - 2.0 * MARGIN);
    let up = |value: f64| HEIGHT - MARGIN - (value - least) / (most - least) * (HEIGHT - 2.0 * MARGIN);
    let _ = writeln!(
        svg,
        "<text x=\"{MARGIN}\" y=\"28\" font-weight=\"bold\">{title}</text>"
    );
    for step in 0..=4 {
        let value = least + (most - least) * f64::from(step) / 4.0;
        let y = up(value);
        let _ = writeln!(
            svg,
            "<path d=\"M{MARGIN} {y:.1}H{}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value:.2}</text>",
            WIDTH - MARGIN,
            MARGIN - 4.0,
            y + 4.0
        );
    }
    for viewers in [10, 100, 1_000, 10_000] {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{viewers}</text>",
            across(viewers),
            HEIGHT - MARGIN + 16.0
        );
    }
    for (index, outcomes) in lines.values().enumerate() {
        let points: Vec<String> = outcomes
            .iter()
            .filter_map(|o| Some(format!("{:.1},{:.1}", across(o.scenario.viewers), up(figure(o)?))))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>",
            points.join(" "),
            COLOURS[index % COLOURS.len()]
        );
    }
}
