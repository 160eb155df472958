//! An in-place heap sort with a small code size.
//!
//! `slice::sort_unstable` and `slice::sort` generate 3 to 10 KB of code for each element type and order; this
//! sort generates 0.3 KB. It does not allocate, and its worst case is O(n log n). Sorted input, as the tables of
//! most files are, is detected in one pass. The sort is not stable.
//!
//! Source: R. W. Floyd, Algorithm 245, Treesort 3, Communications of the ACM 7 (1964).

/// Sorts in ascending order.
pub fn sort<T: Ord>(list: &mut [T]) {
    sort_by(list, T::lt);
}

/// Sorts by ascending key.
pub fn sort_by_key<T, K: Ord>(list: &mut [T], key: impl Fn(&T) -> K) {
    sort_by(list, |one, two| key(one) < key(two));
}

/// Sorts by the strict order `is_less`.
pub fn sort_by<T>(list: &mut [T], is_less: impl Fn(&T, &T) -> bool) {
    if list.is_sorted_by(|one, two| !is_less(two, one)) {
        return;
    }
    let len = list.len();
    // The first `len / 2` steps build the heap, from the last parent to the root; each later step moves the
    // greatest element of the heap behind its end.
    for step in (0..len + len / 2).rev() {
        let (root, left) = if step >= len { (step - len, len) } else { (0, step) };
        if step < len {
            list.swap(0, step);
        }
        let (heap, _) = list.split_at_mut(left);
        sink(heap, root, &is_less);
    }
}

/// Moves an element down until no child is greater.
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
    fn sort_agrees_with_the_standard_library_at_every_length() {
        let mut random = 1u32;
        let long = if cfg!(miri) { [100, 257] } else { [1000, 4097] };
        for len in some(0..70, 8).chain(long) {
            for limit in [1, 3, 50, u32::MAX] {
                let mut list: Vec<u32> = (0..len)
                    .map(|_| {
                        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (random >> 7) % limit
                    })
                    .collect();
                let (mut expected, mut descending) = (list.clone(), list.clone());
                expected.sort_unstable();
                sort(&mut list);
                assert_eq!(list, expected, "{len} {limit}");
                sort(&mut list);
                assert_eq!(list, expected, "{len} {limit}, in order");
                sort_by_key(&mut descending, |number| core::cmp::Reverse(*number));
                expected.reverse();
                assert_eq!(descending, expected, "{len} {limit}, descending");
                sort(&mut descending);
                assert!(descending.is_sorted(), "{len} {limit}, reversed");
            }
        }
    }

    #[test]
    fn sorted_input_is_compared_once() {
        let comparisons = core::cell::Cell::new(0);
        let mut list: Vec<u32> = (0..1000).map(|number| number / 2).collect();
        sort_by(&mut list, |one, two| {
            comparisons.set(comparisons.get() + 1);
            one < two
        });
        assert_eq!(comparisons.get(), 999);
    }
}
