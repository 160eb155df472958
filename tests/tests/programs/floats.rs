//! Floating-point constants, which compilers place in read-only data.
#![no_std]

#[unsafe(no_mangle)]
pub extern "C" fn circle_in_thousandths(radius: i64) -> i64 {
    (core::f64::consts::PI * radius as f64 * radius as f64 * 1000.0) as i64
}

/// The sign is changed by a mask of 16 bytes.
#[unsafe(no_mangle)]
pub extern "C" fn mirrored(value: i64) -> i64 {
    let x = -(value as f64 * 0.5);
    let y = -(value as f32 * 0.25);
    (x * 1000.0) as i64 + (y * 100.0) as i64
}
