//! How far a flight is behind where it should be by now, and what a day's part of it is.
//!
//! Pure. Not for caps: those are limits, these are aims.

use crate::catalog::{Flight, Pacing};
use crate::clock::{DAY, UnixMillis};

use super::snapshot::FlightCount;

/// How far behind its pace a flight is, as a share of its goal (of the day's part for [`Pacing::Daily`]): positive is
/// behind, negative ahead, without a goal 0. `more` impressions are taken as served too.
pub(super) fn behind(flight: &Flight, count: &FlightCount, more: i64, now: UnixMillis) -> f64 {
    let Some(goal) = flight.goal else { return 0.0 };
    let served = (count.served.total() + more) as f64;
    match (flight.pacing, flight.starts, flight.ends) {
        (Pacing::Even, Some(starts), Some(ends)) if ends > starts => {
            let due = ((now - starts) as f64 / (ends - starts) as f64).clamp(0.0, 1.0);
            due - served / goal.max(1) as f64
        }
        (Pacing::Daily, ..) => {
            let part = part_of_today(flight, count, now).unwrap_or(goal as i64).max(1);
            1.0 - (count.served_on(now.div_euclid(DAY)) + more) as f64 / part as f64
        }
        _ => 1.0 - served / goal.max(1) as f64,
    }
}

/// The impressions that a daily flight may serve today: what is left of its goal divided by the days that are left,
/// today included, rounded up. `None` for a flight that is not daily or has no goal or end.
pub(super) fn part_of_today(flight: &Flight, count: &FlightCount, now: UnixMillis) -> Option<i64> {
    let (Pacing::Daily, Some(goal), Some(ends)) = (flight.pacing, flight.goal, flight.ends) else {
        return None;
    };
    let today = now.div_euclid(DAY);
    let before = count.served.total() - count.served_on(today);
    let left = (goal as i64 - before).max(0);
    // The day of the last millisecond of the flight.
    let days = ((ends - 1).div_euclid(DAY) - today + 1).max(1);
    Some((left + days - 1) / days)
}

#[cfg(test)]
mod tests {
    use super::super::tests::flight;
    use super::*;
    use crate::decide::snapshot::Amount;

    #[test]
    fn a_day_gets_its_part_of_what_is_left() {
        let mut f = flight("f");
        (f.pacing, f.goal) = (Pacing::Daily, Some(100));
        (f.starts, f.ends) = (Some(0), Some(10 * DAY));
        let count = |served, day, day_served| FlightCount {
            served: Amount {
                stored: served,
                pending: 0,
            },
            day,
            day_served: Amount {
                stored: day_served,
                pending: 0,
            },
            last: 0,
        };
        // (served in all, the day counted, served on it, now) → part of the day.
        let table = [
            ((0, 0, 0, 0), 10),
            ((4, 0, 4, DAY - 1), 10),
            // Six that the first day left over are spread over the nine days that are left.
            ((4, 0, 4, DAY), 11),
            ((99, 8, 10, 9 * DAY), 1),
            ((100, 8, 10, 9 * DAY), 0),
            // The last day takes all that is left, also after its end.
            ((40, 8, 0, 9 * DAY), 60),
            ((40, 8, 0, 12 * DAY), 60),
        ];
        for ((served, day, on_it, now), part) in table {
            assert_eq!(
                part_of_today(&f, &count(served, day, on_it), now),
                Some(part),
                "{served} served, at {now}"
            );
        }
        f.pacing = Pacing::Even;
        assert_eq!(part_of_today(&f, &count(0, 0, 0), 0), None);
    }

    #[test]
    fn pace_is_compared_as_a_share_of_the_goal() {
        let mut f = flight("f");
        (f.goal, f.starts, f.ends) = (Some(100), Some(0), Some(10 * DAY));
        let count = |n| FlightCount {
            served: Amount {
                stored: n,
                pending: 0,
            },
            day: 5,
            day_served: Amount {
                stored: n,
                pending: 0,
            },
            last: 0,
        };
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} is not {b}");
        f.pacing = Pacing::Even;
        near(behind(&f, &count(40), 0, 5 * DAY), 0.1);
        near(behind(&f, &count(40), 20, 5 * DAY), -0.1);
        f.pacing = Pacing::Fast;
        near(behind(&f, &count(40), 0, 5 * DAY), 0.6);
        // 100 over the five days left are twenty today.
        f.pacing = Pacing::Daily;
        near(behind(&f, &count(5), 0, 5 * DAY), 0.75);
        f.goal = None;
        near(behind(&f, &count(5), 0, 5 * DAY), 0.0);
    }
}
