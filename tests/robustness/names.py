"""Names that mean something to a terminal, a browser, a renderer of Markdown or a spreadsheet, wherever a
name can come from.

    python -m tests.robustness.names

puts each into tensor names, module names, keys around weights, metadata, names of files and directories,
labels, configurations, plans, reports and arguments, runs the commands that show them, and looks at all that
comes out: at a terminal, in a pipe, as JSON, Markdown, HTML and CSV. What comes out is judged by parsers that
have nothing to do with this tool, against what the same command gives for a harmless name.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import torch
from markdown_it import MarkdownIt
from safetensors.torch import save_file

HARMLESS = "harmless"
NAMES: Mapping[str, str] = {
    "colour": "a\x1b[38;5;123;7mX\x1b[0m",
    "link in a terminal": "\x1b]8;;http://host.invalid\x1b\\X\x1b]8;;\x1b\\",
    "title of a terminal": "\x1b]0;owned\x07",
    "newline": "a\nerror: b",
    "carriage return": "a\rb",
    "tab": "a\tb",
    "backspace": "a\x08\x08b",
    "NUL": "a\x00b",
    "DEL": "a\x7fb",
    "C1": "a\x85b\x9b31mc\x9d0;x\x9c",
    "line separator": "a\u2028b\u2029c",
    "right to left": "a\u202eb\u2066c\u2069",
    "zero width": "a\u200bb\u2060c\ufeff",
    "lone surrogate": "a\ud800b",
    "emoji": "\U0001f600 \u2764\ufe0f e\u0301",
    "markup of rich": "[bold red]X[/bold red][/]",
    "link of rich": "[link=http://host.invalid]x[/link] :warning:",
    "script": "</script><script>alert(1)</script>",
    "image": "\"><img src=x onerror=alert(1)>'",
    "entities": "&lt;b&gt;&#60;i&#62;",
    "comment": "<!-- x --> <details><style>*{}</style>",
    "table": "a|b||c\\|d",
    "code": "`a``b```c",
    "link of Markdown": "[x](javascript:alert(1)) <javascript:alert(1)>",
    "picture of Markdown": "![x](http://host.invalid/x.png)",
    "emphasis": "*a* **b** _c_ __d__ ~~e~~ $f$",
    "heading": "# a",
    "list": "- a",
    "number": "1. a",
    "quote": "> a",
    "address": "https://host.invalid/x www.host.invalid",
    "formula": '=HYPERLINK("http://host.invalid")',
    "plus": "+1+1",
    "minus": "-1+1",
    "at": "@SUM(1)",
    "path": "../../x",
    "format": "%s%n{0}{x}$(id)`id`;id",
    "10 kB": "n" * 10_000,
}
ALONE = ("newline", "NUL", "lone surrogate", "heading", "list", "number", "quote", "formula", "plus", "minus",
         "at", "10 kB")  # fmt: skip
"""What means something at the beginning only, or is not let in everywhere."""
TOGETHER: Mapping[str, str] = {
    "all that prints": "".join(n for key, n in NAMES.items() if key not in ALONE and n.isprintable()),
    "all that does not": "".join(n for key, n in NAMES.items() if key not in ALONE and not n.isprintable()),
}


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Printed:
    """What a command gave, at a terminal or in a pipe, and the files that it wrote."""

    code: int
    out: str
    err: str
    terminal: bool
    files: Mapping[str, str] = field(default_factory=dict)


def printed(words: Sequence[object], terminal: bool = False, files: Sequence[Path] = ()) -> Printed:
    """Runs a command in this process."""
    from prunecli.cli import main

    kind = Terminal if terminal else io.StringIO
    out, err, hook = kind(), kind(), sys.excepthook
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main([str(word) for word in words])
        except BaseException as error:
            code = 1
            err.write(f"{type(error).__name__}: {error}\n")
    sys.excepthook = hook
    # Bytes, since reading as text would make line breaks of what is none.
    made = {path.suffix: path.read_bytes().decode("utf-8") for path in files if path.is_file()}
    return Printed(code, out.getvalue(), err.getvalue(), terminal, made)


_OWN = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[2K|\x1b\[1A|\r")
"""What rich and the labels of errors write at a terminal: colours, and a line that is drawn again."""


def at_terminal(found: Printed, name: str) -> Iterator[str]:
    """What a terminal would act on."""
    for stream, text in (("stdout", found.out), ("stderr", found.err)):
        # What of the name begins an action; colours of ours are other ones.
        for part in re.findall(r"\x1b\[38;5;123;7m|\x1b\]|\x07|\x9b|\x9d|\x08|\x00|\x7f", text):
            yield f"{stream}: {part!r} printed"
        plain = _OWN.sub("", text) if found.terminal else text
        odd = {c for c in plain if not c.isprintable() and c not in "\n"}
        if odd and not (odd == {"\t"} and "\t" not in name):
            yield f"{stream}: {sorted(odd)!r:.80} printed"
        longest = max(map(len, plain.split("\n")), default=0)
        if stream == "stderr" and longest > 5000:
            yield f"{stream}: a line of {longest} characters"
    lines = [line for line in _OWN.sub("", found.err).split("\n") if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    if found.code == 1 or len(errors) != (found.code != 0):
        yield f"exit {found.code} with {len(errors)} errors: {lines[-1] if lines else '':.150}"


class _Structure(HTMLParser):
    """Elements, the names of their attributes, addresses, and what is in scripts and styles."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # A figure that is written otherwise than it is has its value in ``data-v``: a matter of the figure.
        told = [
            f"{key}={value}" if key in ("href", "src", "style", "id") else key
            for key, value in attrs
            if key != "data-v"
        ]
        self.found.append(f"<{tag} {' '.join(told)}>")
        self.inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self.found.append(f"</{tag}>")
        self.inside = ""

    def handle_comment(self, data: str) -> None:
        self.found.append("<!---->")

    def handle_decl(self, decl: str) -> None:
        self.found.append(f"<!{decl}>")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.found.append(data)


def html_structure(page: str) -> list[str]:
    parser = _Structure()
    parser.feed(page)
    parser.close()
    return parser.found


def markdown_structure(text: str) -> list[str]:
    """What a renderer makes of it: blocks and what is in them, without the words."""
    renderer = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    found: list[str] = []
    for token in renderer.parse(text):
        if token.type == "html_block":
            found += html_structure(token.content)
            continue
        found.append(f"{token.type} {token.tag}")
        for child in token.children or ():
            if child.type in ("text", "text_special"):
                continue
            found.append(f"  {child.type} {child.tag} {child.attrs or ''}")
            if child.type == "html_inline":
                found += html_structure(child.content)
    return found


def addresses(text: str) -> list[str]:
    """What GitHub would make a link of, though it is marked as none."""
    said = re.sub(r"<pre>.*</pre>", "", text)  # raw HTML, in which nothing becomes a link
    return re.findall(r"(?:https?://|(?<![\w/.])www\.)[^\s|]+", said)


def csv_cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def told_in(document: Any, name: str) -> int:
    """How often ``name`` stands in a JSON document, alone or in a longer text."""
    if isinstance(document, str):
        return int(name in document)
    if isinstance(document, dict):
        return sum(told_in(part, name) for part in (*document, *document.values()))
    return sum(told_in(part, name) for part in document) if isinstance(document, list) else 0


def in_files(found: Printed, harmless: Printed, telling: str) -> Iterator[str]:
    """What differs but for the name. ``telling`` is what JSON has to have as it is."""
    for ending, text in found.files.items():
        other = harmless.files.get(ending)
        if other is None:
            continue
        # How many rows and notes there are depends on what was timed; what they are made of does not.
        if ending == ".html" and (more := {*html_structure(text)} - {*html_structure(other)}):
            yield f"HTML has {sorted(more)!r:.150}"
        if ending == ".md":
            if more := {*markdown_structure(text)} - {*markdown_structure(other)}:
                yield f"Markdown has {sorted(more)!r:.150}"
            if addresses(text) != addresses(other):
                yield f"Markdown has a link: {addresses(text)[0]:.80}"
        if ending == ".csv":
            yield from _spreadsheet(csv_cells(text), csv_cells(other))
        if ending == ".json" and telling and not told_in(json.loads(text), telling):
            yield "the JSON report has not the name as it is"
        if ending != ".json" and any(not c.isprintable() and c not in "\n\t" for c in text):
            yield f"{ending} has control characters"


def _spreadsheet(found: list[list[str]], other: list[list[str]]) -> Iterator[str]:
    if {len(row) for row in found} != {len(row) for row in other}:
        yield "CSV has rows of another length"
    for cell in (cell for row in found for cell in row):
        if cell[:1] in ("=", "+", "-", "@") and not re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", cell):
            yield f"CSV has a formula: {cell:.60}"


@dataclass(frozen=True)
class Surface:
    """A place for a name. ``prepare(folder, name)`` makes the files, and returns commands and the reports
    that they write; None where no such name can be there.
    """

    name: str
    prepare: Callable[[Path, str], list[Command] | None]


@dataclass(frozen=True)
class Command:
    """``files`` are the reports that it writes; ``telling`` is what its JSON has to have as it is."""

    words: tuple[object, ...]
    files: tuple[Path, ...] = ()
    telling: str = ""


_FACTORY = """
import json, pathlib
from collections import OrderedDict
import torch
from torch import nn

NAME = json.loads(pathlib.Path(__file__).with_name("name.json").read_text())


def make():
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict([
        ("a", nn.Conv2d(3, 8, 3, padding=1)), ("r", nn.ReLU()), (NAME, nn.Conv2d(8, 8, 3, padding=1)),
        ("pool", nn.AdaptiveAvgPool2d(1)), ("flat", nn.Flatten()), ("fc", nn.Linear(8, 4)),
    ]))


def example_inputs():
    return torch.randn(1, 3, 8, 8)
"""
_DENSE: dict[str, torch.Tensor] = {}


def dense() -> dict[str, torch.Tensor]:
    """A network that is identified, made once."""
    if not _DENSE:
        from prunecli.networks.building import real_maker

        torch.manual_seed(0)
        _DENSE.update(real_maker("cifar:resnet8", {})().state_dict())
    return dict(_DENSE)


def _modules(folder: Path, name: str) -> list[Command] | None:
    """A module of that name in a network of one's own."""
    name = name.replace(".", "_")
    (folder / "name.json").write_text(json.dumps(name))
    factory = folder / "net.py"
    factory.write_text(_FACTORY)
    tensors = {
        "a.weight": torch.randn(8, 3, 3, 3), "a.bias": torch.randn(8),
        f"{name}.weight": torch.randn(8, 8, 3, 3), f"{name}.bias": torch.randn(8),
        "fc.weight": torch.randn(4, 8), "fc.bias": torch.randn(4),
    }  # fmt: skip
    checkpoint = folder / "modules.pt"
    torch.save(tensors, checkpoint)
    arch = ("--arch", f"{factory}:make")
    out = folder / "small.safetensors"
    reports = tuple(folder / f"report{ending}" for ending in (".json", ".md", ".html", ".csv"))
    asked = [word for path in reports for word in ("--report", path)]
    quick = ("--repair", "none", "--force", "--speedup", 1.5)
    return [
        Command(("inspect", checkpoint, *arch, "--groups")),
        Command(("inspect", checkpoint, *arch, "--json"), telling=name),
        Command(("run", checkpoint, *arch, *quick, *asked, "-o", out), reports, name),
        Command(("verify", out, *arch, "--against", checkpoint)),
        Command(("explain", checkpoint, name, *arch)),
        Command(("explain", checkpoint, f"{name}x", *arch)),
        Command(("score", checkpoint, "--criterion", "magnitude-l1,magnitude-l2", *arch)),
        Command(("run", checkpoint, *arch, *quick, "--ignore", name, "--dry-run")),
        Command(("diff", checkpoint, out, *arch)),
        Command(("diff", reports[0], reports[0])),
        Command(("--complete", "layers", "", "prune", "explain", out)),
    ]  # fmt: skip


def _tensors(folder: Path, name: str) -> list[Command] | None:
    """A tensor of that name beside those of a known network, in every format."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return None
    one = folder / "tensors.safetensors"
    save_file(dense() | {name: torch.zeros(1)}, one, {name: name})
    other = folder / "tensors.pt"
    torch.save(dense() | {name: torch.zeros(1)}, other)
    only = folder / "only.safetensors"
    save_file({name: torch.zeros(2, 2)}, only)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: one.name, "fc.bias": one.name}}))
    wrong = folder / "shards.safetensors.index.json"
    wrong.write_text(json.dumps({"weight_map": {"fc.bias": name}}))
    return [
        *(Command((command, path, *more)) for path in (one, other, only, index, wrong)
          for command, more in (("inspect", ()), ("run", ("--speedup", 2)))),
        Command(("diff", one, other)),
        Command(("diff", only, only, "--json")),
        Command(("inspect", one, "--arch", "cifar:resnet8")),
        Command(("--complete", "modules", "", "prune", "explain", one)),
    ]  # fmt: skip


def _around(folder: Path, name: str) -> list[Command] | None:
    """Keys and values around the weights, and a wrapper of that name; metadata."""
    path, wrapped, plain = folder / "around.pt", folder / "wrapped.pt", folder / "metadata.safetensors"
    torch.save({"state_dict": dense(), name: name, "epoch": name}, path)
    torch.save({name: dense()}, wrapped)
    two = folder / "two.pt"
    torch.save({name: dense(), f"{name}2": dense()}, two)
    nothing = folder / "nothing.pt"
    torch.save({name: 1, "x": name}, nothing)
    commands = [Command(("inspect", each)) for each in (path, wrapped, two, nothing)]
    try:
        save_file(dense(), plain, {"note": name, name: "x"})
        commands.append(Command(("inspect", plain)))
    except Exception:  # safetensors takes no lone surrogate
        plain.unlink(missing_ok=True)
    out, report = folder / "around.safetensors", folder / "around.md"
    quick = ("--repair", "none", "--force", "--speedup", 1.5)
    return [*commands, Command(("run", path, *quick, "-o", out, "--report", report), (report,))]


def _files(folder: Path, name: str) -> list[Command] | None:
    """Files and directories of that name."""
    name = name.replace("/", "\u2215").replace("\x00", "")[:200]
    while len(os.fsencode(name.encode("utf-8", "surrogateescape"))) > 200 if _encodes(name) else False:
        name = name[:-1]
    if not _encodes(name) or name in ("", ".", ".."):
        return None
    # An empty beginning: what begins with a dash is an option.
    path = folder / f"{name}.safetensors"
    save_file(dense(), path)
    inside = folder / f"{name}.d"
    inside.mkdir(exist_ok=True)
    damaged = folder / f"{name}.pth"
    damaged.write_bytes(b"PK\x03\x04 no zip")
    text = folder / f"{name}.txt"
    text.write_text(name)
    reports = tuple(folder / f"{name}{ending}" for ending in (".json", ".md", ".html", ".csv"))
    asked = [word for each in reports for word in ("--report", each)]
    out = inside / f"{name}.safetensors"
    quick = ("--repair", "none", "--force", "--speedup", 1.5)
    return [
        Command(("inspect", path)),
        Command(("inspect", path, "--json"), telling=path.name),
        Command(("run", path, *quick, "-o", out, *asked), reports, path.name),
        Command(("run", path, *quick, "-o", out, "--quiet")),
        Command(("verify", out)),
        Command(("diff", path, out)),
        *(Command(("inspect", each)) for each in (inside, damaged, text, folder / f"{name}.gone")),
        Command(("run", path, "--speedup", 2, "-o", folder / name / "gone" / "x.safetensors")),
        Command(("run", path, "--speedup", 2, "--config", text)),
        Command(("run", path, "--speedup", 2, "--plan", text)),
        *(Command(("eval", path, "--data", f"{kind}:{where}"))
          for kind, where in (("imagefolder", inside), ("npz", text), ("safetensors", path))),
        Command(("eval", path, "--data", f"{text}:function")),
    ]  # fmt: skip


def _encodes(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _labels(folder: Path, name: str) -> list[Command] | None:
    """Labels of pictures, a damaged picture among them; names of arrays."""
    from PIL import Image

    label = name.replace("/", "\u2215").replace("\x00", "")[:60]
    if not _encodes(label) or label in ("", ".", ".."):
        return None
    pictures = folder / "pictures"
    for each in (label, "other"):
        (pictures / each).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32)).save(pictures / each / "x.png")
    (pictures / label / f"{label}.png").write_bytes(b"no picture")
    path = folder / "labels.safetensors"
    save_file(dense(), path)
    report = folder / "labels.md"
    data = ("--data", f"imagefolder:{pictures}", "--transform", "cifar")
    commands = [Command(("eval", path, *data)), Command(("eval", path, *data, "--report", report), (report,))]
    import numpy

    arrays = folder / "arrays.npz"
    try:
        numpy.savez(arrays, **{name: numpy.zeros((2, 3, 32, 32), "float32")})
        commands.append(Command(("eval", path, "--data", f"npz:{arrays}")))
    except (UnicodeError, ValueError, KeyError, OSError):
        arrays.unlink(missing_ok=True)
    return commands


def _configured(folder: Path, name: str) -> list[Command] | None:
    """What configurations, plans and reports name."""
    commands = []
    for number, config in enumerate((
        {"architecture": name}, {"model_type": name}, {"model_type": "bert", "architectures": [name]},
        {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": name}, {name: name}, name,
    )):  # fmt: skip
        inside = folder / f"config{number}"
        inside.mkdir(exist_ok=True)
        (inside / "config.json").write_text(json.dumps(config))
        save_file(dense(), inside / "model.safetensors")
        commands.append(Command(("inspect", inside)))
    path = folder / "configured.safetensors"
    save_file(dense(), path)
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"groups": {name: {"dense": 4, "kept": [0]}}}))
    wrong = folder / "wrong.json"
    wrong.write_text(json.dumps({"groups": {name: {"dense": 4, "kept": [9]}}}))
    run = ("run", path, "--speedup", 2, "--dry-run")
    commands += [Command(("run", path, "--plan", each, "--dry-run")) for each in (plan, wrong)]
    report = folder / "report.json"
    report.write_text(json.dumps({"schema": name, "version": name, "network": {"spec": name}}))
    commands.append(Command(("diff", report, path)))
    for number, text in enumerate((
        f"{_toml(name)} = 1\n", f"[jobs.{_toml(name)}]\nspeedup = 2\n", f"[jobs.x]\n{_toml(name)} = 2\n",
        f"criterion = {_toml(name)}\n", f"[jobs.x]\ncommand = {_toml(name)}\n", f"speedup = {_toml(name)}\n",
        f"[jobs.x]\narch = {_toml(name)}\n",
    )):  # fmt: skip
        config_file = folder / f"prune{number}.toml"
        config_file.write_bytes(text.encode("utf-8", "surrogatepass"))
        commands.append(Command((*run, "--config", config_file)))
        commands.append(Command((*run, "--config", config_file, "--job", name)))
        commands.append(Command(("--complete", "jobs", "", "prune", "run", "--config", config_file, "--job")))
    return commands


def _toml(name: str) -> str:
    return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in name) + '"'


def _typed(folder: Path, name: str) -> list[Command] | None:
    """What is typed."""
    path = folder / "typed.safetensors"
    save_file(dense(), path)
    run = ("run", path, "--speedup", 2, "--dry-run")
    options = ("arch", "input", "criterion", "scheme", "ignore", "only", "ratio-for", "data", "loss",
               "device", "plan", "job", "normalize", "repair", "transform", "report")  # fmt: skip
    return [
        Command((name,)),
        Command(("inspect", name)),
        *(Command((*run, f"--{option}={name}")) for option in options),
        *(Command((*run, f"--arch={prefix}:{name}")) for prefix in ("cifar", "timm", "torchvision", "hf")),
        Command((*run, "--arch=cifar:resnet8", f"--arch-arg={name}=1")),
        Command((*run, "--arch=cifar:resnet8", f"--arch-arg=num_classes={name}")),
        Command((*run, f"--{name}")),
        Command(("ls", name)),
        Command(("explain", path, name)),
    ]  # fmt: skip


SURFACES = (
    Surface("modules and groups", _modules), Surface("tensors, metadata, shards", _tensors),
    Surface("keys around weights", _around), Surface("files and directories", _files),
    Surface("labels and arrays", _labels), Surface("configurations, plans, reports", _configured),
    Surface("arguments", _typed),
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    surface: str
    command: str
    problem: str


@dataclass
class Table:
    """How many outputs were looked at, by surface, and what was wrong."""

    outputs: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)


def examine(
    name: str, surfaces: Sequence[Surface] = SURFACES, terminals: Sequence[bool] = (False, True)
) -> Table:
    """Puts ``name`` everywhere and looks at everything."""
    table = Table()
    for surface in surfaces:
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            folder, beside = Path(one).resolve(), Path(other).resolve()
            commands = _prepared(surface, folder, name)
            if commands is None:
                continue
            ordinary = _prepared(surface, beside, HARMLESS) or []
            for command, twin in zip(commands, ordinary, strict=False):
                for terminal in terminals:
                    # The page of a run is judged once.
                    harmless = printed(twin.words, terminal, twin.files) if twin.files else None
                    found = printed(command.words, terminal, command.files)
                    if "--quiet" in command.words and not terminal:
                        continue  # a path for a script, byte for byte
                    for problem in _problems(found, harmless, command, name):
                        shown = " ".join(map(str, command.words))
                        table.findings.append(Finding(surface.name, f"{shown:.160}", problem))
                    table.outputs[surface.name] += 1 + len(found.files)
                    table.refused[surface.name] += found.code != 0
    return table


def _prepared(surface: Surface, folder: Path, name: str) -> list[Command] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return surface.prepare(folder, name)


def _problems(found: Printed, harmless: Printed | None, command: Command, name: str) -> Iterator[str]:
    yield from at_terminal(found, name)
    if "--json" in command.words and found.code == 0 and not found.terminal:
        document = json.loads(found.out)
        if command.telling and not told_in(document, command.telling):
            yield "the JSON has not the name as it is"
    if harmless is not None and found.code == harmless.code:
        yield from in_files(found, harmless, command.telling)


RENDERERS = "every text of every document"


def _in_renderers(outputs: Counter[str]) -> list[tuple[str, Finding]]:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import report_examples as examples

    from . import rendering

    proofs = examples.full_report().proofs
    documents = (
        examples.full_report(), examples.full_inspection(), examples.full_evaluation(),
        examples.difference(), examples.finetuning(), examples.verification(*proofs),
    )  # fmt: skip
    findings = []
    for key, name in (*NAMES.items(), *TOGETHER.items()):
        for document in documents:
            kind = type(document).__name__
            outputs[RENDERERS] += 2 + len([*rendering.renderers(document)])
            for problem in rendering.problems(document, name, HARMLESS):
                findings.append((key, Finding(RENDERERS, kind, problem)))
    return findings


def main() -> int:
    torch.set_num_threads(1)
    import prunecli.latency
    import prunecli.saving
    from prunecli.fresh import RELOAD
    from prunecli.latency import EFFORT  # noqa: F401 (imported before it is made quick)
    from prunecli.racing import Effort
    from prunecli.report.model import Proof

    # What is proved elsewhere, and takes seconds.
    prunecli.latency.EFFORT = Effort(seconds=0.02, least=2, enough=2, longest=0.2)
    prunecli.saving.reload_proof = lambda *_, **__: Proof(RELOAD, True)
    outputs: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    findings: list[tuple[str, Finding]] = _in_renderers(outputs)
    for key, finding in findings:
        print(f"PROBLEM {key} | {finding.surface} | {finding.problem!r}", flush=True)
    for key, name in (*TOGETHER.items(), *((key, NAMES[key]) for key in ALONE)):
        table = examine(name, terminals=(False, True) if key in TOGETHER else (False,))
        outputs += table.outputs
        refused += table.refused
        findings += [(key, finding) for finding in table.findings]
        for finding in table.findings:
            print(
                f"PROBLEM {key} | {finding.surface} | {finding.command!r} | {finding.problem!r}", flush=True
            )
    print(f"{len(NAMES)} names, {len(ALONE)} of them alone; in a pipe, the others at a terminal too\n")
    print(f"{'surface':34}{'outputs':>9}{'refusals':>10}{'problems':>10}")
    for surface in (RENDERERS, *(surface.name for surface in SURFACES)):
        wrong = sum(finding.surface == surface for _, finding in findings)
        print(f"{surface:34}{outputs[surface]:9}{refused[surface]:10}{wrong:10}")
    print(f"{'all':34}{outputs.total():9}{refused.total():10}{len(findings):10}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
