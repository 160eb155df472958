// A host that replaces its plugin while it runs, as plugin_host.c, in C++:
//
//     c++ plugin_host.cpp $(pkg-config --cflags --libs smf) -o host
//     ./host one.smf two.smf
#include <cstdio>
#include <exception>

#include <smf.hpp>

extern "C" void host_log(const char *text, long number) {
    std::printf("plugin: %s %ld\n", text, number);
}

int main(int argc, char **argv) try {
    if (argc != 3) {
        std::fprintf(stderr, "usage: host OLD.smf NEW.smf\n");
        return 2;
    }
    smf::Loader loader;
    try {
        loader.load(argv[1]);
    } catch (const smf::Error &error) {
        for (const smf::Missing &import : error.missing())
            std::printf("the plugin imports %s\n", import.symbol.c_str());
    }
    loader.define("host_log", host_log);
    smf::Module plugin = loader.load(argv[1]);
    auto *step = plugin.get<long()>("plugin_step"); // calls the current version, also after a reload
    step();
    SmfReloaded reloaded = plugin.reload(argv[2]);
    std::printf("reloaded, %d data symbols kept their values\n", static_cast<int>(reloaded.symbols));
    step();
    {
        smf::Hold hold = plugin.hold();
        std::printf("calls is %ld\n", *hold.get<long>("calls"));
        try {
            plugin.unload();
        } catch (const smf::Error &error) {
            std::printf("%s\n", error.what());
        }
    }
    loader.collect(); // no thread is inside of the plugin now
    plugin.unload();
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
