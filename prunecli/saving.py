"""Writing a result: what was proved in memory is loaded again from disk before it takes its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor, nn

from prunecli import inputs as input_room
from prunecli.assembly import all_tensors, named_once, rebuilt
from prunecli.checkpoint.directories import left_out, write_directory
from prunecli.checkpoint.recipe import Recipe
from prunecli.checkpoint.specs import InputSpec
from prunecli.checkpoint.writing import write
from prunecli.configuring import Written
from prunecli.errors import ImpossibleError, first_line
from prunecli.fresh import RELOAD_HERE, TOLERANCE, reload_proof
from prunecli.loading import load
from prunecli.networks.hugging_face import DIGEST_ARGUMENT, config_digest, read_config
from prunecli.proofs import FORWARD_ERRORS, evidence, relative_error
from prunecli.report.model import Proof
from prunecli.subjects import MODULE, Dense


def stored(model: nn.Module, dense: Dense) -> dict[str, Tensor]:
    """The tensors of the file: a model directory holds shared ones once, as its library writes them."""
    return named_once(model) if dense.directory is not None else model.state_dict()


class _LoadsOtherwiseError(Exception):
    """The library's own loader gives another network, though the configuration seemed to fit."""


@dataclass
class Saving:
    """One result on its way to disk; ``proofs`` and ``notes`` grow as it goes."""

    dense: Dense
    model: nn.Module
    recipe: Recipe
    written: Written | None
    macs: int
    proofs: list[Proof] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def write(self, path: Path, force: bool) -> str:
        """Returns the SHA-256 of the weights. Raises as :meth:`prunecli.Result.save`."""
        tensors = stored(self.model, self.dense)
        if self.written is None or self.dense.directory is None:
            return write(path, tensors, self.recipe, check=self._check, force=force)
        try:
            return self._write_directory(path, tensors, self.written, self.dense.directory, force)
        except _LoadsOtherwiseError as other:
            plain = Written(read_config(self.dense.directory), None, f"the library's own loader: {other}")
            self.proofs.clear()
            return self._write_directory(path, tensors, plain, self.dense.directory, force)

    def _write_directory(
        self, path: Path, tensors: Mapping[str, Tensor], written: Written, source: Path, force: bool
    ) -> str:
        def check(temporary: Path) -> None:
            if written.loader is not None:
                self._check(temporary, plainly=True)
            self._check(temporary)
            self.notes.append(written.note)
            self.notes.extend(f"{name} leads out of {source} and was left out" for name in left_out(source))

        recipe = replace(self.recipe, arguments={DIGEST_ARGUMENT: config_digest(written.config)})
        return write_directory(
            path, tensors, recipe, written.config, source=source, check=check, force=force
        )  # fmt: skip

    def _check(self, temporary: Path, plainly: bool = False) -> None:
        specs, expected = self._expected()
        proof = self._reload(temporary, specs, expected, plainly)
        if not proof.passed and plainly:
            raise _LoadsOtherwiseError(proof.detail)
        self.proofs.append(proof)
        if not proof.passed:
            raise ImpossibleError(
                f"what was written does not reload as the same network: {proof.detail}",
                "nothing was written; please report this",
            )

    def _expected(self) -> tuple[tuple[InputSpec, ...], list[Tensor]]:
        specs = input_room.smaller(self.dense.specs, self.macs)
        try:
            return specs, evidence(self.model, input_room.make(specs))
        except FORWARD_ERRORS:
            return self.dense.specs, evidence(self.model, input_room.make(self.dense.specs))

    def _reload(
        self, path: Path, specs: tuple[InputSpec, ...], expected: list[Tensor], plainly: bool
    ) -> Proof:
        if self.recipe.arch != MODULE:
            return reload_proof(path, specs, expected, self.dense.given_arch, plainly=plainly)
        # A module handed over in Python cannot be built by another process.
        module = self.dense.module
        try:
            loaded = load(path, into=rebuilt(module, all_tensors(module)))
            error = relative_error(expected, evidence(loaded, input_room.make(specs)))
        except FORWARD_ERRORS as raised:
            return Proof(RELOAD_HERE, False, None, TOLERANCE, first_line(raised))
        return Proof(RELOAD_HERE, error <= TOLERANCE, error, TOLERANCE, "into a copy of the module")
