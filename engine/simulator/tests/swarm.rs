//! Whole swarms on a virtual clock: who gets everything, and what it costs the origin.

mod common;

use std::time::Duration;

use common::{MB, network, stalls, starts, table};
use engine::cue_sheet::Budget;
use engine::swarm::{Config, OriginPolicy};
use simulator::{Arrival, Network, OriginOutage, Player, Report, Simulation, Viewer};

fn run(name: &str, network: Network, viewers: Vec<Viewer>, seed: u64) -> Report {
    let report = Simulation::new(network, viewers, seed).run(Duration::from_secs(600));
    println!(
        "{name}: seed {seed}, {:.3} copies in {} requests, waste {:.4}, slowest {:.2} s, ended {:.2} s",
        report.origin_copies(),
        report.origin_requests,
        report.waste(),
        report.slowest().as_secs_f64(),
        report.ended.as_secs_f64()
    );
    let mut times: Vec<f64> = report
        .viewers
        .iter()
        .filter_map(|v| v.completed)
        .map(|t| t.as_secs_f64())
        .collect();
    times.sort_by(f64::total_cmp);
    println!(
        "  first {:.2} s, median {:.2} s",
        times[0],
        times[times.len() / 2]
    );
    for (index, viewer) in report
        .viewers
        .iter()
        .enumerate()
        .filter(|(_, v)| !v.left && v.completed.is_none())
    {
        println!("  viewer {index} is not complete: {viewer:?}");
    }
    report
}

fn fifty() -> Vec<Viewer> {
    (0..50).map(|_| Viewer::new(1.0 * MB, 4.0 * MB)).collect()
}

#[test]
fn fifty_peers() {
    for seed in 1..=3 {
        let report = run("fifty peers", network(), fifty(), seed);
        assert!(report.all_complete());
        assert!(report.origin_copies() <= 1.05);
        assert!(report.waste() <= 0.01);
        // The bound is 49 copies over 50 uplinks: 8.2 s.
        assert!(report.slowest() < Duration::from_secs(12));
    }
}

#[test]
fn fifty_peers_with_few_neighbours() {
    let report = run(
        "few neighbours",
        Network {
            neighbours: 8,
            ..network()
        },
        fifty(),
        4,
    );
    assert!(report.all_complete());
    assert!(report.origin_copies() <= 1.5);
}

#[test]
fn a_peer_that_sends_wrong_blocks_is_banned_by_everyone_it_serves() {
    let mut viewers = fifty();
    viewers[0] = Viewer {
        corrupt: true,
        seed: true,
        ..Viewer::new(4.0 * MB, 4.0 * MB)
    };
    let report = run("corrupting peer", network(), viewers, 5);
    assert!(report.all_complete());
    // Not all meet it before they are done: with other seeds 34 to 40 do.
    assert!(report.viewers.iter().map(|v| v.banned).sum::<usize>() >= 30);
    assert!(report.origin_copies() <= 1.1);
}

#[test]
fn half_of_them_leave_midway() {
    let mut viewers = fifty();
    for viewer in viewers.iter_mut().skip(25) {
        viewer.leaves_at = Some(Duration::from_secs(4));
    }
    let report = run("half leave", network(), viewers, 6);
    assert!(report.all_complete());
    assert_eq!(report.viewers.iter().filter(|v| v.left).count(), 25);
    assert!(report.origin_copies() <= 1.15);
}

#[test]
fn the_origin_goes_down_after_one_copy() {
    let outage = Some(OriginOutage::AfterCopies(1.0));
    let report = run("origin down", Network { outage, ..network() }, fifty(), 7);
    assert!(report.all_complete());
    assert!(report.origin_copies() <= 1.1);
}

#[test]
fn alone_a_viewer_has_the_origins_full_speed() {
    let report = run("alone", network(), vec![Viewer::new(1.0 * MB, 4.0 * MB)], 8);
    assert!(report.all_complete());
    assert_eq!(report.origin_bytes, report.length);
    assert_eq!(report.viewers[0].wasted, 0);
    // 2.1 s at its downlink's rate.
    assert!(
        report.slowest() < Duration::from_millis(2_800),
        "{:?}",
        report.slowest()
    );
}

#[test]
fn peers_that_hardly_serve_do_not_keep_a_viewer_from_the_origin() {
    let slow_seed = Viewer {
        seed: true,
        ..Viewer::new(2_000.0, 4.0 * MB)
    };
    let report = run(
        "slow seed",
        network(),
        vec![slow_seed, Viewer::new(1.0 * MB, 4.0 * MB)],
        9,
    );
    assert!(report.all_complete());
    assert!(report.slowest() < Duration::from_secs(60));
}

#[test]
fn without_an_origin_the_seed_is_enough() {
    let config = Config {
        use_origin: false,
        ..Config::default()
    };
    let mut viewers: Vec<Viewer> = (0..10)
        .map(|_| Viewer {
            config: config.clone(),
            ..Viewer::new(1.0 * MB, 4.0 * MB)
        })
        .collect();
    viewers.push(Viewer {
        seed: true,
        ..Viewer::new(2.0 * MB, 2.0 * MB)
    });
    let report = run("no origin", network(), viewers, 10);
    assert!(report.all_complete());
    assert_eq!(report.origin_bytes, 0);
}

/// `make bench-swarm` without a network: ten viewers at once, each 10 MB/s up, one seed of 20 MB/s. T(1) is the least
/// time in which one copy from the seed can reach all: nine copies over the viewers' uplinks.
#[test]
fn a_thrifty_crowd_takes_one_copy_from_its_seed() {
    for seed in 21..=22 {
        let config = Config {
            use_origin: false,
            ..Config::default()
        };
        let mut viewers = vec![Viewer {
            seed: true,
            ..Viewer::new(20.0 * MB, 100.0 * MB)
        }];
        viewers.extend((0..10).map(|_| Viewer {
            config: config.clone(),
            ..Viewer::new(10.0 * MB, 100.0 * MB)
        }));
        let network = Network {
            length: 64 << 20,
            delay: Duration::from_millis(1),
            ..network()
        };
        let report = run("thrifty from a seed", network, viewers, seed);
        let copies = report.viewers[0].uploaded as f64 / report.length as f64;
        let bound = 9.0 * report.length as f64 / (100.0 * MB);
        let ratio = report.slowest().as_secs_f64() / bound;
        println!("  {copies:.3} copies from the seed, {ratio:.3} of T(1)");
        assert!(report.all_complete());
        assert!(copies <= 1.12, "{copies}");
        assert!(ratio <= 1.12, "{ratio}");
    }
}

/// Three hundred within two seconds, of whom most do not see each other: what one hands on over a slow uplink must stay
/// known to all as long as that takes, or they draw it again.
#[test]
fn a_crowd_of_strangers_takes_one_copy() {
    let viewers: Vec<Viewer> = table(300)
        .enumerate()
        .map(|(index, row)| Viewer {
            arrival: Arrival::At(Duration::from_millis(index as u64 * 6)),
            ..row.viewer
        })
        .collect();
    let network = Network {
        length: 2 << 20,
        origin_rate: 12.5 * MB,
        neighbours: 30,
        most_neighbours: 80,
        unit: 4,
        ..network()
    };
    let report = run("strangers", network, viewers, 36);
    println!("  {:?}", report.again);
    assert!(report.all_complete());
    assert!(report.origin_copies() <= 1.15);
}

/// A fifth of the table's first hundred viewers say what they hold and that they serve it, and refuse.
#[test]
fn what_free_riders_hold_is_not_waited_for() {
    let viewers: Vec<Viewer> = table(100)
        .enumerate()
        .map(|(index, row)| Viewer {
            arrival: Arrival::At(Duration::from_millis(index as u64 * 100)),
            free_rider: row.free_rider,
            ..row.viewer
        })
        .collect();
    let network = Network {
        length: 8 << 20,
        origin_rate: 12.5 * MB,
        neighbours: 30,
        most_neighbours: 80,
        unit: 4,
        ..network()
    };
    let report = run("free-riders", network, viewers, 40);
    println!("  {:?}", report.again);
    assert!(report.all_complete());
    // What they draw themselves is lost to all others: 0.19 copies here.
    assert!(report.origin_copies() <= 1.35);
    // With their haves among those that count it takes 25 s.
    assert!(report.slowest() < Duration::from_secs(23));
}

/// A hundred and sixty join in each second, and the first of them is behind a slow line: all that it asks the origin for
/// before it meets anybody would have to leave its uplink, for half a minute.
#[test]
fn whoever_comes_first_into_a_crowd_leaves_the_origin_to_it() {
    for seed in 37..=38 {
        let mut viewers: Vec<Viewer> = table(400)
            .enumerate()
            .map(|(index, row)| Viewer {
                arrival: Arrival::At(Duration::from_micros(index as u64 * 6_250)),
                ..row.viewer
            })
            .collect();
        (viewers[0].up, viewers[0].down) = (0.125 * MB, 12.5 * MB);
        let network = Network {
            length: 4 << 20,
            origin_rate: 12.5 * MB,
            neighbours: 30,
            most_neighbours: 80,
            unit: 4,
            ..network()
        };
        let report = run("slow first", network, viewers, seed);
        println!("  {:?}", report.again);
        assert!(report.all_complete());
        assert!(report.origin_copies() <= 1.15);
    }
}

/// Fifty come in one instant. The publisher allows 300 kB/s or 1 MB/s, the web server could do five: together the viewers
/// keep to it, at no time more than half as much again in five seconds, and all are served.
#[test]
fn a_crowd_keeps_to_the_publishers_budget() {
    for policy in [OriginPolicy::Thrifty, OriginPolicy::Fast] {
        for allowed in [300_000, 1_000_000] {
            let config = Config {
                policy,
                origin_budget: Some(Budget {
                    bytes_per_second: allowed,
                    requests_per_second: 10,
                }),
                ..Config::default()
            };
            let viewers = fifty().into_iter().map(|viewer| Viewer {
                config: config.clone(),
                ..viewer
            });
            let report = run("budget", network(), viewers.collect(), 31);
            let seconds = report.ended.as_secs_f64();
            let budgets = |bytes: u64| bytes as f64 / allowed as f64;
            println!(
                "  {policy:?}, {allowed} B/s: {:.2} of the budget, {:.2} in the busiest five seconds, {:.2} in one",
                budgets(report.origin_bytes) / seconds,
                budgets(report.origin_busiest(5)) / 5.0,
                budgets(report.origin_peak())
            );
            assert!(report.all_complete());
            assert!(budgets(report.origin_bytes) <= seconds);
            // 1.2 and 1.8 here; where all begin with nothing and draw in one instant, 2 and 8.
            assert!(budgets(report.origin_busiest(5)) <= 1.5 * 5.0);
            assert!(budgets(report.origin_peak()) <= 2.5);
            assert!(report.origin_requests as f64 <= 10.0 * seconds);
        }
    }
}

/// An origin of 3 Mbit/s for forty who play 1 Mbit/s and come within 20 s: the media of two seconds for each who joins would
/// be 4 Mbit/s.
#[test]
fn a_narrow_origin_does_not_collapse() {
    let player = Some(Player { bitrate: 125_000 });
    let viewers: Vec<Viewer> = (0..40)
        .map(|n| Viewer {
            arrival: Arrival::At(Duration::from_millis(n * 500)),
            player,
            config: Config {
                whole_file: false,
                ..Config::default()
            },
            ..Viewer::new(0.4 * MB, 2.0 * MB)
        })
        .collect();
    let narrow = Network {
        length: 125_000 * 60,
        origin_rate: 0.375 * MB,
        ..network()
    };
    let report = run("narrow origin", narrow, viewers, 32);
    let starts = starts(&report);
    println!(
        "  starts {starts:.1?}, {:.2} stalls an hour",
        report.stalls_per_hour()
    );
    assert!(report.all_complete());
    assert_eq!(starts.len(), 40);
    // The goal for 99 % of the starts even at an origin that is five times too narrow (`streaming.rs`).
    assert!(starts[38] <= 3.0);
    // The goal is none; in the first seconds the front still runs dry.
    assert!(stalls(&report) <= 30);
}

/// The demo: an episode of three minutes at 128 kb/s; 8 Mbit/s down, 4 up.
#[test]
fn the_demo_scenario() {
    for (seed, origin_rate) in [(11, 1.25 * MB), (12, 12.5 * MB), (13, 100.0 * MB)] {
        let viewer = |arrival| Viewer {
            arrival,
            ..Viewer::new(0.5 * MB, 1.0 * MB)
        };
        let second = Duration::from_secs(1);
        let mut viewers = vec![Viewer {
            leaves_when_complete: true,
            ..viewer(Arrival::At(Duration::ZERO))
        }];
        viewers.extend((0..3).map(|_| viewer(Arrival::AfterAll(second))));
        viewers.push(viewer(Arrival::AfterAll(2 * second)));
        let network = Network {
            length: 2_900_000,
            origin_rate,
            delay: Duration::from_millis(1),
            ..network()
        };
        let report = run("demo", network, viewers, seed);
        for viewer in &report.viewers {
            println!("  {viewer:?}");
        }
        assert!(report.all_complete());
        assert!(report.origin_copies() <= 2.3);
        assert_eq!(report.viewers[0].from_peers, 0);
        assert_eq!(report.viewers[4].from_origin, 0);
        let three: u64 = report.viewers[1..4].iter().map(|v| v.from_origin).sum();
        assert!(three as f64 <= 1.15 * 2.9 * MB);
        assert!(report.waste() <= 0.05);
    }
}

/// Processes do not start at the same instant: the first draws before it knows of the others.
#[test]
fn three_that_come_one_after_the_other_share_one_copy() {
    for (seed, apart) in [(16, 50), (17, 300), (18, 900)] {
        let viewers = (0..3)
            .map(|n| Viewer {
                arrival: Arrival::At(Duration::from_millis(n * apart)),
                ..Viewer::new(0.5 * MB, 1.0 * MB)
            })
            .collect();
        let network = Network {
            length: 2_900_000,
            origin_rate: 12.5 * MB,
            delay: Duration::from_millis(1),
            ..network()
        };
        let report = run("one after the other", network, viewers, seed);
        assert!(report.all_complete());
        assert!(report.origin_copies() <= 1.15);
        assert!(report.slowest() < Duration::from_secs(6));
    }
}

#[test]
fn players_start_soon_and_do_not_stall() {
    let player = Some(Player { bitrate: 80_000 });
    let viewers: Vec<Viewer> = (0..20)
        .map(|n| Viewer {
            arrival: Arrival::At(Duration::from_secs(n)),
            player,
            config: Config {
                whole_file: false,
                ..Config::default()
            },
            ..Viewer::new(0.25 * MB, 1.0 * MB)
        })
        .collect();
    let report = run("players", network(), viewers, 14);
    assert!(report.all_complete());
    let slowest = report.viewers.iter().filter_map(|v| v.started).max();
    println!(
        "  slowest start {slowest:?}, stalls {:?}",
        report.viewers.iter().map(|v| v.stalls).max()
    );
    assert!(slowest.is_some_and(|start| start < Duration::from_secs(3)));
    assert_eq!(stalls(&report), 0);
    assert!(report.origin_copies() <= 5.0);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let outcome = |_| {
        let report = run("again", network(), fifty(), 15);
        (
            report.origin_bytes,
            report.ended,
            report.viewers.iter().map(|v| v.wasted).sum::<u64>(),
        )
    };
    assert_eq!(outcome(0), outcome(1));
}

#[test]
fn a_gibibyte_at_line_rate() {
    for seeds in 0..=1 {
        let fast = Viewer::new(1_000.0 * MB, 1_000.0 * MB);
        let mut viewers = vec![
            Viewer {
                seed: true,
                ..fast.clone()
            };
            seeds
        ];
        viewers.push(fast);
        let network = Network {
            length: 1 << 30,
            piece_length: 262_144,
            origin_rate: 1_000.0 * MB,
            delay: Duration::from_millis(1),
            ..network()
        };
        let began = std::time::Instant::now();
        let report = run("a gibibyte", network, viewers, 20);
        println!("  computed in {:?}", began.elapsed());
        assert!(report.all_complete());
        assert!(report.slowest() < Duration::from_millis(1_300));
        // Ranges are worth a request each.
        assert!(report.origin_requests <= 700);
        assert_eq!(report.origin_bytes, if seeds == 0 { report.length } else { 0 });
    }
}
