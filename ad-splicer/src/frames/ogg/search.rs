//! Finding a place in a stream by what its pages tell of how far it has come: by guesses, each as far between what is known as the place should be.

use std::time::Duration;

use super::{Found, Header, MOST_PAGE, find_page};
use crate::content::Content;
use crate::splice::{self, SpliceError};

/// How much is read at once to find a page.
const AT_ONCE: usize = 16 << 10;
/// How near a place is from where on pages are read one after the other to find it.
const NEAR: u64 = 32 << 10;

/// The first whole page at or after an offset that begins before another.
fn find(
    content: &dyn Content,
    deadline: Duration,
    offset: u64,
    before: u64,
) -> Result<Option<(u64, Found)>, SpliceError> {
    let mut bytes = Vec::new();
    let most = (content.len() - offset).min(2 * MOST_PAGE as u64) as usize;
    while bytes.len() < most {
        let len = AT_ONCE.min(most - bytes.len());
        bytes.extend(splice::read(content, offset + bytes.len() as u64, len, deadline)?);
        if let Some(found) = find_page(&bytes) {
            let at = offset + found.at as u64;
            return Ok(Some((at, found)).filter(|_| at < before));
        }
    }
    Ok(None)
}

/// Where a page begins at or before which the stream has come to `wanted`, and no page goes on with what began before it; with how far it has come there. The bounds are two such places, and `ended` says how far the stream has come at the end of a page.
pub(crate) fn near(
    content: &dyn Content,
    deadline: Duration,
    wanted: u64,
    [mut low, mut high]: [(u64, u64); 2],
    ended: &dyn Fn(&Header) -> Option<u64>,
) -> Result<(u64, u64), SpliceError> {
    let mut halve = false;
    while high.0 > low.0 + NEAR {
        let bytes = high.0 - low.0;
        let part = if halve {
            bytes / 2
        } else {
            let share = u128::from(bytes) * u128::from(wanted - low.1) / u128::from((high.1 - low.1).max(1));
            (share as u64).saturating_sub(NEAR / 2).min(bytes - NEAR / 2)
        };
        let guess = low.0 + part;
        let found = find(content, deadline, guess, high.0)?;
        let placed = found.and_then(|(at, found)| {
            let end = at - found.at as u64 + found.end as u64;
            let whole = found.header.lacing.last() != Some(&255);
            Some((end, ended(&found.header)?)).filter(|_| whole)
        });
        match placed {
            Some((end, ended)) if ended <= wanted && end > low.0 && ended >= low.1 => {
                // A good guess: what is sought comes soon.
                low = (end, ended);
                let rest = u128::from(wanted - ended) * u128::from(high.0.saturating_sub(end));
                if rest / u128::from((high.1 - ended).max(1)) < u128::from(NEAR) {
                    return Ok(low);
                }
            }
            Some((_, ended)) if ended > wanted => high = (guess, ended.min(high.1)),
            _ => high.0 = guess,
        }
        halve = high.0 - low.0 > bytes / 2 && !halve;
    }
    Ok(low)
}
