//! The CUESHEET block (RFC 9639 §8.7): the tracks and index points of what was one recording, in samples.
//!
//! Not for cue points of ads, which nothing in it says.

/// Up to the number of lead-in samples: the catalogue number.
const LEAD_IN: usize = 128;
/// Its first bit says that it is of a CD, where everything begins on a sector.
const FLAGS: usize = LEAD_IN + 8;
/// The number of tracks; they follow.
const COUNT: usize = FLAGS + 259;
/// A track up to its index points, whose number is in the last byte.
const TRACK: usize = 36;
const INDEX: usize = 12;
/// Samples of a CD's sector.
const SECTOR: u64 = 588;
/// The number of the lead-out where it is not of a CD.
const LEAD_OUT: u8 = 255;

/// Its offsets at `at`, in samples.
fn number(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(data.get(at..at + 8)?.try_into().ok()?))
}

/// The block with its tracks and index points where `moved` says, and its lead-out at the end, which is at `samples`. `None` when it makes no sense.
///
/// What does not lie on sectors any more is no CD's, and says so.
pub(crate) fn moved_cue_sheet(data: &[u8], samples: u64, moved: impl Fn(u64) -> u64) -> Option<Vec<u8>> {
    let mut out = data.to_vec();
    let tracks = *data.get(COUNT)?;
    let mut on_sectors = samples.is_multiple_of(SECTOR);
    let (mut at, mut lead_out) = (COUNT + 1, None);
    for track in 1..=tracks {
        let before = number(data, at)?;
        let points = *data.get(at + TRACK - 1)?;
        let begins = if track == tracks { samples } else { moved(before) };
        on_sectors &= begins.is_multiple_of(SECTOR);
        out[at..at + 8].copy_from_slice(&begins.to_be_bytes());
        lead_out = Some(at + 8);
        at += TRACK;
        for _ in 0..points {
            // From the beginning of the track.
            let point = moved(before.checked_add(number(data, at)?)?).saturating_sub(begins);
            on_sectors &= point.is_multiple_of(SECTOR);
            out[at..at + 8].copy_from_slice(&point.to_be_bytes());
            at += INDEX;
        }
    }
    if at != data.len() {
        return None;
    }
    if data[FLAGS] & 0x80 != 0 && !on_sectors {
        out[FLAGS] &= 0x7F;
        // Both have a meaning for CDs alone.
        out[LEAD_IN..FLAGS].fill(0);
        out[lead_out?] = LEAD_OUT;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(of_cd: bool, tracks: &[(u64, u8, &[u64])]) -> Vec<u8> {
        let mut out = vec![0; COUNT];
        if of_cd {
            out[LEAD_IN..FLAGS].copy_from_slice(&88_200_u64.to_be_bytes());
            out[FLAGS] = 0x80;
        }
        out.push(tracks.len() as u8);
        for (offset, number, points) in tracks {
            out.extend(offset.to_be_bytes());
            out.push(*number);
            out.extend([7; 26]);
            out.push(points.len() as u8);
            for (index, point) in points.iter().enumerate() {
                out.extend(point.to_be_bytes());
                out.extend([index as u8, 0, 0, 0]);
            }
        }
        out
    }

    #[test]
    fn tracks_and_points_move_and_the_lead_out_is_the_end() {
        let ad = 2 * SECTOR;
        let moved = |ad: u64| move |sample: u64| sample + if sample >= 2_940 { ad } else { 0 };
        let before = [(0, 1, &[0, 2_940][..]), (5_880, 2, &[0]), (11_760, 170, &[])];
        let after = |ad| [(0, 1, [0, 2_940 + ad]), (5_880 + ad, 2, [0, 0])];
        let [(a, b, points), (c, d, _)] = after(ad);
        let expected = sheet(true, &[(a, b, &points), (c, d, &[0]), (11_760 + ad, 170, &[])]);
        assert_eq!(
            moved_cue_sheet(&sheet(true, &before), 11_760 + ad, moved(ad)),
            Some(expected)
        );
        // Off the sectors.
        let [(a, b, points), (c, d, _)] = after(ad + 1);
        let expected = sheet(
            false,
            &[(a, b, &points), (c, d, &[0]), (11_761 + ad, LEAD_OUT, &[])],
        );
        assert_eq!(
            moved_cue_sheet(&sheet(true, &before), 11_761 + ad, moved(ad + 1)),
            Some(expected)
        );
    }

    #[test]
    fn what_makes_no_sense_is_none() {
        let sound = sheet(false, &[(0, 1, &[0]), (9, LEAD_OUT, &[])]);
        for len in 0..sound.len() {
            assert_eq!(moved_cue_sheet(&sound[..len], 9, |sample| sample), None, "{len}");
        }
        assert_eq!(
            moved_cue_sheet(&[&sound[..], b"x"].concat(), 9, |sample| sample),
            None
        );
        assert_eq!(moved_cue_sheet(&sound, 9, |sample| sample), Some(sound));
    }
}
