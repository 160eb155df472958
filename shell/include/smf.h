/*
 * smf.h - the C API of the SMF loader: libsmf_loader.so, libsmf_loader.a
 *
 * Rules for every function:
 *
 *   - It may be called from any thread, and never unwinds.
 *   - Addresses and sizes of 64 bits travel as int64_t. Null, negative, overflowing and foreign ones get
 *     the failure value that stands here, and leave everything as it was.
 *   - The reason of a failure is kept for the thread: smf_last_error().
 *   - Addresses of executable memory and of mappings are looked up, never trusted. C strings, byte ranges
 *     given with their length, and the table of smf_set_value_hooks are followed: they must be what they
 *     say.
 *
 * Machine code is trusted: what it does when it is called is up to it.
 *
 * After fork(2), also of a process with many threads, every function works in the child or fails, with
 * SMF_ERROR_FORKED where the fork is the reason; none waits for a thread that only the parent has. In the child
 *
 *   - mappings, values and texts are as in the parent;
 *   - inherited code may be called, as long as the parent does not free it, and can neither be changed nor
 *     freed; memory for code that the child asks for is its own, and not counted with that of its parent;
 *   - caches, loaders, instantiators and contexts that no thread was using at the fork, the one that forked
 *     included, are as in the parent, but for what needs executable memory: an inherited loader refuses
 *     modules of bytecode and those that may be replaced, and an inherited instantiator makes no code
 *     (SMF_JIT_FAILED);
 *   - those that a thread was using are refused for ever, with everything in them, and are not closed;
 *   - prefetches have ended with their threads and are refused; until one is freed, its cache is in use.
 *
 * A new cache, loader, instantiator or prefetch of the child is not restricted, but that versions which it replaces
 * stay in memory, up to max_replaced_bytes, when threads of the parent were inside calls at the fork. The library takes its own locks
 * around fork by pthread_atfork(3), when it is loaded, so that no fork waits for a function of the host. Children
 * made by _Fork, vfork or clone(2) know nothing of this and must call no function of this library, nor must
 * a signal handler fork other than by _Fork.
 *
 * With SMF_TAGGED defined, the header declares the build of the library in the tagged convention, in
 * which text, a byte array and a tuple are each one word of the runtime that the library is linked with.
 * With SMF_NO_JIT defined, it declares nothing that a library without the feature `jit` does not have.
 */
#ifndef SMF_H
#define SMF_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SMF_VERSION "0.1.0"

/* The version of the library, as in SMF_VERSION; never freed. */
const char *smf_version(void);

/* ---- Errors ------------------------------------------------------------------------------------- */

/* Why a function failed. The numbers never change their meaning. */
typedef enum SmfErrorCode {
    SMF_OK = 0,
    SMF_ERROR_ARGUMENT = 1,          /* null, negative, 0 or too large, or a number that means nothing */
    SMF_ERROR_UNKNOWN_ADDRESS = 2,   /* no block or mapping begins there, or not any more */
    SMF_ERROR_OTHER_SIZE = 3,        /* not the size of the block or mapping */
    SMF_ERROR_OUT_OF_RANGE = 4,      /* bytes that reach beyond the end of their block, mapping or file */
    SMF_ERROR_NOT_EXECUTABLE = 5,    /* no code, or code that was not written yet or may not run now */
    SMF_ERROR_WRITE_AND_EXECUTE = 6, /* both at one address */
    SMF_ERROR_VALUE = 7,             /* not a live value, or of another kind */
    SMF_ERROR_NO_MEMORY = 8,
    SMF_ERROR_CEILING = 9,           /* smf_exec_limit, or the limit of replaced code of a loader */
    SMF_ERROR_POLICY = 10,           /* the system, or smf_mmap_allow_exec, forbids executable memory */
    SMF_ERROR_FORKED = 11,           /* belongs to the parent process, or was in use when it forked */
    SMF_ERROR_UNMAPPED = 12,         /* no memory at the address */
    SMF_ERROR_STATE = 13,            /* too late, or too early */
    SMF_ERROR_SYSTEM = 14,           /* the system refused something else */
    SMF_ERROR_FILE = 15,             /* a file that is not there, cannot be read, or is cut off now */
    SMF_ERROR_ACCESS = 16,           /* rights that the file or the mapping does not give */
    SMF_ERROR_HANDLE = 17,           /* a number that is none, or not any more, or not of this cache or loader */
    SMF_ERROR_IN_USE = 18,           /* held, not yet freed, or needed by others */
    SMF_ERROR_FULL = 19,             /* no room in the cache: the file is too large, or all are held */
    SMF_ERROR_FORMAT = 20,           /* not a sound module or archive */
    SMF_ERROR_LINK = 21,             /* a sound module that cannot be placed or linked here */
    SMF_ERROR_MISSING = 22,          /* imports that nobody provides: smf_loader_missing() */
    SMF_ERROR_NAME_TAKEN = 23,       /* another module has the name, or exports it */
    SMF_ERROR_RELOAD = 24,           /* a module that may not be replaced, or not by this one */
    SMF_ERROR_NOT_FOUND = 25,        /* nothing has the name */
    SMF_ERROR_TAKE = 26,             /* a function or a template that cannot be taken out of its module */
    SMF_ERROR_INSTANTIATE = 27,      /* an instance of a template that cannot be made */
    SMF_ERROR_UPDATE = 28,           /* a module that was not told of what was made of it */
    SMF_ERROR_TRAP = 29              /* bytecode or code made of a template that divided by 0, or had to stop */
} SmfErrorCode;

typedef struct SmfError {
    int32_t code;     /* one of SmfErrorCode; SMF_OK when nothing has failed */
    const char *text; /* one sentence; good until this thread calls smf_last_error again */
} SmfError;

/*
 * Why a function last failed in this thread. One that succeeds leaves it as it is, but for
 * rt_call_function_*, which clear it when the function they have called returned 0.
 */
SmfError smf_last_error(void);

/* Forgets it. */
void smf_clear_error(void);

/* ---- Values ------------------------------------------------------------------------------------- */

#ifndef SMF_TAGGED

/* Text, a byte array or a pair of integers. It belongs to the runtime, and only it knows what it is. */
typedef struct RuntimeValue RuntimeValue;

/* A byte array as an argument. Its bytes must not change during the call. */
typedef const RuntimeValue *SmfBytes;

/* A value as a result: null on failure, and to be freed by smf_value_free. */
typedef RuntimeValue *SmfValue;

/* A path as an argument: bytes up to the NUL, not necessarily UTF-8. */
typedef const char *SmfPath;

/* Where a mapping is; both are 0 on failure. */
typedef struct SmfMapping {
    int64_t address; /* of its first byte */
    int64_t size;    /* in bytes */
} SmfMapping;

/*
 * The functions of a runtime for its values. All must be there, may be called from any thread, and must
 * not unwind. One that is given a value of another kind returns null or -1.
 */
typedef struct SmfValueHooks {
    int64_t size;                                             /* sizeof(SmfValueHooks) */
    RuntimeValue *(*text_new)(const uint8_t *, int64_t);      /* text of these bytes */
    RuntimeValue *(*bytes_new)(int64_t);                      /* a byte array of this length */
    uint8_t *(*bytes_data)(const RuntimeValue *);             /* its bytes, to be written */
    int64_t (*bytes_length)(const RuntimeValue *);            /* their number */
    const uint8_t *(*text_data)(const RuntimeValue *);        /* the bytes of text */
    int64_t (*text_length)(const RuntimeValue *);             /* their number */
    RuntimeValue *(*pair_new)(int64_t, int64_t);              /* a pair of integers */
    void (*free)(RuntimeValue *);                             /* frees any of them */
} SmfValueHooks;

/*
 * Installs the runtime's functions for values. Possible once, and before the first value is made; false
 * otherwise. Without them the library has values of its own.
 */
bool smf_set_value_hooks(const SmfValueHooks *hooks);

/* Text of `length` bytes, which should be UTF-8 and are taken as they are. Null on failure. */
RuntimeValue *smf_text_new(const uint8_t *bytes, int64_t length);
/* The bytes of text until it is freed; the library's own have a NUL behind them. Null on failure. */
const uint8_t *smf_text_data(const RuntimeValue *value);
/* Their number; -1 on failure. */
int64_t smf_text_length(const RuntimeValue *value);

/* A byte array: a copy of the bytes, or zeros when `bytes` is null. Null on failure. */
RuntimeValue *smf_bytes_new(const uint8_t *bytes, int64_t length);
/* The bytes of an array, to be read and written until it is freed. Null on failure. */
uint8_t *smf_bytes_data(const RuntimeValue *value);
/* Their number; -1 on failure. */
int64_t smf_bytes_length(const RuntimeValue *value);

/* A pair of integers. Null on failure. */
RuntimeValue *smf_pair_new(int64_t first, int64_t second);
/* Its parts, for pairs of the library's own; 0 on failure. */
int64_t smf_pair_first(const RuntimeValue *value);
int64_t smf_pair_second(const RuntimeValue *value);

/* Frees a value. False when it is none, or was freed before. */
bool smf_value_free(RuntimeValue *value);

#else

/* A byte array as an argument: a word of the runtime. */
typedef int64_t SmfBytes;

/* Text or a byte array as a result: a word of the runtime; NIL on failure. */
typedef int64_t SmfValue;

/* A path as an argument: text, or NIL for none. */
typedef int64_t SmfPath;

/* Where a mapping is, as a result: a tuple of its address and its size, both tagged; both 0 on failure. */
typedef int64_t SmfMapping;

#endif

/* ---- Files in memory ------------------------------------------------------------------------------ */

/*
 * What a protection is the sum of. Reading comes with writing and with executing; those
 * two together are refused everywhere.
 */
#define SMF_PROT_NONE 0
#define SMF_PROT_READ 1
#define SMF_PROT_WRITE 2
#define SMF_PROT_EXEC 4

/* What the flags of a mapping are the sum of: one of the first two, and perhaps the last. */
#define SMF_MAP_SHARED 1
#define SMF_MAP_PRIVATE 2
#define SMF_MAP_FIXED 0x10 /* refused: it would replace memory of others */
#define SMF_MAP_ANONYMOUS 0x20

/*
 * Maps `length` bytes of a regular file from `offset`, a multiple of the page size; length 0 means up to
 * the end of the file. The part must lie inside the file and have a byte at least. With ANONYMOUS there
 * is no file: the path is null or empty, the offset 0, and the bytes are zeros.
 *
 * No function of this library raises a signal by reading a mapping. Whether its bytes may be touched at
 * their address, without this library, is another matter:
 *
 *   PRIVATE     A copy, of at most 4 GiB, made now. Nothing that happens to the file changes it, and what
 *               is written to it stays here. Touching it is safe.
 *   SHARED      The file's own pages: what is written goes to the file, which must be writable, and what
 *               others write is seen. When the file is cut off, touching what has been lost is SIGBUS;
 *               rt_mmap_read_* report it (SMF_ERROR_FILE). One descriptor is open as long as it lives.
 *   ANONYMOUS   Memory of this process, with SHARED also of its children. Touching it is safe.
 *
 * EXEC needs smf_mmap_allow_exec, and is for files with PRIVATE; such a mapping may be called through
 * rt_call_function_*. Protections are as in rt_set_protection, which is for blocks only.
 */
SmfMapping rt_mmap_file(SmfPath path, int32_t prot, int32_t flags, int64_t offset, int64_t length);

/*
 * Unmaps a whole mapping: its address, and the size that came with it. A thread that is reading it in
 * this library finishes first, and only then is the address free for others.
 */
bool rt_munmap(int64_t address, int64_t size);

/*
 * A byte array of the `length` bytes that begin `offset` behind `address`. The address and the range must
 * lie in one live mapping, which must be readable.
 */
SmfValue rt_mmap_read_bytes(int64_t address, int64_t offset, int64_t length);

/*
 * Text that begins `offset` behind `address`, up to its NUL or the end of the mapping, and with a
 * max_length other than 0 of at most as many bytes. U+FFFD stands for what is not UTF-8, such as a
 * character that max_length cuts in two.
 */
SmfValue rt_mmap_read_string(int64_t address, int64_t offset, int64_t max_length);

/* The number of bytes in a regular file; -1 on failure. */
int64_t rt_file_size_for_mmap(SmfPath path);

/* The number of bytes in a page. */
int64_t rt_get_page_size(void);

/*
 * These take a range inside one live mapping that begins with a page; its end may be anywhere.
 *
 * rt_msync writes the changes in a SHARED mapping to its file, and returns when the medium has them
 * unless is_async; for a PRIVATE one there is nothing to do. rt_mlock keeps the range in memory, counted
 * against RLIMIT_MEMLOCK. rt_madvise takes 0 normal, 1 random, 2 sequential, 3 needed soon, 4 not needed
 * for now; the last turns bytes that are ANONYMOUS and PRIVATE into zeros and changes no others.
 */
bool rt_msync(int64_t address, int64_t size, bool is_async);
bool rt_mlock(int64_t address, int64_t size);
bool rt_munlock(int64_t address, int64_t size);
bool rt_madvise(int64_t address, int64_t size, int32_t advice);

/*
 * Allows EXEC in rt_mmap_file from now on, for the whole process, or no longer allows it. Returns what it
 * was before; false when the process begins. Code in a file is trusted like any other.
 */
bool smf_mmap_allow_exec(bool allow);

/* ---- A cache of files ----------------------------------------------------------------------------- */

/*
 * Files by path, read once: the bytes of those that were used last, in bounded memory. The bytes are
 * copies, which nothing that happens to a file can change. Whoever gets a file holds it: its bytes stay
 * where and what they are until it is released as often as it was got, whatever happens to the cache or
 * to the file on disk. What is held is never thrown out to make room.
 *
 * Caches, files and prefetches are numbers, never 0, which are looked up and never followed. One that was
 * closed, thrown out, replaced or freed, or belongs to another cache, is SMF_ERROR_HANDLE. No function
 * waits for another thread that uses the cache, but for moments, and for smf_cache_close.
 */

/* Who is thrown out first. */
#define SMF_POLICY_LRU 0   /* exactly the one that has not been used for the longest time */
#define SMF_POLICY_SIEVE 1 /* nearly so, and hits of many threads do not wait for each other */

/* When a file in the cache is compared with the one on disk: size, time of modification, inode. */
#define SMF_FRESHNESS_ON_REQUEST 0 /* by smf_cache_refresh */
#define SMF_FRESHNESS_EACH_GET 1   /* whenever it is got by path: one system call */

typedef struct SmfCacheOptions {
    int64_t size;      /* sizeof(SmfCacheOptions) */
    int64_t files;     /* the most files, 1 to 4,194,304; those that are held count */
    int64_t bytes;     /* the most bytes of files, at least 1 */
    int32_t policy;    /* SMF_POLICY_* */
    int32_t freshness; /* SMF_FRESHNESS_* */
} SmfCacheOptions;

/* Opens a cache; up to 64 can be open. Returns its number; 0 on failure. */
uint64_t smf_cache_open(const SmfCacheOptions *options);

/*
 * Closes a cache. While files are held (the error says how many) or prefetches were not freed it fails
 * with SMF_ERROR_IN_USE, and the cache is as before. Waits for other threads that are in a function with it.
 */
bool smf_cache_close(uint64_t cache);

/* A file that is held. */
typedef struct SmfCacheFile {
    uint64_t file;        /* its number; 0 on failure */
    const uint8_t *bytes; /* good until it is released; not to be written */
    int64_t length;       /* in bytes; may be 0 */
} SmfCacheFile;

/*
 * Holds the file at a path, or the module of a name in the archive at a path; from the cache, or else
 * from the disk. Two paths of one file share its bytes, and so do the modules of an archive.
 */
SmfCacheFile smf_cache_get(uint64_t cache, const char *path);
SmfCacheFile smf_cache_get_module(uint64_t cache, const char *path, const char *module);

/*
 * Holds a file once more by its number, which is faster than by path. Works for a file that is held, and
 * also for one that is not as long as it has not been thrown out or replaced.
 */
SmfCacheFile smf_cache_get_again(uint64_t cache, uint64_t file);

/* Gives back a file, once for each time that it was got; false once too often. */
bool smf_cache_release(uint64_t cache, uint64_t file);

/* A part of a file that is held. */
typedef struct SmfCachePart {
    const uint8_t *bytes; /* good until the file is released; null when there is no such part */
    int64_t length;       /* in bytes; 0 when there is no such part, -1 on failure */
} SmfCachePart;

/*
 * The bytes of note.sdn, of the first template section, and of the first section of a name, of a module that
 * is held. A request each. What is compressed is decompressed once, as long as the file is in the cache or
 * held, and counts like bytes of the file: SMF_ERROR_FULL when there is no room for it.
 */
SmfCachePart smf_cache_note(uint64_t cache, uint64_t file);
SmfCachePart smf_cache_template(uint64_t cache, uint64_t file);
SmfCachePart smf_cache_section(uint64_t cache, uint64_t file, const char *name);

/* Throws out the file at a path: 1, or 0 when it was not there; -1 on failure. */
int32_t smf_cache_evict(uint64_t cache, const char *path);

/* Throws out everything. */
bool smf_cache_clear(uint64_t cache);

/*
 * Reads the file at a path again if it is in the cache and has changed: 1, or 0 when there was nothing to
 * do; -1 on failure, and what can no longer be read is not in the cache any more.
 */
int32_t smf_cache_refresh(uint64_t cache, const char *path);

/* Throws out every file that has changed on disk or is gone; how many. -1 on failure. */
int64_t smf_cache_refresh_all(uint64_t cache);

/* What a cache has done so far. Later versions will have more fields, at the end. */
typedef struct SmfCacheStatistics {
    int64_t size;           /* in: sizeof(SmfCacheStatistics); out: how much of it was filled in */
    int64_t files;          /* in the cache */
    int64_t bytes;          /* theirs */
    int64_t links;          /* further paths of these files, and modules in these archives */
    int64_t detached_files; /* replaced, or thrown out on request, while they were held; held still */
    int64_t detached_bytes; /* theirs */
    int64_t held;           /* how often something was got and has not been released */
    int64_t peak_bytes;     /* the most there ever were at once */
    int64_t hits;           /* requests answered without reading a file */
    int64_t misses;         /* requests for which a file was read, or could not be */
    int64_t failures;       /* those of the misses that ended in an error */
    int64_t evictions;      /* files thrown out to make room */
    int64_t replacements;   /* files replaced because they had changed */
    int64_t loads;          /* files that were read */
    int64_t load_mean;      /* how long that took, in nanoseconds; 0 when none was */
    int64_t load_50;        /* half of them took at most as long; up to 25 % too much */
    int64_t load_90;        /* 90 of 100 */
    int64_t load_99;        /* 99 of 100 */
    double hit_rate;        /* hits in all requests, 0 to 1; -1 before the first */
} SmfCacheStatistics;

/* Fills it in. Takes time in proportion to the files. */
bool smf_cache_statistics(uint64_t cache, SmfCacheStatistics *statistics);

/* The bytes in a cache at one moment. */
typedef struct SmfCacheSample {
    int64_t nanoseconds; /* since the cache was opened */
    int64_t bytes;
} SmfCacheSample;

/*
 * The bytes over time: puts up to `count` samples, oldest first, into an array, and returns how many there
 * are, at most 32. The array may be null when the count is 0. -1 on failure.
 */
int64_t smf_cache_samples(uint64_t cache, SmfCacheSample *samples, int64_t count);

/*
 * Reads `count` files before they are needed, on up to `threads` threads, 0 for one a core. Comes back when
 * each has been read or cannot be, and returns how many are ready; none of them is held. -1 on failure, and
 * then none was read. A path that is null or cannot be read does not concern the others. With `results`
 * other than null, the results are SMF_OK or one of SmfErrorCode for each path.
 */
int64_t smf_cache_prefetch(uint64_t cache, const char *const *paths, int64_t count, int32_t threads,
                           int32_t *results);

/*
 * As above, but comes back at once. Returns the number of the prefetch, which must be freed before the
 * cache is closed; 0 on failure. The paths are copied.
 */
uint64_t smf_cache_prefetch_start(uint64_t cache, const char *const *paths, int64_t count, int32_t threads);

/* How far a prefetch is. */
typedef struct SmfPrefetchProgress {
    int64_t total;  /* paths in the list; -1 on failure */
    int64_t done;   /* dealt with, failures included */
    int64_t failed; /* those that could not be read */
    int64_t bytes;  /* of the files that are ready */
} SmfPrefetchProgress;

SmfPrefetchProgress smf_prefetch_progress(uint64_t prefetch);

/*
 * Waits until every file has been dealt with, for at most as many milliseconds unless they are negative:
 * 1 when that is so, 0 when the time is over, -1 on failure.
 */
int32_t smf_prefetch_wait(uint64_t prefetch, int64_t milliseconds);

/*
 * What came of a path of a prefetch that has finished: SMF_OK, or why it could not be read, which is the
 * last error then. -1 on failure: SMF_ERROR_STATE when it has not finished.
 */
int32_t smf_prefetch_result(uint64_t prefetch, int64_t index);

/*
 * Frees a prefetch. One that has not finished is cancelled: files that are being read are read to the end,
 * and no others. Comes back when no thread of it is left.
 */
bool smf_prefetch_free(uint64_t prefetch);

/* ---- Modules --------------------------------------------------------------------------------------- */

/*
 * Many modules that find each other's symbols, and come, go and are replaced while the program runs. What
 * a module imports means, in this order: its own export; that of another module, in the order in which
 * they were loaded; what was provided; a name that was defined; one of the process; what the resolver
 * says. Whatever is refused leaves every module as it was.
 *
 * Loaders, modules and holds are numbers, never 0, which are looked up and never followed. One that was
 * closed, unloaded or released, or belongs to another loader, is SMF_ERROR_HANDLE. A module keeps its
 * number when it is replaced.
 *
 * Addresses of functions may be called directly, or through rt_call_function_*, which refuses them when
 * the module is gone. The module must stay loaded while a thread is inside a direct call: by a hold, or
 * because no thread unloads it. smf_loader_collect says what else holds for direct calls of modules that are
 * replaced.
 */

/* When two modules export the same name, and neither is weak. */
#define SMF_CLASH_FIRST_WINS 0 /* the one that was loaded first is meant */
#define SMF_CLASH_REFUSE 1     /* the second is refused; loading then looks at every export */

/* What the flags of a loader are the sum of. */
#define SMF_LOADER_RELOAD_ALL 1      /* modules may be replaced although their file does not say so */
#define SMF_LOADER_PROCESS_SYMBOLS 2 /* names that nobody knows are looked for in the process: dlsym(3) */

typedef struct SmfLoaderOptions {
    int64_t size;       /* sizeof(SmfLoaderOptions) */
    int64_t kept_bytes; /* of memory of unloaded modules, kept for the next ones */
    int32_t clash;      /* SMF_CLASH_* */
    int32_t flags;      /* a sum of SMF_LOADER_* */
    int64_t max_replaced_bytes; /* of memory that replaced versions may take; 0 for 64 MiB */
} SmfLoaderOptions;

/*
 * Opens a loader; up to 64 can be open. With null the first wins, no flag is set, 4 MiB are kept, and replaced
 * versions may take 64 MiB. The
 * stubs through which modules that may be replaced are called lie in executable memory as of
 * rt_alloc_exec_memory, and count there. Returns its number; 0 on failure.
 */
uint64_t smf_loader_open(const SmfLoaderOptions *options);

/*
 * Closes a loader and unloads all of its modules. Fails with SMF_ERROR_IN_USE, and the loader is as
 * before, while modules are held (the error says how many), and while another function with it has not
 * come back: in another thread, or in this one when a resolver, a visitor or a module calls.
 */
bool smf_loader_close(uint64_t loader);

/*
 * Loads the module at a path under the path as its name, or the one called `module` in the archive at a
 * path under the name `path(module)`, or the one in `length` bytes, which are copied. What it needs of
 * what was provided is loaded with it. Returns its number; 0 on failure, and then nothing was loaded:
 * SMF_ERROR_MISSING when it imports what nobody has.
 *
 * A dynlib is checked, and then opened by the system's loader. Its code is trusted from that moment: the
 * system runs its initialisers, and those of the libraries that it names, before this returns. A damaged
 * dynlib is SMF_ERROR_LINK, with an offset, and none of its code runs.
 */
uint64_t smf_loader_load(uint64_t loader, const char *path);
uint64_t smf_loader_load_archived(uint64_t loader, const char *path, const char *module);
uint64_t smf_loader_load_bytes(uint64_t loader, const char *name, const uint8_t *bytes, int64_t length);

/*
 * Adds a module, or every module of an archive, to those that are loaded when one is loaded that imports
 * from them; the first that was added wins. A dynlib, which does not say what it exports, is loaded now, and
 * trusted from now on as by smf_loader_load.
 */
bool smf_loader_provide(uint64_t loader, const char *path);
bool smf_loader_provide_bytes(uint64_t loader, const char *name, const uint8_t *bytes, int64_t length);

/* A name that a module imports and nobody has. */
typedef struct SmfMissing {
    const char *symbol;    /* with a NUL behind it; null on failure */
    int64_t symbol_length; /* in bytes, without that */
    const char *module;    /* the name of the module that wants it, with a NUL behind it */
    int64_t module_length;
} SmfMissing;

/*
 * All that the last load or reload of this thread lacked, by their index; 0 when that was not why it
 * failed. The names are good until this thread loads or reloads again, with any loader.
 */
int64_t smf_loader_missing_count(void);
SmfMissing smf_loader_missing(int64_t index);

/* Gives a name an address in the host, from now on: modules that are loaded keep what they have. */
bool smf_loader_define(uint64_t loader, const char *name, int64_t address);

/*
 * Is asked for a name that nobody knows: its bytes, with a NUL behind them, their number, and what was
 * given to smf_loader_set_resolver. Returns an address, or 0. It may call the functions of this library
 * with the loader, to load the module that has the name for example, but it cannot close it. It may be
 * called from any thread that uses the loader, from several at once, and must not unwind.
 */
typedef int64_t (*SmfResolver)(const char *name, int64_t length, void *user);

/*
 * Sets who is asked when everybody else has been; null for nobody. The one before may still be running in
 * other threads when this comes back, but not any more when the loader has been closed.
 */
bool smf_loader_set_resolver(uint64_t loader, SmfResolver resolver, void *user);

/* The module of a name; 0 when there is none, which is SMF_ERROR_NOT_FOUND. */
uint64_t smf_loader_find(uint64_t loader, const char *name);

/*
 * Holds the version of a module that is present now: its code and its data, and all that it imports, stay
 * where they are until it is released, and it cannot be unloaded. It can be replaced: what is held then is
 * the old version. Returns the number of the hold, which stands for that version in smf_loader_symbol,
 * _symbols, _entry_point and _call, and may be held once more; 0 on failure.
 */
uint64_t smf_loader_hold(uint64_t loader, uint64_t module);

/* Lets go of it, once for each time that it was held; false once too often. */
bool smf_loader_release(uint64_t loader, uint64_t hold);

#define SMF_SYMBOL_UNKNOWN 0  /* of the host, or of a dynlib */
#define SMF_SYMBOL_FUNCTION 1
#define SMF_SYMBOL_DATA 2
#define SMF_SYMBOL_CONSTANT 3 /* data that does not change */
#define SMF_SYMBOL_SECTION 4

#define SMF_BINDING_LOCAL 0
#define SMF_BINDING_GLOBAL 1
#define SMF_BINDING_WEAK 2

/* What a name means. Later versions will have more fields, at the end. */
typedef struct SmfSymbol {
    int64_t size;    /* in: sizeof(SmfSymbol); out: how much of it was filled in */
    int64_t address;
    int64_t bytes;   /* how many it has; 0 when nobody knows */
    uint64_t module; /* which defines it; 0 for the host */
    int32_t kind;    /* SMF_SYMBOL_* */
    int32_t binding; /* SMF_BINDING_* */
} SmfSymbol;

/*
 * What a name means to a module that imports it. Returns the address, and fills in the structure unless it
 * is null; 0 on failure. The address of a function in a module that may be replaced is where every version
 * of it is called. It is good as long as the module is loaded; that of data, until it is replaced.
 */
int64_t smf_loader_resolve(uint64_t loader, const char *name, SmfSymbol *symbol);

/*
 * What a module exports under a name, at its address in the version that is present or held. Returns the
 * address, and fills in the structure unless it is null; 0 on failure. Good as long as that version.
 */
int64_t smf_loader_symbol(uint64_t loader, uint64_t module, const char *name, SmfSymbol *symbol);

/* Where running a module begins: as its file says, or else at `main`. 0 on failure. */
int64_t smf_loader_entry_point(uint64_t loader, uint64_t module);

/*
 * Calls a function that a module exports with `count` integers, at most 8; the list may be null when there
 * are none. The version is held meanwhile. What it returns goes to `result` unless that is null. False on
 * failure, and then nothing was called, unless it is SMF_ERROR_TRAP, as of rt_call_function_0. Looking up the
 * name takes longer than most calls: who calls often holds the module and calls its address.
 */
bool smf_loader_call(uint64_t loader, uint64_t module, const char *name, const int64_t *arguments,
                     int64_t count, int64_t *result);

/*
 * Are shown a module, or a symbol of one, and its name with a NUL behind it and its bytes without that;
 * both are good until they return. They return whether to go on, may call the functions of this library,
 * and must not unwind.
 */
typedef bool (*SmfModuleVisitor)(uint64_t module, const char *name, int64_t length, void *user);
typedef bool (*SmfSymbolVisitor)(const SmfSymbol *symbol, const char *name, int64_t length, void *user);

/* Shows the modules in the order in which they were loaded. Returns how many were shown; -1 on failure. */
int64_t smf_loader_modules(uint64_t loader, SmfModuleVisitor visit, void *user);

/*
 * Shows what a module defines that has an address, local symbols too, in the order of its file, or functions
 * of bytecode in that of their names; of a dynlib nothing. Returns how many were shown; -1 on failure.
 */
int64_t smf_loader_symbols(uint64_t loader, uint64_t module, SmfSymbolVisitor visit, void *user);

/* What was copied into a new version. Later versions will have more fields, at the end. */
typedef struct SmfReloaded {
    int64_t size;    /* in: sizeof(SmfReloaded); out: how much of it was filled in */
    int64_t symbols; /* of data */
    int64_t bytes;   /* theirs */
    int64_t kept;    /* data that stay where other modules refer to them */
} SmfReloaded;

/*
 * Replaces a module by the version that is at a path now, or in `length` bytes, which are copied. All calls of
 * its functions reach the new version from then on, in one step; a thread that is inside the old version
 * finishes there: smf_loader_collect says how long that stays in memory. With keep_data, writable data of the same name and size is copied from the old version,
 * as far as the linker has written no address into it; no thread should be writing to it. Data that another
 * module refers to by its address stays there instead, and the new version uses it there. The structure may
 * be null. False on failure, and then the old version is as it was: SMF_ERROR_RELOAD when its file does not
 * allow it, or the new version lacks a function that others call; SMF_ERROR_IN_USE when another module
 * refers to data that cannot stay: without keep_data, or of another size in the new version, or reached there
 * in a way that the file does not tell; SMF_ERROR_CEILING when as much replaced code is in memory as the loader
 * may have; SMF_ERROR_STATE when another thread was faster.
 */
bool smf_loader_reload(uint64_t loader, uint64_t module, const char *path, bool keep_data, SmfReloaded *reloaded);
bool smf_loader_reload_bytes(uint64_t loader, uint64_t module, const uint8_t *bytes, int64_t length,
                             bool keep_data, SmfReloaded *reloaded);

/*
 * States that no thread is inside code of a module of this loader that it entered without the library, and frees
 * the replaced versions that no thread can reach.
 *
 * A call by rt_call_function_* or smf_loader_call, and a hold, are counted: a version that is replaced meanwhile
 * is freed when they have ended, without a call of this function. A direct call through an address is not
 * counted, nor is a call from another module. So when the address of a function was handed out by
 * smf_loader_resolve, or another module imports it, the versions of its module that are replaced stay in
 * memory, up to max_replaced_bytes, until this function is called or the module is unloaded.
 *
 * The statement must be true from the start of this call until it returns. A thread is inside from the
 * first instruction at the address until it has returned to the host, also while it waits in a function of the
 * host that the module has called. A host with one thread may call this whenever no module's code is on its stack;
 * another one where its threads meet, for example between two frames. False for a loader that is not open.
 */
bool smf_loader_collect(uint64_t loader);

/*
 * Takes modules away, all of them or none: one, or several that import from each other. Fails with
 * SMF_ERROR_IN_USE while one is held, or another module imports from it.
 */
bool smf_loader_unload(uint64_t loader, uint64_t module);
bool smf_loader_unload_all(uint64_t loader, const uint64_t *modules, int64_t count);

/* How much there is in a loader. Later versions will have more fields, at the end. */
typedef struct SmfLoaderStatistics {
    int64_t size;       /* in: sizeof(SmfLoaderStatistics); out: how much of it was filled in */
    int64_t modules;    /* that are loaded */
    int64_t retired;    /* versions that were replaced or unloaded and are still in memory */
    int64_t kept_bytes; /* of memory that waits for the next modules */
    int64_t held;       /* how often something was held and has not been released */
    int64_t uncounted;  /* of the retired versions: how many wait for smf_loader_collect */
    int64_t replaced_bytes; /* of memory that replaced versions take */
} SmfLoaderStatistics;

bool smf_loader_statistics(uint64_t loader, SmfLoaderStatistics *statistics);

#ifndef SMF_NO_JIT /* What only a library has that is built with the feature `jit`. */

/* ---- Parts of modules ------------------------------------------------------------------------------ */

/*
 * Functions and templates taken out of a module, for a linker that makes another one of them. `from` is an
 * open cache and `module` a file of it that is held, which need not be one that could be loaded here; or
 * `from` is an open loader and `module` a hold.
 *
 * Names, code and templates are bytes of the module's file. They are good until it is released, nothing has
 * to be freed, and there is no NUL behind them.
 *
 * Each call reads the symbols and the relocations of the whole module: who wants many of its functions has
 * them all shown at once.
 */

/* How a relocation is computed: S the symbol's address, A the addend, P the place, G where S is kept. */
#define SMF_RELOC_NONE 0
#define SMF_RELOC_ABS64 1                  /* S + A, 64 bits */
#define SMF_RELOC_PC32 2                   /* S + A - P, signed 32 bits */
#define SMF_RELOC_PLT32 3                  /* the same; through a veneer where S is out of reach */
#define SMF_RELOC_GOTPCREL 4               /* G + A - P, signed 32 bits */
#define SMF_RELOC_ABS32 5                  /* S + A, unsigned 32 bits */
#define SMF_RELOC_ABS32S 6                 /* S + A, signed 32 bits */
#define SMF_RELOC_PC64 7                   /* S + A - P, 64 bits */
#define SMF_RELOC_ARM64_BRANCH26 8         /* (S + A - P) >> 2, signed 26 bits of an instruction */
#define SMF_RELOC_ARM64_PAGE21 9           /* (page(S + A) - page(P)) >> 12, signed 21 bits */
#define SMF_RELOC_ARM64_PAGEOFF12 10       /* (S + A) & 0xfff, scaled by the access size */
#define SMF_RELOC_ARM64_GOT_LOAD_PAGE21 11 /* as 9, of G */
#define SMF_RELOC_ARM64_GOT_LOAD_PAGEOFF12 12

/* One thing to do to a function that was taken. It will never have more fields. */
typedef struct SmfTakenReloc {
    int64_t offset;        /* its place, in bytes from the begin of the function */
    int64_t addend;
    const char *symbol;    /* the name of the symbol, which is empty for some sections */
    int64_t symbol_length; /* in bytes */
    int64_t value;         /* where the symbol is, in bytes from the begin of its section; 0 for an import */
    int32_t section;       /* the number of that section, as `smf inspect` has it; -1 for an import */
    int32_t kind;          /* SMF_RELOC_* */
    int32_t symbol_kind;   /* SMF_SYMBOL_* */
    int32_t binding;       /* SMF_BINDING_*, of the symbol */
} SmfTakenReloc;

/* A function. Later versions will have more fields, at the end. */
typedef struct SmfConcrete {
    int64_t size;         /* in: sizeof(SmfConcrete); out: how much of it was filled in */
    const char *name;
    int64_t name_length;  /* in bytes */
    const uint8_t *bytes; /* its code; null when it cannot be taken */
    int64_t length;       /* in bytes; up to the next symbol when its own symbol does not say */
    int64_t offset;       /* where it begins in its section, in bytes */
    int64_t alignment;    /* of that section, in bytes */
    int64_t relocations;  /* how many it has */
    int32_t binding;      /* SMF_BINDING_* */
    int32_t error;        /* SMF_OK; or why it cannot be taken: smf_take_concrete says it in a sentence */
} SmfConcrete;

/*
 * Takes the function of a name: the global one, else the weak one, else the local one. Fills in the structure
 * unless it is null, and the first `count` of its relocations, in the order of their places; the list may be
 * null when the count is 0. False on failure: SMF_ERROR_NOT_FOUND when the module has no such function,
 * SMF_ERROR_TAKE when it cannot stand alone.
 */
bool smf_take_concrete(uint64_t from, uint64_t module, const char *name, SmfConcrete *concrete,
                       SmfTakenReloc *relocations, int64_t count);

/*
 * Is shown a function and its relocations, both of which are good until it returns. Returns whether to go on,
 * may call the functions of this library, and must not unwind.
 */
typedef bool (*SmfConcreteVisitor)(const SmfConcrete *concrete, const SmfTakenReloc *relocations, void *user);

/*
 * Shows every function that a module defines, local ones too, by section and address; those as well that
 * cannot be taken. Returns how many were shown; -1 on failure, and then none was.
 */
int64_t smf_take_concretes(uint64_t from, uint64_t module, SmfConcreteVisitor visit, void *user);

#define SMF_CONTAINER_GTPL 1
#define SMF_CONTAINER_GTPL_CONSTRAINED 2 /* version 1.1: a list of constraints follows each header */
#define SMF_CONTAINER_COUNTED 3

#define SMF_TEMPLATE_UNKNOWN 0 /* the container does not say */
#define SMF_TEMPLATE_FUNCTION 1
#define SMF_TEMPLATE_STRUCT 2
#define SMF_TEMPLATE_CLASS 3
#define SMF_TEMPLATE_ENUM 4
#define SMF_TEMPLATE_TRAIT 5

/* A template. Later versions will have more fields, at the end. */
typedef struct SmfDeferred {
    int64_t size;         /* in: sizeof(SmfDeferred); out: how much of it was filled in */
    const char *name;
    int64_t name_length;  /* in bytes */
    const uint8_t *entry; /* all its bytes: they may be put into another container of the same kind as they
                             are, whose count then grows by one; null when it cannot be taken */
    int64_t entry_length;
    const uint8_t *body;  /* the last of these bytes: what its writer made of it */
    int64_t body_length;
    int32_t container;    /* SMF_CONTAINER_* */
    int32_t kind;         /* SMF_TEMPLATE_* */
    int32_t parameters;   /* how many type parameters it has; 0 where the container does not say */
    int32_t error;        /* SMF_OK; or why it cannot be taken: nobody knows where it ends */
} SmfDeferred;

/* Takes the template of a name. The structure may be null. False on failure, as smf_take_concrete. */
bool smf_take_deferred(uint64_t from, uint64_t module, const char *name, SmfDeferred *deferred);

/* As SmfConcreteVisitor. */
typedef bool (*SmfDeferredVisitor)(const SmfDeferred *deferred, void *user);

/* Shows the templates of a module in the order of its file. Returns how many were shown; -1 on failure. */
int64_t smf_take_all_deferred(uint64_t from, uint64_t module, SmfDeferredVisitor visit, void *user);

/* ---- Templates ------------------------------------------------------------------------------------ */

/*
 * A module says in its note.sdn what its templates may become: symbols such as fn$Vec$i64. An instantiator
 * makes the code when somebody asks for such a symbol, once however many threads ask, together with the
 * instances that it calls. The module is told: its note, in memory and in its file.
 */

/* What an instantiator is opened with. Later versions will have more fields, at the end. */
typedef struct SmfJitOptions {
    int64_t size;      /* sizeof(SmfJitOptions) */
    int32_t max_depth; /* how many instances may be in the making at once, each for the one before it: 50 */
    int32_t flags;     /* a sum of SMF_JIT_* */
} SmfJitOptions;

enum {
    SMF_JIT_SILENT = 1,   /* modules are told of what is made of them by smf_jit_update alone */
    SMF_JIT_DISABLED = 2, /* nothing is made */
    SMF_JIT_VERBOSE = 4,  /* what happens is told on standard error */
    SMF_JIT_KEEP_CODE = 8 /* code is kept in the file with the note, and taken from there where it still fits */
};

/* An instance. Later versions will have more fields, at the end. */
typedef struct SmfJitInstance {
    int64_t size;    /* in: sizeof(SmfJitInstance); out: how much of it was filled in */
    int64_t address; /* where it is called, through rt_call_function_*; 0 when there is none */
    int64_t length;  /* bytes of its code, which begins there */
} SmfJitInstance;

/* How much there is in an instantiator. Later versions will have more fields, at the end. */
typedef struct SmfJitStatistics {
    int64_t size;    /* in: sizeof(SmfJitStatistics); out: how much of it was filled in */
    int64_t cached;  /* instances that were made */
    int64_t modules; /* whose note was loaded */
    int64_t failed;  /* symbols that are not tried again before a module is loaded */
    int64_t kept;    /* instances whose code was taken from a file */
    int64_t stale;   /* instances that were compiled although a file kept code for them, which does not fit */
} SmfJitStatistics;

/* Opens an instantiator; null for the options that stand there. Returns its number; 0 on failure. */
uint64_t smf_jit_open(const SmfJitOptions *options);

/*
 * Closes an instantiator. Its code is freed, unless a loader that it was set for is still open. Fails with
 * SMF_ERROR_IN_USE while other functions use it.
 */
bool smf_jit_close(uint64_t jit);

/*
 * Loads the note and the templates of the module at a path, of one in an archive, or of one in `length` bytes,
 * which are copied and told of their instances in memory alone. One of the same path or name that was loaded
 * before is forgotten; what was made of it stays. An archive is replaced as a whole, and its other modules are
 * what they were.
 */
bool smf_jit_load(uint64_t jit, const char *path);
bool smf_jit_load_archived(uint64_t jit, const char *path, const char *module);
bool smf_jit_load_bytes(uint64_t jit, const char *name, const uint8_t *bytes, int64_t length);

/* Whether a loaded module says how to make a symbol. */
bool smf_jit_can_instantiate(uint64_t jit, const char *symbol);

/* How smf_jit_instantiate came out. */
enum {
    SMF_JIT_SUCCESS = 0,
    SMF_JIT_NOT_FOUND = 1,     /* no module says how to make it */
    SMF_JIT_CIRCULAR = 2,      /* instances need each other in a circle */
    SMF_JIT_FAILED = 3,        /* it cannot be made */
    SMF_JIT_UPDATE_FAILED = 4  /* it is there and can be used, but its module was not told */
};

/*
 * Makes an instance, or finds the one that was made. Returns one of SMF_JIT_*, -1 for arguments that cannot
 * be meant; the reason is that of smf_last_error. The structure may be null. The address is good until the
 * instantiator is closed.
 */
int32_t smf_jit_instantiate(uint64_t jit, const char *symbol, SmfJitInstance *instance);

/* Where a symbol is: what it was registered with, else the instance of it, made if need be. 0 on failure. */
int64_t smf_jit_resolve(uint64_t jit, const char *symbol);

/* Gives a symbol an address, instead of the one that it had. */
bool smf_jit_register(uint64_t jit, const char *symbol, int64_t address);

/* Tells modules of everything that was made of them and that they were not told yet. */
bool smf_jit_update(uint64_t jit);

bool smf_jit_statistics(uint64_t jit, SmfJitStatistics *statistics);

/* A template that is to be compiled. Everything is good until the compiler returns. */
typedef struct SmfTemplate {
    int64_t size;        /* sizeof(SmfTemplate) */
    const char *symbol;  /* that the instance will have */
    const char *name;    /* of the template */
    const uint8_t *body; /* its body, which the library does not look into */
    int64_t body_length; /* bytes of that */
    const char *types;   /* its type arguments: a JSON list such as [{"kind":"int","bits":64,"signed":true}] */
} SmfTemplate;

/*
 * Compiles a template for which the library has no compiler of its own: calls smf_jit_emit and
 * smf_jit_relocate for the unit, or smf_jit_fail, and returns whether there is code. It may call every other
 * function of this library as well, but must not wait for another thread that does, and must not unwind.
 */
typedef bool (*SmfCompiler)(uint64_t unit, const SmfTemplate *source, void *user);

/* Sets who compiles, in any thread, as long as the instantiator or a loader that it was set for is open. */
bool smf_jit_set_compiler(uint64_t jit, SmfCompiler compiler, void *user);

/* Adds code, which is copied, behind what the unit has already. */
bool smf_jit_emit(uint64_t unit, const uint8_t *code, int64_t length);

/*
 * Has the address of a symbol written into the code of the unit: kind 1 the address, 2 its distance, 3 that
 * of a call, which reaches everything, 4 that of a slot with the address; 5 to 9 the same for aarch64, as in
 * the native layout of modules. An instance of that symbol is made first. Null for the code itself.
 */
bool smf_jit_relocate(uint64_t unit, int64_t offset, int32_t kind, const char *symbol, int64_t addend);

/* Says why there is no code. */
bool smf_jit_fail(uint64_t unit, const char *why);

/* Makes an instantiator the one that a loader asks for what nobody else knows; 0 for none. */
bool smf_loader_set_jit(uint64_t loader, uint64_t jit);

/*
 * The border between a runtime and a compiler, in JSON. Types are objects such as {"kind": "int", "bits": 64,
 * "signed": true}; the kinds are int, float (bits), bool, string, pointer, named (name, args), generic (name),
 * array (elem), simd (lanes, elem), tuple (args) and function (args, elem).
 *
 * Every text that comes back belongs to the caller, who frees it with smf_string_free; in the tagged convention
 * it is text of the runtime, or NIL where that has no memory. What fails is {"success": false, "error": "..."},
 * with "Invalid context handle" for a handle of nothing.
 */
#ifndef SMF_TAGGED

/* JSON as an argument: bytes up to the NUL. */
typedef const char *SmfJson;

/* A text as a result, to be freed by smf_string_free. */
typedef char *SmfAnswer;

/* Frees a text. False for one that was freed before, and for any other address. */
bool smf_string_free(SmfAnswer text);

#else
typedef int64_t SmfJson;
typedef int64_t SmfAnswer;
#endif

/* Makes a context. Returns its handle, greater than 0. */
int64_t compiler_create_context(void);
bool compiler_destroy_context(int64_t context);

/*
 * What the type parameters of a template are: a list of types. The template is {"name", "type_params": ["T"],
 * "param_types": [...], "return_type": ...}, the last two of which may be missing; the hints are a list of
 * {"source", "param_index", "ty"} with the sources call_site, return, assignment and constraint.
 */
SmfAnswer compiler_infer_types(int64_t context, SmfJson template_json, SmfJson hints_json);

/*
 * The code of a template {"name", "type_params", "body": [bytes]} made with a list of types: {"success": true,
 * "symbol", "code": [bytes], "relocations": [{"offset", "kind", "addend"}]}, with the kinds of the native layout.
 * A relocation is against the code itself, unless it has a "symbol", one of the host, or, with "template" and
 * "types" beside it, that of another instance, which the caller makes in the same way; or an "address", of a
 * function of this process: the one that traps go to. Bodies are typed bytecode, machine code that was made ready,
 * or whatever a callback takes.
 */
SmfAnswer compiler_instantiate_template(int64_t context, SmfJson template_json, SmfJson types_json);

/*
 * Sets who compiles the bodies of a context that the library has no compiler for, null for nobody: as with
 * smf_jit_set_compiler. It may call every function of the library.
 */
bool compiler_set_callback(int64_t context, SmfCompiler compiler, void *user);

/* Whether a template can be made with a list of types: {"success": true, "symbol"}. */
SmfAnswer compiler_check_types(int64_t context, SmfJson template_json, SmfJson types_json);

/* {"type_inferences", "template_instantiations", "cache_hits", "cache_misses"} */
SmfAnswer compiler_get_stats(int64_t context);

/* Makes a unifier. Returns its handle, greater than 0. */
int64_t type_unifier_create(void);
bool type_unifier_destroy(int64_t unifier);

/*
 * Makes two types the same: {"success": true, "type"}. What variables were found to be stays for later calls.
 * Types that are different come back as "left" and "right" beside the error, and change nothing.
 */
SmfAnswer type_unifier_unify(int64_t unifier, SmfJson one_json, SmfJson other_json);

#endif /* SMF_NO_JIT */

/* ---- Executable memory -------------------------------------------------------------------------- */

/*
 * Zero-filled memory for code, a whole number of pages that hold `size` bytes. It runs as soon as it was
 * written through rt_write_exec_memory, and is never writable and executable at one address. 0 on failure.
 */
int64_t rt_alloc_exec_memory(int64_t size);

/* Zero-filled memory for data, in whole pages, readable and writable. 0 on failure. */
int64_t rt_alloc_rw_memory(int64_t size);

/* Frees a block of either kind: its address, and the size it was asked for with. */
bool rt_free_exec_memory(int64_t address, int64_t size);

/*
 * Copies a byte array into the block at `address`, `offset` bytes from its beginning. Returns how many
 * bytes were written; -1 on failure, and then none. Nobody may run what is being replaced meanwhile.
 */
int64_t rt_write_exec_memory(int64_t address, SmfBytes code, int64_t offset);

/* Makes a whole block readable and executable, or readable and writable. */
bool rt_make_executable(int64_t address, int64_t size);
bool rt_make_writable(int64_t address, int64_t size);

/* Sets what a whole block allows. Writing together with executing is refused. */
bool rt_set_protection(int64_t address, int64_t size, int32_t prot);

/*
 * Brings the instruction caches in step with a range inside one block. What was written through
 * rt_write_exec_memory, or made executable, is in step already.
 */
void rt_flush_icache(int64_t address, int64_t size);

/*
 * The address, if it lies in executable memory of this library that was written, or in a file that was
 * mapped with EXEC; otherwise 0.
 */
int64_t rt_get_function_pointer(int64_t address);

/*
 * Calls the function at `function`, which lies in executable memory of this library that was written, in
 * a file that was mapped with EXEC, or in a loaded module, and returns what it returns; 0 on failure, which is
 * SMF_ERROR_TRAP when code that was made of a template has trapped, or bytecode was stopped: then everything
 * that the function has called is left, as by longjmp. When the function itself returned 0, smf_last_error() is
 * SMF_OK. The block must not be freed meanwhile, and nothing may unwind out of it.
 *
 * Stack: bytecode is stopped, with SMF_ERROR_TRAP, before it passes the end of the thread's stack, however it
 * was called. 40 KiB left suffice for a function that calls nothing; 16 KiB of them are left to functions of
 * the host. Where less than 64 KiB are left nothing is compiled. The bounds of the stack are asked for once a
 * thread, by pthread_getattr_np of glibc; those of the main thread follow RLIMIT_STACK as it is then. They are
 * unknown where the stack pointer is outside of them, as in a coroutine or a signal handler with a stack of its
 * own, and where the C library is another one: then 2 MiB must be left, which suffice for all bytecode. Machine
 * code, of modules and of templates, is not looked after.
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

/* What the kernel says of any address of the process: a sum of SMF_PROT_*, -1 when nothing is there. */
bool rt_is_executable(int64_t address);
int32_t rt_get_protection(int64_t address);

/* What is live now: bytes as they were asked for, and blocks. */
int64_t rt_exec_memory_total(void);
int64_t rt_exec_memory_count(void);

/* Writes these and more to standard error. */
void rt_exec_memory_dump_stats(void);

/* Sets ceilings in bytes and in blocks, both at least 1. False while blocks are live or loaders open. */
bool smf_exec_limit(int64_t bytes, int64_t blocks);

/*
 * Gives back to the system what holds no live block. Happens by itself when the last block is freed, but
 * not more often than once a millisecond for long.
 */
bool smf_exec_trim(void);

/* ---- Names for profilers and debuggers ----------------------------------------------------------- */

/*
 * Three tools, all off at first. Each is switched on by its function or by a variable of the environment,
 * which is read when the first name comes. What was named before is not told.
 */

/* SMF_PERF_MAP=1: writes /tmp/perf-PID.map, which `perf report` reads. */
bool smf_perf_map_enable(void);

/* SMF_JITDUMP=DIRECTORY: writes jit-PID.dump there, for `perf record -k 1` and `perf inject --jit`. */
bool smf_jitdump_enable(const char *directory);

/* SMF_GDB=1: tells gdb and lldb, until the block is freed. */
bool smf_gdb_enable(void);

/*
 * Names `size` bytes of executable memory that were written. While no tool is on, nothing is looked at,
 * and the result is true. The functions of loaded modules are named without a call.
 */
bool smf_name_code(int64_t address, int64_t size, const char *name);

#ifdef __cplusplus
}
#endif

#endif
