/*
 * smf.hpp - the loader of smf.h for C++11 and later: handles with owners, failures as exceptions, typed addresses
 *
 *     smf::Loader loader;
 *     smf::Module plugin = loader.load("plugin.smf");
 *     auto *add = plugin.get<long(long, long)>("add");
 *     add(40, 2);
 *
 * A Loader closes its loader, a Module unloads its module, and a Hold releases its version, when it is destroyed. A
 * destructor that the library refuses (a module that others import from, a loader with held modules) leaves the
 * module or the loader as it is; unload() and close() report the reason. An object that was moved from is empty.
 *
 * Threads: as smf.h says for the handles; an object itself must not be changed by two threads at once.
 * Exceptions must not leave a function that the library or a module calls.
 */
#ifndef SMF_HPP
#define SMF_HPP

#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "smf.h"

namespace smf {

/* An import that nothing defines. */
struct Missing {
    std::string symbol;
    std::string module; /* the importing module */
};

/* A failure of the library. */
class Error : public std::runtime_error {
public:
    explicit Error(const SmfError &error) : std::runtime_error(error.text), code_(error.code), missing_() {
        if (error.code != SMF_ERROR_MISSING)
            return;
        for (int64_t index = 0; index < smf_loader_missing_count(); index++) {
            SmfMissing import = smf_loader_missing(index);
            missing_.push_back({import.symbol, import.module});
        }
    }

    /* One of SmfErrorCode. */
    int code() const noexcept { return code_; }

    /* All unresolved imports, if code() is SMF_ERROR_MISSING. */
    const std::vector<Missing> &missing() const noexcept { return missing_; }

private:
    int code_;
    std::vector<Missing> missing_;
};

namespace detail {

[[noreturn]] inline void fail() { throw Error(smf_last_error()); }

inline void check(bool succeeded) {
    if (!succeeded)
        fail();
}

/* As std::exchange of C++14, for handles. */
inline uint64_t exchange(uint64_t &handle, uint64_t value) noexcept {
    uint64_t old = handle;
    handle = value;
    return old;
}

template <class T> T checked(T value) {
    if (!value)
        fail();
    return value;
}

/* An address as a pointer to a function or to data of type T. */
template <class T> T *pointer(int64_t address) {
    return reinterpret_cast<T *>(static_cast<intptr_t>(checked(address)));
}

} // namespace detail

/* Holds one version of a module: its addresses stay valid, even if the module is replaced. */
class Hold {
public:
    Hold(uint64_t loader, uint64_t module) : loader_(loader), hold_(detail::checked(smf_loader_hold(loader, module))) {}
    Hold(Hold &&other) noexcept : loader_(other.loader_), hold_(detail::exchange(other.hold_, 0)) {}
    Hold &operator=(Hold other) noexcept {
        std::swap(loader_, other.loader_);
        std::swap(hold_, other.hold_);
        return *this;
    }
    ~Hold() {
        if (hold_)
            smf_loader_release(loader_, hold_);
    }

    /* An export at its address in this version. */
    template <class T> T *get(const std::string &name) const {
        return detail::pointer<T>(smf_loader_symbol(loader_, hold_, name.c_str(), nullptr));
    }

private:
    uint64_t loader_, hold_;
};

/* A loaded module. */
class Module {
public:
    Module(uint64_t loader, uint64_t module) noexcept : loader_(loader), module_(module) {}
    Module(Module &&other) noexcept : loader_(other.loader_), module_(detail::exchange(other.module_, 0)) {}
    Module &operator=(Module other) noexcept {
        std::swap(loader_, other.loader_);
        std::swap(module_, other.module_);
        return *this;
    }
    ~Module() {
        if (module_)
            smf_loader_unload(loader_, module_);
    }

    /*
     * An export. The address of a function of a reloadable module is valid until the module is unloaded, and calls the
     * current version; that of data is valid until the module is replaced.
     */
    template <class T> T *get(const std::string &name) const {
        return detail::pointer<T>(smf_loader_stable(loader_, module_, name.c_str()));
    }

    /* Holds the current version. */
    Hold hold() const { return Hold(loader_, module_); }

    /* Replaces the module by the version at `path`; `data` is a SMF_DATA_ constant. */
    SmfReloaded reload(const std::string &path, int32_t data = SMF_DATA_KEEP) {
        SmfReloaded reloaded{};
        reloaded.size = sizeof reloaded;
        detail::check(smf_loader_reload(loader_, module_, path.c_str(), data, &reloaded));
        return reloaded;
    }

    /* Unloads the module; this object is then empty. */
    void unload() {
        detail::check(smf_loader_unload(loader_, module_));
        module_ = 0;
    }

    /* The handle, which the caller owns from now on. */
    uint64_t release() noexcept { return detail::exchange(module_, 0); }

    /* The handle for functions of smf.h. */
    uint64_t handle() const noexcept { return module_; }

private:
    uint64_t loader_, module_;
};

/* A loader. */
class Loader {
public:
    explicit Loader(const SmfLoaderOptions *options = nullptr) : loader_(detail::checked(smf_loader_open(options))) {}
    Loader(Loader &&other) noexcept : loader_(detail::exchange(other.loader_, 0)) {}
    Loader &operator=(Loader other) noexcept {
        std::swap(loader_, other.loader_);
        return *this;
    }
    ~Loader() {
        if (loader_)
            smf_loader_close(loader_);
    }

    Module load(const std::string &path) { return loaded(smf_loader_load(loader_, path.c_str())); }
    /* Loads the module called `module` of an archive. */
    Module load(const std::string &path, const std::string &module) {
        return loaded(smf_loader_load_archived(loader_, path.c_str(), module.c_str()));
    }
    /* Loads a module from bytes, which are copied. */
    Module load(const std::string &name, const std::vector<uint8_t> &bytes) {
        return loaded(smf_loader_load_bytes(loader_, name.c_str(), bytes.data(), static_cast<int64_t>(bytes.size())));
    }

    /* Registers a module or an archive, whose modules are loaded when another module imports from them. */
    void provide(const std::string &path) { detail::check(smf_loader_provide(loader_, path.c_str())); }

    /* Resolves imports in a shared library, for example "libm.so.6". */
    void add_library(const std::string &name) { detail::check(smf_loader_add_library(loader_, name.c_str())); }

    /* Defines a symbol of the host: a function or data, which must outlive the modules that import it. */
    template <class T> void define(const std::string &name, T *value) {
        auto address = static_cast<int64_t>(reinterpret_cast<intptr_t>(value));
        detail::check(smf_loader_define(loader_, name.c_str(), address));
    }

    /* Resolves a name as an import is. */
    template <class T> T *resolve(const std::string &name) const {
        return detail::pointer<T>(smf_loader_resolve(loader_, name.c_str(), nullptr));
    }

    /* Frees replaced versions: see smf_loader_collect for what the caller states by this call. */
    void collect() { detail::check(smf_loader_collect(loader_)); }

    SmfLoaderStatistics statistics() const {
        SmfLoaderStatistics statistics{};
        statistics.size = sizeof statistics;
        detail::check(smf_loader_statistics(loader_, &statistics));
        return statistics;
    }

    /* Unloads all modules and closes the loader; this object is then empty. */
    void close() {
        detail::check(smf_loader_close(loader_));
        loader_ = 0;
    }

    /* The handle for functions of smf.h. */
    uint64_t handle() const noexcept { return loader_; }

private:
    Module loaded(uint64_t module) { return Module(loader_, detail::checked(module)); }

    uint64_t loader_;
};

} // namespace smf

#endif
