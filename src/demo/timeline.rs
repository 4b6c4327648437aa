//! The timeline picture: the waveform of what a viewer got, its ads, its cue points, and where each piece came from.
//!
//! Pure: numbers in, SVG text out. The two time axes of the design meet here: the waveform and the ads lie on presentation time, and so
//! do the cue points; the strip of pieces lies on bytes of the master. Not for: measuring anything.

use std::fmt::Write as _;

/// Where a piece of the master came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PieceSource {
    Origin,
    Peer,
    Disk,
    Missing,
}

impl PieceSource {
    /// By the name that `grove get --json` gives it.
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "origin" => Self::Origin,
            "peer" => Self::Peer,
            "disk" => Self::Disk,
            _ => Self::Missing,
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Origin => "#c2410c",
            Self::Peer => "#15803d",
            Self::Disk => "#64748b",
            Self::Missing => "#e2e8f0",
        }
    }
}

/// An ad on the presentation timeline, in seconds.
#[derive(Clone, Debug)]
pub(crate) struct AdMark {
    pub(crate) start: f64,
    pub(crate) duration: f64,
    pub(crate) label: String,
}

/// One viewer's picture.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    pub(crate) title: String,
    /// Presentation time of the whole result, in seconds.
    pub(crate) duration: f64,
    /// Peak of the absolute sample value, 0 to 1, in equal slices of the result.
    pub(crate) peaks: Vec<f32>,
    pub(crate) ads: Vec<AdMark>,
    /// Cue points on the presentation timeline (where their ads begin), in seconds.
    pub(crate) cues: Vec<f64>,
    pub(crate) pieces: Vec<PieceSource>,
}

const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 20.0;
const WAVE_TOP: f64 = 56.0;
const WAVE_HEIGHT: f64 = 120.0;
const STRIP_TOP: f64 = 220.0;
const STRIP_HEIGHT: f64 = 22.0;
const ROW_HEIGHT: f64 = 280.0;

/// Draws one row for each viewer, below one another.
pub(crate) fn svg(rows: &[Timeline]) -> String {
    let height = ROW_HEIGHT * rows.len() as f64 + 30.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {height}\" width=\"{w}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        w = WIDTH + 2.0 * MARGIN
    );
    for (index, row) in rows.iter().enumerate() {
        let _ = writeln!(
            out,
            "<g transform=\"translate({MARGIN} {})\">",
            ROW_HEIGHT * index as f64
        );
        draw_row(&mut out, row);
        out.push_str("</g>\n");
    }
    legend(&mut out, height - 16.0);
    out.push_str("</svg>\n");
    out
}

fn draw_row(out: &mut String, row: &Timeline) {
    let duration = row.duration.max(f64::MIN_POSITIVE);
    let x = |seconds: f64| (seconds / duration).clamp(0.0, 1.0) * WIDTH;
    let _ = writeln!(
        out,
        "<text x=\"0\" y=\"28\" font-weight=\"600\">{}</text>",
        escape(&row.title)
    );
    for ad in &row.ads {
        let (left, right) = (x(ad.start), x(ad.start + ad.duration));
        let _ = writeln!(
            out,
            "<rect x=\"{left:.1}\" y=\"{WAVE_TOP}\" width=\"{:.1}\" height=\"{WAVE_HEIGHT}\" fill=\"#fde68a\"/>\
             <text x=\"{left:.1}\" y=\"{:.1}\" font-size=\"11\">{}</text>",
            right - left,
            WAVE_TOP - 5.0,
            escape(&ad.label)
        );
    }
    waveform(out, &row.peaks);
    for cue in &row.cues {
        let at = x(*cue);
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{WAVE_TOP}\" y2=\"{:.1}\" stroke=\"#b91c1c\" stroke-dasharray=\"3 2\"/>",
            WAVE_TOP + WAVE_HEIGHT + 4.0
        );
    }
    ticks(out, duration);
    pieces(out, &row.pieces);
}

fn waveform(out: &mut String, peaks: &[f32]) {
    if peaks.is_empty() {
        return;
    }
    let middle = WAVE_TOP + WAVE_HEIGHT / 2.0;
    let step = WIDTH / peaks.len() as f64;
    let mut path = String::new();
    for (index, peak) in peaks.iter().enumerate() {
        let half = f64::from(peak.clamp(0.0, 1.0)) * WAVE_HEIGHT / 2.0;
        let at = (index as f64 + 0.5) * step;
        let _ = write!(path, "M{at:.1} {:.1}V{:.1}", middle - half, middle + half);
    }
    let _ = writeln!(
        out,
        "<path d=\"{path}\" stroke=\"#1e3a8a\" stroke-width=\"{:.2}\" fill=\"none\"/>",
        step * 0.9
    );
}

fn ticks(out: &mut String, duration: f64) {
    // About ten labels whatever the length, on round numbers of seconds.
    let step = [5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0]
        .into_iter()
        .find(|step| duration / step <= 12.0)
        .unwrap_or(3600.0);
    let mut at = 0.0;
    while at <= duration {
        let minutes = (at / 60.0).floor();
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10\" fill=\"#475569\">{minutes:.0}:{:02.0}</text>",
            at / duration * WIDTH,
            WAVE_TOP + WAVE_HEIGHT + 16.0,
            at - minutes * 60.0
        );
        at += step;
    }
}

fn pieces(out: &mut String, pieces: &[PieceSource]) {
    if pieces.is_empty() {
        return;
    }
    let width = WIDTH / pieces.len() as f64;
    let _ = writeln!(
        out,
        "<text x=\"0\" y=\"{:.1}\" font-size=\"10\" fill=\"#475569\">pieces of the master</text>",
        STRIP_TOP - 5.0
    );
    let mut index = 0;
    for run in pieces.chunk_by(|a, b| a == b) {
        let _ = writeln!(
            out,
            "<rect x=\"{:.2}\" y=\"{STRIP_TOP}\" width=\"{:.2}\" height=\"{STRIP_HEIGHT}\" fill=\"{}\"/>",
            index as f64 * width,
            run.len() as f64 * width,
            run[0].colour()
        );
        index += run.len();
    }
}

fn legend(out: &mut String, y: f64) {
    let entries = [
        ("#fde68a", "ad"),
        ("#b91c1c", "cue point"),
        (PieceSource::Origin.colour(), "piece from the origin"),
        (PieceSource::Peer.colour(), "piece from a peer"),
        (PieceSource::Disk.colour(), "piece that was here"),
    ];
    for (index, (colour, label)) in entries.iter().enumerate() {
        let x = MARGIN + 180.0 * index as f64;
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{}\" y=\"{y:.1}\">{label}</text>",
            y - 11.0,
            x + 18.0
        );
    }
}

/// Escapes text for XML and HTML.
pub(crate) fn escape(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Timeline {
        Timeline {
            title: "viewer <1>".into(),
            duration: 100.0,
            peaks: vec![0.5; 10],
            ads: vec![AdMark {
                start: 50.0,
                duration: 10.0,
                label: "A & B".into(),
            }],
            cues: vec![50.0],
            pieces: vec![PieceSource::Origin, PieceSource::Origin, PieceSource::Peer],
        }
    }

    #[test]
    fn the_picture_is_well_formed_and_places_the_ad() {
        let text = svg(&[row(), row()]);
        let mut reader = quick_xml::Reader::from_str(&text);
        loop {
            if reader.read_event().expect("well-formed XML") == quick_xml::events::Event::Eof {
                break;
            }
        }
        assert!(text.contains("viewer &lt;1&gt;"));
        // 50 s of 100 s is the middle of the 1200 wide row, 10 s is a tenth of it.
        assert!(
            text.contains("<rect x=\"600.0\" y=\"56\" width=\"120.0\""),
            "{text}"
        );
    }

    #[test]
    fn neighbouring_pieces_from_one_source_are_one_rectangle() {
        let text = svg(&[row()]);
        let strips = text.matches(&format!("y=\"{STRIP_TOP}\"")).count();
        assert_eq!(strips, 2);
    }
}
