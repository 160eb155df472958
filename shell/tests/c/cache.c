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

/* Hits are the lookups that found a file, whatever is read of the file then. */
static void hits(void) {
    uint64_t cache = open_cache(4, 1 << 20, SMF_POLICY_LRU, SMF_FRESHNESS_ON_REQUEST);
    for (int i = 0; i < 8; i++) {
        SmfCacheFile file = smf_cache_get(cache, SAMPLES "compact.smf");
        CHECK(smf_cache_note(cache, file.file).length == 722 && smf_cache_template(cache, file.file).length == 36);
        CHECK(smf_cache_section(cache, file.file, "note.sdn").length == 722);
        CHECK(smf_cache_release(cache, file.file));
    }
    SmfCacheStatistics s = statistics(cache);
    CHECK(s.hits == 7 && s.misses == 1 && s.hit_rate == 0.875);
    uint64_t file = smf_cache_get_again(cache, smf_cache_get(cache, SAMPLES "compact.smf").file).file;
    CHECK(statistics(cache).hits == 9 && smf_cache_release(cache, file) && smf_cache_release(cache, file));
    REFUSED(smf_cache_note(cache, file).length == -1, SMF_ERROR_HANDLE);
    REFUSED(!smf_cache_get(cache, SAMPLES "absent").file, SMF_ERROR_FILE);
    s = statistics(cache);
    CHECK(s.hits == 9 && s.misses == 2 && s.failures == 1 && s.hit_rate == 9 / 11.0);
    CHECK(smf_cache_close(cache));
}

static int64_t sum(const SmfCacheBucket *buckets, int64_t count) {
    int64_t all = 0, last = -1;
    for (int64_t i = 0; i < count; i++) {
        CHECK(buckets[i].count > 0 && buckets[i].first > last && buckets[i].last >= buckets[i].first);
        last = buckets[i].last;
        all += buckets[i].count;
    }
    return all;
}

static void histograms(void) {
    static const char bytes[64];
    uint64_t cache = open_cache(8, 1000, SMF_POLICY_LRU, SMF_FRESHNESS_ON_REQUEST);
    SmfCacheBucket b[160];
    CHECK(smf_cache_histogram(cache, SMF_HISTOGRAM_FILE_SIZES, b, 160) == 0);
    CHECK(smf_cache_histogram(cache, SMF_HISTOGRAM_LOAD_TIMES, NULL, 0) == 0);
    const int64_t sizes[] = {0, 1, 5, 7, 64};
    for (int i = 0; i < 5; i++) {
        write_file(numbered(i), bytes, (size_t)sizes[i]);
        CHECK(smf_cache_release(cache, smf_cache_get(cache, numbered(i)).file));
    }
    /* Another path of a file is no file. */
    CHECK(link(numbered(4), strcat(strcpy((char[128]){0}, directory), "/linked")) == 0);
    CHECK(smf_cache_release(cache, smf_cache_get(cache, named("linked")).file));
    static const SmfCacheBucket expected[] = {{0, 0, 1}, {1, 1, 1}, {4, 7, 2}, {64, 127, 1}};
    CHECK(smf_cache_histogram(cache, SMF_HISTOGRAM_FILE_SIZES, b, 160) == 4);
    CHECK(!memcmp(b, expected, sizeof expected) && sum(b, 4) == 5);
    CHECK(statistics(cache).mean_file_size == 77 / 5);
    int64_t times = smf_cache_histogram(cache, SMF_HISTOGRAM_LOAD_TIMES, b, INT64_MAX);
    CHECK(times >= 1 && times <= 5 && sum(b, times) == 5);
    /* A smaller array gets the first buckets only. */
    memset(b, 0xee, sizeof b);
    CHECK(smf_cache_histogram(cache, SMF_HISTOGRAM_FILE_SIZES, b, 1) == 4 && b[0].count == 1 && b[1].count != 1);
    CHECK(smf_cache_histogram(cache, SMF_HISTOGRAM_FILE_SIZES, NULL, 0) == 4);
    REFUSED(smf_cache_histogram(cache, SMF_HISTOGRAM_FILE_SIZES, NULL, 1) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_cache_histogram(cache, SMF_HISTOGRAM_FILE_SIZES, b, -1) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_cache_histogram(cache, 2, b, 1) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_cache_histogram(cache, -1, b, 1) == -1, SMF_ERROR_ARGUMENT);
    CHECK(smf_cache_evict(cache, numbered(2)) == 1 && smf_cache_evict(cache, numbered(4)) == 1);
    CHECK(smf_cache_histogram(cache, SMF_HISTOGRAM_FILE_SIZES, b, 160) == 3 && sum(b, 3) == 3);
    CHECK(statistics(cache).mean_file_size == 8 / 3);

    char report[2000], part[20];
    int64_t length = smf_cache_report(cache, report, sizeof report);
    CHECK(length > 100 && length == (int64_t)strlen(report));
    CHECK(strstr(report, "cache: enabled, 3 files, 8 bytes") && strstr(report, "1 hits, 5 misses, 0 failures"));
    CHECK(strstr(report, "4 to 7 bytes: 1 files") && strstr(report, "held: 0\n") && strstr(report, "load time: "));
    memset(part, 0xee, sizeof part);
    CHECK(smf_cache_report(cache, part, 10) == length && !memcmp(part, report, 9) && !part[9]);
    CHECK((uint8_t)part[10] == 0xee && smf_cache_report(cache, part, 1) == length && !part[0]);
    CHECK(smf_cache_report(cache, NULL, 0) == length);
    REFUSED(smf_cache_report(cache, NULL, 1) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_cache_report(cache, report, -1) == -1, SMF_ERROR_ARGUMENT);
    CHECK(smf_cache_clear(cache) && statistics(cache).mean_file_size == 0);
    CHECK(smf_cache_report(cache, report, sizeof report) < length && !strstr(report, "file size"));
    char json[8000], begin[] = "{\"version\":1,\"executable_memory\":{\"live_bytes\":", handle[40];
    length = smf_statistics_json(json, sizeof json);
    CHECK(length == (int64_t)strlen(json) && !strncmp(json, begin, strlen(begin)) && json[length - 1] == '}');
    snprintf(handle, sizeof handle, "{\"handle\":\"0x%llx\",\"files\":0,", (unsigned long long)cache);
    CHECK(strstr(json, handle) && strstr(json, "\"evictions\":0") && strstr(json, "\"loaders\":["));
    CHECK(smf_statistics_json(NULL, 0) > 0 && smf_statistics_json(part, 10) > 0 && !strcmp(part, "{\"version"));
    REFUSED(smf_statistics_json(NULL, 1) == -1, SMF_ERROR_ARGUMENT);
    REFUSED(smf_statistics_json(json, -1) == -1, SMF_ERROR_ARGUMENT);
    CHECK(unlink(named("linked")) == 0 && smf_cache_close(cache));
    CHECK(smf_statistics_json(json, sizeof json) > 0 && !strstr(json, handle));

    /* The oldest structure of a program has neither the mean size nor the setting. */
    cache = open_cache(1, 1, 0, 0);
    SmfCacheStatistics s = {.size = 152, .mean_file_size = -7, .enabled = -7};
    CHECK(smf_cache_statistics(cache, &s) && s.size == 152 && s.mean_file_size == -7 && s.enabled == -7);
    CHECK(smf_cache_close(cache));
}

/* A disabled cache reads each file, and keeps none. */
static void disabled(int32_t policy) {
    uint64_t cache = open_cache(2, 20, policy, SMF_FRESHNESS_ON_REQUEST);
    write_file(named("one"), "0123456789", 10);
    SmfCacheFile before = smf_cache_get(cache, named("one"));
    CHECK(statistics(cache).enabled == 1 && smf_cache_enable(cache, true) == 1);
    CHECK(smf_cache_enable(cache, false) == 1 && smf_cache_enable(cache, false) == 0);
    SmfCacheStatistics s = statistics(cache);
    CHECK(s.enabled == 0 && s.files == 0 && s.detached_files == 1 && is(before, "0123456789", 10));
    write_file(named("one"), "9876543210", 10);
    SmfCacheFile during = smf_cache_get(cache, named("one"));
    CHECK(is(during, "9876543210", 10) && during.file != before.file);
    CHECK(is(smf_cache_get_again(cache, during.file), "9876543210", 10) && smf_cache_release(cache, during.file));
    s = statistics(cache);
    CHECK(s.files == 0 && s.detached_files == 2 && s.misses == 2 && s.hits == 1);
    /* Held files count towards the capacity. */
    REFUSED(!smf_cache_get(cache, named("one")).file, SMF_ERROR_FULL);
    CHECK(smf_cache_release(cache, during.file));
    REFUSED(!smf_cache_get_again(cache, during.file).file, SMF_ERROR_HANDLE);
    for (int i = 0; i < 100; i++) {
        uint64_t file = smf_cache_get(cache, named("one")).file;
        CHECK(file && statistics(cache).detached_files == 2 && smf_cache_release(cache, file));
    }
    s = statistics(cache);
    CHECK(s.hits == 1 && s.loads == 102 && s.evictions == 0 && s.replacements == 0);
    CHECK(smf_cache_enable(cache, true) == 0 && smf_cache_release(cache, before.file));
    SmfCacheFile after = smf_cache_get(cache, named("one"));
    CHECK(smf_cache_get(cache, named("one")).file == after.file && statistics(cache).hits == 2);
    CHECK(smf_cache_release(cache, after.file) && smf_cache_release(cache, after.file) && smf_cache_close(cache));

    /* The same for modules of archives and in advance. */
    cache = open_cache(2, 1 << 20, policy, SMF_FRESHNESS_ON_REQUEST);
    CHECK(smf_cache_enable(cache, false) == 1);
    SmfCacheFile module = smf_cache_get_module(cache, SAMPLES "library.lsm", MODULE);
    CHECK(module.file && is(smf_cache_get_again(cache, module.file), module.bytes, module.length));
    CHECK(smf_cache_note(cache, module.file).length >= 0 && statistics(cache).files == 0);
    CHECK(smf_cache_release(cache, module.file) && smf_cache_release(cache, module.file));
    const char *path = named("one");
    CHECK(smf_cache_prefetch(cache, &path, 1, 1, NULL) == 1 && statistics(cache).files == 0);
    CHECK(unlink(path) == 0 && smf_cache_close(cache));
}

static bool called(const SmfModuleSection *section, const char *name) {
    return section->name_length == (int64_t)strlen(name) && !memcmp(section->name, name, strlen(name));
}

/* The header and the sections of a file that a cache holds, and of a version that a loader holds. */
static void inspection(void) {
    uint64_t cache = open_cache(8, 1 << 20, SMF_POLICY_LRU, SMF_FRESHNESS_ON_REQUEST), loader = smf_loader_open(NULL);
    SmfCacheFile file = smf_cache_get(cache, SAMPLES "packed.smf");
    uint64_t module = smf_loader_load(loader, SAMPLES "packed.smf"), hold = smf_loader_hold(loader, module);
    CHECK(file.file && hold);
    const uint64_t sources[][2] = {{cache, file.file}, {loader, hold}};
    SmfModuleHeader h[2];
    for (int i = 0; i < 2; i++) {
        uint64_t from = sources[i][0], of = sources[i][1];
        memset(&h[i], 0xee, sizeof h[i]);
        h[i].size = sizeof h[i];
        CHECK(smf_module_header(from, of, &h[i]) && h[i].size == sizeof h[i]);
        CHECK(h[i].layout == SMF_LAYOUT_PACKED && h[i].arch == SMF_ARCH_X86_64 && h[i].compression == 0);
        CHECK(h[i].sections > 0 && h[i].symbols > 0 && h[i].stub_size == 0);
        bool has_code = false;
        for (int64_t index = 0; index < h[i].sections; index++) {
            SmfModuleSection s = {.size = sizeof s};
            CHECK(smf_module_section(from, of, index, &s) && s.size == sizeof s && s.name);
            CHECK(s.alignment > 0 && (s.length == 0) == !s.bytes && s.offset >= 0);
            if (s.kind == SMF_SECTION_CODE) {
                CHECK(s.flags == (SMF_SECTION_FLAG_READ | SMF_SECTION_FLAG_EXECUTE) && s.memory_size == s.length);
                CHECK(i == 1 || (s.bytes == file.bytes + s.offset && called(&s, ".text")));
                has_code = true;
            }
        }
        CHECK(has_code);
        SmfModuleSection s = {.size = sizeof s};
        REFUSED(!smf_module_section(from, of, h[i].sections, &s), SMF_ERROR_NOT_FOUND);
        REFUSED(!smf_module_section(from, of, INT64_MAX, &s), SMF_ERROR_NOT_FOUND);
        REFUSED(!smf_module_section(from, of, -1, &s), SMF_ERROR_ARGUMENT);
        REFUSED(!smf_module_section(from, of, 0, NULL), SMF_ERROR_ARGUMENT);
        REFUSED(!smf_module_header(from, of, NULL), SMF_ERROR_ARGUMENT);
        s.size = h[i].size = 8;
        REFUSED(!smf_module_section(from, of, 0, &s), SMF_ERROR_ARGUMENT);
        REFUSED(!smf_module_header(from, of, &h[i]), SMF_ERROR_ARGUMENT);
        h[i].size = sizeof h[i];
        REFUSED(!smf_module_header(from, of + 1, &h[i]), SMF_ERROR_HANDLE);
        REFUSED(!smf_module_section(from, from, 0, &s), SMF_ERROR_HANDLE);
    }
    CHECK(!memcmp(&h[0], &h[1], sizeof h[0]));
    /* Without a hold, which the bytes would not outlive. */
    REFUSED(!smf_module_header(loader, module, &h[0]), SMF_ERROR_HANDLE);
    REFUSED(!smf_module_header(0, file.file, &h[0]), SMF_ERROR_HANDLE);
    CHECK(smf_loader_release(loader, hold) && smf_cache_release(cache, file.file));
    REFUSED(!smf_module_header(loader, hold, &h[0]), SMF_ERROR_HANDLE);
    REFUSED(!smf_module_header(cache, file.file, &h[0]), SMF_ERROR_HANDLE);

    SmfModuleHeader header = {.size = sizeof header};
    SmfModuleSection s = {.size = sizeof s};
    SmfCacheFile compact = smf_cache_get(cache, SAMPLES "compact.smf");
    CHECK(smf_module_header(cache, compact.file, &header) && header.layout == SMF_LAYOUT_COMPACT);
    CHECK(header.symbols == 0 && smf_module_section(cache, compact.file, header.sections - 1, &s));
    SmfCacheFile small = smf_cache_get(cache, SAMPLES "compressed-zstd.smf");
    CHECK(smf_module_header(cache, small.file, &header) && header.compression == SMF_COMPRESSION_ZSTD);
    int compressed_sections = 0;
    for (int64_t index = 0; index < header.sections; index++) {
        CHECK(smf_module_section(cache, small.file, index, &s));
        if (s.flags & SMF_SECTION_FLAG_COMPRESSED && called(&s, ".data")) {
            CHECK(s.kind == SMF_SECTION_DATA && s.memory_size == 512 && s.length < 512);
            compressed_sections++;
        }
    }
    CHECK(compressed_sections == 1);
    SmfCacheFile archive = smf_cache_get(cache, SAMPLES "library.lsm"), none = smf_cache_get(cache, SAMPLES "bad/not-smf.smf");
    REFUSED(!smf_module_header(cache, archive.file, &header), SMF_ERROR_FORMAT);
    REFUSED(!smf_module_section(cache, none.file, 0, &s), SMF_ERROR_FORMAT);
    const uint64_t held[] = {compact.file, small.file, archive.file, none.file};
    for (int i = 0; i < 4; i++) {
        CHECK(smf_cache_release(cache, held[i]));
    }
    CHECK(smf_cache_close(cache) && smf_loader_close(loader));
}

/* A loader reads through a cache, whose files outlive it while modules have them. */
static void loaders(void) {
    uint64_t cache = open_cache(2, 1 << 20, SMF_POLICY_LRU, SMF_FRESHNESS_ON_REQUEST), loader = smf_loader_open(NULL);
    SmfCacheFile file = smf_cache_get(cache, SAMPLES "library.lsm");
    CHECK(loader && smf_loader_set_cache(loader, cache));
    uint64_t scale = smf_loader_load_archived(loader, SAMPLES "library.lsm", MODULE);
    CHECK(scale && smf_cache_release(cache, file.file));
    SmfCacheStatistics s = statistics(cache);
    CHECK(s.misses == 1 && s.hits == 1 && s.held == 0);
    /* In use by the module: not evicted, and detached on request. */
    for (int i = 0; i < 4; i++) {
        CHECK(smf_cache_release(cache, smf_cache_get(cache, numbered(i)).file));
    }
    s = statistics(cache);
    CHECK(s.files == 2 && s.evictions == 3 && smf_cache_evict(cache, SAMPLES "library.lsm") == 1);
    CHECK(statistics(cache).detached_files == 1);
    CHECK(smf_loader_unload(loader, scale));
    CHECK(smf_cache_clear(cache) && statistics(cache).detached_files == 0);
    CHECK(smf_loader_provide(loader, SAMPLES "library.lsm") && smf_loader_load(loader, SAMPLES "app.smf"));
    CHECK(statistics(cache).misses == 7);

    REFUSED(!smf_loader_load(loader, named("absent")), SMF_ERROR_FILE);
    CHECK(strstr(smf_last_error().text, "absent"));
    REFUSED(!smf_loader_set_cache(loader, loader), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_set_cache(cache, cache), SMF_ERROR_HANDLE);
    REFUSED(!smf_loader_set_cache(loader, UINT64_MAX), SMF_ERROR_HANDLE);
    /* The refused handles change nothing; the cache may be closed first. */
    CHECK(smf_cache_close(cache));
    REFUSED(!smf_loader_load(loader, SAMPLES "packed.smf"), SMF_ERROR_HANDLE);
    CHECK(smf_loader_set_cache(loader, 0) && smf_loader_load(loader, SAMPLES "packed.smf"));
    CHECK(smf_loader_close(loader));
    /* A file that does not fit is read without the cache. */
    cache = open_cache(1, 1, SMF_POLICY_LRU, SMF_FRESHNESS_ON_REQUEST);
    loader = smf_loader_open(NULL);
    CHECK(smf_loader_set_cache(loader, cache) && smf_loader_load(loader, SAMPLES "packed.smf"));
    CHECK(statistics(cache).files == 0 && smf_loader_close(loader) && smf_cache_close(cache));
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
    REFUSED(smf_cache_histogram(cache, SMF_HISTOGRAM_FILE_SIZES, NULL, 0) == -1, SMF_ERROR_HANDLE);
    REFUSED(smf_cache_report(cache, NULL, 0) == -1, SMF_ERROR_HANDLE);
    REFUSED(smf_cache_enable(cache, false) == -1, SMF_ERROR_HANDLE);
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
    const int64_t small[] = {0, 8, 151, -1, INT64_MIN};
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
        CHECK(strstr(smf_last_error().text, "1 not yet freed") && smf_prefetch_free(job));
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
        case 7: smf_cache_enable(cache, rand_r(&seed) % 2); break;
        case 8: smf_cache_report(cache, (char[100]){0}, 100); break;
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
        disabled(policy);
    }
    hits();
    histograms();
    loaders();
    inspection();
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
    /* Frees the text of the last error. */
    smf_clear_error();
    smf_last_error();
    size_t memory = mallinfo2().uordblks;
    everything();
    smf_clear_error();
    smf_last_error();
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
