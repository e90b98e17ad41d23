"""``gather``: what several criteria need to know of the data, in as few passes over it as that takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from prunecli.assembly import all_tensors
from prunecli.coupling.space import Space
from prunecli.criteria.activations import Activations
from prunecli.criteria.evidence import INPUT_NEEDS, LOSS_NEEDS, NOTHING, Evidence
from prunecli.criteria.gradients import Gradients, Sums, not_zero
from prunecli.criteria.passes import Passes
from prunecli.criteria.registry import Criterion, find
from prunecli.criteria.scoring import reduced
from prunecli.criteria.views import GroupView, group_views
from prunecli.data.samples import Samples
from prunecli.losses import Loss, fitting_loss
from prunecli.running.chunks import one_thread_each

MEMORY = 4 << 30


def gather(
    network: nn.Module,
    space: Space,
    samples: Samples,
    criteria: Sequence[str],
    *,
    loss: Loss | None = None,
    reduce: str | None = None,
    seed: int = 0,
    device: torch.device | None = None,
    memory: int = MEMORY,
    progress: Callable[[str], None] | None = None,
) -> Evidence:
    """What ``samples`` say about ``network``, whose present sizes are those of ``space``, for ``criteria``.

    ``loss`` None takes what suits the network's outputs. ``memory`` in bytes is shared by the chunks that run
    at a time, whatever the number of samples. The network is not touched; it is computed in float64 where it
    has a parameter in that, else in float32. Raises ``UsageError``
    for unknown names, ``InputError`` for data or a loss that does not fit, ``ImpossibleError`` for a gradient
    that is zero everywhere.
    """
    chosen = [find(name) for name in criteria]
    needs = frozenset().union(*(criterion.needs for criterion in chosen))
    if not needs:
        return NOTHING
    where = device or torch.device("cpu")
    with one_thread_each(where) as chunks:
        passes = Passes.over(network, samples, where, chunks, progress)
        work = _Gathering(passes, space, chosen, needs, loss, reduce, seed, memory)
        found = work.by_inputs() if needs & INPUT_NEEDS else NOTHING
        if needs & LOSS_NEEDS:
            found = work.by_loss(found)
    return replace(found, reduce=reduce, samples=len(samples), notes=tuple(passes.notes))


@dataclass(frozen=True)
class _Gathering:
    passes: Passes
    space: Space
    criteria: Sequence[Criterion]
    needs: frozenset[str]
    loss: Loss | None
    reduce: str | None
    seed: int
    memory: int

    def views(self, evidence: Evidence = NOTHING) -> list[GroupView]:
        tensors = all_tensors(self.passes.network)
        return group_views(self.space, tensors, self.seed, self.passes.device, evidence)

    def by_inputs(self) -> Evidence:
        work = Activations(self.passes, self.views(), self.memory // 4, self.seed)
        sums = self.needs & {"inputs", "ranks"}
        seen = work.sums(sums) if sums else None
        return Evidence(
            inputs={} if seen is None else seen.inputs,
            ranks={} if seen is None else seen.mean_ranks,
            grams=work.grams() if "grams" in self.needs else {},
        )

    def by_loss(self, found: Evidence) -> Evidence:
        """``found``, and what the gradients say."""
        loss = self._loss()
        found = replace(found, loss=loss.name)
        work = Gradients(self.passes, loss, self.memory // 4)
        if self.needs & {"squared-gradient", "products"}:
            found = self._by_singles(work, found)
        else:
            found = replace(found, gradient=work.mean())
        if "curvature" in self.needs:
            found = replace(found, curvature=work.curvature(found.gradient))
        return found

    def _loss(self) -> Loss:
        if self.loss is not None:
            return self.loss
        chunk = self.passes.chunked(1)[0]
        with torch.no_grad():
            outputs = chunk.batch.inputs.run(self.passes.copy())
        name = fitting_loss(outputs, len(chunk.batch))
        if name == "mse":
            self.passes.notes.append("--loss mse was taken: the output is not one row of scores per sample")
        return Loss(name, seed=self.seed)

    def _by_singles(self, work: Gradients, found: Evidence) -> Evidence:
        weights = {name: p for name, p in self.passes.network.named_parameters() if p.is_floating_point()}
        by_sample = [criterion for criterion in self.criteria if criterion.each is not None]

        def look(gradients: Mapping[str, Tensor]) -> Sums:
            made = {f"gradient/{name}": value.sum(0) for name, value in gradients.items()}
            if "squared-gradient" in self.needs:
                made |= {f"squares/{name}": value.square().sum(0) for name, value in gradients.items()}
            if by_sample:
                products = {name: value * weights[name] for name, value in gradients.items()}
                made |= self._by_sample(by_sample, products)
            return made

        sums = work.singles(look)
        kinds: dict[str, Sums] = {}
        for key, value in sums.items():
            kind, _, name = key.partition("/")
            kinds.setdefault(kind, {})[name] = value
        return replace(
            found,
            gradient=not_zero(kinds["gradient"]),
            squared_gradient=kinds.get("squares", {}),
            scores={c.name: kinds.get(f"score {c.name}", {}) for c in by_sample},
        )

    def _by_sample(self, criteria: Sequence[Criterion], products: Mapping[str, Tensor]) -> Sums:
        made: Sums = {}
        for view in self.views(Evidence(products=products)):
            for criterion in criteria:
                values = reduced(view, criterion, self.reduce)
                if values is not None and criterion.each is not None:
                    made[f"score {criterion.name}/{view.group.name}"] = criterion.each(values).sum(1)
        return made
