"""What may be added to by other packages: values by name, from here or from their entry points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Generic, Protocol, TypeVar

from prunecli.errors import InputError, unknown_name


class Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


@dataclass
class Registry(Generic[T]):
    """Values of type ``accepts``, called a ``kind`` in messages; ``check`` raises ``ValueError`` for one that
    cannot be. Entry points of ``group`` are loaded once, where a name is not known without them.
    """

    kind: str
    group: str
    accepts: type[T]
    check: Callable[[T], None] = lambda _: None
    values: dict[str, T] = field(default_factory=dict)
    loaded: bool = False

    def add(self, value: T) -> T:
        """Raises ``ValueError`` where the name is taken."""
        if value.name in self.values:
            raise ValueError(f"{self.kind} '{value.name}' is registered twice")
        self.check(value)
        self.values[value.name] = value
        return value

    def all(self) -> dict[str, T]:
        """By name, those of installed packages included. Raises ``InputError`` for one that does not load."""
        self._load()
        return dict(self.values)

    def find(self, name: str) -> T:
        """Raises ``UsageError`` with the nearest names, and as :meth:`all`."""
        if name not in self.values:
            self._load()
        if name not in self.values:
            raise unknown_name(self.kind, name, self.values)
        return self.values[name]

    def _load(self) -> None:
        if self.loaded:
            return
        for entry in entry_points(group=self.group):
            try:
                loaded = entry.load()
            except (ImportError, AttributeError) as error:
                raise InputError(
                    f"the {self.kind} '{entry.name}' of '{entry.value}' does not load: {error}"
                ) from error
            # An entry point may also name a module that registers what it has when it is imported.
            if isinstance(loaded, self.accepts) and self.values.get(loaded.name) is not loaded:
                self.add(loaded)
        self.loaded = True
