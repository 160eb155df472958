"""A host in Python that replaces its plugin while it runs, by ctypes: python3 plugin_host.py LIBRARY OLD.smf NEW.smf

LIBRARY is libsmf_loader.so."""

import ctypes
import sys


class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int32), ("text", ctypes.c_char_p)]


# Of smf.h.
SMF_DATA_KEEP = 1


def library(path):
    """Opens the library and declares the functions that this program calls."""
    smf = ctypes.CDLL(path)
    u64, i64, text = ctypes.c_uint64, ctypes.c_int64, ctypes.c_char_p
    signatures = {
        "smf_last_error": (Error, []),
        "smf_loader_open": (u64, [ctypes.c_void_p]),
        "smf_loader_define": (ctypes.c_bool, [u64, text, ctypes.c_void_p]),
        "smf_loader_load": (u64, [u64, text]),
        "smf_loader_stable": (i64, [u64, u64, text]),
        "smf_loader_reload": (ctypes.c_bool, [u64, u64, text, ctypes.c_int32, ctypes.c_void_p]),
        "smf_loader_close": (ctypes.c_bool, [u64]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(smf, name)
        function.restype, function.argtypes = result, arguments
    return smf


def main(path, old, new):
    smf = library(path)

    def check(value):
        if not value:
            raise RuntimeError(smf.smf_last_error().text.decode())
        return value

    # The object must stay alive as long as the plugin may call it.
    @ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_long)
    def host_log(text, number):
        print("plugin:", text.decode(), number, flush=True)

    loader = check(smf.smf_loader_open(None))
    check(smf.smf_loader_define(loader, b"host_log", ctypes.cast(host_log, ctypes.c_void_p)))
    plugin = check(smf.smf_loader_load(loader, old.encode()))
    # This address calls the current version, also after a reload.
    address = check(smf.smf_loader_stable(loader, plugin, b"plugin_step"))
    step = ctypes.CFUNCTYPE(ctypes.c_long)(address)
    step()
    check(smf.smf_loader_reload(loader, plugin, new.encode(), SMF_DATA_KEEP, None))
    print("reloaded", flush=True)
    step()
    check(smf.smf_loader_close(loader))


main(*sys.argv[1:])
