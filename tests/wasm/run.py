#!/usr/bin/env python3
"""Runs a WebAssembly program with WASI, as the runner that cargo calls.

`run.py PROGRAM ARGUMENT ...`; needs wasmtime from PyPI. The program has the environment of this one, and may read and
write the folder that it is started in, such as the package. It is ended after LIMIT seconds, because it has no thread
that could watch for a test that hangs.
"""

import os
import sys
import threading

import wasmtime

LIMIT = 300


def main(program):
    config = wasmtime.Config()
    config.wasm_exceptions = True  # for tests that expect a panic
    config.epoch_interruption = True
    engine = wasmtime.Engine(config)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()

    wasi = wasmtime.WasiConfig()
    wasi.argv = sys.argv[1:]
    wasi.inherit_env()
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    wasi.preopen_dir(os.getcwd(), os.getcwd())
    store = wasmtime.Store(engine)
    store.set_wasi(wasi)

    store.set_epoch_deadline(1)
    timer = threading.Timer(LIMIT, engine.increment_epoch)
    timer.daemon = True
    timer.start()
    start = linker.instantiate(store, wasmtime.Module.from_file(engine, program)).exports(store)["_start"]
    try:
        start(store)
    except wasmtime.ExitTrap as ended:
        return ended.code
    except wasmtime.Trap as trap:
        interrupted = trap.trap_code == wasmtime.TrapCode.INTERRUPT
        return f"it takes longer than {LIMIT} seconds" if interrupted else str(trap)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
