"""What a run is asked to train, on which data, and where its state is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prunecli.checkpoint.specs import InputSpec
from prunecli.data import Samples
from prunecli.errors import UsageError
from prunecli.regularizers import Method, find_regularizer
from prunecli.report.epochs import EpochRow
from prunecli.training.arguments import SAMPLES
from prunecli.training.asked import Trainings
from prunecli.training.data import TrainingData
from prunecli.training.kept import Kept
from prunecli.training.settings import Settings

OnEpoch = Callable[[EpochRow, str, int], None]
"""Called with each epoch, the name of its stage, and how many epochs that has."""


@dataclass(frozen=True)
class Shrinking:
    """A regularizer and its numbers; ``given`` are those that were not left open."""

    method: Method
    values: Mapping[str, float]
    given: frozenset[str] = frozenset()

    @staticmethod
    def of(name: str, numbers: Mapping[str, float]) -> Shrinking:
        """Raises ``UsageError``."""
        method = find_regularizer(name)
        return Shrinking(method, method.values(numbers), frozenset(numbers))

    @property
    def identity(self) -> dict[str, Any]:
        numbers = ",".join(f"{name}={value:g}" for name, value in self.values.items())
        return {"--sparsify": self.method.name, "--sparsify-arg": numbers}


@dataclass(frozen=True)
class Lesson:
    """One training; ``samples`` of the data, None for all. ``option`` is how one gives a setting of it."""

    settings: Settings
    samples: int | None
    option: str


@dataclass(frozen=True)
class Course:
    """Training on ``data``, as ``--data`` takes it; ``eval_data`` and ``transform`` as ``prune finetune``
    takes them. ``before`` each of ``times`` cuts (then with ``shrinking``), ``after`` the last.
    """

    data: str | Samples
    before: Lesson | None = None
    after: Lesson | None = None
    shrinking: Shrinking | None = None
    times: int = 1
    stable_at: float | None = None
    eval_data: str | Samples | None = None
    transform: str | None = None
    kept: Kept = field(default_factory=Kept)
    on_epoch: OnEpoch | None = None

    @staticmethod
    def of(asked: Trainings, *, data: str | Samples | None, seed: int, **more: Any) -> Course:
        """``more`` are the other fields. Raises ``UsageError``."""
        if data is None:
            raise UsageError("training needs data", "--data SPEC, like --data imagefolder:DIR")
        before = after = shrinking = None
        if asked.before:
            samples = asked.sparsify_args.get(SAMPLES)
            before = Lesson(asked.settings_before(seed), samples, "--sparsify-arg ")
        if asked.sparsify is not None:
            shrinking = Shrinking.of(asked.sparsify, asked.numbers)
            if shrinking.method.picks and asked.times > 1:
                raise UsageError(f"{asked.sparsify} picks once what is to go", "leave --rounds out")
        if asked.after:
            after = Lesson(asked.settings_after(seed), asked.finetune_args.get(SAMPLES), "--finetune-arg ")
        return Course(data, before, after, shrinking, asked.times, asked.stable_at, **more)

    def opened(self, lesson: Lesson, specs: tuple[InputSpec, ...]) -> TrainingData:
        """Raises as :func:`prunecli.data.open_data`."""
        return TrainingData.opened(
            self.data, self.eval_data, specs, lesson.samples, self.transform, lesson.settings.seed
        )
