/* The cache: from open to close, invalid arguments, and many threads. */
#define _GNU_SOURCE
#include "check.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAMPLES "../tests/samples/"
#define MODULE "std/math/scale"

static char directory[64] = "/tmp/smf-cache-XXXXXX";

static const char *named(const char *name) {
    static _Thread_local char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static const char *numbered(int number) {
    char name[16];
    snprintf(name, sizeof name, "%d", number);
    return named(name);
}

static void write_file(const char *path, const void *bytes, size_t length) {
    FILE *file = fopen(path, "w");
    CHECK(file && fwrite(bytes, 1, length, file) == length && fclose(file) == 0);
}

static uint64_t open_cache(int64_t files, int64_t bytes, int32_t policy, int32_t freshness) {
    SmfCacheOptions options = {sizeof options, files, bytes, policy, freshness};
    uint64_t cache = smf_cache_open(&options);
    CHECK(cache);
    return cache;
}

static SmfCacheStatistics statistics(uint64_t cache) {
    SmfCacheStatistics s = {.size = sizeof s};
    CHECK(smf_cache_statistics(cache, &s) && s.size == sizeof s);
    return s;
}

static bool is(SmfCacheFile found, const void *bytes, size_t length) {
    return found.file && found.length == (int64_t)length && !memcmp(found.bytes, bytes, length);
}

static void options(void) {
    SmfCacheOptions good = {sizeof good, 4, 100, SMF_POLICY_LRU, SMF_FRESHNESS_ON_REQUEST}, o;
    REFUSED(!smf_cache_open(NULL), SMF_ERROR_ARGUMENT);
    const struct { int64_t size, files, bytes; int32_t policy, freshness; } bad[] = {
        {0, 4, 100, 0, 0}, {31, 4, 100, 0, 0}, {-1, 4, 100, 0, 0}, {INT64_MIN, 4, 100, 0, 0},
        {32, 0, 100, 0, 0}, {32, -1, 100, 0, 0}, {32, 4194305, 100, 0, 0}, {32, INT64_MAX, 100, 0, 0},
        {32, (int64_t)1 << 32, 100, 0, 0}, {32, 4, 0, 0, 0}, {32, 4, -1, 0, 0}, {32, 4, INT64_MIN, 0, 0},
        {32, 4, 100, 2, 0}, {32, 4, 100, -1, 0}, {32, 4, 100, 0, 2}, {32, 4, 100, 0, INT32_MIN},
    };
    CHECK(sizeof good == 32);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        o = (SmfCacheOptions){bad[i].size, bad[i].files, bad[i].bytes, bad[i].policy, bad[i].freshness};
        REFUSED(!smf_cache_open(&o), SMF_ERROR_ARGUMENT);
    }
    /* A program with a newer header than the library. */
    struct { SmfCacheOptions known; int64_t more; } newer = {good, 7};
    newer.known.size = sizeof newer;
    uint64_t cache = smf_cache_open(&newer.known);
    CHECK(cache && smf_cache_close(cache));
    /* The largest capacity. */
    o = (SmfCacheOptions){sizeof o, 4194304, INT64_MAX, SMF_POLICY_SIEVE, SMF_FRESHNESS_EACH_GET};
    uint64_t caches[65];
    int open = 0;
    while (open < 65 && (caches[open] = smf_cache_open(&o))) {
        open++;
    }
    CHECK(open == 64 && smf_last_error().code == SMF_ERROR_FULL);
    for (int i = 0; i < open; i++) {
        CHECK(smf_cache_close(caches[i]));
        REFUSED(!smf_cache_close(caches[i]), SMF_ERROR_HANDLE);
    }
}

static void life(int32_t policy) {
    uint64_t cache = open_cache(4, 1 << 20, policy, SMF_FRESHNESS_ON_REQUEST);
    write_file(named("one"), "first", 5);
    write_file(named("empty"), "", 0);
    CHECK(link(named("one"), strcat(strcpy((char[128]){0}, directory), "/other name")) == 0);
    SmfCacheFile a = smf_cache_get(cache, named("one"));
    CHECK(is(a, "first", 5));
    SmfCacheFile b = smf_cache_get(cache, named("one"));
    CHECK(b.file == a.file && b.bytes == a.bytes);
    SmfCacheFile c = smf_cache_get_again(cache, a.file);
    CHECK(c.file == a.file && c.bytes == a.bytes && c.length == 5);
    SmfCacheFile d = smf_cache_get(cache, named("other name"));
    CHECK(is(d, "first", 5) && d.bytes == a.bytes);
    SmfCacheFile e = smf_cache_get(cache, named("empty"));
    CHECK(is(e, "", 0));
    SmfCacheStatistics s = statistics(cache);
    CHECK(s.files == 2 && s.bytes == 5 && s.held == 5 && s.links == 1 && s.hits == 3 && s.misses == 2);
    CHECK(s.loads == 2 && s.load_mean > 0 && s.load_50 <= s.load_90 && s.load_90 <= s.load_99 && s.load_50 > 0);
    CHECK(s.hit_rate == 0.6 && s.peak_bytes == 5 && s.failures == 0 && s.evictions == 0);
    SmfCacheSample samples[32];
    int64_t count = smf_cache_samples(cache, samples, 32);
    CHECK(count >= 1 && samples[0].nanoseconds >= 0 && samples[0].bytes == 5);
    CHECK(smf_cache_samples(cache, NULL, 0) == count && smf_cache_samples(cache, samples, 1) == count);
    CHECK(smf_cache_samples(cache, samples, INT64_MAX) == count);
    REFUSED(smf_cache_samples(cache, NULL, 1) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_cache_samples(cache, samples, -1) == -1, SMF_ERROR_ARGUMENT);

    /* Replaced on disk: held files and handles keep the old contents. */
    CHECK(smf_cache_refresh(cache, named("one")) == 0 && smf_cache_refresh_all(cache) == 0);
    write_file(named("one"), "second and longer", 17);
    CHECK(smf_cache_refresh(cache, named("one")) == 1 && smf_cache_refresh(cache, named("one")) == 0);
    CHECK(smf_cache_refresh(cache, named("absent")) == 0);
    CHECK(is(a, "first", 5));
    SmfCacheFile f = smf_cache_get(cache, named("one"));
    CHECK(is(f, "second and longer", 17) && f.file != a.file);
    CHECK(is(smf_cache_get_again(cache, a.file), "first", 5));
    s = statistics(cache);
    CHECK(s.detached_files == 1 && s.detached_bytes == 5 && s.replacements == 1 && s.held == 7);

    /* A cache with held files cannot be closed; a surplus release is an error. */
    REFUSED(!smf_cache_close(cache), SMF_ERROR_IN_USE);
    CHECK(strstr(smf_last_error().text, "7 not yet released"));
    const uint64_t held[] = {a.file, a.file, a.file, a.file, d.file, e.file, f.file};
    for (int i = 0; i < 7; i++) {
        CHECK(smf_cache_release(cache, held[i]));
    }
    for (int i = 0; i < 7; i++) {
        REFUSED(!smf_cache_release(cache, held[i]), SMF_ERROR_HANDLE);
    }
    CHECK(statistics(cache).held == 0);
    /* The old file is freed with its last hold, the new one is still cached. */
    REFUSED(!smf_cache_get_again(cache, a.file).file, SMF_ERROR_HANDLE);
    f = smf_cache_get_again(cache, f.file);
    CHECK(is(f, "second and longer", 17));
    CHECK(smf_cache_evict(cache, named("one")) == 1 && smf_cache_evict(cache, named("one")) == 0);
    CHECK(is(f, "second and longer", 17) && smf_cache_release(cache, f.file));
    REFUSED(!smf_cache_get_again(cache, f.file).file, SMF_ERROR_HANDLE);
    CHECK(smf_cache_clear(cache) && statistics(cache).files == 0);

    /* A file removed from disk is evicted. */
    CHECK(smf_cache_release(cache, smf_cache_get(cache, named("one")).file));
    CHECK(smf_cache_release(cache, smf_cache_get(cache, named("empty")).file));
    CHECK(unlink(named("one")) == 0);
    REFUSED(smf_cache_refresh(cache, named("one")) == -1, SMF_ERROR_FILE);
    CHECK(statistics(cache).files == 1 && unlink(named("empty")) == 0 && smf_cache_refresh_all(cache) == 1);
    CHECK(statistics(cache).files == 0 && unlink(named("other name")) == 0);
    CHECK(smf_cache_close(cache));
    REFUSED(!smf_cache_close(cache), SMF_ERROR_HANDLE);
}

static void eviction(int32_t policy) {
    uint64_t cache = open_cache(3, 30, policy, SMF_FRESHNESS_ON_REQUEST);
    for (int i = 0; i < 10; i++) {
        write_file(numbered(i), "0123456789", 10);
    }
    write_file(named("large"), "0123456789012345678901234567890", 31);
    write_file(named("fits"), "012345678901234567890123456789", 30);
    for (int i = 0; i < 10; i++) {
        CHECK(smf_cache_release(cache, smf_cache_get(cache, numbered(i)).file));
    }
    SmfCacheStatistics s = statistics(cache);
    CHECK(s.files == 3 && s.bytes == 30 && s.evictions == 7);
    REFUSED(!smf_cache_get(cache, named("large")).file, SMF_ERROR_FULL);
    uint64_t fits = smf_cache_get(cache, named("fits")).file;
    CHECK(fits && statistics(cache).files == 1);
    REFUSED(!smf_cache_get(cache, numbered(1)).file, SMF_ERROR_FULL);
    CHECK(strstr(smf_last_error().text, "in use") && smf_cache_release(cache, fits));
    uint64_t held[3];
    for (int i = 0; i < 3; i++) {
        held[i] = smf_cache_get(cache, numbered(i)).file;
        CHECK(held[i]);
    }
    REFUSED(!smf_cache_get(cache, numbered(3)).file, SMF_ERROR_FULL);
    CHECK(smf_cache_release(cache, held[1]) && is(smf_cache_get(cache, numbered(3)), "0123456789", 10));
    REFUSED(!smf_cache_get_again(cache, held[1]).file, SMF_ERROR_HANDLE);
    REFUSED(!smf_cache_release(cache, held[1]), SMF_ERROR_HANDLE);
    CHECK(smf_cache_release(cache, held[0]) && smf_cache_release(cache, held[2]));
    CHECK(smf_cache_release(cache, smf_cache_get(cache, numbered(3)).file));
    REFUSED(!smf_cache_close(cache), SMF_ERROR_IN_USE);
    CHECK(smf_cache_release(cache, smf_cache_get(cache, numbered(3)).file));
    REFUSED(!smf_cache_close(cache), SMF_ERROR_IN_USE);
    uint64_t last = smf_cache_get(cache, numbered(3)).file;
    CHECK(smf_cache_release(cache, last) && smf_cache_release(cache, last) && smf_cache_close(cache));
}

static void freshness(void) {
    uint64_t cache = open_cache(4, 100, SMF_POLICY_SIEVE, SMF_FRESHNESS_EACH_GET);
    write_file(named("fresh"), "old", 3);
    SmfCacheFile old = smf_cache_get(cache, named("fresh"));
    write_file(named("fresh"), "newer", 5);
    SmfCacheFile new = smf_cache_get(cache, named("fresh"));
    CHECK(is(old, "old", 3) && is(new, "newer", 5) && old.file != new.file);
    CHECK(smf_cache_release(cache, old.file) && smf_cache_release(cache, new.file) && smf_cache_close(cache));
}

static void modules(void) {
    uint64_t cache = open_cache(8, 1 << 20, SMF_POLICY_SIEVE, SMF_FRESHNESS_ON_REQUEST);
    SmfCacheFile archive = smf_cache_get(cache, SAMPLES "library.lsm");
    SmfCacheFile module = smf_cache_get_module(cache, SAMPLES "library.lsm", MODULE);
    SmfCacheFile again = smf_cache_get_module(cache, SAMPLES "library.lsm", MODULE);
    CHECK(module.file && module.file != archive.file && module.file == again.file);
    CHECK(module.bytes > archive.bytes && module.bytes + module.length <= archive.bytes + archive.length);
    REFUSED(!smf_cache_get_module(cache, SAMPLES "library.lsm", "absent").file, SMF_ERROR_FILE);
    REFUSED(!smf_cache_get_module(cache, SAMPLES "library.lsm", "").file, SMF_ERROR_FILE);
    REFUSED(!smf_cache_get_module(cache, SAMPLES "library.lsm", NULL).file, SMF_ERROR_ARGUMENT);
    REFUSED(!smf_cache_get_module(cache, NULL, MODULE).file, SMF_ERROR_ARGUMENT);
    REFUSED(!smf_cache_get_module(cache, SAMPLES "packed.smf", MODULE).file, SMF_ERROR_FORMAT);
    REFUSED(!smf_cache_get_module(cache, SAMPLES "absent", MODULE).file, SMF_ERROR_FILE);
    /* The archive is not freed while its module is held. */
    CHECK(smf_cache_release(cache, archive.file) && smf_cache_clear(cache));
    CHECK(smf_cache_get_again(cache, module.file).bytes == module.bytes);
    for (int i = 0; i < 3; i++) {
        CHECK(smf_cache_release(cache, module.file));
    }
    REFUSED(!smf_cache_release(cache, module.file), SMF_ERROR_HANDLE);

    SmfCacheFile compact = smf_cache_get(cache, SAMPLES "compact.smf");
    SmfCachePart note = smf_cache_note(cache, compact.file), template = smf_cache_template(cache, compact.file);
    CHECK(note.length == 722 && note.bytes == compact.bytes + 0xe4);
    CHECK(template.length == 36 && template.bytes == compact.bytes + 0xc0);
    CHECK(smf_cache_release(cache, compact.file));
    REFUSED(smf_cache_note(cache, compact.file).length == -1, SMF_ERROR_HANDLE);
    SmfCacheFile packed = smf_cache_get(cache, SAMPLES "app.smf");
    note = smf_cache_note(cache, packed.file);
    template = smf_cache_template(cache, packed.file);
    CHECK(note.length == 0 && !note.bytes && template.length == 0 && !template.bytes);
    SmfCacheFile broken = smf_cache_get(cache, SAMPLES "bad/not-smf.smf");
    REFUSED(smf_cache_note(cache, broken.file).length == -1, SMF_ERROR_FORMAT);
    REFUSED(smf_cache_template(cache, broken.file).length == -1, SMF_ERROR_FORMAT);
    CHECK(smf_cache_release(cache, packed.file) && smf_cache_release(cache, broken.file));
    CHECK(smf_cache_close(cache));
}

/* A section is decompressed once, counts towards the capacity, and is freed with its file. */
static void compressed(const char *path, int64_t size) {
    uint64_t cache = open_cache(2, size + 512 + 391, SMF_POLICY_LRU, SMF_FRESHNESS_ON_REQUEST);
    SmfCacheFile file = smf_cache_get(cache, path);
    CHECK(file.length == size && statistics(cache).bytes == size);
    SmfCachePart data = smf_cache_section(cache, file.file, ".data");
    CHECK(data.length == 512 && statistics(cache).bytes == size + 512);
    for (int64_t i = 1; i < 64; i++) {
        int64_t value;
        memcpy(&value, data.bytes + 8 * i, sizeof value);
        CHECK(value == i * i);
    }
    SmfCachePart note = smf_cache_note(cache, file.file);
    CHECK(note.length == 391 && statistics(cache).bytes == size + 512 + 391);
    CHECK(smf_cache_section(cache, file.file, "note.sdn").bytes == note.bytes);
    CHECK(smf_cache_section(cache, file.file, ".data").bytes == data.bytes);
    /* The decompressed templates do not fit; an uncompressed section takes no memory. */
    REFUSED(smf_cache_template(cache, file.file).length == -1, SMF_ERROR_FULL);
    REFUSED(smf_cache_section(cache, file.file, ".templates").length == -1, SMF_ERROR_FULL);
    SmfCachePart text = smf_cache_section(cache, file.file, ".text");
    CHECK(text.length == 24 && text.bytes == file.bytes);
    SmfCachePart absent = smf_cache_section(cache, file.file, ".absent");
    CHECK(absent.length == 0 && !absent.bytes);
    REFUSED(smf_cache_section(cache, file.file, NULL).length == -1, SMF_ERROR_ARGUMENT);
    CHECK(smf_cache_clear(cache) && data.bytes[8] == 1);
    CHECK(smf_cache_release(cache, file.file));
    file = smf_cache_get(cache, path);
    CHECK(statistics(cache).bytes == size);
    SmfCachePart template = smf_cache_template(cache, file.file);
    CHECK(template.length == 116 && statistics(cache).bytes == size + 116);
    CHECK(smf_cache_release(cache, file.file) && smf_cache_close(cache));
}

/* Every function with a file argument refuses an invalid handle. */
static void refuse_file(uint64_t cache, uint64_t file, int32_t why) {
    REFUSED(!smf_cache_get_again(cache, file).file, why);
    REFUSED(!smf_cache_release(cache, file), why);
    REFUSED(smf_cache_note(cache, file).length == -1, why);
    REFUSED(smf_cache_template(cache, file).length == -1, why);
    REFUSED(smf_cache_section(cache, file, ".data").length == -1, why);
}

static void refuse_cache(uint64_t cache, uint64_t file) {
    const char *path = named("fresh");
    SmfCacheStatistics s = {.size = sizeof s};
    refuse_file(cache, file, SMF_ERROR_HANDLE);
    REFUSED(!smf_cache_get(cache, path).file, SMF_ERROR_HANDLE);
    REFUSED(!smf_cache_get_module(cache, path, "x").file, SMF_ERROR_HANDLE);
    REFUSED(smf_cache_evict(cache, path) == -1, SMF_ERROR_HANDLE);
    REFUSED(!smf_cache_clear(cache), SMF_ERROR_HANDLE);
    REFUSED(smf_cache_refresh(cache, path) == -1, SMF_ERROR_HANDLE);
    REFUSED(smf_cache_refresh_all(cache) == -1, SMF_ERROR_HANDLE);
    REFUSED(!smf_cache_statistics(cache, &s), SMF_ERROR_HANDLE);
    REFUSED(smf_cache_samples(cache, NULL, 0) == -1, SMF_ERROR_HANDLE);
    REFUSED(smf_cache_prefetch(cache, &path, 1, 0, NULL) == -1, SMF_ERROR_HANDLE);
    REFUSED(!smf_cache_prefetch_start(cache, &path, 1, 0), SMF_ERROR_HANDLE);
    REFUSED(!smf_cache_close(cache), SMF_ERROR_HANDLE);
}

static void refuse_prefetch(uint64_t prefetch) {
    REFUSED(smf_prefetch_progress(prefetch).total == -1, SMF_ERROR_HANDLE);
    REFUSED(smf_prefetch_wait(prefetch, 0) == -1, SMF_ERROR_HANDLE);
    REFUSED(smf_prefetch_result(prefetch, 0) == -1, SMF_ERROR_HANDLE);
    REFUSED(!smf_prefetch_free(prefetch), SMF_ERROR_HANDLE);
}

static void numbers(void) {
    uint64_t one = open_cache(4, 100, 0, 0), two = open_cache(4, 100, 0, 0);
    SmfCacheFile in_one = smf_cache_get(one, named("fresh")), in_two = smf_cache_get(two, named("fresh"));
    CHECK(in_one.file && in_two.file && in_one.file != in_two.file && in_one.bytes != in_two.bytes);
    refuse_file(one, in_two.file, SMF_ERROR_HANDLE);
    refuse_file(two, in_one.file, SMF_ERROR_HANDLE);
    const uint64_t none[] = {0, 1, UINT64_MAX, (uint64_t)1 << 63, (uint64_t)1 << 32, in_one.file + 1,
                             in_one.file + ((uint64_t)1 << 32), in_one.file & UINT32_MAX, one, two};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        refuse_file(one, none[i], SMF_ERROR_HANDLE);
        refuse_prefetch(none[i]);
        if (none[i] != one && none[i] != two) {
            refuse_cache(none[i], in_one.file);
        }
    }
    refuse_cache(in_one.file, in_one.file);
    CHECK(is(in_one, "newer", 5) && smf_cache_release(one, in_one.file) && smf_cache_close(one));
    refuse_cache(one, in_one.file);
    /* A cache opened later, whatever its slot, refuses the handles of earlier ones. */
    for (int i = 0; i < 200; i++) {
        uint64_t later = open_cache(4, 100, 0, 0);
        CHECK(later != one);
        SmfCacheFile found = smf_cache_get(later, named("fresh"));
        CHECK(found.file != in_one.file && is(found, "newer", 5));
        refuse_file(later, in_one.file, SMF_ERROR_HANDLE);
        refuse_file(later, in_two.file, SMF_ERROR_HANDLE);
        CHECK(smf_cache_release(later, found.file) && smf_cache_close(later));
    }
    refuse_cache(one, in_one.file);

    REFUSED(!smf_cache_get(two, NULL).file, SMF_ERROR_ARGUMENT);
    REFUSED(smf_cache_evict(two, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_cache_refresh(two, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(!smf_cache_statistics(two, NULL), SMF_ERROR_ARGUMENT);
    struct { SmfCacheStatistics known; int64_t more; } newer = {.more = 7};
    const int64_t small[] = {0, 8, sizeof newer.known - 1, -1, INT64_MIN};
    for (int i = 0; i < 5; i++) {
        newer.known.size = small[i];
        newer.known.files = -5;
        REFUSED(!smf_cache_statistics(two, &newer.known), SMF_ERROR_ARGUMENT);
        CHECK(newer.known.size == small[i] && newer.known.files == -5);
    }
    newer.known.size = sizeof newer;
    CHECK(smf_cache_statistics(two, &newer.known) && newer.known.size == sizeof newer.known && newer.more == 7);
    CHECK(smf_cache_release(two, in_two.file) && smf_cache_close(two));
}

static char endless[5001];

enum { LIST = 12 };

/* Half of the paths are valid. */
static const char *list[LIST];
static const int32_t expected[LIST] = {
    SMF_OK, SMF_ERROR_FILE, SMF_OK, SMF_ERROR_FILE, SMF_OK, SMF_ERROR_FILE,
    SMF_OK, SMF_ERROR_FILE, SMF_OK, SMF_ERROR_ARGUMENT, SMF_OK, SMF_ERROR_FULL,
};

static void make_list(void) {
    static char absent[128], fifo[128], large[128], good[6][128], bytes[4096];
    memset(endless, 'x', 5000);
    strcpy(absent, named("no such file"));
    strcpy(fifo, named("fifo"));
    strcpy(large, named("large"));
    mkfifo(fifo, 0600);
    write_file(large, bytes, sizeof bytes);
    for (int i = 0; i < 6; i++) {
        strcpy(good[i], numbered(i));
        write_file(good[i], "0123456789", 10);
        list[2 * i] = good[i];
    }
    list[1] = absent;
    list[3] = directory;
    list[5] = fifo;
    list[7] = endless;
    list[9] = NULL;
    list[11] = large;
}

static void prefetch(void) {
    make_list();
    for (int threads = 0; threads < 5; threads++) {
        uint64_t cache = open_cache(100, 1000, threads % 2, 0);
        int32_t results[LIST];
        memset(results, 0xee, sizeof results);
        CHECK(smf_cache_prefetch(cache, list, LIST, threads, results) == 6);
        CHECK(!memcmp(results, expected, sizeof results));
        SmfCacheStatistics s = statistics(cache);
        CHECK(s.files == 6 && s.held == 0 && s.failures == 5);
        CHECK(smf_cache_prefetch(cache, list, LIST, threads, NULL) == 6);
        SmfCacheFile hit = smf_cache_get(cache, list[0]);
        CHECK(is(hit, "0123456789", 10) && statistics(cache).loads == 6 && smf_cache_release(cache, hit.file));
        /* Each result is that of a get. */
        for (int i = 0; i < LIST; i++) {
            SmfCacheFile file = smf_cache_get(cache, list[i]);
            CHECK((file.file != 0) == (expected[i] == SMF_OK));
            CHECK(file.file ? smf_cache_release(cache, file.file) : smf_last_error().code == expected[i]);
        }
        CHECK(smf_cache_prefetch(cache, list, 0, threads, results) == 0 && smf_cache_prefetch(cache, NULL, 0, 0, NULL) == 0);
        CHECK(smf_cache_close(cache));
    }
    /* The same in the background. */
    for (int threads = 0; threads < 5; threads++) {
        uint64_t cache = open_cache(100, 1000, threads % 2, 0);
        uint64_t job = smf_cache_prefetch_start(cache, list, LIST, threads);
        CHECK(job);
        SmfPrefetchProgress p = smf_prefetch_progress(job);
        CHECK(p.total == LIST && p.done <= LIST && p.failed <= p.done);
        REFUSED(!smf_cache_close(cache), SMF_ERROR_IN_USE);
        CHECK(smf_prefetch_wait(job, -1) == 1 && smf_prefetch_wait(job, 0) == 1);
        p = smf_prefetch_progress(job);
        CHECK(p.total == LIST && p.done == LIST && p.failed == 6 && p.bytes == 60);
        for (int i = 0; i < LIST; i++) {
            smf_clear_error();
            CHECK(smf_prefetch_result(job, i) == expected[i] && smf_last_error().code == expected[i]);
        }
        REFUSED(smf_prefetch_result(job, LIST) == -1, SMF_ERROR_ARGUMENT);
        REFUSED(smf_prefetch_result(job, -1) == -1, SMF_ERROR_ARGUMENT);
        REFUSED(smf_prefetch_result(job, INT64_MAX) == -1, SMF_ERROR_ARGUMENT);
        REFUSED(!smf_cache_close(cache), SMF_ERROR_IN_USE);
        CHECK(strstr(smf_last_error().text, "1 prefetches") && smf_prefetch_free(job));
        refuse_prefetch(job);
        CHECK(statistics(cache).files == 6 && smf_cache_close(cache));
    }
    uint64_t cache = open_cache(1, 10, 0, 0);
    REFUSED(smf_cache_prefetch(cache, NULL, 1, 0, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_cache_prefetch(cache, list, -1, 0, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_cache_prefetch(cache, list, INT64_MAX, 0, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_cache_prefetch(cache, list, LIST, -1, NULL) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(!smf_cache_prefetch_start(cache, NULL, 1, 0), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_cache_prefetch_start(cache, list, INT64_MIN, 0), SMF_ERROR_ARGUMENT);
    REFUSED(!smf_cache_prefetch_start(cache, list, LIST, INT32_MIN), SMF_ERROR_ARGUMENT);
    CHECK(statistics(cache).misses == 0);
    /* More threads than files, into a cache of one file. */
    CHECK(smf_cache_prefetch(cache, list, LIST, INT32_MAX, NULL) == 6 && statistics(cache).files == 1);
    uint64_t nothing = smf_cache_prefetch_start(cache, NULL, 0, 0);
    CHECK(smf_prefetch_wait(nothing, 1000) == 1 && smf_prefetch_progress(nothing).total == 0);
    CHECK(smf_prefetch_free(nothing));
    /* An unfinished prefetch is cancelled by the thread that frees it, while another may wait. */
    static const char *many[20000];
    for (int i = 0; i < 20000; i++) {
        many[i] = list[i % LIST];
    }
    for (int round = 0; round < 20; round++) {
        uint64_t job = smf_cache_prefetch_start(cache, many, 20000, 2);
        CHECK(job && smf_prefetch_wait(job, round % 3) >= 0);
        SmfPrefetchProgress p = smf_prefetch_progress(job);
        CHECK(p.done < 20000 ? true : smf_prefetch_wait(job, -1) == 1);
        CHECK(smf_prefetch_result(job, 0) == SMF_OK || smf_last_error().code == SMF_ERROR_STATE);
        CHECK(smf_prefetch_free(job));
    }
    CHECK(smf_cache_close(cache));
}

/* Many threads: files, handles, closing and prefetches at once. */
static _Atomic uint64_t shared_cache, shared_file, shared_job;
static _Atomic bool stop;

static void *user(void *argument) {
    unsigned seed = (unsigned)(intptr_t)argument + 1;
    while (!stop) {
        uint64_t cache = shared_cache;
        int number = rand_r(&seed) % 6;
        SmfCacheFile file = smf_cache_get(cache, numbered(number));
        if (file.file) {
            /* While the file is held the cache cannot be closed, and the bytes are valid. */
            CHECK(is(file, "0123456789", 10) && cache == shared_cache);
            shared_file = file.file;
            SmfCacheFile again = smf_cache_get_again(cache, file.file);
            CHECK(again.file == file.file && again.bytes == file.bytes);
            CHECK(smf_cache_note(cache, file.file).length == -1);
            CHECK(smf_cache_release(cache, file.file) && is(again, "0123456789", 10));
            CHECK(smf_cache_release(cache, file.file));
        }
        SmfCacheFile other = smf_cache_get_again(cache, shared_file);
        CHECK(!other.file || (is(other, "0123456789", 10) && smf_cache_release(cache, other.file)));
        switch (rand_r(&seed) % 16) {
        case 0: smf_cache_clear(cache); break;
        case 1: smf_cache_evict(cache, numbered(number)); break;
        case 2: smf_cache_refresh_all(cache); break;
        case 3: smf_cache_statistics(cache, &(SmfCacheStatistics){.size = sizeof(SmfCacheStatistics)}); break;
        case 4: smf_cache_prefetch(cache, list, LIST, 2, NULL); break;
        case 5: smf_prefetch_wait(shared_job, -1); break;
        case 6: smf_prefetch_free(shared_job); break;
        }
    }
    return NULL;
}

static void threads(void) {
    pthread_t thread[4];
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 << 10);
    stop = false;
    shared_cache = open_cache(4, 1000, SMF_POLICY_SIEVE, 0);
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&thread[i], &small, user, (void *)(intptr_t)i) == 0);
    }
    int closed = 0, refused = 0;
    for (int round = 0; closed < 30 || (refused < 30 && round < 100000); round++) {
        uint64_t job = smf_cache_prefetch_start(shared_cache, list, LIST, 1);
        CHECK(job);
        shared_job = job;
        usleep(200);
        smf_prefetch_free(job);
        if (smf_cache_close(shared_cache)) {
            closed++;
            shared_cache = open_cache(1 + round % 4, 1000, round % 2, round / 2 % 2);
        } else {
            CHECK(smf_last_error().code == SMF_ERROR_IN_USE);
            refused++;
        }
    }
    stop = true;
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
    }
    CHECK(statistics(shared_cache).held == 0 && smf_cache_close(shared_cache));
}

static void everything(void) {
    options();
    for (int32_t policy = 0; policy < 2; policy++) {
        life(policy);
        eviction(policy);
    }
    freshness();
    modules();
    compressed(SAMPLES "compressed-zstd.smf", 1176);
    compressed(SAMPLES "compressed-lz4.smf", 1392);
    numbers();
    prefetch();
    threads();
}

int main(void) {
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    CHECK(mkdtemp(directory));
    everything();
    char *before = mappings();
    int open_before = descriptors();
    size_t memory = mallinfo2().uordblks;
    everything();
    size_t grown = mallinfo2().uordblks - memory;
    char *after = mappings();
    if (strcmp(before, after)) {
        fprintf(stderr, "%s\n%s", before, after);
    }
    CHECK(!strcmp(before, after) && descriptors() == open_before);
    /* Shows leaks unless the allocator caches freed memory. */
    CHECK(grown == 0 || !getenv("GLIBC_TUNABLES"));
    free(before);
    free(after);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", directory);
    CHECK(system(command) == 0);
    puts("ok");
    return 0;
}
