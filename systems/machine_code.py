"""LLVM IR → functions in memory, and their machine code on disk for the next process.

Machine code is stored in the user's own cache folder under a hash of all that determines it: the
texts it was made from, the source of the compiler, LLVM, Python, and the processor with its
features. It is written atomically, so that processes may build the same module at once.

What is loaded is executed. It is read from the cache folder only, never from a repository or a
catalog, and only where the file belongs to the user and nobody else may write to it. The checksum
inside guards against torn and damaged files, not against an attacker: whoever can write to a user's
files can run code as that user anyway.
"""

import hashlib
import os
import struct
import sys
import time as clock
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

WORTH_STORING = 0.02  # seconds: what is made faster is made again rather than kept

_loaded: dict[str, list[int]] = {}
_engines: list[Any] = []  # keep the machine code of this process alive
_lock = Lock()


def addresses(
    names: Sequence[str],
    ingredients: Iterable[str],
    write: Callable[[], str],
    *,
    optimize: bool = False,
) -> list[int]:
    """The addresses of the functions `names` of the LLVM module whose IR `write()` returns.

    `ingredients` are the texts that determine the IR: where machine code is stored for them,
    `write` is not called. `optimize` runs LLVM's passes over the IR (loops need it, right-hand
    sides are written without waste).
    """
    key = _key([*names, *ingredients, str(optimize)])
    with _lock:
        if key not in _loaded:
            _loaded[key] = _load(_stored(key) or _make(key, write, optimize), names)
        return _loaded[key]


def sources(*files: str) -> str:
    """Digest of source files of this package: an ingredient of what they compile."""
    digest = hashlib.sha256()
    for name in files:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()


def float_literal(value: float) -> str:
    """A double as LLVM reads it, to the bit."""
    return f"0x{struct.unpack('>Q', struct.pack('>d', float(value)))[0]:016X}"


def cache_folder() -> Path:
    """Where trajectories and machine code are kept: $DYSTS_BENCH_CACHE, or the user's cache."""
    chosen = os.environ.get("DYSTS_BENCH_CACHE")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("dysts-bench"))


def _key(ingredients: Iterable[str]) -> str:
    import llvmlite
    import llvmlite.binding as llvm

    machine = [
        sources("machine_code.py"),
        llvmlite.__version__,
        str(llvm.llvm_version_info),
        sys.version,
        llvm.get_process_triple(),
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
    ]
    return hashlib.sha256("\0".join([*machine, *ingredients]).encode()).hexdigest()


# ---- files ---------------------------------------------------------------------------------------


def _path(key: str) -> Path:
    return cache_folder() / "code" / f"{key[:32]}.o"


def _stored(key: str) -> bytes | None:
    """The machine code kept under `key`; None where there is none that can be trusted."""
    try:
        with _path(key).open("rb") as file:
            if not _is_private(os.fstat(file.fileno())):
                return None
            stored = file.read()
    except OSError:
        return None
    checksum, code = stored[:32], stored[32:]
    return code if checksum == _checksum(key, code) else None


def _checksum(key: str, code: bytes) -> bytes:
    return hashlib.sha256(key.encode() + code).digest()


def _is_private(facts: os.stat_result) -> bool:
    if os.name != "posix":
        return True  # elsewhere the cache folder's own access rules must do
    return facts.st_uid == os.geteuid() and not facts.st_mode & 0o022


def _store(key: str, code: bytes) -> None:
    import tempfile

    path = _path(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_checksum(key, code) + code)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


# ---- LLVM ----------------------------------------------------------------------------------------


def _make(key: str, write: Callable[[], str], optimize: bool) -> bytes:
    begun = clock.perf_counter()
    code = _compile(write(), optimize)
    if clock.perf_counter() - begun > WORTH_STORING:
        with suppress(OSError):  # a folder that cannot be written to costs time, nothing else
            _store(key, code)
    return code


def _compile(text: str, optimize: bool) -> bytes:
    import llvmlite.binding as llvm

    machine = _target_machine()
    module = llvm.parse_assembly(text)
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    if optimize:
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = True
        options.loop_unrolling = options.slp_vectorization = False  # no faster, twice as long
        passes = llvm.create_pass_builder(machine, options)
        passes.getModulePassManager().run(module, passes)
    return machine.emit_object(module)


def _load(code: bytes, names: Sequence[str]) -> list[int]:
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    found = [engine.get_function_address(name) for name in names]
    assert all(found), f"no machine code for {names}"
    return found


def _target_machine() -> Any:
    """The processor at hand; a new one each time, as an engine takes possession of its own."""
    import llvmlite.binding as llvm

    _initialize()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=2,
        jit=True,
    )


@cache
def _initialize() -> None:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
