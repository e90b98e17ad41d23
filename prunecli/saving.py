"""Writing a result: what was proved in memory is loaded again from disk before it takes its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from prunecli import inputs as input_room
from prunecli.assembly import all_tensors, named_once, rebuilt
from prunecli.checkpoint.directories import write_config, write_directory
from prunecli.checkpoint.recipe import Recipe
from prunecli.checkpoint.specs import InputSpec
from prunecli.checkpoint.writing import write
from prunecli.configuring import Written
from prunecli.errors import ImpossibleError, first_line
from prunecli.fresh import RELOAD_HERE, TOLERANCE, reload_proof
from prunecli.loading import load
from prunecli.networks.hugging_face import read_config
from prunecli.proofs import FORWARD_ERRORS, evidence, relative_error
from prunecli.report.model import Proof
from prunecli.subjects import MODULE, Dense


def stored(model: nn.Module, dense: Dense) -> dict[str, Tensor]:
    """The tensors of the file: a model directory holds shared ones once, as its library writes them."""
    return named_once(model) if dense.directory is not None else model.state_dict()


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
        return write_directory(
            path, tensors, self.recipe, self.written.config,
            source=self.dense.directory, check=self._check, force=force,
        )  # fmt: skip

    def _check(self, temporary: Path) -> None:
        specs, expected = self._expected()
        if self.written is not None:
            self.notes.append(self._plainly(self.written, temporary, specs, expected).note)
        proof = self._reload(temporary, specs, expected)
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

    def _plainly(
        self, written: Written, temporary: Path, specs: tuple[InputSpec, ...], expected: list[Tensor]
    ) -> Written:
        """The library's own loader must give the same network; else the dense configuration stays."""
        if written.loader is None or self.dense.directory is None:
            return written
        proof = reload_proof(temporary, specs, expected, plainly=True)
        if proof.passed:
            self.proofs.append(proof)
            return written
        dense = read_config(self.dense.directory)
        write_config(temporary, dense)
        return Written(dense, None, f"{written.loader}.from_pretrained gave: {proof.detail}")

    def _reload(self, path: Path, specs: tuple[InputSpec, ...], expected: list[Tensor]) -> Proof:
        if self.recipe.arch != MODULE:
            return reload_proof(path, specs, expected, self.dense.given_arch)
        # A module handed over in Python cannot be built by another process.
        module = self.dense.module
        try:
            loaded = load(path, into=rebuilt(module, all_tensors(module)))
            error = relative_error(expected, evidence(loaded, input_room.make(specs)))
        except FORWARD_ERRORS as raised:
            return Proof(RELOAD_HERE, False, None, TOLERANCE, first_line(raised))
        return Proof(RELOAD_HERE, error <= TOLERANCE, error, TOLERANCE, "into a copy of the module")
