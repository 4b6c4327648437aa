//! What is computed: each crowd, its content, its origin.

use std::time::{Duration, Instant};

use engine::swarm::Config;
use engine::swarm::neighbours::{MOST, WANTED};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use simulator::{Arrival, Network, Player, Report, Simulation, Viewer};

/// Bytes a second of one megabit a second.
const MBIT: f64 = 125_000.0;
/// The narrowest usual origin.
const LEAST_ORIGIN: f64 = 2.0 * MBIT;
const MIB: u64 = 1 << 20;

/// What the viewers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    Download,
    /// 128 kb/s.
    Audio,
    /// 5 Mbit/s.
    Video,
}

/// How they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Coming {
    /// All within a minute.
    Crowd,
    /// One after the other over five minutes.
    Poisson,
}

/// What is special.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Variant {
    Usual,
    /// A fifth of the viewers serve nobody.
    FreeRiders,
    /// The origin has a fifth of its rate, no matter how little. For crowds from a thousand on: that of a hundred would
    /// be narrower than the video.
    NarrowOrigin,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scenario {
    pub(crate) work: Work,
    pub(crate) variant: Variant,
    pub(crate) coming: Coming,
    pub(crate) viewers: usize,
}

/// A row with its figures.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) scenario: Scenario,
    pub(crate) report: Report,
    /// Time that it took to compute.
    pub(crate) computed: Duration,
    /// The origin's rate in bytes a second.
    pub(crate) origin_rate: f64,
}

/// Every row.
pub(crate) fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    for viewers in [10, 100, 1_000, 10_000] {
        for work in [Work::Download, Work::Audio, Work::Video] {
            for variant in [Variant::Usual, Variant::FreeRiders, Variant::NarrowOrigin] {
                for coming in [Coming::Crowd, Coming::Poisson] {
                    let extra = match variant {
                        Variant::Usual => true,
                        Variant::FreeRiders => work != Work::Audio,
                        Variant::NarrowOrigin => work != Work::Download && viewers >= 1_000,
                    };
                    if extra && (variant == Variant::Usual || coming == Coming::Crowd) {
                        all.push(Scenario {
                            work,
                            variant,
                            coming,
                            viewers,
                        });
                    }
                }
            }
        }
    }
    all
}

impl Scenario {
    /// Its name, in the words that `--only` knows.
    pub(crate) fn words(&self) -> String {
        let work = match self.work {
            Work::Download => "download",
            Work::Audio => "audio",
            Work::Video => "video",
        };
        let coming = match self.coming {
            Coming::Crowd => "crowd",
            Coming::Poisson => "poisson",
        };
        let variant = match self.variant {
            Variant::Usual => "usual",
            Variant::FreeRiders => "free-riders",
            Variant::NarrowOrigin => "narrow-origin",
        };
        format!("{work} {coming} {variant} {}", self.viewers)
    }

    /// Bytes a second of the media.
    fn bitrate(&self) -> Option<u64> {
        match self.work {
            Work::Download => None,
            Work::Audio => Some(16_000),
            Work::Video => Some(625_000),
        }
    }

    /// Bytes of the content: shorter for large crowds.
    pub(crate) fn length(&self) -> u64 {
        let few = self.viewers <= 100;
        match self.work {
            Work::Download if few => 64 * MIB,
            Work::Download if self.viewers <= 1_000 => 32 * MIB,
            Work::Download => 4 * MIB,
            Work::Audio if self.viewers <= 1_000 => 16_000 * 300,
            Work::Audio => 16_000 * 120,
            Work::Video if few => 625_000 * 120,
            Work::Video if self.viewers <= 1_000 => 625_000 * 60,
            Work::Video => 625_000 * 12,
        }
    }

    /// The time over which the viewers come.
    fn span(&self) -> Duration {
        Duration::from_secs(match self.coming {
            Coming::Crowd => 60,
            Coming::Poisson => 300,
        })
    }

    fn origin_rate(&self) -> f64 {
        let Some(bitrate) = self.bitrate() else {
            return 100.0 * MBIT;
        };
        let joins = self.viewers as f64 / self.span().as_secs_f64();
        let rate = joins * 2.0 * bitrate as f64;
        if self.variant == Variant::NarrowOrigin {
            return rate / 5.0;
        }
        rate.max(1.2 * bitrate as f64).max(LEAST_ORIGIN)
    }

    /// Computes it.
    pub(crate) fn run(self) -> Outcome {
        let origin_rate = self.origin_rate();
        let network = Network {
            length: self.length(),
            piece_length: 65_536,
            delay: Duration::from_millis(20),
            origin_rate,
            neighbours: WANTED,
            most_neighbours: MOST,
            unit: 4,
            outage: None,
        };
        let began = Instant::now();
        let report = Simulation::new(network, self.crowd(), 1).run(Duration::from_secs(3_600));
        Outcome {
            scenario: self,
            report,
            computed: began.elapsed(),
            origin_rate,
        }
    }

    fn crowd(&self) -> Vec<Viewer> {
        let mut rng = StdRng::seed_from_u64(2);
        let span = self.span().as_secs_f64();
        let mut poisson = 0.0;
        let rows: Vec<&str> = include_str!("../../viewers.csv").lines().skip(1).collect();
        (0..self.viewers)
            .map(|index| {
                let row: Vec<&str> = rows[index % rows.len()].split(',').collect();
                let mbit = |column: usize| row[column].parse::<f64>().expect("a rate in viewers.csv") * MBIT;
                let at = match self.coming {
                    Coming::Crowd => rng.random_range(0.0..span),
                    Coming::Poisson => {
                        poisson -= rng.random_range(f64::EPSILON..1.0).ln() * span / self.viewers as f64;
                        poisson
                    }
                };
                let leaves = row[2].parse::<f64>().ok().map(|after| at + after);
                Viewer {
                    arrival: Arrival::At(Duration::from_secs_f64(at)),
                    leaves_at: leaves.map(Duration::from_secs_f64),
                    free_rider: self.variant == Variant::FreeRiders && row[3] == "yes",
                    player: self.bitrate().map(|bitrate| Player { bitrate }),
                    config: Config {
                        whole_file: self.work == Work::Download,
                        ..Config::default()
                    },
                    ..Viewer::new(mbit(0), mbit(1))
                }
            })
            .collect()
    }
}
