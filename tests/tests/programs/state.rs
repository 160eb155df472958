//! Mutable data: initialised, zeroed, private, and exported.
#![no_std]

use core::ptr::addr_of_mut;

static mut COUNTER: i64 = 100;
static mut RECORDS: [i64; 1000] = [0; 1000];
#[unsafe(no_mangle)]
pub static mut exported: i64 = 7;
#[unsafe(no_mangle)]
pub static mut exported_zero: i64 = 0;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn bump(by: i64) -> i64 {
    // SAFETY: the tests call from one thread.
    unsafe {
        COUNTER += by;
        COUNTER
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn record(index: i64, value: i64) -> i64 {
    // SAFETY: the caller passes the index of one of the thousand records; one thread, as above.
    unsafe {
        let place = addr_of_mut!(RECORDS).cast::<i64>().offset(index as isize);
        let before = *place;
        *place = value;
        before
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn add_exported(value: i64) -> i64 {
    // SAFETY: one thread, as above.
    unsafe {
        exported_zero += value;
        exported += value;
        exported
    }
}
