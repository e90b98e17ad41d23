"""Malicious pickles: every way known to us in which a pickle runs something, in every form of a checkpoint.

What they would do is harmless and can be seen: they make ``canary``, remove ``victim``, import
``canary_module`` or reach for a port of this machine where nobody listens.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import opcodes
from .opcodes import (
    PROTO2,
    called,
    globe,
    integer,
    legacy,
    npy,
    npz,
    old_storage,
    program,
    storage,
    tarred,
    tensor,
    text,
    value,
    zipped,
)

CANARY_MODULE = "canary_module"
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "zip": zipped, "legacy": legacy, "bare": lambda pickle: pickle, "tar": tarred,
}  # fmt: skip


@dataclass(frozen=True)
class Malice:
    """``wanted``: the global that a refusal must name, in any of these words; none where there is none, or
    none that can be reached.
    """

    name: str
    form: str
    content: bytes
    wanted: tuple[str, ...]


def calls(canary: Path, victim: Path) -> list[tuple[str, str, tuple[Any, ...]]]:
    """Functions of the standard library, torch, numpy and prunecli that do more than rebuild data."""
    touch, here, code = f"touch {canary}", str(canary), f"open({str(canary)!r}, 'w')"
    argv, away = listed("touch", here), ("127.0.0.1", 9)
    return [
        ("os", "system", (touch,)), ("posix", "system", (touch,)), ("nt", "system", (touch,)),
        ("os", "popen", (touch,)),
        ("os", "execv", ("/bin/touch", argv)), ("os", "spawnv", (0, "/bin/touch", argv)), ("os", "fork", ()),
        ("os", "posix_spawn", ("/bin/touch", argv, opcodes.value({}))), ("os", "remove", (str(victim),)),
        ("os", "open", (here, 65)), ("os", "mkdir", (here,)), ("os", "symlink", (str(victim), here)),
        ("os", "abort", ()),
        ("os", "kill", (0, 0)), ("os", "_exit", (0,)), ("sys", "exit", (0,)),
        ("signal", "raise_signal", (9,)),
        ("subprocess", "Popen", (argv,)), ("subprocess", "run", (argv,)), ("subprocess", "call", (argv,)),
        ("subprocess", "check_output", (argv,)), ("subprocess", "getoutput", (touch,)),
        ("_posixsubprocess", "fork_exec", ()), ("pty", "spawn", (argv,)), ("commands", "getoutput", (touch,)),
        ("socket", "socket", ()), ("socket", "create_connection", (away,)), ("_socket", "socket", ()),
        ("asyncio", "run", ()), ("asyncio.subprocess", "create_subprocess_shell", (touch,)),
        ("urllib.request", "urlopen", ("http://127.0.0.1:9/",)),
        ("http.client", "HTTPConnection", ("127.0.0.1",)),
        ("ftplib", "FTP", ("127.0.0.1",)), ("smtplib", "SMTP", ("127.0.0.1",)),
        ("webbrowser", "open", ("x",)),
        ("importlib", "import_module", (CANARY_MODULE,)), ("importlib", "__import__", (CANARY_MODULE,)),
        (CANARY_MODULE, "anything", ()), (f"torch.{CANARY_MODULE}", "x", ()), ("antigravity", "fly", ()),
        ("builtins", "eval", (code,)), ("builtins", "exec", (code,)), ("builtins", "open", (here, "w")),
        ("builtins", "__import__", (CANARY_MODULE,)), ("builtins", "getattr", (globe("os", "path"), "os")),
        ("builtins", "compile", (code, "x", "exec")), ("builtins", "print", ("x",)),
        ("builtins", "input", ()),
        ("builtins", "setattr", (globe("torch", "Tensor"), "x", 1)),
        ("builtins", "type", ("x", (), value({}))),
        ("builtins", "breakpoint", ()), ("builtins", "globals", ()),
        ("builtins", "map", (globe("os", "system"), argv)),
        ("__builtin__", "eval", (code,)), ("__builtin__", "apply", (globe("os", "system"), (touch,))),
        ("runpy", "run_module", (CANARY_MODULE,)), ("runpy", "run_path", (here,)),
        ("ctypes", "CDLL", ("libc.so.6",)),
        ("_ctypes", "dlopen", ("libc.so.6", 2)), ("shutil", "rmtree", (str(victim.parent),)),
        ("shutil", "copy", (str(victim), here)), ("shutil", "move", (str(victim), here)),
        ("tempfile", "mkdtemp", ()),
        ("pathlib", "Path", (here,)), ("pathlib", "PosixPath", (here,)),
        ("pathlib", "PosixPath.touch", (here,)),
        ("functools", "partial", (globe("os", "system"), touch)),
        ("operator", "attrgetter", ("__class__.__base__",)),
        ("operator", "methodcaller", ("system", touch)),
        ("itertools", "starmap", (globe("os", "system"), argv)),
        ("code", "interact", ()), ("timeit", "timeit", (code,)), ("cProfile", "run", (code,)),
        ("pdb", "run", (code,)),
        ("trace", "Trace.run", (code,)), ("bdb", "Bdb.run", (code,)),
        ("logging.config", "fileConfig", (here,)),
        ("pydoc", "pipepager", ("x", touch)), ("pkgutil", "resolve_name", ("os:system",)),
        ("site", "addsitedir", (here,)),
        ("multiprocessing.util", "spawnv_passfds", (b"C\x0a/bin/touch", argv, value(()))),
        ("types", "FunctionType", ()), ("types", "CodeType", ()), ("marshal", "loads", ("x",)),
        ("gc", "get_objects", ()),
        ("pickle", "loads", (raw(program(called("os", "system", (touch,)))),)),
        ("_pickle", "loads", (raw(b"N."),)),
        ("copyreg", "_reconstructor", (globe("os", "_wrap_close"), globe("builtins", "object"), None)),
        ("copy_reg", "_reconstructor", ()), ("weakref", "ref", ()),
        ("atexit", "register", (globe("os", "system"), touch)),
        ("threading", "Thread", ()), ("concurrent.futures.process", "ProcessPoolExecutor", ()),
        ("sqlite3", "connect", (here,)),
        ("zipimport", "zipimporter", (here,)), ("sys", "settrace", ()), ("sys", "addaudithook", ()),
        ("sys", "modules", ()),
        ("torch.hub", "load", (here, "x")), ("torch.hub", "load_state_dict_from_url", ("http://127.0.0.1:9/x",)),
        ("torch", "load", (here,)), ("torch", "save", (1, here)), ("torch.serialization", "load", (here,)),
        ("torch.storage", "_load_from_bytes", (raw(program(called("os", "system", (touch,)))),)),
        ("torch.jit", "load", (here,)), ("torch.jit._serialization", "load", (here,)),
        ("torch.jit.unsupported_tensor_ops", "execWrapper", (code, value({}), value({}))),
        ("torch._dynamo", "optimize", ()), ("torch._dynamo.eval_frame", "optimize", ()),
        ("torch", "compile", ()),
        ("torch._inductor.codecache", "compile_file", ("x", here, argv)),
        ("torch.utils.cpp_extension", "load_inline", ("x", code)),
        ("torch.fx.graph_module", "reduce_graph_module", (value({}), "import x")),
        ("torch.package", "PackageImporter", (here,)),
        ("torch.ops", "load_library", (here,)), ("torch._ops", "_Ops.load_library", (here,)),
        ("torch.classes", "load_library", (here,)),
        ("torch.distributed", "init_process_group", ("gloo",)),
        ("torch.multiprocessing", "spawn", (globe("os", "system"),)),
        ("torch.distributed.rpc", "init_rpc", ("x",)), ("torch.utils.model_zoo", "load_url", ("http://127.0.0.1:9/x",)),
        ("torch._C", "_jit_pass_inline", ()), ("torch", "manual_seed", (1,)),
        ("torch", "set_num_threads", (64,)),
        ("torch", "from_file", (here, True, 1000)), ("torch", "FloatStorage.from_file", (here, True, 1000)),
        ("torch.UntypedStorage", "from_file", (here, True, 1000)),
        ("torch.nn.modules.linear", "Linear", (1, 1)),
        ("torch.serialization", "add_safe_globals", (listed(globe("os", "system")),)),
        ("torch._utils", "_import_dotted_name", ("os.system",)),
        ("torch._utils", "classproperty", ()), ("torch._utils", "sys.modules", ()),
        ("torch.serialization", "os.system", (touch,)),
        ("torch.cuda", "init", ()), ("torch", "ones", (10,)), ("torch.utils.data", "DataLoader", ()),
        ("numpy", "load", (here,)), ("numpy", "save", (here, 1)), ("numpy", "fromfile", (here,)),
        ("numpy", "memmap", (here,)),
        ("numpy.testing._private.utils", "runstring", (code, value({}))), ("numpy.f2py", "compile", (code,)),
        ("numpy.core.multiarray", "_reconstruct", (globe("numpy", "ndarray"), (0,), "b")),
        ("numpy", "ndarray", ((2**40,),)),
        ("numpy._core.multiarray", "_reconstruct", (globe("numpy", "ndarray"), (0,), "b")),
        ("numpy", "vectorize", (globe("os", "system"),)),
        ("prunecli.unsafe", "_run", (here,)), ("prunecli.cli", "main", (listed("demo", "-o", here),)),
        ("prunecli", "load", (here,)),
        ("argparse", "FileType", ("w",)), ("argparse", "ArgumentParser", ()),
        ("collections", "namedtuple", ("x", "y")),
        ("ultralytics.nn.tasks", "DetectionModel", ()), ("__main__", "Net", ()),
        ("joblib.numpy_pickle", "load", (here,)),
        ("dill._dill", "_create_code", ()), ("cloudpickle.cloudpickle", "_make_function", ()),
        ("yaml", "unsafe_load", (code,)),
    ]  # fmt: skip


HARMLESS_BESIDE = ("storage on a device that calls", "device of a text", "Tensor of a list")
"""No malice beside weights, where they are left out: a device of any name is a text that nobody reads, since
all is put on the CPU, and a small tensor is one.
"""


def listed(*items: Any) -> bytes:
    return b"](" + b"".join(value(item) for item in items) + b"e"


def raw(data: bytes) -> bytes:
    """BINBYTES."""
    return b"B" + len(data).to_bytes(4, "little") + data


def shaped(canary: Path) -> list[tuple[str, bytes, str]]:
    """Other operations and tricks: name, the operations, and the global that they want."""
    touch, system = f"touch {canary}", globe("os", "system")
    deep = called("builtins", "getattr", (called("importlib", "import_module", ("os",)), "system"))
    inner = program(called("os", "system", (touch,)))
    ordered = globe("collections", "OrderedDict") + b")R"
    return [
        ("INST", b"(" + text(touch) + b"ios\nsystem\n", ""),
        ("OBJ", b"(" + system + text(touch) + b"o", "os.system"),
        ("NEWOBJ", globe("subprocess", "Popen") + value((listed("touch", str(canary)),)) + b"\x81",
            "subprocess.Popen"),
        ("NEWOBJ_EX", globe("subprocess", "Popen") + value((touch,)) + value({"shell": True}) + b"\x92",
            "subprocess.Popen"),
        ("EXT1", b"\x82\x01", ""), ("EXT2", b"\x83\x01\x00", ""), ("EXT4", b"\x84\x01\x00\x00\x00", ""),
        ("BUILD of an OrderedDict", ordered + value({"__class__": globe("os", "_wrap_close")}) + b"b",
            "os._wrap_close"),
        ("BUILD with __setstate__", ordered + value({"__setstate__": system}) + b"b" + text(touch) + b"b",
            "os.system"),
        ("BUILD with __reduce__", ordered + value({"__reduce__": system}) + b"b", "os.system"),
        ("BUILD of a class", globe("torch", "Tensor") + value({"__init__": system}) + b"b", "os.system"),
        ("BUILD of a namespace", globe("argparse",
            "Namespace") + b")\x81" + value({"__class__": system}) + b"b", "os.system"),
        ("two calls", deep + value((touch,)) + b"R", "builtins.getattr"),
        ("global from the memo", system + b"q\x05" + b"0" + b"h\x05" + value((touch,)) + b"R", "os.system"),
        ("memo overwritten", globe("collections",
            "OrderedDict") + b"q\x05" + b"0" + system + b"q\x05" + b"0h\x05" + value((touch,)) + b"R",
            "os.system"),
        ("MEMOIZE", system + b"\x94" + b"0" + b"h\x00" + value((touch,)) + b"R", "os.system"),
        ("popped again", called("os", "system", (touch,)) + b"0N", "os.system"),
        ("in a mark that is dropped", b"(" + called("os", "system", (touch,)) + b"1N", "os.system"),
        ("after a second protocol", b"\x80\x04" + called("os", "system", (touch,), 4), "os.system"),
        ("in a frame", b"\x95" + (200).to_bytes(8, "little") + called("os", "system", (touch,), 4),
            "os.system"),
        ("dotted name", text("torch") + text("serialization.os.system") + b"\x93" + value((touch,)) + b"R",
            "torch.serialization.os.system"),
        ("dotted name of an allowed one",
            text("collections") + text("OrderedDict.__init__.__globals__") + b"\x93",
            "collections.OrderedDict"),
        ("dunder of an allowed one", globe("collections", "OrderedDict.__class__"),
            "collections.OrderedDict.__class__"),
        ("name with a line break", text("os\nsystem") + text("x") + b"\x93" + value((touch,)) + b"R", ""),
        ("name with an escape", text("os\x1b[31m") + text("system") + b"\x93" + value((touch,)) + b"R", ""),
        ("global of numbers", integer(1) + integer(2) + b"\x93", ""),
        ("nested pickle in bytes", called("pickle", "loads", (raw(inner),)), "pickle.loads"),
        ("nested through torch", called("torch.storage", "_load_from_bytes", (raw(inner),)),
            "torch.storage._load_from_bytes"),
        ("second pickle behind", b"N" + b"." + called("os", "system", (touch,)), ""),
        ("persistent id of a function", value((text("storage"), system, text("0"), text("cpu"),
            integer(1))) + b"Q", "os.system"),
        ("persistent id, text", b"Pos.system\n", ""),
        ("persistent id, a call", called("os", "system", (touch,)) + b"Q", "os.system"),
        ("storage key that leads away", tensor(storage("../../../../etc/passwd", 4), 0, (4,), (1,)), ""),
        ("storage on a device that calls", value((text("storage"), globe("torch", "FloatStorage"), text("0"),
            text("__import__('os').system"), integer(1))) + b"Q", ""),
        ("buffer from outside", b"\x97\x98", ""), ("BYTEARRAY8",
            b"\x96" + (4).to_bytes(8, "little") + b"abcd", ""),
        ("codec of bz2", called("_codecs", "encode", (raw(b"x"), "bz2")), ""),
        ("codec of uu", called("_codecs", "encode", (raw(b"x"), "uu")), ""),
        ("codec of idna", called("_codecs", "encode", ("x", "idna")), ""),
        ("codec of a module", called("_codecs", "encode", ("x", CANARY_MODULE)), ""),
        ("codec of a path", called("_codecs", "encode", ("x", "..canary_module")), ""),
        ("codec mbcs", called("_codecs", "encode", ("x", "undefined")), ""),
        ("device of a text", called("torch", "device", ("cuda:0",)), ""),
        ("Tensor subclass", called("torch._tensor", "_rebuild_from_type_v2",
            (system, globe("torch", "Tensor"), value((touch,)), value({}))), "os.system"),
        ("Tensor with a state", called("torch._tensor", "_rebuild_from_type_v2",
            (globe("torch", "Size"), globe("torch", "Tensor"), value((value((1,)),)),
                value({"__class__": 1}))), ""),
        ("Tensor that calls itself", called("torch._tensor", "_rebuild_from_type_v2",
            (globe("torch._tensor", "_rebuild_from_type_v2"), globe("torch", "Tensor"), value((1, 2, 3, 4)),
                value({}))), ""),
        ("Tensor of a list", called("torch", "Tensor", (listed(1, 2),)), ""),
        ("Tensor made a hook", tensor(storage("0", 4), 0, (4,), (1,)) + value({"register_hook": 1}) + b"b",
            ""),
    ]  # fmt: skip


def rebuilding() -> list[tuple[str, bytes]]:
    """Torch's own functions that rebuild tensors, with arguments that nobody saved."""
    at, none = storage("0", 4), b"N"
    names = (
        "_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter",
        "_rebuild_parameter_with_state",
        "_rebuild_qtensor", "_rebuild_sparse_tensor", "_rebuild_sparse_csr_tensor", "_rebuild_nested_tensor",
        "_rebuild_meta_tensor_no_storage", "_rebuild_device_tensor_from_numpy", "_rebuild_wrapper_subclass",
        "_rebuild_device_tensor_from_cpu_tensor",
    )  # fmt: skip
    hostile: dict[str, tuple[Any, ...]] = {
        "nothing": (), "texts": ("a", "b", "c", "d", "e", "f", "g"), "numbers": (1, 2, 3, 4, 5, 6, 7),
        "a storage and nonsense": (at, "x", ("y",), none, 1, none),
        "itself": (globe("torch._utils", "_rebuild_parameter"),) * 4,
        "negative": (at, -1, (-1, -1), (-1, -1), False, none), "beyond": (at, 2**62, (4,), (1,), False, none),
        "many dimensions": (at, 0, (1,) * 2000, (1,) * 2000, False, none),
    }  # fmt: skip
    return [
        (f"{name} of {kind}", called("torch._utils", name, arguments))
        for name in names
        for kind, arguments in hostile.items()
    ]


def corpus(canary: Path, victim: Path, weights: dict[str, Any], every: int = 1) -> Iterable[Malice]:
    """``every``: only every so-manieth, for a short run."""
    for index, malice in enumerate(_all(canary, victim, weights)):
        if index % every == 0:
            yield malice


def _all(canary: Path, victim: Path, weights: dict[str, Any]) -> Iterable[Malice]:
    for module, name, arguments in calls(canary, victim):
        full = f"{module}.{name}"
        for protocol in (0, 2, 4, 5):
            body = program(called(module, name, arguments, protocol), protocol)
            yield from _in_every_form(f"{full}, protocol {protocol}", body, full)
        inside = beside(weights, called(module, name, arguments))
        yield Malice(f"{full}, beside weights", "zip", inside, wanted(full))
    for title, operations, full in shaped(canary):
        yield from _in_every_form(title, program(operations), full)
        if title not in HARMLESS_BESIDE:
            yield Malice(f"{title}, beside weights", "zip", beside(weights, operations), wanted(full))
    for title, operations in rebuilding():
        yield Malice(title, "zip", zipped(program(value({"w": operations})), {"0": bytes(16)}), ())
        old = operations.replace(storage("0", 4), old_storage("0", 4))
        yield Malice(title, "legacy", legacy(program(value({"w": old})), {"0": bytes(16)}), ())
    yield from _pickled(canary)
    yield from _other_files(canary)


def _in_every_form(title: str, content: bytes, full: str) -> Iterable[Malice]:
    for form, wrap in FORMS.items():
        # A tar is none of what torch writes today; before protocol 2 a bare pickle begins like any text.
        unread = form == "tar" or (form == "bare" and content[:1] != PROTO2[:1])
        yield Malice(title, form, wrap(content), () if unread else wanted(full))


def wanted(full: str) -> tuple[str, ...]:
    """Names of Python 2 are those of today in the mouth of an unpickler."""
    old = {"__builtin__": "builtins", "copy_reg": "copyreg", "commands": "subprocess"}
    module, _, name = full.rpartition(".")
    return (full, f"{old[module]}.{name}") if module in old else (full,) if full else ()


def beside(weights: dict[str, Any], body: bytes) -> bytes:
    """A good checkpoint, and one thing in it."""
    kinds = {"float32": "FloatStorage", "int64": "LongStorage"}
    datas, tensors = {}, {}
    for index, (name, held) in enumerate(weights.items()):
        kind = kinds[str(held.dtype).removeprefix("torch.")]
        datas[str(index)] = held.numpy().tobytes()
        at = storage(str(index), held.numel(), kind)
        tensors[name] = tensor(at, 0, tuple(held.shape), tuple(held.stride()))
    return zipped(program(value({"state_dict": value(tensors), "extra": body})), datas)


class _Reduced:
    def __init__(self, *how: Any) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        return self.how


def _pickled(canary: Path) -> Iterable[Malice]:
    """By Python's own pickler, as an attacker would have it."""
    import os
    import subprocess

    touch, code = f"touch {canary}", f"open({str(canary)!r}, 'w')"
    things: dict[str, Any] = {
        "posix.system": _Reduced(os.system, (touch,)),
        "subprocess.Popen": _Reduced(subprocess.Popen, (["touch", str(canary)],)),
        "builtins.exec": _Reduced(exec, (code,)),
        "builtins.eval": {"epoch": 3, "state": [1, 2, (3, _Reduced(eval, (code,)))]},
    }
    for full, thing in things.items():
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            title = f"pickler: {full}, protocol {protocol}"
            yield from _in_every_form(title, pickle.dumps(thing, protocol), full)


def _other_files(canary: Path) -> Iterable[Malice]:
    body = program(called("os", "system", (f"touch {canary}",)))
    yield Malice("objects of NumPy", "npy", npy(body), ())
    yield Malice("objects of NumPy", "npz", npz(body), ())
    yield Malice("program of TorchScript", "script", scripted(), ())
    yield Malice("program of TorchScript, another pickle", "script", scripted(body), ())
    yield Malice(
        "zip with code", "zip", zipped(body, {"../__main__.py": b"import canary_module"}), wanted("os.system")
    )
    yield Malice("pickle of a package", "zip", zipped(body, {}, name="archive/.data"), ())


def scripted(data: bytes | None = None) -> bytes:
    """A TorchScript archive, with ``data`` in place of its pickle."""
    import io
    import zipfile

    buffer = io.BytesIO()
    code = (
        b"class M(Module):\n  __parameters__ = []\n  __buffers__ = []\n"
        b"  def forward(self: __torch__.M, x: Tensor) -> Tensor:\n    return x\n"
    )
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(
            "net/data.pkl",
            data or program(globe("__torch__", "M") + b")\x81" + value({"training": False}) + b"b"),
        )
        archive.writestr("net/code/__torch__.py", code)
        archive.writestr("net/constants.pkl", program(b")"))
        archive.writestr("net/version", b"3\n")
    return buffer.getvalue()
