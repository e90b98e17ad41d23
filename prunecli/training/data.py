"""The samples of a training: what it learns from, and what figures are taken on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prunecli.checkpoint.specs import InputSpec
from prunecli.data import Samples, open_data
from prunecli.data.specs import is_divided, shown
from prunecli.report.figures import DataFacts


@dataclass(frozen=True)
class TrainingData:
    """``judged``: what figures are taken on."""

    trained: Samples
    judged: Samples | None
    notes: tuple[str, ...] = ()

    @staticmethod
    def opened(
        data: str | Samples,
        eval_data: str | Samples | None,
        specs: tuple[InputSpec, ...],
        samples: int | None,
        transform: str | None,
        seed: int,
    ) -> TrainingData:
        """As ``--data`` and ``--eval-data`` take them. Raises as :func:`prunecli.data.open_data`."""

        def read(given: str | Samples, part: Any, count: int | None) -> Samples:
            if isinstance(given, Samples):
                return given
            return open_data(given, specs, samples=count, seed=seed, transform=transform, part=part)

        trained = read(data, "train", samples)
        if eval_data is None and isinstance(data, str) and is_divided(data):
            eval_data = data
        if eval_data is None:
            note = "no figures but those of training: the data has no test part (--eval-data SPEC)"
            return TrainingData(trained, None, (note, *trained.notes))
        judged = read(eval_data, "test", None)
        return TrainingData(trained, judged, (*trained.notes, *judged.notes))

    @property
    def origin(self) -> str:
        return shown(self.trained.origin)

    @property
    def facts(self) -> DataFacts:
        return _facts(self.trained)

    @property
    def judged_facts(self) -> DataFacts | None:
        return None if self.judged is None else _facts(self.judged)


def _facts(samples: Samples) -> DataFacts:
    return DataFacts(shown(samples.origin), len(samples), samples.labelled)
