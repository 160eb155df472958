//! Sorting where its time does not count, in a tenth of the machine code.
//!
//! `slice::sort_unstable` and `slice::sort` are 3 to 10 KB of code for each type and each order that they
//! are used with. A heap sort is 0.3 KB, takes no memory, and no order of its input makes it slow. What is
//! in order already, as tables of files nearly always are, is walked over once.
//!
//! Equal elements may change places.
//!
//! Source: R. W. Floyd, Algorithm 245, Treesort 3, Communications of the ACM 7 (1964).

/// Puts the least first.
pub fn sort<T: Ord>(list: &mut [T]) {
    sort_by(list, T::lt);
}

/// Puts those of the least key first.
pub fn sort_by_key<T, K: Ord>(list: &mut [T], key: impl Fn(&T) -> K) {
    sort_by(list, |one, two| key(one) < key(two));
}

/// Puts those first that are less than the others; `is_less` must be the order of something.
#[inline(never)]
pub fn sort_by<T>(list: &mut [T], is_less: impl Fn(&T, &T) -> bool) {
    if list.is_sorted_by(|one, two| !is_less(two, one)) {
        return;
    }
    let len = list.len();
    // First the parents become the roots of heaps, from the last one on; then the greatest that is left
    // changes places with the last one that is left.
    for step in (0..len + len / 2).rev() {
        let (root, left) = if step >= len { (step - len, len) } else { (0, step) };
        if step < len {
            list.swap(0, step);
        }
        let (heap, _) = list.split_at_mut(left);
        sink(heap, root, &is_less);
    }
}

/// Lets an element sink until no child is greater.
#[inline]
fn sink<T>(heap: &mut [T], mut parent: usize, is_less: &impl Fn(&T, &T) -> bool) {
    loop {
        let mut child = 2 * parent + 1;
        let Some(first) = heap.get(child) else { return };
        let mut greater = first;
        if let Some(second) = heap.get(child + 1).filter(|second| is_less(first, second)) {
            (child, greater) = (child + 1, second);
        }
        if !heap.get(parent).is_some_and(|parent| is_less(parent, greater)) {
            return;
        }
        heap.swap(parent, child);
        parent = child;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::some;
    use std::vec::Vec;

    #[test]
    fn lists_of_every_length_are_sorted_as_the_library_does() {
        let mut random = 1u32;
        let long = if cfg!(miri) { [100, 257] } else { [1000, 4097] };
        for len in some(0..70, 8).chain(long) {
            for most in [1, 3, 50, u32::MAX] {
                let mut list: Vec<u32> = (0..len)
                    .map(|_| {
                        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (random >> 7) % most
                    })
                    .collect();
                let (mut expected, mut falling) = (list.clone(), list.clone());
                expected.sort_unstable();
                sort(&mut list);
                assert_eq!(list, expected, "{len} {most}");
                sort(&mut list);
                assert_eq!(list, expected, "{len} {most}, in order");
                sort_by_key(&mut falling, |number| core::cmp::Reverse(*number));
                expected.reverse();
                assert_eq!(falling, expected, "{len} {most}, falling");
                sort(&mut falling);
                assert!(falling.is_sorted(), "{len} {most}, from the end");
            }
        }
    }

    #[test]
    fn what_is_in_order_is_looked_at_once() {
        let looks = core::cell::Cell::new(0);
        let mut list: Vec<u32> = (0..1000).map(|number| number / 2).collect();
        sort_by(&mut list, |one, two| {
            looks.set(looks.get() + 1);
            one < two
        });
        assert_eq!(looks.get(), 999);
    }
}
