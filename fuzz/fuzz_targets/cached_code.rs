//! Any bytes are records of cached code that lie inside them, or an error; also records with correct hashes, which a
//! mutation hardly ever produces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_core::format::ext::cached_code::{encode, hash, records};
use smf_tests::walk::walk_kept;

fuzz_target!(|data: &[u8]| {
    walk_kept(data);
    let repaired: Vec<Vec<u8>> = records(data)
        .map(|(_, record)| {
            let mut record = record.to_vec();
            if let Some((head, body)) = record.split_at_mut_checked(12) {
                head[4..].copy_from_slice(&hash(body).to_le_bytes());
            }
            record
        })
        .collect();
    walk_kept(&encode(repaired.iter().map(Vec::as_slice)).unwrap());
});
