//! Crowds of ten to ten thousand viewers, computed: what they cost the origin and what they see.
//!
//!     cargo run --release -p simulator --example bench-sim -- [--most VIEWERS] [--only WORDS] [--out FOLDER]
//!
//! The viewers are those of `viewers.csv`, in turn: uplinks 30 % 1 Mbit/s, 50 % 5 to 10, 20 % 20; downlinks 10 to 200;
//! half leave within ten minutes; every ten rows are the whole in small. Everybody keeps to the default policy. Media
//! gets shorter as crowds grow, so that the largest can be computed; uplinks send in turns of 64 KiB. An origin for
//! downloads has 100 Mbit/s; one for streams has (joins a second) × 2 s of media, and at least 1.2 × the bitrate and
//! 2 Mbit/s, or else the first viewer alone would not be served. Writes `sim.md` and `sim.svg`.

mod plot;
mod scenario;
mod table;

use std::path::PathBuf;
use std::sync::Mutex;

use scenario::{Outcome, Scenario, all};

fn main() -> std::io::Result<()> {
    let mut most = 10_000;
    let mut only: Vec<String> = Vec::new();
    let mut out = PathBuf::from("target/bench");
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().unwrap_or_default();
        match (name.as_str(), value.parse()) {
            ("--most", Ok(number)) => most = number,
            ("--only", _) if !value.is_empty() => {
                only = value.split_whitespace().map(str::to_owned).collect();
            }
            ("--out", _) if !value.is_empty() => out = PathBuf::from(value),
            _ => {
                eprintln!("usage: bench-sim [--most VIEWERS] [--only 'WORDS OF A ROW'] [--out FOLDER]");
                std::process::exit(2);
            }
        }
    }
    let mut scenarios: Vec<Scenario> = all()
        .into_iter()
        .filter(|s| s.viewers <= most && only.iter().all(|word| s.words().split(' ').any(|w| w == word)))
        .collect();
    // The longest begin first, so that two cores end together.
    scenarios.reverse();
    let waiting = Mutex::new(scenarios.into_iter());
    let done: Mutex<Vec<Outcome>> = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let Some(scenario) = waiting.lock().ok().and_then(|mut all| all.next()) else {
                        return;
                    };
                    let outcome = scenario.run();
                    eprintln!("{}", table::progress(&outcome));
                    if let Ok(mut all) = done.lock() {
                        all.push(outcome);
                    }
                }
            });
        }
    });
    let mut outcomes = done.into_inner().unwrap_or_default();
    outcomes.sort_by_key(|outcome| outcome.scenario.clone());
    let text = table::markdown(&outcomes);
    print!("{text}");
    std::fs::create_dir_all(&out)?;
    std::fs::write(out.join("sim.md"), text)?;
    std::fs::write(out.join("sim.svg"), plot::svg(&outcomes))
}
