// A C++ client: a module is loaded, called and unloaded by objects that own their handles, and errors become exceptions
// of the client. No exception leaves a function of the library.
#include "smf.h"

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

class Error : public std::runtime_error {
public:
    explicit Error(const SmfError &error) : std::runtime_error(error.text), code(error.code) {}
    std::int32_t code;
};

template <typename T> T checked(T result) {
    if (!result) {
        throw Error(smf_last_error());
    }
    return result;
}

class Loader {
public:
    Loader() : handle(checked(smf_loader_open(nullptr))) {}
    Loader(const Loader &) = delete;
    Loader &operator=(const Loader &) = delete;
    ~Loader() { smf_loader_close(handle); }

    std::uint64_t load(const std::string &path) { return checked(smf_loader_load(handle, path.c_str())); }

    std::int64_t call(std::uint64_t module, const char *name, const std::vector<std::int64_t> &arguments) {
        std::int64_t result = 0;
        checked(smf_loader_call(handle, module, name, arguments.data(), static_cast<std::int64_t>(arguments.size()), &result));
        return result;
    }

    template <typename Function> Function *resolve(const char *name) {
        return reinterpret_cast<Function *>(checked(smf_loader_resolve(handle, name, nullptr)));
    }

    std::vector<std::string> symbols(std::uint64_t module) {
        std::vector<std::string> names;
        auto add = [](const SmfSymbol *, const char *name, std::int64_t length, void *user) {
            static_cast<std::vector<std::string> *>(user)->emplace_back(name, static_cast<std::size_t>(length));
            return true;
        };
        checked(smf_loader_symbols(handle, module, add, &names) >= 0);
        return names;
    }

private:
    std::uint64_t handle;
};

std::int32_t code_of(Loader &loader, const char *path) {
    try {
        loader.load(path);
    } catch (const Error &error) {
        return std::strlen(error.what()) > 8 ? error.code : -1;
    }
    return SMF_OK;
}

void run() {
    static_assert(sizeof(SmfError) == 16 && sizeof(SmfSymbol) == 40);
    if (std::string_view(smf_version()) != SMF_VERSION) {
        throw std::logic_error("version");
    }
    Loader loader;
    const std::uint64_t module = loader.load("../tests/samples/packed.smf");
    auto *add = loader.resolve<std::int64_t(std::int64_t, std::int64_t)>("add");
    if (loader.call(module, "add", {40, 2}) != 42 || add(40, 2) != 42 || loader.call(module, "answer", {}) != 42) {
        throw std::logic_error("result");
    }
    if (loader.symbols(module).empty()) {
        throw std::logic_error("symbols");
    }
    if (code_of(loader, "absent") != SMF_ERROR_FILE || code_of(loader, "../tests/samples/bad/not-smf.smf") != SMF_ERROR_FORMAT) {
        throw std::logic_error("errors");
    }
#ifndef SMF_NO_JIT
    const std::int64_t context = compiler_create_context();
    SmfAnswer answer = smf_check_types(context, nullptr, nullptr);
    const bool is_failure = std::string_view(answer).find("\"success\":false") != std::string_view::npos;
    if (!is_failure || !smf_string_free(answer) || !compiler_destroy_context(context)) {
        throw std::logic_error("compiler");
    }
#endif
}

} // namespace

int main() {
    try {
        run();
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    std::puts("ok");
    return 0;
}
