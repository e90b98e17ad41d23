"""A pickle, read in a process of its own with limits: nothing of it reaches this one but tensors and texts.

The unpickler builds containers and tensors only, so nothing in the file is run. The process is for what it
may build: it ends at limits of memory and time, and an audit hook ends it at the first event that reading
weights has no use for (a process, a socket, another file). What it hands over is checked again here.
"""

from __future__ import annotations

import codecs
import encodings
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from prunecli import processes
from prunecli.checkpoint import archives, pickles
from prunecli.checkpoint.handover import put, take
from prunecli.checkpoint.locating import ZIP
from prunecli.checkpoint.soundness import dense, require_names
from prunecli.checkpoint.unwrapping import Unwrapped, unwrap
from prunecli.checkpoint.validation import Fields, list_of, text
from prunecli.errors import InputError

BASE_MEMORY = 500_000_000
BASE_SECONDS = 2
BYTES_PER_SECOND = 100_000_000
WALL_FACTOR = 30
_FORBIDDEN = (
    "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.system", "os.kill",
    "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink",
    "os.truncate", "os.putenv", "shutil.", "subprocess.", "socket.", "pty.", "ctypes.dlopen", "ftplib.",
    "http.", "smtplib.", "urllib.", "webbrowser.", "winreg.",
)  # fmt: skip
_IMPORTABLE = re.compile(r"(torch|numpy|prunecli)(\.|$)")
"""What reading weights imports late."""
_CODECS = {
    name: codecs.lookup(name)
    for name in (
        "latin1", "latin_1", "iso_8859_1", "iso8859_1", "ascii", "us_ascii", "utf_8", "utf8", "cp437",
        "raw_unicode_escape", "unicode_escape",
    )
}  # fmt: skip
"""Those that weights, zips and opcodes are written in. Any other that a file names would be imported."""
_FORBIDDEN_EXIT = 86
_FIELDS = ("tensors", "notes", "dropped", "error", "hint", "needs_code")
_CUT = 200


def read(path: Path) -> Unwrapped:
    """The state_dict in the pickle ``path``, as :func:`prunecli.checkpoint.unwrapping.unwrap` finds it, dense
    and contiguous. Raises ``InputError``; ``NeedsCodeError`` for one that holds more than weights.
    """
    with tempfile.TemporaryDirectory(prefix="prune-") as folder:
        request = {"path": str(path.resolve()), "shown": str(path), "folder": folder}
        try:
            answer = processes.call("read", request, limits(path.stat().st_size))
        except processes.DiedError as error:
            raise _given_up(path, str(error)) from None
        fields = Fields(answer, "answer", _FIELDS)
        if answer["error"]:
            kind = pickles.NeedsCodeError if answer["needs_code"] is True else InputError
            raise kind(fields.take("error", text), fields.take("hint", text) or None)
        notes, dropped = (fields.take(name, list_of(text)) for name in ("notes", "dropped"))
        tensors = take(Path(folder), answer["tensors"])
    require_names(tensors)
    return Unwrapped(tensors, notes, dropped)


def limits(size: int) -> processes.Limits:
    """For a file of ``size`` bytes: twice that and 500 MB, and seconds that grow with it."""
    seconds = BASE_SECONDS + size // BYTES_PER_SECOND
    return processes.Limits(2 * size + BASE_MEMORY, seconds, WALL_FACTOR * seconds)


def _given_up(path: Path, reason: str) -> InputError:
    if f"exit code {_FORBIDDEN_EXIT}" in reason:
        return InputError(
            f"'{path}' made the process that read it reach for more than weights; that was stopped",
            "it is hostile: do not open it by other means",
        )
    return InputError(
        f"'{path}' could not be read: the process that did so is gone ({reason})",
        "it is damaged, or made to keep its reader busy; get it again, or save the state_dict alone",
    )


def serve(request: Mapping[str, Any]) -> dict[str, Any]:
    """In the process of its own."""
    path, folder = Path(request["path"]), Path(request["folder"])
    torch.set_num_threads(1)
    answer: dict[str, Any] = dict.fromkeys(_FIELDS, "") | {"tensors": [], "notes": [], "dropped": []}
    try:
        found = _opened(path)
        tensors = dense(found.tensors, path.stat().st_size)
        require_names(tensors)
        answer["tensors"] = put(folder, tensors)
        answer |= {"notes": found.notes, "dropped": [name[:_CUT] for name in found.dropped]}
    except InputError as error:
        shown = error.message.replace(str(path), request["shown"])
        answer |= {"error": shown[: 10 * _CUT], "hint": (error.hint or "")[: 10 * _CUT]}
        answer["needs_code"] = isinstance(error, pickles.NeedsCodeError)
    except MemoryError:
        answer["error"] = f"'{request['shown']}' {pickles.TOO_LARGE}"
    return answer


def _opened(path: Path) -> Unwrapped:
    with path.open("rb") as file:
        zipped = file.read(4).startswith(ZIP)
    if zipped:
        archives.check(path)
    return unwrap(pickles.load(path))


def confine(request: Mapping[str, Any]) -> None:
    """From here on this process ends at what reading weights has no use for. There is no way back."""
    codecs.unregister(encodings.search_function)
    codecs.register(_CODECS.get)
    sys.addaudithook(partial(_refuse, f"{request['folder']}{os.sep}"))


def _refuse(folder: str, event: str, arguments: tuple[Any, ...]) -> None:
    if (
        event.startswith(_FORBIDDEN)
        or (event == "open" and _writes_elsewhere(folder, *arguments))
        or (event == "import" and not _IMPORTABLE.match(str(arguments[0])))
    ):
        os._exit(_FORBIDDEN_EXIT)


def _writes_elsewhere(folder: str, path: object, _: object, flags: int) -> bool:
    writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    if not writes or isinstance(path, int):
        return False
    return not (os.fsdecode(path) if isinstance(path, bytes) else str(path)).startswith(folder)
