/* Memory of two owners, the runtime and this library, in every mixture; then what the runtime's module loader does.
 * Which of the two defines a name depends on how the program is linked, and the results are the same. */
#define _GNU_SOURCE
#include "runtime/runtime.h"

#include "check.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

int runtime_mapping_calls __attribute__((weak)), runtime_memory_calls __attribute__((weak));

enum { READ = PROT_READ, WRITE = PROT_WRITE, EXEC = PROT_EXEC, PRIVATE = MAP_PRIVATE | MAP_ANONYMOUS };

static const uint8_t add[] = {0x48, 0x8d, 0x04, 0x37, 0x48, 0x01, 0xd0, 0xc3}; /* lea rax, [rdi+rsi]; add rax, rdx; ret */

static void raw_memory(void) {
    int64_t at = rt_mmap_raw(0, 100, READ | WRITE, PRIVATE, -1, 0);
    CHECK(at > 0 && at % PAGE == 0);
    CHECK(rt_ptr_write_bytes_raw(at, 0, ADDRESS(add), sizeof add) == sizeof add);
    CHECK(rt_ptr_write_bytes_raw(at, 0, ADDRESS(add), 0) == 0);
    CHECK(rt_mprotect(at, 100, READ | WRITE | EXEC) == -1 && rt_mprotect(at, 100, READ | EXEC) == 0);
    CHECK(rt_is_executable(at) && rt_get_protection(at) == (SMF_PROT_READ | SMF_PROT_EXEC));
    CHECK(rt_call_ptr_3(at, 1, 2, 3) == 6 && rt_call_ptr_3(at, INT64_MAX, 1, 0) == INT64_MIN);
    /* Calls that check their target know the memory of this library alone. */
    REFUSED(rt_call_function_3(at, 1, 2, 3) == 0, SMF_ERROR_NOT_EXECUTABLE);
    REFUSED(!rt_free_exec_memory(at, 100), SMF_ERROR_UNKNOWN_ADDRESS);
    CHECK(rt_mprotect(at, 100, READ | WRITE) == 0);
    rt_ptr_write_i64(at, 3, INT64_C(0x1122334455667788));
    rt_ptr_write_i32(at, 5, -2);
    rt_ptr_write_u8(at, 4, 0x1ff);
    const uint8_t expected[] = {0x88, 0xff, 0xfe, 0xff, 0xff, 0xff, 0x22, 0x11};
    CHECK(!memcmp((void *)(intptr_t)(at + 3), expected, sizeof expected) && rt_ptr_read_u8(at, 4) == 0xff);
    CHECK(rt_madvise_raw(at, 100, MADV_DONTNEED) == 0 && rt_ptr_read_u8(at, 4) == 0);
    CHECK(rt_madvise_raw(at, 100, 12345) == -1 && rt_msync_flags(at, 100, MS_ASYNC) == 0);
    CHECK(rt_mlock(at, 100) == 0 && rt_munlock(at, 100) == 0 && rt_munmap_raw(at, 100) == 0);
    CHECK(rt_mprotect(at, 100, READ) == -1 && rt_mlock(at, 100) == -1 && rt_page_size() == PAGE);
    CHECK(rt_mmap_raw(0, 0, READ, PRIVATE, -1, 0) == -1 && rt_mmap_raw(0, -1, READ, PRIVATE, -1, 0) == -1);
    CHECK(rt_mmap_raw(0, 1, READ, PRIVATE, -1, -PAGE) == -1 && rt_mmap_raw(0, 1, READ, MAP_PRIVATE, -1, 0) == -1);
    CHECK(rt_mmap_raw(0, 1, READ | WRITE | EXEC, PRIVATE, -1, 0) == -1);
    void *page = (void *)(intptr_t)rt_mmap_raw(0, PAGE, READ | WRITE, PRIVATE, -1, 0);
    CHECK(rt_madvise(page, PAGE, 4) && !rt_madvise(page, PAGE, 5) && rt_msync(page, PAGE) && rt_munmap(page, PAGE));
    CHECK(!rt_munmap(NULL, PAGE) && !rt_munmap(page, 0) && !rt_munmap(page, -1) && !rt_msync(page, PAGE));
}

/* Mappings of this library, in the hands of the runtime's functions. */
static void mappings_of_ours(const char *path) {
    SmfMapping file = rt_mmap_file(path, SMF_PROT_READ, SMF_MAP_PRIVATE, 0, 0);
    CHECK(file.size == 5 && rt_ptr_read_u8(file.address, 1) == 'e');
    CHECK(rt_mlock(file.address, file.size) == 0 && rt_munlock(file.address, file.size) == 0);
    CHECK(rt_madvise((void *)(intptr_t)file.address, file.size, 3) && rt_msync((void *)(intptr_t)file.address, file.size));
    /* Unmapped behind our back, or by our function: a read is an error and no signal. */
    CHECK(rt_munmap((void *)(intptr_t)file.address, file.size));
    smf_clear_error();
    CHECK(!rt_mmap_read_bytes(file.address, 0, 5) && smf_last_error().code != SMF_OK);
    CHECK(!rt_mmap_read_string(file.address, 0, 0));
    /* The kernel hands out the addresses again, to us and then to the runtime. */
    for (int i = 0; i < 20; i++) {
        SmfMapping next = rt_mmap_file(path, SMF_PROT_READ, i % 2 ? SMF_MAP_PRIVATE : SMF_MAP_SHARED, 0, 0);
        CHECK(next.size == 5 && rt_ptr_read_u8(next.address, 4) == 'o');
        SmfValue text = rt_mmap_read_string(next.address, 0, 0);
        CHECK(text && smf_text_length(text) == 5 && smf_value_free(text));
        CHECK(i % 3 ? rt_munmap_raw(next.address, 5) == 0 : smf_mmap_unmap(next.address, 5));
    }
    int64_t ours = rt_alloc_rw_memory(PAGE);
    rt_ptr_write_i64(ours, 8, 77);
    CHECK(rt_ptr_read_u8(ours, 8) == 77 && rt_free_exec_memory(ours, PAGE));
    int64_t code = rt_alloc_exec_memory(sizeof add);
    SmfValue bytes = smf_bytes_new(add, sizeof add);
    CHECK(rt_write_exec_memory(code, bytes, 0) == sizeof add && smf_value_free(bytes));
    CHECK(rt_call_ptr_3(code, 4, 5, 6) == 15 && rt_call_function_3(code, 4, 5, 6) == 15);
    CHECK(rt_free_exec_memory(code, sizeof add));
}

static void descriptors_of_files(const char *path) {
    int before = descriptors();
    int64_t fd = rt_open_fd(path, O_RDONLY, 0);
    CHECK(fd >= 0 && rt_open_fd("/absent/file", O_RDONLY, 0) == -1);
    int64_t at = rt_mmap_raw(0, 5, READ, MAP_PRIVATE, fd, 0);
    CHECK(at > 0 && rt_ptr_read_u8(at, 0) == 'h' && rt_munmap_raw(at, 5) == 0);
    CHECK(rt_close_fd(fd) == 0 && rt_close_fd(fd) == -1 && rt_close_fd(-1) == -1 && descriptors() == before);
}

/* A function of a module, loaded as by the runtime's module loader: a mapping for itself, and one for its GOT slot. */
struct loaded { char name[16]; int64_t address, length, slot; };

static struct loaded table[16];
static int loaded;

static struct loaded *find(const char *name, int64_t length) {
    for (int i = 0; i < loaded; i++) {
        if ((int64_t)strlen(table[i].name) == length && !memcmp(table[i].name, name, (size_t)length)) {
            return &table[i];
        }
    }
    return NULL;
}

static int64_t map(int64_t length) {
    int64_t at = rt_mmap_raw(0, length, READ | WRITE, PRIVATE, -1, 0);
    CHECK(at > 0);
    return at;
}

static void relocate(struct loaded *function, const SmfTakenReloc *reloc) {
    int64_t place = function->address + reloc->offset;
    struct loaded *symbol = find(reloc->symbol, reloc->symbol_length);
    CHECK(reloc->offset + 4 <= function->length && symbol);
    if (reloc->kind == SMF_RELOC_GOTPCREL) {
        function->slot = map(8);
        rt_ptr_write_i64(function->slot, 0, symbol->address);
        rt_ptr_write_i32(place, 0, (int32_t)(function->slot + reloc->addend - place));
    } else {
        CHECK(reloc->kind == SMF_RELOC_PC32 || reloc->kind == SMF_RELOC_PLT32);
        rt_ptr_write_i32(function->address, reloc->offset, (int32_t)(symbol->address + reloc->addend - place));
    }
}

static bool load(const SmfConcrete *function, const SmfTakenReloc *relocations, void *user) {
    bool only_code = user != NULL;
    if (function->error || (only_code && function->relocations)) {
        return true;
    }
    struct loaded *new = &table[loaded++];
    *new = (struct loaded){"", map(function->length), function->length, 0};
    snprintf(new->name, sizeof new->name, "%.*s", (int)function->name_length, function->name);
    CHECK(rt_ptr_write_bytes_raw(new->address, 0, ADDRESS(function->bytes), new->length) == new->length);
    CHECK(rt_mprotect(new->address, new->length, READ | EXEC) == 0);
    CHECK(rt_mprotect(new->address, new->length, READ | WRITE) == 0);
    for (int64_t i = 0; i < function->relocations; i++) {
        relocate(new, &relocations[i]);
    }
    CHECK(rt_mprotect(new->address, new->length, READ | EXEC) == 0);
    return true;
}

static int64_t address(const char *name) {
    struct loaded *found = find(name, (int64_t)strlen(name));
    CHECK(found);
    return found->address;
}

static void modules(void) {
    SmfCacheOptions options = {sizeof options, 16, 1 << 20, SMF_POLICY_LRU, SMF_FRESHNESS_ON_REQUEST};
    uint64_t cache = smf_cache_open(&options);
    const char *const samples[] = {"packed", "native", "lib", "app"};
    for (int i = 0; i < 4; i++) {
        char path[64];
        snprintf(path, sizeof path, "../tests/samples/%s.smf", samples[i]);
        SmfCacheFile file = smf_cache_get(cache, path);
        CHECK(file.file && smf_take_concretes(cache, file.file, load, i < 2 ? &loaded : NULL) >= 0);
        CHECK(i > 1 || (rt_call_ptr_0(address("answer")) == 42 && rt_call_ptr_2(address("add"), 40, -5) == 35));
        /* The module loader unloads what the next module has too. */
        for (; i < 1 && loaded; loaded--) {
            CHECK(rt_munmap_raw(table[loaded - 1].address, table[loaded - 1].length) == 0);
        }
        CHECK(smf_cache_release(cache, file.file));
    }
    CHECK(rt_call_ptr_1(address("direct"), 14) == 42 && rt_call_ptr_1(address("through_got"), 14) == 42);
    for (; loaded; loaded--) {
        CHECK(rt_munmap_raw(table[loaded - 1].address, table[loaded - 1].length) == 0);
        CHECK(!table[loaded - 1].slot || rt_munmap_raw(table[loaded - 1].slot, 8) == 0);
    }
    CHECK(smf_cache_close(cache));
}

/* Every sample that can be read: the code without relocations, by itself. */
static void all_samples(void) {
    static const struct { const char *function; int64_t argument, result; } known[] = {
        {"answer", 0, 42}, {"scale", 14, 42}, {"plugin", 37, 42}, {"letter", 1, 98},
    };
    SmfCacheOptions options = {sizeof options, 64, 1 << 20, SMF_POLICY_LRU, SMF_FRESHNESS_ON_REQUEST};
    uint64_t cache = smf_cache_open(&options);
    DIR *samples = opendir("../tests/samples");
    int files = 0, functions = 0, calls = 0;
    CHECK(cache && samples);
    for (struct dirent *entry; (entry = readdir(samples));) {
        char path[512];
        snprintf(path, sizeof path, "../tests/samples/%s", entry->d_name);
        if (strcmp(entry->d_name + strlen(entry->d_name) - 4 * (strlen(entry->d_name) > 4), ".smf")) {
            continue;
        }
        SmfCacheFile file = smf_cache_get(cache, path);
        SmfModuleHeader header = {.size = sizeof header};
        CHECK(file.file && smf_module_header(cache, file.file, &header));
        files++;
        if (smf_take_concretes(cache, file.file, load, &loaded) < 0) {
            CHECK(smf_last_error().code == SMF_ERROR_TAKE);
        }
        functions += loaded;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
            struct loaded *found = find(known[i].function, (int64_t)strlen(known[i].function));
            if (found) {
                CHECK(rt_call_ptr_1(found->address, known[i].argument) == known[i].result);
                calls++;
            }
        }
        for (; loaded; loaded--) {
            CHECK(rt_munmap_raw(table[loaded - 1].address, table[loaded - 1].length) == 0);
        }
        CHECK(smf_cache_release(cache, file.file));
    }
    CHECK(closedir(samples) == 0 && smf_cache_close(cache));
    CHECK(files >= 18 && functions >= 12 && calls >= 7);
}

/* Which definitions the program has: "runtime" or "library". */
int main(void) {
    char path[] = "/tmp/smf-owners-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, "hello", 5) == 5 && close(fd) == 0);
    raw_memory();
    mappings_of_ours(path);
    descriptors_of_files(path);
    modules();
    all_samples();
    CHECK(unlink(path) == 0 && watch() == 0);
    printf("mapping %s, memory %s, ok\n", runtime_mapping_calls ? "runtime" : "library",
           runtime_memory_calls ? "runtime" : "library");
    return 0;
}
