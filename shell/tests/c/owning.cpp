/* The objects of smf.hpp own what they stand for: one that was moved from is empty, and what an assignment replaces is
 * given back at once. */
#include <smf.hpp>

#include <cstdio>
#include <stdexcept>
#include <utility>

#define MUST(condition)                                                                          \
    do {                                                                                         \
        if (!(condition)) {                                                                      \
            throw std::logic_error(#condition);                                                  \
        }                                                                                        \
    } while (0)

static const char PACKED[] = "../tests/samples/packed.smf";
static const char DYNLIB[] = "../tests/samples/dynlib.smf";

static int64_t modules(const smf::Loader &loader) { return loader.statistics().modules; }

static void run() {
    smf::Loader loader;
    smf::Module one = loader.load(PACKED), other = loader.load(DYNLIB);
    const uint64_t handle = other.handle();
    MUST(modules(loader) == 2);
    one = std::move(other);
    MUST(one.handle() == handle && other.handle() == 0 && modules(loader) == 1);
    smf::Module &same = one;
    one = std::move(same);
    MUST(one.handle() == handle && modules(loader) == 1);

    {
        smf::Hold held = one.hold(), other_hold = one.hold();
        MUST(loader.statistics().held == 2);
        held = std::move(other_hold);
        MUST(loader.statistics().held == 1);
    }
    one.unload();

    smf::Loader second;
    second.load(DYNLIB).release();
    MUST(modules(second) == 1);
    loader = std::move(second);
    MUST(modules(loader) == 1);
}

int main() {
    try {
        run();
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s (%s)\n", error.what(), smf_last_error().text);
        return 1;
    }
    std::puts("ok");
    return 0;
}
