//! Tests of pages by address, and of refused operations.

use super::*;
use PageUse::{Code, Data};
use Protection::{None as NoAccess, Read, ReadExecute, ReadWrite};

fn page() -> usize {
    sys::page_size()
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn code_pages_are_zero_and_executable_once_written() {
    let memory = CodeMemory::default();
    for number in 0..200u16 {
        let size = 1 + usize::from(number) * 97;
        let address = memory.allocate_pages(size as u64, Code).unwrap();
        let capacity = size.next_multiple_of(page());
        assert_eq!((address % page(), access(address).as_str()), (0, "r-x"));
        assert!(bytes_at(address, capacity).iter().all(|&byte| byte == 0), "{size}");
        assert_eq!(memory.entry_point(address), Err(ExecError::NotExecutable { address }));
        let code = returning(number);
        // The block extends to the end of its last page.
        let offset = capacity - code.len();
        assert_eq!(memory.write_pages(address, offset as u64, &code), Ok(code.len()));
        assert_eq!(memory.entry_point(address + offset), Ok(address + offset));
        assert_eq!(call(address + offset), i32::from(number));
        assert_eq!(memory.write_pages(address, 0, &code), Ok(code.len()));
        assert_eq!((call(address), access(address).as_str()), (i32::from(number), "r-x"));
        memory.free_pages(address, size as u64).unwrap();
        assert_eq!(memory.entry_point(address), Err(ExecError::NotExecutable { address }));
    }
    assert_eq!(memory.statistics().live_blocks, 0);
}

#[test]
fn data_pages_change_to_code_and_back() {
    let memory = CodeMemory::default();
    let address = memory.allocate_pages(100, Data).unwrap();
    assert_eq!(access(address), "rw-");
    for round in 0..3 {
        for (at, byte) in (address..).zip(returning(7 + round)) {
            write_at(at, byte);
        }
        assert_eq!(memory.entry_point(address), Err(ExecError::NotExecutable { address }));
        memory.protect_pages(address, 100, ReadExecute).unwrap();
        assert_eq!(access(address), "r-x");
        assert_eq!(
            (memory.entry_point(address), call(address)),
            (Ok(address), i32::from(7 + round))
        );
        // `write_pages` keeps it executable.
        memory.write_pages(address, 0, &returning(100)).unwrap();
        assert_eq!((access(address).as_str(), call(address)), ("r-x", 100));
        memory.protect_pages(address, page() as u64, ReadWrite).unwrap();
        assert_eq!(access(address), "rw-");
    }
    memory.free_pages(address, 100).unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "writes through two mappings")]
fn code_pages_change_to_writable_and_back() {
    let memory = CodeMemory::default();
    let address = memory.allocate_pages(3000, Code).unwrap();
    let next = memory.allocate_pages(3000, Code).unwrap();
    for (protection, expected) in
        [(ReadWrite, "rw-"), (Read, "r--"), (NoAccess, "---"), (ReadWrite, "rw-")]
    {
        memory.protect_pages(address, 3000, protection).unwrap();
        assert_eq!((access(address).as_str(), access(next).as_str()), (expected, "r-x"));
        assert_eq!(memory.entry_point(address), Err(ExecError::NotExecutable { address }));
        assert_no_writable_code();
    }
    for (at, byte) in (address..).zip(returning(9)) {
        write_at(at, byte);
    }
    memory.protect_pages(address, 3000, ReadExecute).unwrap();
    assert_eq!((memory.entry_point(address), call(address)), (Ok(address), 9));
    memory.protect_pages(address, 3000, NoAccess).unwrap();
    memory.free_pages(address, 3000).unwrap();
    memory.free_pages(next, 3000).unwrap();
    // Reused pages are zero and executable like new ones.
    let again: Vec<_> = (0..100).map(|_| memory.allocate_pages(3000, Code).unwrap()).collect();
    for &address in &again {
        assert_eq!(access(address), "r-x");
        assert!(bytes_at(address, page()).iter().all(|&byte| byte == 0));
    }
    again.into_iter().for_each(|address| memory.free_pages(address, 3000).unwrap());
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn invalid_addresses_and_sizes_are_refused() {
    let memory = CodeMemory::default();
    let len = page() + 10;
    let address = memory.allocate_pages(len as u64, Code).unwrap();
    let data = memory.allocate_pages(10, Data).unwrap();
    let freed = memory.allocate_pages(10, Code).unwrap();
    memory.free_pages(freed, 10).unwrap();
    let typed = memory.allocate(100).unwrap();
    memory.write_pages(address, 0, &[1, 2, 3]).unwrap();
    let before = memory.statistics();

    let unknown = |address| Err(ExecError::Unknown { address });
    let inside = |at| Err(ExecError::Inside { address: at, start: address });
    let local = &raw const len as usize;
    for (at, expected) in [
        (0, unknown(0)),
        (1, unknown(1)),
        (usize::MAX, unknown(usize::MAX)),
        (local, unknown(local)),
        (freed, unknown(freed)),
        (typed.address(), unknown(typed.address())),
        (typed.as_slice().as_ptr().addr(), unknown(typed.as_slice().as_ptr().addr())),
        (address + 1, inside(address + 1)),
        (address + page(), inside(address + page())),
        (address + len - 1, inside(address + len - 1)),
        (address + 2 * page() - 1, inside(address + 2 * page() - 1)),
    ] {
        for size in [0, 1, 10, 100, len as u64, u64::MAX] {
            assert_eq!(memory.free_pages(at, size), expected, "{at:x}");
            for protection in [ReadWrite, ReadExecute, Read, NoAccess] {
                assert_eq!(memory.protect_pages(at, size, protection), expected, "{at:x}");
            }
        }
        assert_eq!(memory.write_pages(at, 0, &[1]).map(|_| ()), expected, "{at:x}");
    }
    for size in [0, 1, len as u64 - 1, len as u64 + 1, 1 << 31, 1 << 63, u64::MAX] {
        let other = Err(ExecError::OtherSize { address, size, expected: len });
        assert_eq!(memory.free_pages(address, size), other);
        assert_eq!(memory.protect_pages(address, size, ReadWrite), other);
    }
    let capacity = 2 * page();
    for (offset, len) in [
        (0, capacity + 1),
        (1, capacity),
        (capacity as u64, 1),
        (capacity as u64 + 1, 0),
        (u64::MAX, 1),
        (1 << 63, 0),
    ] {
        let code = std::vec![9; len];
        let outside = Err(ExecError::Outside { offset, len, capacity });
        assert_eq!(memory.write_pages(address, offset, &code), outside);
    }
    assert_eq!(memory.write_pages(address, capacity as u64, &[]), Ok(0));
    for size in [0, (1 << 30) + 1, u64::MAX, 1 << 63] {
        for usage in [Code, Data] {
            assert!(memory.allocate_pages(size, usage).is_err());
        }
    }

    assert_eq!(bytes_at(address, 4), [1, 2, 3, 0]);
    assert_eq!((access(address).as_str(), access(data).as_str()), ("r-x", "rw-"));
    assert_eq!(memory.entry_point(data), Err(ExecError::NotExecutable { address: data }));
    let after = memory.statistics();
    assert_eq!((after.live_bytes, after.live_blocks), (before.live_bytes, before.live_blocks));
    assert_eq!((after.allocations, after.frees), (before.allocations, before.frees));
    assert!(after.refusals > before.refusals + 300);
    memory.free_pages(address, len as u64).unwrap();
    assert_eq!(memory.free_pages(address, len as u64), unknown(address), "twice");
    memory.free_pages(data, 10).unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn freeing_all_pages_and_trimming_leaves_no_mapping() {
    if !alone("memory::code_alloc::tests::pages::freeing_all_pages_and_trimming_leaves_no_mapping")
    {
        return;
    }
    let memory = CodeMemory::default();
    let mut blocks = Vec::with_capacity(64);
    let before = maps().len();
    for size in 1..30 {
        for usage in [Code, Data] {
            blocks.push((memory.allocate_pages(size * 5000, usage).unwrap(), size * 5000));
        }
    }
    for &(address, size) in blocks.iter().step_by(3) {
        memory.protect_pages(address, size, ReadExecute).unwrap();
        assert_no_writable_code();
    }
    for &(address, size) in blocks.iter().step_by(4) {
        memory.protect_pages(address, size, ReadWrite).unwrap();
        assert_no_writable_code();
    }
    for (address, size) in blocks {
        memory.free_pages(address, size).unwrap();
    }
    memory.trim().unwrap();
    assert_eq!(maps().len(), before);
}
