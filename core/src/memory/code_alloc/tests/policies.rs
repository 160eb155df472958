//! Tests under restrictive system policies. Each policy that a process can set is set in a process of its own.

use super::super::super::fault_injection::{Call, inject};
use super::*;
use crate::memory::set_file_size_limit;
use crate::testing::skip;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::process::Command;
use std::string::ToString;
use std::{env, println};

unsafe extern "C" {
    fn prctl(option: i32, ...) -> i32;
}

/// `PR_SET_MDWE` with `PR_MDWE_REFUSE_EXEC_GAIN` (Linux 6.3). `false`, with a report, if the kernel lacks it.
fn forbid_exec_gain() -> bool {
    // SAFETY: numbers alone; it changes what this process may do.
    let is_forbidden = unsafe { prctl(65, 1usize, 0usize, 0usize, 0usize) == 0 };
    if !is_forbidden {
        skip("the kernel has no PR_SET_MDWE");
    }
    is_forbidden
}

/// Makes `memfd_create` fail with `errno` from now on, by a seccomp filter.
fn forbid_memory_files(errno: Errno) {
    #[repr(C)]
    struct Instruction(u16, u8, u8, u32);
    #[repr(C)]
    struct Program {
        len: u16,
        instructions: *const Instruction,
    }
    let memfd_create = if cfg!(target_arch = "x86_64") { 319 } else { 279 };
    let refuse = 0x0005_0000 | errno.raw_os_error() as u32;
    let filter = [
        Instruction(0x20, 0, 0, 0),            // load the number of the call
        Instruction(0x15, 0, 1, memfd_create), // skip the next one unless it is this
        Instruction(0x06, 0, 0, refuse),
        Instruction(0x06, 0, 0, 0x7fff_0000), // allow
    ];
    let program = Program { len: 4, instructions: filter.as_ptr() };
    // SAFETY: numbers alone: PR_SET_NO_NEW_PRIVS, which the filter needs.
    assert_eq!(unsafe { prctl(38, 1usize, 0usize, 0usize, 0usize) }, 0);
    // SAFETY: PR_SET_SECCOMP, SECCOMP_MODE_FILTER; the program outlives the call.
    assert_eq!(unsafe { prctl(22, 2usize, &raw const program, 0usize, 0usize) }, 0);
}

/// Exercises the allocator with any backing.
fn exercise(memory: &CodeMemory) {
    let mut blocks = Vec::new();
    for number in 0..500 {
        let code = returning(number);
        let mut block = memory.allocate(code.len()).unwrap();
        block.as_mut_slice().copy_from_slice(&code);
        let block = block.publish().unwrap();
        assert_eq!(call(block.address()), i32::from(number));
        assert_eq!(access(block.address()), "r-x");
        if number % 3 > 0 {
            blocks.push((block, number));
        }
    }
    assert_no_writable_code();
    drop(memory.allocate(1_000_000).unwrap());
    for (block, number) in blocks {
        assert_eq!(call(block.address()), i32::from(number));
    }
    let pages = memory.allocate_pages(5000, PageUse::Code).unwrap();
    for number in 0..5 {
        memory.write_pages(pages, 0, &returning(number)).unwrap();
        assert_eq!((call(pages), access(pages).as_str()), (i32::from(number), "r-x"));
        assert_eq!(memory.entry_point(pages), Ok(pages));
    }
    memory.free_pages(pages, 5000).unwrap();
    assert_no_writable_code();
    assert_eq!(memory.statistics().live_blocks, 0);
    memory.trim().unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "restricts the process")]
fn mdwe_allows_memory_files_and_refuses_executable_data() {
    if !alone(
        "memory::code_alloc::tests::policies::mdwe_allows_memory_files_and_refuses_executable_data",
    ) || !forbid_exec_gain()
    {
        return;
    }
    let memory = CodeMemory::default();
    exercise(&memory);
    assert_eq!(memory.backing(), Some(Backing::MemoryFile));
    let data = memory.allocate_pages(10, PageUse::Data).unwrap();
    let error = memory.protect_pages(data, 10, Protection::ReadExecute).unwrap_err();
    assert!(error.to_string().ends_with("readable and executable: permission denied"), "{error}");
    assert_eq!(access(data), "rw-");
    memory.free_pages(data, 10).unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "restricts the process")]
fn without_memfd_create_a_temporary_file_is_used() {
    if !alone("memory::code_alloc::tests::policies::without_memfd_create_a_temporary_file_is_used")
    {
        return;
    }
    forbid_memory_files(Errno::NOSYS);
    let memory = CodeMemory::default();
    exercise(&memory);
    // The directory may be missing or mounted with noexec.
    let backings = [Some(Backing::TemporaryFile), Some(Backing::ChangingPages)];
    assert!(backings.contains(&memory.backing()), "{:?}", memory.backing());
    println!("{:?}", memory.backing());
}

/// A file beyond the limit would end the process by a signal.
#[test]
#[cfg_attr(miri, ignore = "restricts the process")]
fn limit_of_file_sizes_is_heeded() {
    if !alone("memory::code_alloc::tests::policies::limit_of_file_sizes_is_heeded") {
        return;
    }
    let limit = Rlimit { current: Some(4096), maximum: Some(4096) };
    setrlimit(Resource::Fsize, limit).unwrap();
    set_file_size_limit(|| getrlimit(Resource::Fsize).current);
    let memory = CodeMemory::default();
    exercise(&memory);
    assert_eq!(memory.backing(), Some(Backing::ChangingPages));
}

#[test]
#[cfg_attr(miri, ignore = "restricts the process")]
fn without_any_file_pages_change_protection() {
    if !alone("memory::code_alloc::tests::policies::without_any_file_pages_change_protection") {
        return;
    }
    forbid_memory_files(Errno::PERM);
    let memory = CodeMemory::default();
    let _fault = inject(Call::TemporaryFile, 0, Errno::NOENT);
    exercise(&memory);
    assert_eq!(memory.backing(), Some(Backing::ChangingPages));
}

#[test]
#[cfg_attr(miri, ignore = "restricts the process")]
fn files_with_forbidden_executable_mappings_are_skipped() {
    if !alone(
        "memory::code_alloc::tests::policies::files_with_forbidden_executable_mappings_are_skipped",
    ) {
        return;
    }
    // As on a mount with `noexec`.
    let _fault = inject(Call::MapFile(Protection::ReadExecute), 0, Errno::PERM);
    let memory = CodeMemory::default();
    exercise(&memory);
    assert_eq!(memory.backing(), Some(Backing::ChangingPages));
    assert_eq!(code_mappings(), 0);
}

#[test]
#[cfg_attr(miri, ignore = "restricts the process")]
fn policy_error_names_what_forbids_every_backing() {
    if !alone("memory::code_alloc::tests::policies::policy_error_names_what_forbids_every_backing")
        || !forbid_exec_gain()
    {
        return;
    }
    forbid_memory_files(Errno::NOSYS);
    let fault = inject(Call::TemporaryFile, 0, Errno::NOENT);
    let before = maps().len();
    let memory = CodeMemory::default();
    let error = memory.allocate(100).map(drop).unwrap_err();
    drop(fault);
    let ExecError::Policy { file, change } = error else { panic!("{error}") };
    assert_eq!((file, change), (Errno::NOSYS.into(), Errno::ACCESS.into()));
    assert!(
        error.to_string().contains("PR_SET_MDWE") && error.to_string().contains("memfd_noexec")
    );
    memory.trim().unwrap();
    assert_eq!((maps().len(), memory.backing()), (before, None));
}

/// `vm.memfd_noexec` belongs to the PID namespace; creating a namespace needs privileges.
#[test]
#[cfg_attr(miri, ignore = "starts a program")]
fn every_memfd_noexec_value_allows_memory_files() {
    const MARK: &str = "SMF_TEST_NOEXEC";
    const NAME: &str =
        "memory::code_alloc::tests::policies::every_memfd_noexec_value_allows_memory_files";
    if env::var_os(MARK).is_some() {
        let memory = CodeMemory::default();
        exercise(&memory);
        assert_eq!(memory.backing(), Some(Backing::MemoryFile));
        return;
    }
    for level in ["0", "1", "2"] {
        let script = std::format!(
            "echo {level} > /proc/sys/vm/memfd_noexec || exit 77; exec \"$0\" --exact {NAME}"
        );
        let command = Command::new("unshare")
            .args(["--pid", "--fork", "sh", "-c", &script])
            .arg(env::current_exe().unwrap())
            .env(MARK, level)
            .output();
        match command {
            Ok(output) if output.status.success() => {
                let stdout = String::from_utf8_lossy(&output.stdout).to_string();
                assert!(stdout.contains("1 passed"), "{stdout}");
            }
            Ok(output) if output.status.code() != Some(101) => {
                skip(&std::format!("vm.memfd_noexec cannot be set to {level}: {}", output.status));
            }
            Ok(output) => panic!("{output:?}"),
            Err(error) => skip(&std::format!("no new namespace: {error}")),
        }
    }
}

/// Blocks in pages that change have other units, by which they would overlap in a chunk of the units of blocks that share pages.
#[test]
fn pages_that_are_mapped_twice_are_not_followed_by_changing_pages() {
    let memory =
        CodeMemory::new(CodeMemoryOptions { arena_bytes: 1 << 20, ..Default::default() }).unwrap();
    let mut blocks = std::vec![memory.allocate(16).unwrap()];
    let fault = inject(Call::MapFile(Protection::ReadExecute), 0, Errno::PERM);
    let error = (0..100).find_map(|_| match memory.allocate(32 << 10) {
        Ok(block) => {
            blocks.push(block);
            None
        }
        Err(error) => Some(error),
    });
    assert!(matches!(error, Some(ExecError::Policy { .. })), "{error:?}");
    assert_eq!((memory.backing(), memory.statistics().arenas), (Some(Backing::MemoryFile), 1));
    drop(fault);
    memory.allocate(32 << 10).unwrap();
}
