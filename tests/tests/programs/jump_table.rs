//! A match that compiles to a jump table.
#![no_std]

#[unsafe(no_mangle)]
pub extern "C" fn calculate(operation: i64, a: i64, b: i64) -> i64 {
    match operation {
        0 => a + b,
        1 => a - b,
        2 => a * b,
        3 => a.checked_div(b).unwrap_or(0),
        4 => a & b,
        5 => a | b,
        6 => a ^ b,
        7 => a << (b & 31),
        8 => a >> (b & 31),
        9 => (a < b) as i64,
        _ => -1,
    }
}
