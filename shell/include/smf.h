/*
 * smf.h - the C API of the SMF loader: libsmf_loader.so, libsmf_loader.a
 *
 * Rules for every function:
 *
 *   - It may be called from any thread, and does not unwind. Each section below says, under "Threads" and "Fork", what
 *     holds for its functions beyond that and beyond the rules after fork(2).
 *   - 64-bit addresses and sizes are int64_t. For null, negative, overflowing and foreign ones a function returns
 *     the failure value documented here, and has no effect.
 *   - Where nothing else is documented, the failure value is false for a bool, null for a pointer, and 0 for a handle or
 *     an address.
 *   - The reason of a failure is recorded for the thread: smf_last_error().
 *   - Addresses of executable memory and of mappings are looked up, never trusted, except by the functions of the
 *     section "Memory of the process". C strings, arrays with a length and the table of smf_set_value_hooks are
 *     dereferenced, and must be valid.
 *
 * Machine code is trusted: this library does not restrict what called code does.
 *
 * After fork(2), also of a process with several threads, every function works in the child or fails, with
 * SMF_ERROR_FORKED where the fork is the reason. No function waits for a thread of the parent. In the child
 *
 *   - mappings, values and texts are as in the parent;
 *   - inherited code may be called while the parent does not free it, and can be neither changed nor freed; executable
 *     memory that the child allocates is its own, and is counted separately from that of the parent;
 *   - caches, loaders, instantiators and contexts that no thread, including the forking one, was using at the fork
 *     are as in the parent, except for what needs executable memory: an inherited loader refuses bytecode modules and
 *     reloadable modules, and an inherited instantiator creates no code (SMF_JIT_FAILED);
 *   - those that a thread was using are refused for ever, with everything in them, and cannot be closed;
 *   - prefetches have ended with their threads and are refused; until one is freed, its cache is in use.
 *
 * A new cache, loader, instantiator or prefetch of the child is unrestricted, except that versions which it replaces stay
 * in memory, up to max_replaced_bytes, if threads of the parent were inside calls at the fork. The library takes its own
 * locks around a fork by pthread_atfork(3), registered when it is loaded, and waits until no thread is inside of its
 * calls of dlopen(3) and dlclose(3), for thread-local storage and the libraries that modules need. So a fork waits for no
 * function of the host but initialisers and terminators of these libraries. While other threads use this library, an
 * initialiser of a library and a callback of dl_iterate_phdr(3) must not fork: those threads would wait for them for
 * ever. Children of _Fork, vfork or clone(2) run no such handlers and must call no function of this library; a signal
 * handler may fork by _Fork only. The unwinder of gcc 12 and older has a lock of its own: if another thread of the host
 * unwinds (C++ exceptions) at the fork, the child must load, unload and unwind nothing.
 *
 * dlclose(3) unloads the library only when the threads that have loaded or compiled with it have ended. Each round of
 * dlopen and dlclose leaves 1 to 3 KiB.
 *
 * With SMF_TAGGED defined, the header declares the build of the library in the tagged convention, in which text, a
 * byte array and a tuple are each one word of the runtime that the library is linked with. With SMF_NO_JIT defined,
 * it omits what a library without the feature `jit` lacks, and with SMF_NO_EXEC what one without `exec` lacks.
 */
#ifndef SMF_H
#define SMF_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Version ------------------------------------------------------------------------------------ */

/*
 * Threads: no state.
 * Fork: no state.
 */

/*
 * The version of this header. The shared library's soname and the version of its symbols state the binary interface,
 * which changes where a program would have to be compiled again.
 */
#define SMF_VERSION "0.1.0"
#define SMF_VERSION_MAJOR 0
#define SMF_VERSION_MINOR 1
#define SMF_VERSION_PATCH 0

/* The version of the library, as in SMF_VERSION; a static string. */
const char *smf_version(void);

/* ---- Errors ------------------------------------------------------------------------------------- */

/*
 * Threads: each thread has its own last error and its own text.
 * Fork: the forking thread's last error is that of the child as well.
 */

/* Why a function failed. A number never changes its meaning. */
typedef enum SmfErrorCode {
    SMF_OK = 0,
    SMF_ERROR_ARGUMENT = 1,          /* null, negative, 0, too large, or an unknown number */
    SMF_ERROR_UNKNOWN_ADDRESS = 2,   /* no live block or mapping starts there */
    SMF_ERROR_OTHER_SIZE = 3,        /* not the size of the block or mapping */
    SMF_ERROR_OUT_OF_RANGE = 4,      /* a range beyond the end of its block, mapping or file */
    SMF_ERROR_NOT_EXECUTABLE = 5,    /* not code, or code that is not written yet or not executable now */
    SMF_ERROR_WRITE_AND_EXECUTE = 6, /* write and execute permission together */
    SMF_ERROR_VALUE = 7,             /* not a live value, or of another kind */
    SMF_ERROR_NO_MEMORY = 8,
    SMF_ERROR_CEILING = 9,           /* smf_exec_limit, or the limit of replaced code of a loader or of instances */
    SMF_ERROR_POLICY = 10,           /* the system, or smf_mmap_allow_exec, forbids executable memory */
    SMF_ERROR_FORKED = 11,           /* owned by the parent process, or in use when it forked */
    SMF_ERROR_UNMAPPED = 12,         /* no memory is mapped at the address */
    SMF_ERROR_STATE = 13,            /* called too early or too late */
    SMF_ERROR_SYSTEM = 14,           /* another system call failed */
    SMF_ERROR_FILE = 15,             /* a file that does not exist, cannot be read, or was truncated */
    SMF_ERROR_ACCESS = 16,           /* the permissions of the file or the mapping do not suffice */
    SMF_ERROR_HANDLE = 17,           /* an invalid or stale handle, or one of another cache or loader */
    SMF_ERROR_IN_USE = 18,           /* held, not yet freed, or needed by other modules */
    SMF_ERROR_FULL = 19,             /* the cache is full: the file is too large, or all files are held */
    SMF_ERROR_FORMAT = 20,           /* a malformed module or archive */
    SMF_ERROR_LINK = 21,             /* a well-formed module that cannot be mapped or linked here */
    SMF_ERROR_MISSING = 22,          /* unresolved imports: smf_loader_missing() */
    SMF_ERROR_NAME_TAKEN = 23,       /* another module has the name, or exports it */
    SMF_ERROR_RELOAD = 24,           /* a module that is not reloadable, or not by this version */
    SMF_ERROR_NOT_FOUND = 25,        /* no such name */
    SMF_ERROR_TAKE = 26,             /* a function or a template that cannot be extracted from its module */
    SMF_ERROR_INSTANTIATE = 27,      /* a template that cannot be instantiated */
    SMF_ERROR_UPDATE = 28,           /* an instance that could not be recorded in the note of its module */
    SMF_ERROR_TRAP = 29,             /* bytecode or template code that divided by 0 or was stopped */
    SMF_ERROR_UNSUPPORTED = 30,      /* a part that this build of the library lacks */
    SMF_ERROR_COMPILE = 31           /* source or IR that cannot be compiled */
} SmfErrorCode;

typedef struct SmfError {
    int32_t code;     /* one of SmfErrorCode; SMF_OK without an error */
    const char *text; /* one sentence; valid until this thread calls smf_last_error again */
} SmfError;

/*
 * The error of the last function that failed in this thread. A successful function leaves it unchanged, except
 * rt_call_function_*, which clear it when the function they called returned 0.
 */
SmfError smf_last_error(void);

/* Clears the last error of this thread. */
void smf_clear_error(void);

/* ---- Values ------------------------------------------------------------------------------------- */

/*
 * Threads: created, read and freed by any thread. Pointers to the contents of a value must not be used when another
 *   thread frees it. Functions installed by the runtime are called on the thread of the caller.
 * Fork: values and the installed functions are as in the parent.
 */

#ifndef SMF_TAGGED

/* An opaque value of the runtime: text, a byte array, a pair of integers or a list of texts. */
typedef struct RuntimeValue RuntimeValue;

/* A byte array as an argument. Its bytes must not change during the call. */
typedef const RuntimeValue *SmfBytes;

/* A value as a result: null on failure; to be freed by smf_value_free. */
typedef RuntimeValue *SmfValue;

/* A path as an argument: a C string, not necessarily UTF-8. */
typedef const char *SmfPath;

/* A truth value as a result. */
typedef bool SmfBool;

/* The address and size of a mapping; both are 0 on failure. */
typedef struct SmfMapping {
    int64_t address; /* of its first byte */
    int64_t size;    /* in bytes */
} SmfMapping;

/*
 * The runtime's functions for its values. They must be callable from any thread, and not unwind. A function returns null
 * or -1 for a value of another kind. All must be present, except the two for lists: without them, functions that return
 * lists fail with SMF_ERROR_UNSUPPORTED. Later versions will append fields.
 */
typedef struct SmfValueHooks {
    int64_t size;                                             /* sizeof(SmfValueHooks) */
    RuntimeValue *(*text_new)(const uint8_t *, int64_t);      /* creates text of these bytes */
    RuntimeValue *(*bytes_new)(int64_t);                      /* creates a byte array of this length */
    uint8_t *(*bytes_data)(const RuntimeValue *);             /* the writable bytes of a byte array */
    int64_t (*bytes_length)(const RuntimeValue *);            /* the length of a byte array */
    const uint8_t *(*text_data)(const RuntimeValue *);        /* the bytes of text */
    int64_t (*text_length)(const RuntimeValue *);             /* the length of text in bytes */
    RuntimeValue *(*pair_new)(int64_t, int64_t);              /* creates a pair of integers */
    void (*free)(RuntimeValue *);                             /* frees a value */
    RuntimeValue *(*list_new)(void);                          /* creates an empty list */
    bool (*list_push)(RuntimeValue *, RuntimeValue *);        /* appends text to a list, which then owns it */
} SmfValueHooks;

/*
 * Installs the runtime's functions for values. Possible once, before the first value is created; false otherwise.
 * Without them the library uses a built-in set of values.
 */
bool smf_set_value_hooks(const SmfValueHooks *hooks);

/* Creates text of `length` bytes, which should be UTF-8 and are not checked. Null on failure. */
RuntimeValue *smf_text_new(const uint8_t *bytes, int64_t length);
/* The bytes of text, valid until it is freed; built-in text is NUL-terminated. Null on failure. */
const uint8_t *smf_text_data(const RuntimeValue *value);
/* The length of text in bytes; -1 on failure. */
int64_t smf_text_length(const RuntimeValue *value);

/* Creates a byte array: a copy of the bytes, or zeros if `bytes` is null. Null on failure. */
RuntimeValue *smf_bytes_new(const uint8_t *bytes, int64_t length);
/* The bytes of an array, readable and writable until it is freed. Null on failure. */
uint8_t *smf_bytes_data(const RuntimeValue *value);
/* The length of a byte array; -1 on failure. */
int64_t smf_bytes_length(const RuntimeValue *value);

/* Creates a pair of integers. Null on failure. */
RuntimeValue *smf_pair_new(int64_t first, int64_t second);
/* The elements of a built-in pair; 0 on failure. */
int64_t smf_pair_first(const RuntimeValue *value);
int64_t smf_pair_second(const RuntimeValue *value);

/* The number of texts in a built-in list; -1 on failure. */
int64_t smf_list_length(const RuntimeValue *value);
/* A text in a built-in list, by its index from 0; it is freed with the list. Null on failure. */
RuntimeValue *smf_list_get(const RuntimeValue *value, int64_t index);

/* Frees a value. False for an invalid value or one that was freed before. */
bool smf_value_free(RuntimeValue *value);

#else

/* A byte array as an argument: a word of the runtime. */
typedef int64_t SmfBytes;

/* Text, a byte array or a list of texts as a result: a word of the runtime; NIL on failure. An empty list is no failure. */
typedef int64_t SmfValue;

/* A path as an argument: text, the address of a NUL-terminated string, or NIL for none. */
typedef int64_t SmfPath;

/* A truth value as a result, 0 or 1 in all 64 bits. */
typedef int64_t SmfBool;

/* The address and size of a mapping as a result: a tuple of two tagged integers; both 0 on failure. */
typedef int64_t SmfMapping;

#endif

/* ---- Files in memory ------------------------------------------------------------------------------ */

/*
 * Threads: unmapping waits for the threads that read the mapping in this library; it must not be accessed
 *   directly then. The other functions wait for no other thread.
 * Fork: mappings are as in the parent: SHARED ones show later writes of both processes, the others do not. Locks in memory
 *   (smf_mmap_lock) are not inherited. A SHARED one is read through a descriptor: a child that has closed it reads by the
 *   address only (rt_mmap_read_*: SMF_ERROR_FILE).
 */

/*
 * The terms of a protection, which is a sum. Write and execute permission each include read permission; both
 * together are refused everywhere.
 */
#define SMF_PROT_NONE 0
#define SMF_PROT_READ 1
#define SMF_PROT_WRITE 2
#define SMF_PROT_EXEC 4

/* The terms of the flags of a mapping, a sum: SHARED or PRIVATE, and optionally ANONYMOUS. */
#define SMF_MAP_SHARED 1
#define SMF_MAP_PRIVATE 2
#define SMF_MAP_FIXED 0x10 /* refused: it would replace existing memory */
#define SMF_MAP_ANONYMOUS 0x20

/*
 * Maps `length` bytes of a regular file from `offset`, a multiple of the page size; length 0 means up to the end of
 * the file. The range must lie inside the file and must not be empty. With ANONYMOUS there is no file: the path is
 * null or empty, the offset 0, and the memory zero-filled.
 *
 * No function of this library raises a signal when it reads a mapping. Direct access at the address differs:
 *
 *   PRIVATE     A copy, of at most 4 GiB, made now. Later changes of the file do not affect it, and writes do not
 *               reach the file. Direct access is safe.
 *   SHARED      The file's own pages: writes go to the file, which must be writable, and writes of others are
 *               visible. If the file is truncated, access to the lost part raises SIGBUS; rt_mmap_read_* report it
 *               (SMF_ERROR_FILE). A descriptor stays open until the file is unmapped.
 *   ANONYMOUS   Memory of this process, with SHARED also of its children. Direct access is safe.
 *
 * EXEC requires smf_mmap_allow_exec, a file, and PRIVATE; such a mapping may be called through rt_call_function_*.
 * Protections are as in rt_set_protection, which applies to blocks only.
 */
SmfMapping rt_mmap_file(SmfPath path, int32_t prot, int32_t flags, int64_t offset, int64_t length);

/*
 * Unmaps a whole mapping, given its address and size. A thread that is reading it in this library finishes first,
 * and only then are the addresses released. Memory that something else has unmapped must not be unmapped again; a
 * read of it through rt_mmap_read_* is SMF_ERROR_UNMAPPED.
 */
bool smf_mmap_unmap(int64_t address, int64_t size);

/*
 * Copies `length` bytes at address + offset into a byte array. The address and the range must lie in one live,
 * readable mapping.
 */
SmfValue rt_mmap_read_bytes(int64_t address, int64_t offset, int64_t length);

/*
 * Copies text at address + offset, up to a NUL, the end of the mapping or, unless it is 0, max_length bytes. U+FFFD
 * replaces invalid UTF-8, such as a character that max_length cuts.
 */
SmfValue rt_mmap_read_string(int64_t address, int64_t offset, int64_t max_length);

/* The size of a regular file in bytes; -1 on failure. */
int64_t rt_file_size_for_mmap(SmfPath path);

/* The page size in bytes. */
int64_t rt_get_page_size(void);

/*
 * These take a range inside one live mapping that starts at a page boundary; its end may be anywhere.
 *
 * smf_mmap_sync writes the changes in a SHARED mapping to its file, and waits for the medium unless is_async; it has
 * no effect on a PRIVATE mapping. smf_mmap_lock locks the range in memory, counted against RLIMIT_MEMLOCK.
 * smf_mmap_advise takes 0 normal, 1 random, 2 sequential, 3 needed soon, 4 not needed; the last zeroes memory that is
 * ANONYMOUS and PRIVATE, and leaves other contents unchanged.
 */
bool smf_mmap_sync(int64_t address, int64_t size, bool is_async);
bool smf_mmap_lock(int64_t address, int64_t size);
bool smf_mmap_unlock(int64_t address, int64_t size);
bool smf_mmap_advise(int64_t address, int64_t size, int32_t advice);

/*
 * Allows or forbids EXEC in rt_mmap_file from now on, for the whole process. Returns the previous setting, which is
 * false at start. Code in a file is trusted like any other.
 */
bool smf_mmap_allow_exec(bool allow);

/* ---- Memory of the process ------------------------------------------------------------------------ */

/*
 * Threads: as the system calls; no function waits for another thread. Two threads must not unmap or write the same memory
 *   at the same time.
 * Fork: mappings and descriptors are inherited as the system does it.
 */

/*
 * What the module loader of the Simple runtime calls. The runtime defines these names too, in some of its builds; here
 * they are weak symbols with its signatures, so that a definition of the program has precedence. They accept any
 * address of the process, which must be valid for the access, and consult no table, except that a mapping of
 * rt_mmap_file must be unmapped whole. Protections, flags and advice are the kernel's numbers.
 *
 * The header of the runtime declares them itself: SPL_RUNTIME_H is its include guard.
 */
#ifndef SPL_RUNTIME_H

/* mmap(2): the address; -1 on failure, and for write permission together with execute permission. */
int64_t rt_mmap_raw(int64_t address, int64_t length, int64_t prot, int64_t flags, int64_t fd, int64_t offset);

/* munmap(2): 0, or -1 on failure. rt_munmap is the same with another result, true or false. */
int64_t rt_munmap_raw(int64_t address, int64_t length);
SmfBool rt_munmap(void *address, int64_t size);

/*
 * mprotect(2): 0, or -1 on failure, and for write permission together with execute permission. With execute
 * permission, every thread can call the code; if that fails, the range becomes inaccessible.
 */
int64_t rt_mprotect(int64_t address, int64_t length, int64_t prot);

/* madvise(2): 0, or -1 on failure. rt_madvise takes the advice 0 to 4 only, and its result is true or false. */
int64_t rt_madvise_raw(int64_t address, int64_t length, int64_t advice);
SmfBool rt_madvise(void *address, int64_t size, int64_t advice);

/* msync(2): 0, or -1 on failure. rt_msync waits for the medium, and its result is true or false. */
int64_t rt_msync_flags(int64_t address, int64_t length, int64_t flags);
SmfBool rt_msync(void *address, int64_t size);

/* mlock(2) and munlock(2): 0, or -1 on failure. */
int64_t rt_mlock(int64_t address, int64_t length);
int64_t rt_munlock(int64_t address, int64_t length);

/* open(2): the descriptor; -1 on failure. close(2): 0, or -1 on failure. */
int64_t rt_open_fd(SmfPath path, int64_t flags, int64_t mode);
int64_t rt_close_fd(int64_t fd);

/* The page size in bytes. */
int64_t rt_page_size(void);

#endif

/*
 * Access to memory at address + offset, which need not be aligned. The address must be positive and the offset not
 * negative: otherwise nothing is accessed, the error is recorded, and rt_ptr_read_u8 returns 0. (Those of the runtime
 * abort.)
 */
int64_t rt_ptr_read_u8(int64_t address, int64_t offset);
void rt_ptr_write_u8(int64_t address, int64_t offset, int64_t value);
void rt_ptr_write_i32(int64_t address, int64_t offset, int32_t value);
void rt_ptr_write_i64(int64_t address, int64_t offset, int64_t value);

/* Copies `length` bytes from `source` to address + offset. Returns `length`; -1 on failure. */
int64_t rt_ptr_write_bytes_raw(int64_t address, int64_t offset, int64_t source, int64_t length);

/*
 * Calls the function at an address, of whatever origin; 0 for a null or negative address. Traps are not caught.
 * rt_call_function_* check the address and catch traps.
 */
int64_t rt_call_ptr_0(int64_t address);
int64_t rt_call_ptr_1(int64_t address, int64_t a);
int64_t rt_call_ptr_2(int64_t address, int64_t a, int64_t b);
int64_t rt_call_ptr_3(int64_t address, int64_t a, int64_t b, int64_t c);

/* ---- A cache of files ----------------------------------------------------------------------------- */

/*
 * Threads: smf_cache_close waits for the threads that are in a function with the cache, and smf_prefetch_wait and
 *   smf_prefetch_free wait for the prefetch. Threads that ask for one file wait for the one that reads it.
 * Fork: caches that were in use by another thread are refused (SMF_ERROR_FORKED), as are all prefetches; the others are as in the
 *   parent. Held files stay where they are.
 */

/*
 * A cache of files by path, in bounded memory. Their contents are copies, which later changes of a file do not affect.
 * A file returned to the caller is held: its contents keep their address and value until it is released as often as it
 * was held, whatever happens to the cache or to the file on disk. A held file is never evicted.
 *
 * Caches, files and prefetches are handles, never 0, which are looked up and never dereferenced. A handle that was
 * closed, evicted, replaced or freed, or belongs to another cache, is SMF_ERROR_HANDLE. No function blocks on another
 * thread that uses the cache, except briefly, and except smf_cache_close.
 */

/* The eviction policy. */
#define SMF_POLICY_LRU 0   /* exact LRU: evicts the least recently used file */
#define SMF_POLICY_SIEVE 1 /* approximate; hits of several threads do not wait for each other */

/* When a cached file is compared with the one on disk: size, modification time, inode. */
#define SMF_FRESHNESS_ON_REQUEST 0 /* by smf_cache_refresh */
#define SMF_FRESHNESS_EACH_GET 1   /* at each get by path: one system call */

typedef struct SmfCacheOptions {
    int64_t size;      /* sizeof(SmfCacheOptions) */
    int64_t files;     /* the most files, 1 to 4,194,304; held files count */
    int64_t bytes;     /* the most bytes of files, at least 1 */
    int32_t policy;    /* SMF_POLICY_* */
    int32_t freshness; /* SMF_FRESHNESS_* */
} SmfCacheOptions;

/* Opens a cache with these options, which must not be null; up to 64 can be open. Returns its handle; 0 on failure. */
uint64_t smf_cache_open(const SmfCacheOptions *options);

/*
 * Closes a cache. Fails with SMF_ERROR_IN_USE, without effect, while files are held (the error says how many) or
 * prefetches are not freed. Waits for other threads that are in a function with the cache.
 */
bool smf_cache_close(uint64_t cache);

/* A held file. */
typedef struct SmfCacheFile {
    uint64_t file;        /* its handle; 0 on failure */
    const uint8_t *bytes; /* read-only, valid until the file is released */
    int64_t length;       /* in bytes; may be 0 */
} SmfCacheFile;

/*
 * Holds the file at a path, or a module by name in the archive at a path, which is read unless it is cached. Two
 * paths of one file share its contents, and so do the modules of an archive.
 */
SmfCacheFile smf_cache_get(uint64_t cache, const char *path);
SmfCacheFile smf_cache_get_module(uint64_t cache, const char *path, const char *module);

/*
 * Holds a file once more by its handle, which is faster than by path. The file need not be held, unless it was evicted
 * or replaced.
 */
SmfCacheFile smf_cache_get_again(uint64_t cache, uint64_t file);

/* Releases a file, once for each time that it was held; false for one time too many. */
bool smf_cache_release(uint64_t cache, uint64_t file);

/* A part of a held file. */
typedef struct SmfCachePart {
    const uint8_t *bytes; /* valid until the file is released; null if there is no such part */
    int64_t length;       /* in bytes; 0 if there is no such part, -1 on failure */
} SmfCachePart;

/*
 * The bytes of note.sdn, of the first template section, and of the first section with a name, of a held module. No
 * call counts as a request. A compressed section is decompressed once while the file is cached or held, and counts
 * towards the bytes of the cache: SMF_ERROR_FULL if it does not fit.
 */
SmfCachePart smf_cache_note(uint64_t cache, uint64_t file);
SmfCachePart smf_cache_template(uint64_t cache, uint64_t file);
SmfCachePart smf_cache_section(uint64_t cache, uint64_t file, const char *name);

/* Evicts the file at a path: 1, or 0 if it was not cached; -1 on failure. */
int32_t smf_cache_evict(uint64_t cache, const char *path);

/* Evicts all files. */
bool smf_cache_clear(uint64_t cache);

/*
 * Enables or disables a cache, which is enabled when it is opened: 1 if it was enabled, 0 if it was disabled; -1 on
 * failure. Disabling evicts all files. While the cache is disabled, each get by path reads its file, which nothing else
 * finds and which is freed when it is released; everything else works as before. A disabled cache has no hits by path.
 */
int32_t smf_cache_enable(uint64_t cache, bool enabled);

/*
 * Reads the file at a path again if it is cached and has changed: 1 if it was read, else 0; -1 on failure, when a
 * file that can no longer be read is evicted.
 */
int32_t smf_cache_refresh(uint64_t cache, const char *path);

/* Evicts every file that has changed on disk or was removed, and returns their number. -1 on failure. */
int64_t smf_cache_refresh_all(uint64_t cache);

/* The statistics of a cache. Later versions will append fields. */
typedef struct SmfCacheStatistics {
    int64_t size;           /* in: sizeof(SmfCacheStatistics); out: the number of bytes filled in */
    int64_t files;          /* cached files */
    int64_t bytes;          /* bytes of the cached files */
    int64_t links;          /* further paths of cached files, and modules in cached archives */
    int64_t detached_files; /* held files that were replaced or evicted on request */
    int64_t detached_bytes; /* bytes of the detached files */
    int64_t held;           /* holds that have not been released */
    int64_t peak_bytes;     /* the maximum of `bytes` so far */
    int64_t hits;           /* requests, by path or by handle, that found a file in the cache */
    int64_t misses;         /* requests that read a file or failed to */
    int64_t failures;       /* misses that ended in an error */
    int64_t evictions;      /* files evicted because the cache was full */
    int64_t replacements;   /* files replaced because they had changed */
    int64_t loads;          /* files that were read */
    int64_t load_mean;      /* mean time of reading a file in nanoseconds; 0 before the first */
    int64_t load_50;        /* 50th percentile of that time, up to 25 % too large */
    int64_t load_90;        /* 90th percentile */
    int64_t load_99;        /* 99th percentile */
    double hit_rate;        /* hits divided by requests, 0 to 1; -1 before the first request */
    int64_t mean_file_size; /* mean size of the cached files in bytes, without decompressed sections; 0 without files */
    int64_t enabled;        /* 1 if the cache is enabled, else 0 */
} SmfCacheStatistics;

/* Fills in the statistics. Takes time proportional to the number of files. */
bool smf_cache_statistics(uint64_t cache, SmfCacheStatistics *statistics);

#define SMF_HISTOGRAM_FILE_SIZES 0 /* of the cached files, in bytes without decompressed sections, by powers of two */
#define SMF_HISTOGRAM_LOAD_TIMES 1 /* of reading a file, in nanoseconds, by four buckets for each power of two */

/* A bucket of a histogram. */
typedef struct SmfCacheBucket {
    int64_t first; /* the least value in the bucket */
    int64_t last;  /* the greatest one; INT64_MAX if there is no limit */
    int64_t count; /* how many values are in it, at least 1 */
} SmfCacheBucket;

/*
 * Copies up to `count` buckets of a histogram that are not empty, in ascending order, into an array, and returns how
 * many exist, at most 160. The array may be null if the count is 0. -1 on failure.
 */
int64_t smf_cache_histogram(uint64_t cache, int32_t histogram, SmfCacheBucket *buckets, int64_t count);

/*
 * Writes a report for humans, several lines of text whose wording may change, into a buffer of `size` bytes, cut and
 * NUL-terminated as by snprintf(3). Returns the length of the whole report in bytes, without the NUL. The buffer may be
 * null if the size is 0. -1 on failure.
 */
int64_t smf_cache_report(uint64_t cache, char *text, int64_t size);

/*
 * Writes the counters of everything that is open, for programs: one object of JSON, on one line, into a buffer as
 * smf_cache_report does, and returns its length in bytes. The object has `version`, 1; `executable_memory`, that of
 * rt_alloc_exec_memory and of all generated code; and a list each of `caches`, `loaders`, `instantiators` and `managers`,
 * as far as the library has them. Each object in a list has its `handle`, a text such as "0x100000001", and its counters,
 * whole numbers named as the fields of SmfCacheStatistics (without `held`, `hit_rate` and `mean_file_size`),
 * SmfLoaderStatistics (without `held`), SmfJitStatistics and SmfExecStatistics; there may be others. Counters change meanwhile if other
 * threads use the objects, so that the next call may return another length. -1 on failure.
 */
int64_t smf_statistics_json(char *text, int64_t size);

/* The bytes in a cache at one time. */
typedef struct SmfCacheSample {
    int64_t nanoseconds; /* since the cache was opened */
    int64_t bytes;
} SmfCacheSample;

/*
 * Copies up to `count` samples of the bytes in the cache, oldest first, into an array, and returns how many exist, at
 * most 32. The array may be null if the count is 0. -1 on failure.
 */
int64_t smf_cache_samples(uint64_t cache, SmfCacheSample *samples, int64_t count);

/*
 * Reads `count` files in advance, on up to `threads` threads, 0 for one per core. Returns when each was read or
 * failed, and returns how many are ready; none is held. -1 on failure, when none was read. A path that is null or
 * cannot be read does not affect the others. Unless it is null, `results` receives SMF_OK or one of SmfErrorCode for
 * each path.
 */
int64_t smf_cache_prefetch(uint64_t cache, const char *const *paths, int64_t count, int32_t threads,
                           int32_t *results);

/*
 * As above, in the background. Returns the handle of the prefetch, which must be freed before the cache is closed; 0
 * on failure. The paths are copied.
 */
uint64_t smf_cache_prefetch_start(uint64_t cache, const char *const *paths, int64_t count, int32_t threads);

/* The progress of a prefetch. */
typedef struct SmfPrefetchProgress {
    int64_t total;  /* paths in the list; -1 on failure */
    int64_t done;   /* paths that were read or failed */
    int64_t failed; /* paths that could not be read */
    int64_t bytes;  /* bytes of the files that are ready */
} SmfPrefetchProgress;

SmfPrefetchProgress smf_prefetch_progress(uint64_t prefetch);

/*
 * Waits until a prefetch has finished, for at most as many milliseconds unless they are negative: 1 if it has
 * finished, 0 after the timeout, -1 on failure.
 */
int32_t smf_prefetch_wait(uint64_t prefetch, int64_t milliseconds);

/*
 * The result for a path of a finished prefetch: SMF_OK, or the error, which becomes the last error. -1 on failure:
 * SMF_ERROR_STATE if it has not finished.
 */
int32_t smf_prefetch_result(uint64_t prefetch, int64_t index);

/*
 * Frees a prefetch. An unfinished one is cancelled: it finishes the files that it is reading, and starts no others.
 * Returns when all of its threads have ended.
 */
bool smf_prefetch_free(uint64_t prefetch);

/* ---- Modules --------------------------------------------------------------------------------------- */

/*
 * Threads: modules are loaded, replaced and unloaded by one thread at a time for each loader; lookups and calls do not wait
 *   for them. Callbacks run on the thread of the caller and may call every function of this library.
 * Fork: loaders that were in use by another thread are refused (SMF_ERROR_FORKED); the others are as in the parent, but refuse
 *   bytecode modules and reloadable modules. Loaded code may be called. Pages that are mapped from a file under a lease are
 *   copied before the fork.
 */

/*
 * A loader holds many modules, which import each other's symbols and are loaded, replaced and unloaded while the
 * program runs. An import resolves, in this order, to: the module's own export; that of another module, in load order;
 * that of a provider; a defined name; a registered name; a symbol of the process; the result of the resolver. A refused call leaves every
 * module unchanged.
 *
 * Loaders, modules and holds are handles, never 0, which are looked up and never dereferenced. A handle that was
 * closed, unloaded or released, or belongs to another loader, is SMF_ERROR_HANDLE. A module keeps its handle when it
 * is replaced.
 *
 * Addresses of functions may be called directly, or through rt_call_function_*, which refuse them once the module is
 * unloaded. During a direct call the module must stay loaded: by a hold, or because no thread unloads it. For direct
 * calls of modules that are replaced, see smf_loader_collect.
 */

/* When two modules export the same name, and neither export is weak. */
#define SMF_CLASH_FIRST_WINS 0 /* the module loaded first wins */
#define SMF_CLASH_REFUSE 1     /* the second is refused; loading then checks every export */

/* The terms of the flags of a loader, a sum. */
#define SMF_LOADER_RELOAD_ALL 1      /* every module is reloadable, also without the flag in its file */
#define SMF_LOADER_PROCESS_SYMBOLS 2 /* unresolved names are looked up in the process, dlsym(3), and in libgcc_s */
#define SMF_LOADER_REFUSE_CONSTRUCTORS 4 /* refused are modules with constructors, destructors, exit handlers or indirect
                                            functions, dynlibs, and modules that need a shared library which the process
                                            has not opened: loading and unloading run nothing */
/*
 * How the bytes of files get into memory. With neither of these flags, a large file is mapped if it cannot change, or
 * while this process holds a lease on it (F_SETLEASE of fcntl(2)): a process that opens it for writing then waits until
 * its pages are copied. Processes share mapped pages, and pages that are not used are not read. Other files are copied.
 * A module of a large file keeps a descriptor open until it is unloaded; in a child of fork(2) the library neither uses nor
 * closes it, so that a daemon may close all descriptors that it has inherited. From the first lease until the last loader
 * is closed, a thread of the library, with all signals blocked, waits for writers: a process whose other threads have
 * ended by pthread_exit(3) before does not end, and its signals stay pending.
 */
#define SMF_LOADER_COPY_FILES 8 /* every file is copied */
#define SMF_LOADER_MAP_FILES 16 /* every large file is mapped; the caller vouches that none changes while it is loaded:
                                   otherwise code changes while it runs, or an access raises SIGBUS */

/*
 * A function of the host that bytecode calls by number (CALL_SFFI): int64_t f(int64_t, ...), with `arguments` integers. It
 * may be called from any thread while the loader is open, and must not unwind. It will not get more fields.
 */
typedef struct SmfHostFunction {
    int32_t index;     /* the number, 0 to 65,535; of several with one number the last counts */
    int32_t arguments; /* how many, 0 to 8 */
    int64_t function;  /* its address */
} SmfHostFunction;

#define SMF_COMPILE_NEVER (-1) /* functions are interpreted, unless smf_loader_compile compiles them */
#define SMF_COMPILE_FIRST (-2) /* a function is compiled before its first call */

typedef struct SmfLoaderOptions {
    int64_t size;       /* sizeof(SmfLoaderOptions) */
    int64_t kept_bytes; /* bytes of memory of unloaded modules that are retained for later modules */
    int32_t clash;      /* SMF_CLASH_* */
    int32_t flags;      /* a sum of SMF_LOADER_* */
    int64_t max_replaced_bytes; /* the most bytes of memory of replaced versions; 0 for 64 MiB */
    const SmfHostFunction *host_functions; /* the list is copied; null if there are none. A bytecode module that calls
                                              another number, or with other arguments, is SMF_ERROR_LINK */
    int64_t host_function_count;
    int64_t compile_threshold; /* after how many calls and loop iterations a bytecode function is compiled: 1 to
                                  4,294,967,294, 0 for 200, or SMF_COMPILE_*; ignored on machines without a compiler */
} SmfLoaderOptions;

/*
 * Opens a loader; up to 64 can be open. Null stands for: the first export wins, no flags, 4 MiB retained, and 64 MiB
 * for replaced versions. The stubs of reloadable modules are in executable memory as of rt_alloc_exec_memory, and
 * count there. Returns its handle; 0 on failure.
 */
uint64_t smf_loader_open(const SmfLoaderOptions *options);

/*
 * Closes a loader and unloads all of its modules, whose addresses no thread may be calling itself. Where a thread is
 * inside of a module by rt_call_function_0 to _8, or has to run destructors of a module's thread-local variables when
 * it ends, destructors and memory of the modules wait: a later smf_loader_open or smf_loader_close of any loader runs
 * and frees them. Fails with SMF_ERROR_IN_USE, without effect, while modules are held (the error says how many), and
 * while another function with the loader has not returned: in another thread, or in this one if a resolver, a visitor
 * or a module calls.
 */
bool smf_loader_close(uint64_t loader);

/*
 * Sets the cache through which a loader reads the files of its functions from now on; 0 for none, as at first. A file
 * in the cache is not read again, and the bytes are copies whatever the flags of the loader say. A file in use by a
 * module that was loaded from it is never evicted; one that does not fit into the cache is read without it. The cache
 * may be closed before the loader: loading from a file then fails with SMF_ERROR_HANDLE until another cache is set, and
 * loaded modules are not affected.
 */
bool smf_loader_set_cache(uint64_t loader, uint64_t cache);

/*
 * Loads the module at a path under the path as its name, or the one called `module` in the archive at a path under
 * the name `path(module)`, or the one in `length` bytes, which are copied. The providers of its imports are loaded with
 * it. Returns its handle; 0 on failure, when nothing was loaded but what a resolver, or an instance of a template, has loaded
 * for an import: SMF_ERROR_MISSING for unresolved imports.
 *
 * A dynlib is validated, and then opened by the system's loader. Its code is trusted: the system runs its
 * initialisers, and those of its dependencies, before this function returns. A malformed dynlib is SMF_ERROR_LINK,
 * with an offset, and none of its code runs.
 */
uint64_t smf_loader_load(uint64_t loader, const char *path);
uint64_t smf_loader_load_archived(uint64_t loader, const char *path, const char *module);
uint64_t smf_loader_load_bytes(uint64_t loader, const char *name, const uint8_t *bytes, int64_t length);

/*
 * Registers a module, or every module of an archive, as a provider, to be loaded with a module that imports from it;
 * the first provider of a name wins. A dynlib, whose exports are not indexed, is loaded at once, and trusted as by
 * smf_loader_load.
 */
bool smf_loader_provide(uint64_t loader, const char *path);
bool smf_loader_provide_bytes(uint64_t loader, const char *name, const uint8_t *bytes, int64_t length);

/*
 * Opens a shared library of the system by its name ("libm.so.6") or, with a slash in it, its path, as dlopen with
 * RTLD_NOW and RTLD_LOCAL, and resolves names in it that no module, smf_loader_define or resolver of the host defines.
 * Libraries are searched in the order in which they are added, before those that a module needs itself (`smf pack
 * --needed`), which need no call. The library is closed with the loader. The caller trusts its initialisers, which run
 * before this function returns.
 */
bool smf_loader_add_library(uint64_t loader, const char *name);

/* An unresolved import. */
typedef struct SmfMissing {
    const char *symbol;    /* NUL-terminated; null on failure */
    int64_t symbol_length; /* in bytes, without the NUL */
    const char *module;    /* the name of the importing module, NUL-terminated */
    int64_t module_length;
} SmfMissing;

/*
 * The unresolved imports of the last load or reload of this thread, by index; 0 if it did not fail because of them.
 * The names are valid until this thread loads or reloads again, with any loader.
 */
int64_t smf_loader_missing_count(void);
SmfMissing smf_loader_missing(int64_t index);

/* A name of the host. It will not get more fields. */
typedef struct SmfHostSymbol {
    const char *name; /* NUL-terminated */
    int64_t address;  /* positive */
} SmfHostSymbol;

/* Names of the host. Later versions will append fields. */
typedef struct SmfSymbolTable {
    int64_t size;                 /* sizeof(SmfSymbolTable) */
    const SmfHostSymbol *symbols; /* may be null if the count is 0 */
    int64_t count;
} SmfSymbolTable;

/*
 * Registers names of the host, which are copied, for all loaders and for the code of all instantiators of the process,
 * all or none. A name that is registered already has the new address from now on: loaded modules keep theirs. False on
 * failure: a null name, or an address that is null or negative.
 */
bool smf_register_symbols(const SmfSymbolTable *table);

/*
 * Removes names that smf_register_symbols has registered, all or none: loaded modules and instances keep their
 * addresses, which must therefore stay valid until these are gone. SMF_ERROR_NOT_FOUND if one is not registered.
 */
bool smf_unregister_symbols(const char *const *names, int64_t count);

/* Defines a name of the host from now on: loaded modules keep their addresses. */
bool smf_loader_define(uint64_t loader, const char *name, int64_t address);

/*
 * A resolver callback: receives an undefined name, NUL-terminated, its length, and the user pointer of
 * smf_loader_set_resolver. Returns an address, or 0. It may call the functions of this library with the loader, for
 * example to load the module that defines the name, but cannot close it. It may be called from any thread that uses
 * the loader, from several at once, and must not unwind. A module that is being loaded is not found yet: modules that
 * import from each other are providers (smf_loader_provide), as a resolver that loads them asks itself without end.
 *
 * The module that needs the name imports from the module of this loader that has the address, which is therefore not
 * unloaded before it. Modules of other loaders, and functions of the resolver's own that call modules, are not tracked: the
 * host keeps them loaded. An address of smf_loader_symbol, and data under another name than the one that is asked for, is
 * bound to that version of the module: a reload does not keep it.
 */
typedef int64_t (*SmfResolver)(const char *name, int64_t length, void *user);

/*
 * Sets the resolver, which is called last, after the instantiator of smf_loader_set_jit; null for none. The previous one may
 * still be running in other threads when this function returns, but not once the loader has been closed.
 */
bool smf_loader_set_resolver(uint64_t loader, SmfResolver resolver, void *user);

/* The handle of a module by name; 0 if there is none, which is SMF_ERROR_NOT_FOUND. */
uint64_t smf_loader_find(uint64_t loader, const char *name);

/*
 * Holds the current version of a module: its code, its data and all that it imports keep their addresses until it is
 * released, and it cannot be unloaded. It can be replaced: the hold then refers to the old version. Returns the handle
 * of the hold, which stands for that version in smf_loader_symbol, _symbols, _entry_point and _call, and may be held
 * once more, which is a hold of its own; 0 on failure.
 */
uint64_t smf_loader_hold(uint64_t loader, uint64_t module);

/* Releases a hold, once for each time that it was held; false for one time too many. */
bool smf_loader_release(uint64_t loader, uint64_t hold);

#define SMF_SYMBOL_UNKNOWN 0  /* of the host, or of a dynlib */
#define SMF_SYMBOL_FUNCTION 1
#define SMF_SYMBOL_DATA 2
#define SMF_SYMBOL_CONSTANT 3 /* read-only data */
#define SMF_SYMBOL_SECTION 4

#define SMF_BINDING_LOCAL 0
#define SMF_BINDING_GLOBAL 1
#define SMF_BINDING_WEAK 2

/* A symbol definition. Later versions will append fields. */
typedef struct SmfSymbol {
    int64_t size;    /* in: sizeof(SmfSymbol); out: the number of bytes filled in */
    int64_t address;
    int64_t bytes;   /* the size of the symbol; 0 if unknown */
    uint64_t module; /* the defining module; 0 for the host */
    int32_t kind;    /* SMF_SYMBOL_* */
    int32_t binding; /* SMF_BINDING_* */
} SmfSymbol;

/*
 * Resolves a name as an import is, but loads no provider for it. Returns the address, and fills in the structure unless it
 * is null; 0 on failure.
 * For a function of a reloadable module the address is that of a stub which calls the current version; it is valid
 * while the module is loaded. The address of data is valid until the module is replaced.
 */
int64_t smf_loader_resolve(uint64_t loader, const char *name, SmfSymbol *symbol);

/*
 * Looks up an export of a module, at its address in the current or held version. Returns the address, and fills in the
 * structure unless it is null; 0 on failure. The address is bound to that version: after a reload it must not be used,
 * unless the version is held. smf_loader_stable returns one that survives reloads.
 */
int64_t smf_loader_symbol(uint64_t loader, uint64_t module, const char *name, SmfSymbol *symbol);

/*
 * The address of an export of a module that survives reloads; 0 on failure. Of a function of a reloadable module it is
 * that of a stub which calls the current version, valid until the module is unloaded. The address of data is that of
 * the current version.
 */
int64_t smf_loader_stable(uint64_t loader, uint64_t module, const char *name);

/* The entry point of a module: the one in its file, or else `main`. 0 on failure. */
int64_t smf_loader_entry_point(uint64_t loader, uint64_t module);

/*
 * Calls an exported function with `count` integers, at most 8; the list may be null if there are none. The version is
 * held during the call. The result is stored in `result` unless that is null. False on failure, when nothing was
 * called, except for SMF_ERROR_TRAP, as of rt_call_function_0. The lookup of the name takes longer than most calls: for
 * frequent calls hold the module and call the address.
 */
bool smf_loader_call(uint64_t loader, uint64_t module, const char *name, const int64_t *arguments,
                     int64_t count, int64_t *result);

/*
 * Compiles a function of a bytecode module, or with a null name all of them, unless they are compiled already. Functions
 * that work on objects or exceed a limit of the compiler are interpreted: with a null name they are left out, and the name
 * of one is SMF_ERROR_LINK, with the reason in smf_last_error. Returns the size of the code in bytes; -1 on failure, which
 * is SMF_ERROR_NOT_FOUND for another name or module.
 */
int64_t smf_loader_compile(uint64_t loader, uint64_t module, const char *name);

/*
 * Sets the threshold of compilation of a bytecode module, as compile_threshold in the options of its loader. Compiled
 * functions stay compiled.
 */
bool smf_loader_set_threshold(uint64_t loader, uint64_t module, int64_t threshold);

/*
 * Callbacks for each module and for each symbol of one: they receive its NUL-terminated name and the length without
 * the NUL, both valid during the call. They return whether to continue, may call the functions of this library, and
 * must not unwind.
 */
typedef bool (*SmfModuleVisitor)(uint64_t module, const char *name, int64_t length, void *user);
typedef bool (*SmfSymbolVisitor)(const SmfSymbol *symbol, const char *name, int64_t length, void *user);

/* Visits the modules in load order. Returns the number of calls; -1 on failure. */
int64_t smf_loader_modules(uint64_t loader, SmfModuleVisitor visit, void *user);

/*
 * Visits the symbols with an address that a module defines, including local ones, in the order of its file; bytecode
 * functions by name; none of a dynlib. Returns the number of calls; -1 on failure.
 */
int64_t smf_loader_symbols(uint64_t loader, uint64_t module, SmfSymbolVisitor visit, void *user);

/*
 * The names that these two visit, and those of the modules of an archive in the order of its index, as lists of texts.
 * Null on failure, NIL in the tagged convention; SMF_ERROR_FORMAT for a file that is not an archive.
 */
SmfValue smf_loader_module_names(uint64_t loader);
SmfValue smf_loader_symbol_names(uint64_t loader, uint64_t module);
SmfValue smf_loader_archive_names(uint64_t loader, const char *path);

/* What a reload copied into the new version. Later versions will append fields. */
typedef struct SmfReloaded {
    int64_t size;    /* in: sizeof(SmfReloaded); out: the number of bytes filled in */
    int64_t symbols; /* data symbols that were copied */
    int64_t bytes;   /* their bytes */
    int64_t kept;    /* data symbols that stay in place because other modules refer to them */
    int64_t reset;   /* data symbols of both versions that were to be kept and start anew: they hold addresses that the linker wrote,
                        their sizes differ, several have the name, or the module has constructors */
} SmfReloaded;

/* The data that a reload keeps. */
#define SMF_DATA_RESET 0 /* none: the new version starts with its initial data */
#define SMF_DATA_KEEP 1  /* that of modules without constructors and destructors */
#define SMF_DATA_KEEP_CONSTRUCTED 2 /* that of every module: objects of both versions may share what they own */

/*
 * Replaces a module by the version at a path, or in `length` bytes, which are copied. From then on all calls of its
 * functions reach the new version, in one step; a thread inside the old version finishes there. smf_loader_collect
 * says how long the old version stays in memory.
 *
 * `data` is a SMF_DATA_ constant. Data that is kept is writable, has the same name and size in both versions, and is copied
 * after the constructors of the new version have run, except where the linker has written addresses into it; no thread
 * should be writing to it. Data that another module refers to by address stays in place instead, and the new version uses,
 * and constructs, it there. With SMF_DATA_KEEP, a module starts with its initial data if either version has constructors or
 * destructors, as all modules with the standard library of Rust have. Thread-local variables always do. A version that is not packed as reloadable keeps no static data. The
 * structure may be null.
 *
 * Instances of the module's templates that exist stay as they are, and call the functions of the new version. Those that are
 * made from then on have its bodies.
 *
 * False on failure, when the old version is unchanged: SMF_ERROR_RELOAD if its file does not allow replacement, or the
 * new version lacks a function that others, instances among them, call, or states other types for it, or a struct or enum
 * of these with other fields or variants; SMF_ERROR_LINK if it cannot be linked, or declares a function of another module with
 * other types than that states; SMF_ERROR_IN_USE if another module refers to data that cannot stay (with SMF_DATA_RESET, with
 * SMF_DATA_KEEP in a module with constructors, with another size in the new version, or referred to in a way that the file does
 * not record); SMF_ERROR_CEILING if replaced code has reached its limit; SMF_ERROR_STATE if another thread replaced the module
 * first.
 */
bool smf_loader_reload(uint64_t loader, uint64_t module, const char *path, int32_t data, SmfReloaded *reloaded);
bool smf_loader_reload_bytes(uint64_t loader, uint64_t module, const uint8_t *bytes, int64_t length,
                             int32_t data, SmfReloaded *reloaded);

/*
 * States that no thread is executing code of a module of this loader that it entered without the library, and frees
 * the replaced versions that no thread can reach.
 *
 * Calls by rt_call_function_* and smf_loader_call, and holds, are counted: a version that is replaced during them is
 * freed when they have ended, without this function. A hold keeps its version and what that imports, directly or through
 * other modules, and newer versions of the same module that its holder may call by a stable address. A call keeps all that is
 * replaced or unloaded meanwhile, whichever module it is of: a thread that stays inside for long in a host that replaces
 * modules often holds its module, and calls the address of smf_loader_symbol.
 *
 * Direct calls through an address and calls from other modules are not counted. Therefore, once smf_loader_resolve has returned the address of a function, or another module imports
 * it, replaced versions of its module stay in memory, up to max_replaced_bytes, until this function is called or the
 * module is unloaded.
 *
 * The statement must be true from the start of this call until it returns. A thread is executing such code from the
 * first instruction at the address until it has returned to the host, also while it is in a function of the host that
 * the module called. A host with one thread may call this function whenever no module's code is on its stack; a host
 * with several where its threads synchronize, for example between two frames. False if the loader is not open.
 */
bool smf_loader_collect(uint64_t loader);

/*
 * Unloads modules, all or none: one, or several that import from each other. Fails with SMF_ERROR_IN_USE while one is
 * held, or another module imports from it.
 *
 * The loader does not know of addresses of a module's code that the module has given to others: threads that it has started,
 * destructors of pthread_key_create, signal handlers, callbacks. As with dlclose, the module has to take them back before. A
 * module that cannot, such as one of Go, is never unloaded: hold it (smf_loader_hold), and leave the loader open.
 */
bool smf_loader_unload(uint64_t loader, uint64_t module);
bool smf_loader_unload_all(uint64_t loader, const uint64_t *modules, int64_t count);

/* The statistics of a loader. Later versions will append fields. */
typedef struct SmfLoaderStatistics {
    int64_t size;       /* in: sizeof(SmfLoaderStatistics); out: the number of bytes filled in */
    int64_t modules;    /* loaded modules */
    int64_t retired;    /* replaced or unloaded versions that are still in memory */
    int64_t kept_bytes; /* bytes of memory retained for later modules */
    int64_t held;       /* holds that have not been released */
    int64_t uncounted;  /* retired versions that wait for smf_loader_collect */
    int64_t replaced_bytes; /* bytes of memory of replaced versions */
} SmfLoaderStatistics;

bool smf_loader_statistics(uint64_t loader, SmfLoaderStatistics *statistics);

/* ---- Headers and sections of modules --------------------------------------------------------------- */

/*
 * Threads: any number of threads read one module.
 * Fork: as for the cache or the loader.
 */

#define SMF_LAYOUT_NATIVE 1
#define SMF_LAYOUT_PACKED 2
#define SMF_LAYOUT_COMPACT 3
#define SMF_LAYOUT_DYNLIB 4

#define SMF_PLATFORM_ANY 0
#define SMF_PLATFORM_LINUX 1
#define SMF_PLATFORM_WINDOWS 2
#define SMF_PLATFORM_MACOS 3
#define SMF_PLATFORM_FREEBSD 4
#define SMF_PLATFORM_NONE 5

#define SMF_ARCH_X86_64 0
#define SMF_ARCH_AARCH64 1
#define SMF_ARCH_X86 2
#define SMF_ARCH_ARM 3
#define SMF_ARCH_RISCV64 4
#define SMF_ARCH_RISCV32 5
#define SMF_ARCH_WASM32 6
#define SMF_ARCH_WASM64 7

#define SMF_MODULE_EXECUTABLE 1
#define SMF_MODULE_RELOADABLE 2
#define SMF_MODULE_DEBUG_INFO 4
#define SMF_MODULE_PIC 8
#define SMF_MODULE_HAS_STUB 0x10
#define SMF_MODULE_NOTE 0x20
#define SMF_MODULE_ASPECT_PACK 0x40

#define SMF_COMPRESSION_NONE 0
#define SMF_COMPRESSION_ZSTD 1
#define SMF_COMPRESSION_LZ4 2

#define SMF_APP_CLI 0
#define SMF_APP_TUI 1
#define SMF_APP_GUI 2
#define SMF_APP_SERVICE 3
#define SMF_APP_REPL 4

/* The header of a module. Platform, arch and others may have further values. Later versions will append fields. */
typedef struct SmfModuleHeader {
    int64_t size;        /* in: sizeof(SmfModuleHeader); out: the number of bytes filled in */
    int64_t sections;    /* the number of sections */
    int64_t symbols;     /* the number of symbols */
    int64_t exported;    /* the number of exported symbols, as the writer states it */
    int64_t entry_point; /* its offset from the start of the code section, in bytes */
    int64_t stub_size;   /* the length of the stub before the module, in bytes */
    uint64_t module_hash; /* as the writer defines it */
    uint64_t source_hash; /* as the writer defines it */
    int32_t layout;      /* SMF_LAYOUT_* */
    int32_t version_major;
    int32_t version_minor;
    int32_t platform;    /* SMF_PLATFORM_* */
    int32_t arch;        /* SMF_ARCH_* */
    int32_t flags;       /* a sum of SMF_MODULE_* */
    int32_t compression; /* SMF_COMPRESSION_* */
    int32_t compression_level; /* as the writer states it */
    int32_t app_type;    /* SMF_APP_* */
    int32_t window_width;  /* in pixels */
    int32_t window_height; /* in pixels */
    int32_t prefetch_files; /* files on the command line of a program to read ahead */
} SmfModuleHeader;

/*
 * Fills in the header of a module: `from` is an open cache and `module` a file of it that is held, which need not be
 * loadable here; or `from` is an open loader and `module` a hold. SMF_ERROR_FORMAT for a file that is not a module.
 */
bool smf_module_header(uint64_t from, uint64_t module, SmfModuleHeader *header);

#define SMF_SECTION_UNKNOWN 0
#define SMF_SECTION_CODE 1
#define SMF_SECTION_DATA 2
#define SMF_SECTION_RODATA 3
#define SMF_SECTION_BSS 4
#define SMF_SECTION_RELOC 5
#define SMF_SECTION_SYMTAB 6
#define SMF_SECTION_STRTAB 7
#define SMF_SECTION_DEBUG 8
#define SMF_SECTION_TYPEINFO 9
#define SMF_SECTION_VERSION 10
#define SMF_SECTION_SRCMAP 11
#define SMF_SECTION_NOTE 12
#define SMF_SECTION_TEMPLATE_CODE 13
#define SMF_SECTION_TEMPLATE_META 14
#define SMF_SECTION_DRV_MANIFEST 15
#define SMF_SECTION_LAUNCH_META 16
#define SMF_SECTION_ASPECT_PACK 17

#define SMF_SECTION_FLAG_READ 1
#define SMF_SECTION_FLAG_WRITE 2
#define SMF_SECTION_FLAG_EXECUTE 4
#define SMF_SECTION_FLAG_COMPRESSED 8

/*
 * A section of a module. Its name, which is not NUL-terminated, and its bytes lie in the file, and are valid until that is
 * released. Later versions will append fields.
 */
typedef struct SmfModuleSection {
    int64_t size;         /* in: sizeof(SmfModuleSection); out: the number of bytes filled in */
    const char *name;
    int64_t name_length;  /* in bytes */
    const uint8_t *bytes; /* in the file, compressed or not; null if there are none. smf_cache_section decompresses */
    int64_t length;       /* of these bytes */
    int64_t offset;       /* in the file, in bytes, as the table of sections states it */
    int64_t memory_size;  /* the size in memory in bytes */
    int64_t alignment;    /* in memory, in bytes */
    int32_t kind;         /* SMF_SECTION_* */
    int32_t flags;        /* a sum of SMF_SECTION_FLAG_* */
} SmfModuleSection;

/*
 * Fills in a section by its index, from 0 up to the number of sections in the header; SMF_ERROR_NOT_FOUND beyond.
 * `from` and `module` as for smf_module_header.
 */
bool smf_module_section(uint64_t from, uint64_t module, int64_t index, SmfModuleSection *section);

/* The names of the sections, by index, as a list of texts; null on failure, NIL in the tagged convention. */
SmfValue smf_module_section_names(uint64_t from, uint64_t module);

#ifndef SMF_NO_JIT /* Only in a library that is built with the feature `jit`. */

/* ---- Parts of modules ------------------------------------------------------------------------------ */

/*
 * Threads: any number of threads extract from one module.
 * Fork: as for the cache or the loader.
 */

/*
 * Extracts functions and templates from a module, for a linker. `from` is an open cache and `module` a file of it that
 * is held, which need not be loadable here; or `from` is an open loader and `module` a hold.
 *
 * Names, code and templates point into the bytes of the module's file. They are valid until it is released, are not
 * freed by the caller, and are not NUL-terminated.
 *
 * Each call reads the symbols and relocations of the whole module: to extract many functions, visit all of them.
 */

/* Relocation kinds: S the symbol's address, A the addend, P the relocated place, G the address of a slot with S. */
#define SMF_RELOC_NONE 0
#define SMF_RELOC_ABS64 1                  /* S + A, 64 bits */
#define SMF_RELOC_PC32 2                   /* S + A - P, signed 32 bits */
#define SMF_RELOC_PLT32 3                  /* the same; through a veneer if S is out of range */
#define SMF_RELOC_GOTPCREL 4               /* G + A - P, signed 32 bits */
#define SMF_RELOC_ABS32 5                  /* S + A, unsigned 32 bits */
#define SMF_RELOC_ABS32S 6                 /* S + A, signed 32 bits */
#define SMF_RELOC_PC64 7                   /* S + A - P, 64 bits */
#define SMF_RELOC_ARM64_BRANCH26 8         /* (S + A - P) >> 2, signed 26 bits of an instruction */
#define SMF_RELOC_ARM64_PAGE21 9           /* (page(S + A) - page(P)) >> 12, signed 21 bits */
#define SMF_RELOC_ARM64_PAGEOFF12 10       /* (S + A) & 0xfff, scaled by the access size */
#define SMF_RELOC_ARM64_GOT_LOAD_PAGE21 11 /* as 9, of G */
#define SMF_RELOC_ARM64_GOT_LOAD_PAGEOFF12 12

/* A relocation of an extracted function. It will not get more fields. */
typedef struct SmfTakenReloc {
    int64_t offset;        /* in bytes from the start of the function */
    int64_t addend;
    const char *symbol;    /* the name of the symbol, which is empty for some sections */
    int64_t symbol_length; /* in bytes */
    int64_t value;         /* the symbol's offset in its section in bytes; 0 for an import */
    int32_t section;       /* the index of that section, as in `smf inspect`; -1 for an import */
    int32_t kind;          /* SMF_RELOC_* */
    int32_t symbol_kind;   /* SMF_SYMBOL_* */
    int32_t binding;       /* SMF_BINDING_* of the symbol */
} SmfTakenReloc;

/* An extracted function. Later versions will append fields. */
typedef struct SmfConcrete {
    int64_t size;         /* in: sizeof(SmfConcrete); out: the number of bytes filled in */
    const char *name;
    int64_t name_length;  /* in bytes */
    const uint8_t *bytes; /* the code; null if it cannot be extracted */
    int64_t length;       /* in bytes; up to the next symbol if its own symbol has no size */
    int64_t offset;       /* in its section, in bytes */
    int64_t alignment;    /* of that section, in bytes */
    int64_t relocations;  /* the number of relocations */
    int32_t binding;      /* SMF_BINDING_* */
    int32_t error;        /* SMF_OK, or why it cannot be extracted; smf_take_concrete gives the message */
} SmfConcrete;

/*
 * Extracts a function by name: the global one, else the weak one, else the local one. Fills in the structure unless it
 * is null, and the first `count` of its relocations by offset; the list may be null if the count is 0. False on
 * failure: SMF_ERROR_NOT_FOUND if the module has no such function, SMF_ERROR_TAKE if it is not self-contained.
 */
bool smf_take_concrete(uint64_t from, uint64_t module, const char *name, SmfConcrete *concrete,
                       SmfTakenReloc *relocations, int64_t count);

/*
 * A callback for each function: receives it and its relocations, both valid during the call. Returns whether to
 * continue, may call the functions of this library, and must not unwind.
 */
typedef bool (*SmfConcreteVisitor)(const SmfConcrete *concrete, const SmfTakenReloc *relocations, void *user);

/*
 * Visits every function that a module defines, including local ones and those that cannot be extracted, by section and
 * address. Returns the number of calls; -1 on failure, when there were none.
 */
int64_t smf_take_concretes(uint64_t from, uint64_t module, SmfConcreteVisitor visit, void *user);

#define SMF_CONTAINER_GTPL 1
#define SMF_CONTAINER_GTPL_CONSTRAINED 2 /* version 1.1: a list of constraints follows each header */
#define SMF_CONTAINER_COUNTED 3
#define SMF_CONTAINER_RECORDS 4 /* records of source texts, as the Simple compiler writes them */

#define SMF_TEMPLATE_UNKNOWN 0 /* not recorded in the container */
#define SMF_TEMPLATE_FUNCTION 1
#define SMF_TEMPLATE_STRUCT 2
#define SMF_TEMPLATE_CLASS 3
#define SMF_TEMPLATE_ENUM 4
#define SMF_TEMPLATE_TRAIT 5

/* An extracted template. Later versions will append fields. */
typedef struct SmfDeferred {
    int64_t size;         /* in: sizeof(SmfDeferred); out: the number of bytes filled in */
    const char *name;
    int64_t name_length;  /* in bytes */
    const uint8_t *entry; /* the whole entry, which may be appended to another container of the same kind, whose
                             count then grows by one; null if it cannot be extracted */
    int64_t entry_length;
    const uint8_t *body;  /* the body, the last part of the entry */
    int64_t body_length;
    int32_t container;    /* SMF_CONTAINER_* */
    int32_t kind;         /* SMF_TEMPLATE_* */
    int32_t parameters;   /* the number of type parameters; 0 if the container does not record it */
    int32_t error;        /* SMF_OK, or why it cannot be extracted: its end is unknown */
} SmfDeferred;

/* Extracts a template by name. The structure may be null. False on failure, as for smf_take_concrete. */
bool smf_take_deferred(uint64_t from, uint64_t module, const char *name, SmfDeferred *deferred);

/* A callback for each template, as SmfConcreteVisitor. */
typedef bool (*SmfDeferredVisitor)(const SmfDeferred *deferred, void *user);

/* Visits the templates of a module in the order of its file. Returns the number of calls; -1 on failure. */
int64_t smf_take_all_deferred(uint64_t from, uint64_t module, SmfDeferredVisitor visit, void *user);

/* ---- Templates ------------------------------------------------------------------------------------ */

/*
 * Threads: an instance is compiled by one thread; others that request it wait. Callbacks run on the thread of the
 *   caller. Calls with one context run in parallel; those with unifiers wait for each other.
 * Fork: instantiators and contexts that were in use by another thread are refused (SMF_ERROR_FORKED). The others are as in the
 *   parent; an inherited instantiator creates no code (SMF_JIT_FAILED). Unifiers are as in the parent.
 */

/*
 * The note.sdn of a module lists the possible instances of its templates: symbols such as fn$Vec$i64. An instantiator
 * compiles an instance when its symbol is requested, once for all threads, together with the instances that it calls,
 * and records it in the module's note, in memory and in its file.
 */

/* Options of an instantiator. Later versions will append fields. */
typedef struct SmfJitOptions {
    int64_t size;      /* sizeof(SmfJitOptions) */
    int32_t max_depth; /* the most nested instantiations: 50 */
    int32_t flags;     /* a sum of SMF_JIT_* */
    int64_t max_instances; /* the most instances, as SmfJitStatistics counts them; 0 for no limit. One more is
                              SMF_JIT_FAILED, with SMF_ERROR_CEILING */
} SmfJitOptions;

enum {
    SMF_JIT_SILENT = 1,   /* only smf_jit_update records instances in notes */
    SMF_JIT_DISABLED = 2, /* no instances are created */
    SMF_JIT_VERBOSE = 4,  /* messages on standard error */
    SMF_JIT_KEEP_CODE = 8 /* code is cached in the file with the note, and reused where it still fits */
};

/* An instance. Later versions will append fields. */
typedef struct SmfJitInstance {
    int64_t size;    /* in: sizeof(SmfJitInstance); out: the number of bytes filled in */
    int64_t address; /* the entry point, for rt_call_function_*; 0 without an instance */
    int64_t length;  /* the length of its code, which starts there, in bytes */
} SmfJitInstance;

/* The statistics of an instantiator. Later versions will append fields. */
typedef struct SmfJitStatistics {
    int64_t size;    /* in: sizeof(SmfJitStatistics); out: the number of bytes filled in */
    int64_t cached;  /* existing instances, without those of templates that were replaced or unloaded */
    int64_t modules; /* modules whose note was loaded */
    int64_t failed;  /* symbols that are not tried again before a module is loaded */
    int64_t kept;    /* instances whose code came from a file */
    int64_t stale;   /* instances that were compiled because the cached code in a file did not fit */
} SmfJitStatistics;

/* Opens an instantiator; null for the defaults above. Returns its handle; 0 on failure. */
uint64_t smf_jit_open(const SmfJitOptions *options);

/*
 * Closes an instantiator. Its code is freed, unless a loader that it was set for is open: no thread may be inside of it,
 * also by rt_call_function_0 to _8. Fails with SMF_ERROR_IN_USE while other functions use it.
 */
bool smf_jit_close(uint64_t jit);

/*
 * Sets the cache through which an instantiator reads files, as smf_loader_set_cache; 0 for none. An instantiator that
 * records instances in a file evicts it.
 */
bool smf_jit_set_cache(uint64_t jit, uint64_t cache);

/*
 * Loads the note and the templates of the module at a path, of one in an archive, or of one in `length` bytes, which
 * are copied, and whose note is updated in memory only. A module of the same path or name that was loaded before is
 * replaced; its instances stay, and smf_jit_update records them in the new one. An archive is rewritten as a whole, with its
 * other modules unchanged. The code of the module is not loaded: instances that call its functions need a loader
 * (smf_loader_set_jit), or their addresses (smf_jit_register).
 */
bool smf_jit_load(uint64_t jit, const char *path);
bool smf_jit_load_archived(uint64_t jit, const char *path, const char *module);
bool smf_jit_load_bytes(uint64_t jit, const char *name, const uint8_t *bytes, int64_t length);

/*
 * Whether a loaded module lists a symbol as possible, or has the template whose instance it names. False for an instance that
 * exists, or that a note records: smf_jit_resolve finds it, or makes it again.
 */
bool smf_jit_can_instantiate(uint64_t jit, const char *symbol);

/* Results of smf_jit_instantiate. */
enum {
    SMF_JIT_SUCCESS = 0,
    SMF_JIT_NOT_FOUND = 1,     /* no module has a template for it */
    SMF_JIT_CIRCULAR = 2,      /* instances require each other in a cycle */
    SMF_JIT_FAILED = 3,        /* it cannot be compiled */
    SMF_JIT_UPDATE_FAILED = 4, /* the instance exists and is usable, but could not be recorded in the note */
    SMF_JIT_DEFERRED = 5       /* the types of the template are not known; only from smf_jit_take_* */
};

/*
 * Instantiates a symbol, or finds the existing instance. Returns one of SMF_JIT_*, -1 for invalid arguments;
 * smf_last_error gives the reason. The structure may be null. The address is valid until the instantiator is closed.
 */
int32_t smf_jit_instantiate(uint64_t jit, const char *symbol, SmfJitInstance *instance);

/*
 * Objects for a linker, with the feature source. Results are those of smf_jit_instantiate; a structure may be null.
 *
 * With types, spelled as in note.sdn ("i64, f64"): the instance of a template, which no note need list. Generic: for the
 * types that follow from the uses which the notes of the loaded modules list; SMF_JIT_DEFERRED without them. They are
 * inferred again when one of these modules is replaced.
 */
int32_t smf_jit_take_with_types(uint64_t jit, const char *name, const char *types, SmfJitInstance *instance);
int32_t smf_jit_take_generic(uint64_t jit, const char *name, SmfJitInstance *instance);

#define SMF_OBJECT_CODE 1     /* a function of the module: smf_take_concrete takes it with its relocations */
#define SMF_OBJECT_INSTANCE 2 /* an instance of a template */
#define SMF_OBJECT_TEMPLATE 3 /* a template whose types are not known */

/* An object. Later versions will append fields. */
typedef struct SmfTakenObject {
    int64_t size;         /* in: sizeof(SmfTakenObject); out: the number of bytes filled in */
    int64_t address;      /* the entry point of an instance; else 0 */
    const uint8_t *bytes; /* the code, valid as long as the module is held or the instantiator is open; null without */
    int64_t length;       /* its length in bytes */
    int32_t kind;         /* SMF_OBJECT_*; 0 without an object */
    int32_t relocations;  /* the number of relocations of a function of the module */
} SmfTakenObject;

/*
 * The object of a name: an existing instance, a template as smf_jit_take_generic, a function of a module that a cache or
 * a loader holds (as for smf_take_concrete; module 0 for none), or the instance that the name is the symbol of.
 */
int32_t smf_jit_take_object(uint64_t jit, uint64_t from, uint64_t module, const char *name, SmfTakenObject *object);

#define SMF_HINT_VARIABLE 1   /* subject: a type parameter; object: its default */
#define SMF_HINT_EQUALS 2     /* subject: a type parameter; object: a type */
#define SMF_HINT_IMPLEMENTS 3 /* subject: a type parameter; object: a trait */
#define SMF_HINT_USAGE 4      /* subject: a source file; object: the type at the place of the use */

/* A fact about the types of a template. Texts are valid during the call, and empty if unknown. */
typedef struct SmfTypeHint {
    int64_t size; /* sizeof(SmfTypeHint) */
    const char *subject;
    const char *object;
    const char *place; /* in the source, such as "a.spl:3:9" */
    int32_t kind;      /* SMF_HINT_* */
    int32_t number;    /* of the type parameter, from 0; -1 for a use */
} SmfTypeHint;

/* A callback for each fact. Returns whether to continue, may call the functions of this library, and must not unwind. */
typedef bool (*SmfTypeHintVisitor)(const SmfTypeHint *hint, void *user);

/*
 * Visits what is known about the types of a template: its type parameters, constraints, and uses, in this order. Returns
 * the number of calls; -1 on failure: SMF_ERROR_NOT_FOUND if no loaded module has the template.
 */
int64_t smf_jit_take_deferred(uint64_t jit, const char *name, SmfTypeHintVisitor visit, void *user);

/*
 * The address of a symbol: that of smf_jit_register, else that of its instance, created if necessary, else that of
 * smf_register_symbols. 0 on failure: SMF_ERROR_NOT_FOUND, or the errors of smf_jit_instantiate.
 */
int64_t smf_jit_resolve(uint64_t jit, const char *symbol);

/* Registers the address of a symbol, replacing an earlier one. */
bool smf_jit_register(uint64_t jit, const char *symbol, int64_t address);

/* Records all instances that are not recorded yet in the notes of their modules. */
bool smf_jit_update(uint64_t jit);

bool smf_jit_statistics(uint64_t jit, SmfJitStatistics *statistics);

/* A template to be compiled. All pointers are valid until the compiler returns. */
typedef struct SmfTemplate {
    int64_t size;        /* sizeof(SmfTemplate) */
    const char *symbol;  /* of the instance */
    const char *name;    /* of the template */
    const uint8_t *body; /* its body, which the library does not interpret */
    int64_t body_length; /* in bytes */
    const char *types;   /* its type arguments: a JSON list as of compiler_infer_types */
} SmfTemplate;

/*
 * A compiler callback for templates that the library cannot compile: calls smf_jit_emit and smf_jit_relocate for the
 * unit, or smf_jit_fail, and returns whether it emitted code. It may call every other function of this library as
 * well, but must not wait for another thread that does, and must not unwind.
 */
typedef bool (*SmfCompiler)(uint64_t unit, const SmfTemplate *source, void *user);

/* Sets the compiler, which any thread may call while the instantiator or a loader that it was set for is open. */
bool smf_jit_set_compiler(uint64_t jit, SmfCompiler compiler, void *user);

/* Appends code, which is copied, to the unit. */
bool smf_jit_emit(uint64_t unit, const uint8_t *code, int64_t length);

/*
 * Adds a relocation against a symbol to the unit: kind 1 the address, 2 the distance, 3 the distance of a call with
 * unlimited range, 4 the distance of a slot with the address; 5 to 9 the same for aarch64, as in the native layout of
 * modules. An instance of the symbol is created first. A null symbol stands for the code itself.
 */
bool smf_jit_relocate(uint64_t unit, int64_t offset, int32_t kind, const char *symbol, int64_t addend);

/* Fails the unit with a reason. */
bool smf_jit_fail(uint64_t unit, const char *why);

/*
 * Sets the instantiator that resolves names which a loader cannot resolve otherwise; 0 for none. It gets the templates and
 * notes of the loader's modules and providers: at once of those that the loader has, later of those that it loads or
 * registers; smf_jit_load is not needed for them. Only a module without code, whose load fails, is to be loaded after it, or
 * registered as a provider.
 * Templates of a module are used until it is unloaded, another instantiator is set, or the loader is closed. Of several
 * loaders with one instantiator, each uses the templates of its own modules and those of smf_jit_load; the functions smf_jit_*
 * use those of all. A module that smf_jit_load has loaded is replaced, for all loaders, by the one of the same path that a
 * loader loads.
 *
 * Instances that are made for the loader call the functions of the module of their template first, which is loaded if it is a
 * provider, then registered symbols, then what the loader defines: its modules, the one that is being loaded included, its
 * symbols, and its providers, which are loaded. Templates of a module whose load or reload fails are not used, except those
 * of a module without code.
 *
 * A module imports from the modules that its instances call: they are not unloaded before it. An instance that calls what a
 * loader defines is found by that loader alone, with smf_loader_resolve, and until that is unloaded; then, and for another
 * loader, it is made again. Its address may be called as long as the modules that it calls are loaded. An instance whose
 * registered symbols have other addresses now is made again too. The code of an instantiator stays until each loader is
 * closed that it was ever set for.
 */
bool smf_loader_set_jit(uint64_t loader, uint64_t jit);

/*
 * The JSON interface between a runtime and a compiler. Types are objects such as {"kind": "int", "bits": 64,
 * "signed": true}; the kinds are int, float (bits), bool, string, pointer, named (name, args), generic (name),
 * array (elem), simd (lanes, elem), tuple (args) and function (args, elem). Results have a "name" in every type;
 * arguments may omit "signed", and "bits" where a name such as "u8" implies it. Keys are written in a fixed order, those
 * of an object before those of the objects in it.
 *
 * Every returned text is freed by the caller with smf_string_free; in the tagged convention it is text of the runtime,
 * or NIL if that is out of memory. A failure is {"success": false, "error": "..."}, with "Invalid context handle" for
 * an invalid handle, and the last error of the thread as well.
 */
#ifndef SMF_TAGGED

/* JSON as an argument: a C string. */
typedef const char *SmfJson;

/* Text as a result, to be freed by smf_string_free. */
typedef char *SmfAnswer;

/* Frees a text; null is ignored. False for any other address and for a text that was freed before. */
bool smf_string_free(SmfAnswer text);

#else
typedef int64_t SmfJson;
typedef int64_t SmfAnswer;
#endif

/* Creates a context. Returns its handle, greater than 0. */
int64_t compiler_create_context(void);
SmfBool compiler_destroy_context(int64_t context);

/*
 * Infers the type arguments of a template: a list of types. The template is {"name", "type_params": ["T"],
 * "param_types": [...], "return_type": ...}, the last two of which are optional; the hints are a list of
 * {"source", "param_index", "ty"} with the sources call_site, return, assignment and constraint. A param_index that is
 * absent or negative is 0. {"kind": "hint", "source", "type"} is accepted too, where the type may be text such as "i64".
 * A repetition with the same texts is answered from a cache.
 */
SmfAnswer compiler_infer_types(int64_t context, SmfJson template_json, SmfJson hints_json);

/*
 * Compiles a template {"name", "type_params", "body": [bytes]} with a list of types: {"success": true,
 * "code": [bytes], "symbol", "relocations": [{"offset", "kind", "addend"}]}, with the kinds of the native layout. A relocation
 * is against the code itself, unless it has a "symbol": one of the host, or, with "template" and "types" beside it,
 * that of another instance, which the caller compiles in the same way; or an "address", of a function of this process:
 * the trap handler. Bodies are IR, precompiled machine code, or whatever a callback compiles. A repetition is answered from a
 * cache of at least the last 2,048 results, until the callback is set.
 */
SmfAnswer compiler_instantiate_template(int64_t context, SmfJson template_json, SmfJson types_json);

/*
 * Sets the compiler callback of a context for bodies that the library cannot compile, null for none: as
 * smf_jit_set_compiler. It may call every function of the library.
 */
bool compiler_set_callback(int64_t context, SmfCompiler compiler, void *user);

/* Checks whether a template accepts a list of types: {"success": true, "symbol"}. */
SmfAnswer smf_check_types(int64_t context, SmfJson template_json, SmfJson types_json);

/*
 * Whether code is correctly typed: it is the "code" of one of the last 2,048 instances that this context has compiled with its
 * present callback, or well-formed typed code of the runtime's own compiler. False otherwise: SMF_ERROR_FORMAT.
 */
SmfBool compiler_check_types(int64_t context, SmfBytes code);

/* {"type_inferences", "template_instantiations", "cache_hits", "cache_misses"} */
SmfAnswer compiler_get_stats(int64_t context);

/* Creates a unifier. Returns its handle, greater than 0. */
int64_t type_unifier_create(void);
SmfBool type_unifier_destroy(int64_t unifier);

/*
 * Unifies two types: {"success": true, "type"}. The bindings of variables persist for later calls. Types that do not
 * unify are returned as "left" and "right" with the error, and change nothing.
 */
SmfAnswer type_unifier_unify(int64_t unifier, SmfJson one_json, SmfJson other_json);

#ifndef SMF_NO_EXEC /* Only in a library that is built with the feature `exec`. */

/* ---- Execution managers --------------------------------------------------------------------------- */

/*
 * Threads: managers share nothing. Compilations of one manager wait for each other; calls wait for nothing. The last
 *   error, the last text and the diagnostics of a manager are those of the thread.
 * Fork: managers that were in use, by another thread or by a call that forks, are refused (SMF_ERROR_FORKED). The others
 *   call what was compiled, and compile nothing new; a new manager of the child is unrestricted.
 */

/*
 * An execution manager compiles functions and calls them by name or handle. Functions that are compiled later call
 * earlier ones; compiling a name again replaces the function for later calls and for callers of other compilations. Callers of
 * the same compilation keep the version that they were compiled with. Source is Simple;
 * a parameter without a type is an i64. A division by zero, an index out of range and a failed assertion are errors of
 * the call (SMF_ERROR_TRAP), never signals. Machine code is trusted: nothing restricts what a function does with memory
 * that it has the address of. It does not check the stack: a recursion without end is a fault in the guard page of the
 * thread (SIGSEGV). Structs, arrays, texts, constants and generic functions are known to the source that declares them:
 * later source calls functions of numbers and bools.
 *
 * The handles of rt_exec_manager_*, rt_jit_* and smf_exec_* are the same.
 */

#ifndef SMF_TAGGED
/* Text as a result: NUL-terminated, valid until this thread calls a function with the same manager again. */
typedef const char *SmfText;
#else
/* Text as a result: a word of the runtime. */
typedef int64_t SmfText;
#endif

/*
 * Sets the back end that "auto" stands for: "auto" (which is native), "native", "cranelift" or "llvm". False for an unknown
 * one (SMF_ERROR_ARGUMENT) and for one that this library is built without (SMF_ERROR_UNSUPPORTED).
 */
SmfBool rt_set_jit_backend(SmfPath name);
/* The name that was set; "auto" at first. */
SmfText rt_get_jit_backend(void);

/* Opens a manager with a back end by name. Returns its handle, not 0; 0 on failure, as rt_set_jit_backend. */
int64_t rt_exec_manager_create(SmfPath backend);
/* Closes a manager: 0; -1 for an invalid handle, and while functions of the manager run (SMF_ERROR_IN_USE). */
int64_t rt_exec_manager_cleanup(int64_t manager);

/*
 * Compiles Simple source (compile_source), IR in its text form (compile_mir; in the tagged convention also in its
 * binary form), a file by its extension (compile_file: .spl with the modules that it uses, .sir, or .smf, a module,
 * which is loaded; any other as compile does), or source or IR by what it begins with (compile). Returns an empty text; on failure the error, and
 * nothing changes.
 */
SmfText rt_exec_manager_compile(int64_t manager, SmfPath source);
SmfText rt_exec_manager_compile_source(int64_t manager, SmfPath source);
SmfText rt_exec_manager_compile_mir(int64_t manager, SmfPath ir);
SmfText rt_exec_manager_compile_file(int64_t manager, SmfPath path);

/*
 * Calls a function. Its parameters are integers, bools or addresses (execute), anything that a text can state
 * (execute_string: texts, numbers, true, false), or none (execute_void). The result is an integer, 0 without one; or text:
 * the result itself, or a number as `print` shows it. In the C convention a result that contains a NUL is a failure
 * (SMF_ERROR_UNSUPPORTED). On failure 0 (in the tagged convention -1), an empty text, or false;
 * rt_exec_manager_get_last_error tells a failure from such a result.
 */
#ifdef SMF_TAGGED
/* The arguments are arrays of integers, and of texts. */
int64_t rt_exec_manager_execute(int64_t manager, SmfPath name, int64_t arguments);
SmfText rt_exec_manager_execute_string(int64_t manager, SmfPath name, int64_t arguments);
#else
int64_t rt_exec_manager_execute(int64_t manager, SmfPath name, const int64_t *arguments, int64_t count);
SmfText rt_exec_manager_execute_string(int64_t manager, SmfPath name, const char *const *arguments, int64_t count);
#endif
SmfBool rt_exec_manager_execute_void(int64_t manager, SmfPath name);

SmfBool rt_exec_manager_has_function(int64_t manager, SmfPath name);
/* The names of the functions in the order of their first compilation, behind them those of modules. */
SmfValue rt_exec_manager_list_functions(int64_t manager);
/* The back end that compiles, never "auto"; "unknown" for an invalid handle. */
SmfText rt_exec_manager_backend_name(int64_t manager);
SmfBool rt_exec_manager_is_valid(int64_t manager);
/* The level of later compilations: 0 none, 1 within straight-line code, 2 (the default) and 3 all optimisations. */
SmfBool rt_exec_manager_set_opt_level(int64_t manager, int64_t level);
/* -1 for a handle that is no manager. */
int64_t rt_exec_manager_get_opt_level(int64_t manager);
/* The error of this thread's last compilation or call with the manager; empty if it succeeded. */
SmfText rt_exec_manager_get_last_error(int64_t manager);
void rt_exec_manager_clear_error(int64_t manager);

/* Opens a manager with the back end of rt_set_jit_backend. Returns its handle; -1 on failure. */
int64_t rt_jit_create(void);
/* The same for a machine by name, or "host": -1 if code for it does not run here, -2 for an unknown name. */
int64_t rt_jit_create_for_target(SmfPath target);
/* Returns an empty text; on failure "invalid handle", or "parse", "hir", "mir" or "codegen", a colon and the error. */
SmfText rt_jit_compile_source(int64_t jit, SmfPath source);
/* Calls a function of integers. Returns its integer, 0 without one; -1 on failure. */
int64_t rt_jit_call_i64(int64_t jit, SmfPath name, int64_t a);
int64_t rt_jit_call_void(int64_t jit, SmfPath name);
int64_t rt_jit_call_i64_i64(int64_t jit, SmfPath name, int64_t a, int64_t b);
SmfBool rt_jit_has_function(int64_t jit, SmfPath name);
/* 0; -1 on failure. */
int64_t rt_jit_cleanup(int64_t jit);
SmfText rt_jit_backend_name(int64_t jit);

/* Options of an execution manager. Later versions will append fields. */
typedef struct SmfExecOptions {
    int64_t size;           /* sizeof(SmfExecOptions) */
    const char *backend;    /* as for rt_exec_manager_create; null for "auto" */
    int64_t max_code_bytes; /* the most code, with that of replaced functions that is not freed yet; 0 for 1 GiB */
    int32_t level;          /* 0 to 3; 2 without options */
    int32_t flags;          /* SMF_EXEC_PROCESS_SYMBOLS or 0 */
} SmfExecOptions;

/*
 * `extern fn` names functions of the manager, of its modules and of smf_register_symbols. With this flag, and in
 * managers of rt_*, it also names those of the process: dlsym(3).
 */
#define SMF_EXEC_PROCESS_SYMBOLS 1

/* Types of values. */
#define SMF_TYPE_NONE 0
#define SMF_TYPE_I8 1
#define SMF_TYPE_I16 2
#define SMF_TYPE_I32 3
#define SMF_TYPE_I64 4
#define SMF_TYPE_U8 5
#define SMF_TYPE_U16 6
#define SMF_TYPE_U32 7
#define SMF_TYPE_U64 8
#define SMF_TYPE_F32 9
#define SMF_TYPE_F64 10
#define SMF_TYPE_BOOL 11
#define SMF_TYPE_POINTER 12

/* An argument or a result. */
typedef struct SmfExecValue {
    int64_t kind;    /* SMF_TYPE_* */
    int64_t integer; /* an integer, a bool, an address, or the bits of a u64 */
    double number;   /* a float */
} SmfExecValue;

/* The types of a function. Later versions will append fields. */
typedef struct SmfExecFunction {
    int64_t size;       /* in: sizeof(SmfExecFunction); out: the number of bytes filled in */
    int32_t parameters; /* how many */
    int32_t result;     /* SMF_TYPE_* */
    int64_t address;    /* of the current version; 0 if it was replaced by a function of other types. A direct call of it
                           catches no trap, and does not prevent that replaced code is freed */
} SmfExecFunction;

/* What a compilation has to say. Later versions will append fields. */
typedef struct SmfExecDiagnostic {
    int64_t size;            /* in: sizeof(SmfExecDiagnostic); out: the number of bytes filled in */
    const char *code;        /* such as E1301; empty for an error outside of source */
    const char *message;     /* one sentence */
    const char *note;        /* what can be done, or empty */
    const char *file;        /* the name that was given to smf_exec_compile, or empty */
    const char *source_line; /* the line, with `...` for what a long one has far from the place; or empty */
    int32_t severity;        /* SMF_SEVERITY_* */
    int32_t line;            /* from 1; 0 if unknown */
    int32_t column;          /* in characters, from 1; 0 if unknown */
    int32_t length;          /* in characters */
} SmfExecDiagnostic;

#define SMF_SEVERITY_ERROR 1
#define SMF_SEVERITY_WARNING 2

/* The statistics of an execution manager. Later versions will append fields. */
typedef struct SmfExecStatistics {
    int64_t size;          /* in: sizeof(SmfExecStatistics); out: the number of bytes filled in */
    int64_t functions;     /* by name */
    int64_t units;         /* compilations whose code is in memory */
    int64_t code_bytes;    /* all code */
    int64_t retired_bytes; /* of these, code that is freed by a later compilation during which no function runs */
} SmfExecStatistics;

/* Opens a manager; null for the defaults. Returns its handle; 0 on failure. At most 64 are open. */
uint64_t smf_exec_open(const SmfExecOptions *options);
/* Closes a manager and frees its code. Fails with SMF_ERROR_IN_USE while functions of it run. */
bool smf_exec_close(uint64_t manager);
/* The name of the back end; a static string. */
const char *smf_exec_backend(uint64_t manager);
bool smf_exec_set_level(uint64_t manager, int32_t level);

/*
 * Compiles Simple source of `length` bytes, IR in its text form or in the binary form of a unit, or a file as
 * rt_exec_manager_compile_file. `name` is that of the source in diagnostics; null for "source". False on failure, which
 * changes nothing: SMF_ERROR_COMPILE for errors in what is compiled, of which smf_exec_diagnostic has the list.
 */
bool smf_exec_compile(uint64_t manager, const char *name, const char *source, int64_t length);
bool smf_exec_compile_ir(uint64_t manager, const uint8_t *ir, int64_t length);
bool smf_exec_compile_file(uint64_t manager, const char *path);

/* The number of diagnostics of this thread's last compilation with the manager; -1 for an invalid handle. */
int64_t smf_exec_diagnostics(uint64_t manager);
/* One of them, by its index from 0. Its texts are valid until this thread compiles with the manager again. */
bool smf_exec_diagnostic(uint64_t manager, int64_t index, SmfExecDiagnostic *diagnostic);

/*
 * A front end: compiles the source `name` of `length` bytes, followed by a NUL, to IR in its text form, which it returns
 * as a NUL-terminated string. On failure it returns null and sets `error` to a message. Both strings stay valid until
 * this thread calls it again. It runs on the thread that compiles, and must not unwind.
 */
typedef const char *(*SmfFrontEnd)(const char *name, const char *source, int64_t length, const char **error,
                                   void *user);

/*
 * Sets the front end that compiles source; null for that of the library. `manager` is a manager, or 0 for all managers
 * that are opened later. The front end stays in use by compilations that have begun.
 */
bool smf_exec_set_frontend(uint64_t manager, SmfFrontEnd front_end, void *user);

/*
 * The handle of a function by name; 0 if the manager has none (SMF_ERROR_NOT_FOUND), or if it is a function of a module, which
 * is called by name (SMF_ERROR_UNSUPPORTED). It stays valid when the function is
 * replaced by one of the same types; else its use is SMF_ERROR_STATE. Handles are released with the manager: find a function
 * once. A manager has at most 1,048,576 of them, one for each function and types that it had.
 */
uint64_t smf_exec_find(uint64_t manager, const char *name);
bool smf_exec_function(uint64_t manager, uint64_t function, SmfExecFunction *types);
/* The type of a parameter by its index from 0, SMF_TYPE_*; 0 on failure. */
int32_t smf_exec_parameter(uint64_t manager, uint64_t function, int64_t index);
/* As rt_exec_manager_list_functions. */
SmfValue smf_exec_function_names(uint64_t manager);

/*
 * Calls a function by name or handle. The arguments are as many as the parameters, and of their types; an integer may be of
 * another type for a function of a module. Of source, a parameter [T] is two arguments, its address and its length, a
 * struct, tuple or [T; N] its address, and a result of these types an address for it, which is the first argument; functions
 * with texts are called by rt_exec_manager_execute_string. A function of a module that does not state the types (smf compile
 * states them) takes integers, unchecked, and returns an i64. True if it returned: `result`, unless it is null, has its
 * value, of the kind SMF_TYPE_NONE without one. False for a trap (SMF_ERROR_TRAP), wrong arguments (SMF_ERROR_ARGUMENT) or
 * an unknown name (SMF_ERROR_NOT_FOUND); then `result` is unchanged.
 */
bool smf_exec_call(uint64_t manager, const char *name, const SmfExecValue *arguments, int64_t count,
                   SmfExecValue *result);
bool smf_exec_call_function(uint64_t manager, uint64_t function, const SmfExecValue *arguments, int64_t count,
                            SmfExecValue *result);

bool smf_exec_statistics(uint64_t manager, SmfExecStatistics *statistics);

#endif /* SMF_NO_EXEC */

#endif /* SMF_NO_JIT */

/* ---- Executable memory -------------------------------------------------------------------------- */

/*
 * Threads: allocation, writes and protection of blocks wait for each other briefly; calls do not wait. No thread may
 *   execute the code of a block that another writes, frees or makes inaccessible.
 * Fork: inherited blocks can be called and not changed (SMF_ERROR_FORKED); the statistics and limits count blocks of the child
 *   alone.
 */

/*
 * Allocates zero-filled memory for code, `size` bytes rounded up to whole pages. It is executable once it has been
 * written by rt_write_exec_memory, and never writable and executable at one address. Returns the address; 0 on failure.
 */
int64_t rt_alloc_exec_memory(int64_t size);

/* Allocates zero-filled readable and writable memory, in whole pages. Returns the address; 0 on failure. */
int64_t rt_alloc_rw_memory(int64_t size);

/* Frees a block of either kind, given its address and the requested size. */
SmfBool rt_free_exec_memory(int64_t address, int64_t size);

/*
 * Copies a byte array into the block at `address`, from `offset` on. Returns the number of bytes written; -1 on
 * failure, when none was. No thread may execute the code that is being replaced.
 */
int64_t rt_write_exec_memory(int64_t address, SmfBytes code, int64_t offset);

/* Makes a whole block readable and executable, or readable and writable. */
SmfBool rt_make_executable(int64_t address, int64_t size);
SmfBool rt_make_writable(int64_t address, int64_t size);

/* Sets the protection of a whole block. Write together with execute permission is refused. */
SmfBool rt_set_protection(int64_t address, int64_t size, int32_t prot);

/*
 * Synchronizes the instruction caches with a range inside one block. rt_write_exec_memory and making a block
 * executable do this themselves.
 */
void rt_flush_icache(int64_t address, int64_t size);

/*
 * The address itself if it is in executable memory of this library that has been written, or in a file mapped with
 * EXEC; otherwise 0.
 */
int64_t rt_get_function_pointer(int64_t address);

/*
 * Calls the function at `function`, in executable memory of this library that has been written, in a file mapped with
 * EXEC, or in a loaded module, and returns its result; 0 on failure. SMF_ERROR_TRAP: template code has trapped, or
 * bytecode was stopped; all functions that were called are left, as by longjmp. If the function itself returned 0,
 * smf_last_error() is SMF_OK. The block must not be freed during the call, and nothing may unwind out of it: an
 * exception, pthread_exit(3) and pthread_cancel(3) end the process. A function of machine code that ends its thread is
 * called directly, by the address of smf_loader_symbol. A call ends on the thread on which it began, and the calls of a thread end in the
 * reverse order of their beginnings: a coroutine inside of one is not resumed by another thread, nor past the end of a
 * call that began later.
 *
 * Stack: bytecode is stopped, with SMF_ERROR_TRAP, before it exceeds the thread's stack, however it was called. A
 * function that calls nothing needs 40 KiB; 16 KiB of them are reserved for functions of the host. Nothing is compiled
 * with less than 64 KiB left: source and templates in source text are an error then, and where they nest too deeply for
 * what is left. The stack bounds are queried once per thread, by pthread_getattr_np of glibc; those of
 * the main thread follow RLIMIT_STACK at that time. They are unknown if the stack pointer is outside of them, as in a
 * coroutine or a signal handler with an alternate stack, and with other C libraries: then 2 MiB must be left, which
 * suffice for all bytecode. The stack use of machine code, of modules and of templates, is not checked. Loading takes up
 * to 64 KiB of the caller's stack.
 */
int64_t rt_call_function_0(int64_t function);
int64_t rt_call_function_1(int64_t function, int64_t a);
int64_t rt_call_function_2(int64_t function, int64_t a, int64_t b);
int64_t rt_call_function_3(int64_t function, int64_t a, int64_t b, int64_t c);
int64_t rt_call_function_4(int64_t function, int64_t a, int64_t b, int64_t c, int64_t d);
int64_t rt_call_function_5(int64_t function, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e);
int64_t rt_call_function_6(int64_t function, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e,
                           int64_t f);
int64_t rt_call_function_7(int64_t function, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e,
                           int64_t f, int64_t g);
int64_t rt_call_function_8(int64_t function, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e,
                           int64_t f, int64_t g, int64_t h);

/*
 * The same for a function of any types, which the signature gives as C does, without names:
 *
 *     int32_t count = 3;
 *     double scale = 0.5, result;
 *     void *arguments[] = {&count, &scale};
 *     if (smf_call(function, "double(int32_t, double)", arguments, &result)) ...
 *
 * `arguments` has the address of a value for each parameter, and may be null if there are none; `result` receives a
 * value of the result's type, unless it is null or the type is void. The types are
 *
 *   - bool, char, short, int, long, long long, each signed or unsigned; float, double; void as a result, or alone between
 *     the parentheses; int8_t to uint64_t, size_t, ssize_t, intptr_t, uintptr_t, ptrdiff_t;
 *   - pointers: any words and a star, such as `const char *` or `struct point *`;
 *   - structures by value, of up to 16 fields without structures among them: `{double, float}` or `struct {double, float}`.
 *
 * At most 127 parameters. SMF_ERROR_ARGUMENT: a malformed signature, whose first wrong character the error names as
 * signature[index], or a null argument. SMF_ERROR_UNSUPPORTED: the library was built without the features `typed-calls` and
 * `libffi`.
 */
bool smf_call(int64_t function, const char *signature, void *const *arguments, void *result);

/* The protection in the kernel of any address of the process: a sum of SMF_PROT_*, -1 if nothing is mapped there. */
SmfBool rt_is_executable(int64_t address);
int32_t rt_get_protection(int64_t address);

/* The requested bytes of all live blocks, and their number. */
int64_t rt_exec_memory_total(void);
int64_t rt_exec_memory_count(void);

/*
 * Writes these and further statistics to standard error, and a line for each region of memory: arenas, which the system
 * has mapped, and live blocks, with their addresses and sizes, and whether they are executable now.
 */
void rt_exec_memory_dump_stats(void);

/* What an event says. */
#define SMF_EXEC_ALLOCATE 1 /* a block was allocated */
#define SMF_EXEC_PUBLISH 2  /* a block became executable */
#define SMF_EXEC_FREE 3     /* a block was freed */
#define SMF_EXEC_REFUSE 4   /* a request was refused */

/* An event of executable memory. It will not get more fields. */
typedef struct SmfExecEvent {
    int64_t sequence;    /* the number of the event, from 0 */
    int64_t nanoseconds; /* of CLOCK_MONOTONIC */
    int64_t address;     /* of the block, or the refused one; 0 if there is none */
    int64_t bytes;       /* as requested */
    int32_t action;      /* SMF_EXEC_* */
    int32_t error;       /* SMF_OK, or why a request was refused: one of SmfErrorCode */
} SmfExecEvent;

/*
 * Sets how many of the latest events of executable memory are retained for an audit, at most 1,048,576; 0, as at first,
 * records none. Events that exceed a smaller number are lost. The code of loaders and instantiators is recorded too.
 * Returns the previous number; -1 on failure.
 */
int64_t smf_exec_audit(int64_t events);

/*
 * Removes up to `count` events, the earliest first, copies them into an array, and returns how many; -1 on failure. The
 * array may be null if the count is 0. Unless it is null, `lost` receives how many events were lost since the last call.
 */
int64_t smf_exec_drain(SmfExecEvent *events, int64_t count, int64_t *lost);

/* Sets ceilings in bytes and in blocks, both at least 1. False while blocks are live or loaders are open. */
bool smf_exec_limit(int64_t bytes, int64_t blocks);

/* Returns memory without live blocks to the system. Freeing the last block does so too, at a limited rate. */
bool smf_exec_trim(void);

/* ---- Names for profilers and debuggers ----------------------------------------------------------- */

/*
 * Threads: names are written by one thread at a time.
 * Fork: enabled tools stay enabled; the child writes files of its own.
 */

/*
 * Three tools, all disabled at first. Each is enabled by its function or by an environment variable, which is read at
 * the first name, except in a program with more privileges than its user (set-user-ID, file capabilities). Code that
 * was named before a tool was enabled is not reported to it.
 */

/* SMF_PERF_MAP=1: writes /tmp/perf-PID.map, which `perf report` reads. */
bool smf_perf_map_enable(void);

/* SMF_JITDUMP=DIRECTORY: writes jit-PID.dump there, for `perf record -k 1` and `perf inject --jit`. */
bool smf_jitdump_enable(const char *directory);

/* SMF_GDB=1: registers code with gdb and lldb until its block is freed, and modules with their debugging information. */
bool smf_gdb_enable(void);

/*
 * Names `size` bytes of executable memory that have been written. Without an enabled tool the arguments are not
 * checked, and the result is true. Functions of loaded modules are named automatically.
 */
bool smf_name_code(int64_t address, int64_t size, const char *name);

#ifdef __cplusplus
}
#endif

#endif
