//! The figures as four small plots over the size of the crowd, in one SVG.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::scenario::{Coming, Outcome, Variant, Work};
use super::table::times;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 260.0;
const MARGIN: f64 = 46.0;
const COLOURS: [&str; 6] = ["#1b6ca8", "#7db3d8", "#b3541e", "#e0a878", "#3c7a3c", "#9cc79c"];

/// What one panel shows.
struct Panel {
    title: &'static str,
    figure: fn(&Outcome) -> Option<f64>,
    /// Each decade takes the same room.
    decades: bool,
    /// The goal at so many viewers and more, where it is the same for all lines.
    goals: &'static [(usize, f64)],
}

const PANELS: [Panel; 4] = [
    Panel {
        title: "copies that left the origin",
        figure: |o| Some(o.report.origin_copies()),
        decades: true,
        goals: &[],
    },
    Panel {
        title: "offload, %",
        figure: |o| Some(o.report.offload() * 100.0),
        decades: false,
        goals: &[(100, 96.0), (1_000, 99.0)],
    },
    Panel {
        title: "start-up of streams, 99 %, s",
        figure: |o| (o.scenario.work != Work::Download).then(|| times(o)[2])?,
        decades: false,
        goals: &[(10, 2.0)],
    },
    Panel {
        title: "the origin's busiest second, Mbit/s",
        figure: |o| Some(o.report.origin_peak() as f64 / 125_000.0),
        decades: true,
        goals: &[],
    },
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
    let (width, height) = (2.0 * WIDTH, 2.0 * HEIGHT + 50.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, shown) in PANELS.iter().enumerate() {
        let (x, y) = ((index % 2) as f64 * WIDTH, (index / 2) as f64 * HEIGHT);
        let _ = writeln!(svg, "<g transform=\"translate({x},{y})\">");
        panel(&mut svg, shown, &lines);
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
    let _ = writeln!(
        svg,
        "<path d=\"M{MARGIN} {0}h14\" stroke=\"#a00\" stroke-dasharray=\"4 3\"/><text x=\"{1}\" y=\"{2}\">goal; \
         all over the number of viewers</text>",
        2.0 * HEIGHT + 36.0,
        MARGIN + 18.0,
        2.0 * HEIGHT + 40.0
    );
    svg.push_str("</svg>\n");
    svg
}

/// The least and the most that an axis shows, for values between these.
fn bounds(least: f64, most: f64, decades: bool) -> (f64, f64) {
    if decades {
        let least = 10f64.powf(least.max(0.1).log10().floor());
        (least, 10f64.powf(most.log10().ceil()).max(least * 10.0))
    } else if least > 10.0 {
        // Offload is near its upper end everywhere: its axis need not begin at nothing.
        (least.floor().min(most - 1.0), most.ceil())
    } else {
        (0.0, most.ceil().max(1.0))
    }
}

fn panel(svg: &mut String, panel: &Panel, lines: &BTreeMap<(Work, Coming), Vec<&Outcome>>) {
    let figure = panel.figure;
    let values = || lines.values().flatten().filter_map(|outcome| figure(outcome));
    let goals = || panel.goals.iter().map(|&(_, goal)| goal);
    let most = values().chain(goals()).fold(0.0, f64::max).max(1e-9);
    let (least, most) = bounds(values().chain(goals()).fold(most, f64::min), most, panel.decades);
    let scale = |value: f64| {
        if panel.decades {
            value.max(least).log10()
        } else {
            value
        }
    };
    let across = |viewers: usize| MARGIN + (viewers as f64 / 10.0).log10() / 3.0 * (WIDTH - 2.0 * MARGIN);
    let share = |value: f64| (scale(value) - scale(least)) / (scale(most) - scale(least));
    let up = |value: f64| HEIGHT - MARGIN - share(value) * (HEIGHT - 2.0 * MARGIN);
    let _ = writeln!(
        svg,
        "<text x=\"{MARGIN}\" y=\"28\" font-weight=\"bold\">{}</text>",
        panel.title
    );
    let steps: Vec<f64> = if panel.decades {
        let decades = (most / least).log10().round() as i32;
        (0..=decades).map(|decade| least * 10f64.powi(decade)).collect()
    } else {
        (0..=4)
            .map(|step| least + (most - least) * f64::from(step) / 4.0)
            .collect()
    };
    for value in steps {
        let y = up(value);
        let digits = usize::from(value.fract() != 0.0) * 2;
        let _ = writeln!(
            svg,
            "<path d=\"M{MARGIN} {y:.1}H{}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value:.digits$}</text>",
            WIDTH - MARGIN,
            MARGIN - 6.0,
            y + 4.0
        );
    }
    for viewers in [10, 100, 1_000, 10_000] {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{viewers}</text>",
            across(viewers),
            HEIGHT - MARGIN + 18.0
        );
    }
    for (place, &(from, goal)) in panel.goals.iter().enumerate() {
        let to = panel.goals.get(place + 1).map_or(10_000, |&(from, _)| from);
        let _ = writeln!(
            svg,
            "<path d=\"M{:.1} {:.1}H{:.1}\" stroke=\"#a00\" stroke-dasharray=\"4 3\"/>",
            across(from),
            up(goal),
            across(to)
        );
    }
    for (index, outcomes) in lines.values().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let points: Vec<(f64, f64)> = outcomes
            .iter()
            .filter_map(|o| Some((across(o.scenario.viewers), up(figure(o)?))))
            .collect();
        let line: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        // One row alone is a point.
        for (x, y) in points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
            );
        }
    }
}
