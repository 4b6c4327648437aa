//! Frames that share a block (RFC 9559 §10.3).

use super::ebml;

/// The sizes of frames that share a block, by their list; `len` is the length of both together.
pub(super) fn laced(bytes: &[u8], lacing: u8, len: usize) -> Option<Vec<usize>> {
    let (count, mut rest) = bytes.split_first()?;
    let others = usize::from(*count);
    let mut sizes: Vec<usize> = Vec::with_capacity(others + 1);
    match lacing {
        2 => {
            for _ in 0..others {
                let mut size = 0;
                loop {
                    let (byte, after) = rest.split_first()?;
                    (size, rest) = (size + usize::from(*byte), after);
                    if *byte < 255 {
                        break;
                    }
                }
                sizes.push(size);
            }
        }
        4 => {
            let size = (len - 1) / (others + 1);
            return (size * (others + 1) == len - 1).then(|| vec![size; others + 1]);
        }
        _ => {
            for i in 0..others {
                let (value, value_len) = ebml::number(rest)?;
                let value = i64::try_from(value?).ok()?;
                let size = match sizes.last() {
                    // A difference, around half of what so many bits hold.
                    Some(before) => i64::try_from(*before).ok()? + value - ((1 << (7 * value_len - 1)) - 1),
                    None => value,
                };
                debug_assert!(i == 0 || !sizes.is_empty());
                sizes.push(usize::try_from(size).ok()?);
                rest = &rest[value_len..];
            }
        }
    }
    let list = bytes.len() - rest.len();
    let known = sizes
        .iter()
        .try_fold(0_usize, |sum, size| sum.checked_add(*size))?;
    sizes.push(len.checked_sub(list)?.checked_sub(known)?);
    Some(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_share_a_block_have_the_sizes_of_its_list() {
        // The examples of RFC 9559 §10.3: 800, 500 and 1000 bytes.
        let xiph = [2, 255, 255, 255, 35, 255, 245];
        assert_eq!(laced(&xiph, 2, 7 + 2_300), Some(vec![800, 500, 1_000]));
        let ebml = [2, 0x43, 0x20, 0x5E, 0xD3];
        assert_eq!(laced(&ebml, 6, 5 + 2_300), Some(vec![800, 500, 1_000]));
        assert_eq!(laced(&[2], 4, 1 + 2_400), Some(vec![800; 3]));
        assert_eq!(laced(&[2], 4, 1 + 2_401), None);
        assert_eq!(laced(&xiph, 2, 7 + 1_200), None);
        assert_eq!(laced(&[], 2, 0), None);
    }
}
