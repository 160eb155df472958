//! Smaller bytes that fail in the same way.

/// The largest number of attempts.
const ATTEMPTS: u32 = 4000;

/// Removes and clears bytes as long as `fails` holds, and returns the smallest bytes found.
pub fn shrink(data: &[u8], mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut best = data.to_vec();
    let mut left = ATTEMPTS;
    let mut size = best.len().div_ceil(2);
    while size > 0 && left > 0 {
        let (mut at, mut improved) = (0, false);
        while at < best.len() && left > 0 {
            let end = best.len().min(at + size);
            let removed = [&best[..at], &best[end..]].concat();
            let mut cleared = best.clone();
            cleared[at..end].fill(0);
            let smaller = [removed, cleared].into_iter().find(|smaller| {
                left = left.saturating_sub(1);
                *smaller != best && fails(smaller)
            });
            match smaller {
                Some(smaller) => {
                    improved |= smaller.len() < best.len();
                    at += if smaller.len() < best.len() { 0 } else { size };
                    best = smaller;
                }
                None => at += size,
            }
        }
        if !improved {
            size /= 2;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bytes_that_matter_are_left() {
        let data: Vec<u8> = (0..200).collect();
        let found = shrink(&data, |data| data.contains(&17) && data.contains(&150));
        assert_eq!(found, [17, 150]);
    }
}
