//! Quicksort with a comparison function of the caller, and with one of its own.
#![no_std]

type Comparison = extern "C" fn(i64, i64) -> i64;

extern "C" fn downwards(a: i64, b: i64) -> i64 {
    if a < b {
        1
    } else if a > b {
        -1
    } else {
        0
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn quicksort(mut values: *mut i64, mut len: i64, compare: Comparison) -> i64 {
    while len > 1 {
        // SAFETY: the caller has `len` values at `values`, and the pivot stops both indices inside the array.
        unsafe {
            let pivot = *values.offset((len >> 1) as isize);
            let (mut left, mut right) = (0, len - 1);
            while left <= right {
                while compare(*values.offset(left as isize), pivot) < 0 {
                    left += 1;
                }
                while compare(*values.offset(right as isize), pivot) > 0 {
                    right -= 1;
                }
                if left <= right {
                    let held = *values.offset(left as isize);
                    *values.offset(left as isize) = *values.offset(right as isize);
                    *values.offset(right as isize) = held;
                    left += 1;
                    right -= 1;
                }
            }
            quicksort(values, right + 1, compare);
            values = values.offset(left as isize);
            len -= left;
        }
    }
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn sort_downwards(values: *mut i64, len: i64) -> i64 {
    // SAFETY: the contract is that of the caller.
    unsafe { quicksort(values, len, downwards) }
}
