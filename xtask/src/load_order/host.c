/* Loads a module and calls `first`, by a copy of the file where the first argument is `copy`. */
#include <smf.h>
#include <string.h>

int main(int count, char **arguments) {
    if (count != 3) return 2;
    int copy = strcmp(arguments[1], "copy") == 0 ? SMF_LOADER_COPY_FILES : 0;
    SmfLoaderOptions options = { sizeof options, 4 << 20, 0, copy | SMF_LOADER_PROCESS_SYMBOLS, 0 };
    uint64_t loader = smf_loader_open(&options);
    uint64_t module = smf_loader_load(loader, arguments[2]);
    long (*first)(long) = module == 0 ? 0 : (long (*)(long))smf_loader_symbol(loader, module, "first", 0);
    if (first == 0) return 1;
    return first(40) == 42 ? 0 : 3;
}
