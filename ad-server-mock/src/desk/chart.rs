//! Charts as SVG, drawn here: bars by day, and a bar of delivery against goal.
//!
//! They say in words what they show (title and description), and need no script.

use maud::{Markup, html};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 180.0;
/// Room below for the first and last day, and on the left for the largest number.
const BELOW: f64 = 22.0;
const LEFT: f64 = 56.0;

/// Two bars for each day, of what `names` says.
pub(super) fn by_day(title: &str, names: [&str; 2], days: &[(String, [u64; 2])]) -> Markup {
    let most = days
        .iter()
        .flat_map(|(_, n)| n)
        .copied()
        .max()
        .unwrap_or(0)
        .max(1);
    let step = (WIDTH - LEFT) / days.len().max(1) as f64;
    let bar = (step / 2.0 * 0.9).min(40.0);
    let top = |n: u64| (HEIGHT - BELOW - 12.0) * n as f64 / most as f64;
    html! {
        figure class="chart" {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(title) {
                title { (title) }
                line class="axis" x1=(LEFT) y1=(HEIGHT - BELOW) x2=(WIDTH) y2=(HEIGHT - BELOW) {}
                text x=(LEFT - 6.0) y="16" text-anchor="end" { (most) }
                text x=(LEFT - 6.0) y=(HEIGHT - BELOW) text-anchor="end" { "0" }
                @for (i, (day, numbers)) in days.iter().enumerate() {
                    @for (j, n) in numbers.iter().enumerate() {
                        @let height = top(*n);
                        rect class=(if j == 0 { "first" } else { "second" })
                            x=(format!("{:.1}", LEFT + step * i as f64 + step / 2.0 + (j as f64 - 1.0) * bar))
                            y=(format!("{:.1}", HEIGHT - BELOW - height))
                            width=(format!("{:.1}", bar * 0.92)) height=(format!("{height:.1}")) {
                            title { (day) ": " (n) " " (names[j]) }
                        }
                    }
                }
                @if let Some((day, _)) = days.first() {
                    text x=(LEFT) y=(HEIGHT - 5.0) { (day) }
                }
                @if days.len() > 1 {
                    text x=(WIDTH) y=(HEIGHT - 5.0) text-anchor="end" { (days[days.len() - 1].0) }
                }
            }
            figcaption {
                span class="key first" {} (names[0]) " "
                span class="key second" {} (names[1])
            }
        }
    }
}

/// How much of a goal was served.
pub(super) fn against(served: i64, goal: u64, words: &str) -> Markup {
    let part = served as f64 / goal.max(1) as f64;
    let text = format!("{:.0} % {words}", part * 100.0);
    html! {
        svg class="goal" viewBox="0 0 120 12" role="img" aria-label=(text) {
            title { (text) }
            rect class="whole" x="0" y="0" width="120" height="12" rx="3" {}
            rect class="part" x="0" y="0" width=(format!("{:.1}", 120.0 * part.clamp(0.0, 1.0))) height="12" rx="3" {}
        }
        " " (served) " / " (goal)
    }
}
