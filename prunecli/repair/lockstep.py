"""Forwards that stop at every weighted operation, so that many of them, of two networks, go side by side.

A forward cannot be left and entered again, so each runs in a thread of its own and waits there. One thread at
a time does the work of a chunk; chunks go in parallel, each with one thread inside torch, so that sums do not
depend on the number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from prunecli.assembly import all_tensors, rebuilt
from prunecli.coupling.recording import outputs_in
from prunecli.inputs import Inputs
from prunecli.repair.attention import Queries
from prunecli.repair.streams import Branches, Sum
from prunecli.running.calls import Call, Parameters, recognise
from prunecli.running.chunks import take_over_threads


class _StoppedError(BaseException):
    """Ends a forward that nobody waits for any more."""


class Forward:
    """One forward of ``module`` on ``inputs`` that waits before (``early``) or after every weighted
    operation, after every sum that ends a branch of one of ``summed``, and before the logits of queries that
    one of ``queries`` makes.

    The module is copied around the same tensors: what its forward keeps on itself stays with this run, and
    weights changed in place are seen.
    """

    def __init__(
        self,
        module: nn.Module,
        inputs: Inputs,
        *,
        early: bool,
        summed: frozenset[int] = frozenset(),
        queries: frozenset[int] = frozenset(),
    ) -> None:
        self._module = rebuilt(module, all_tensors(module)).eval()
        self._known = Parameters(self._module)
        self._inputs = inputs
        self._early = early
        self._branches = Branches(self._known, summed)
        self._queries = Queries(self._known, queries) if queries else None
        self._go, self._there = threading.Semaphore(0), threading.Semaphore(0)
        self._call: Call | None = None
        self._result: Tensor | None = None
        self._error: BaseException | None = None
        self._ended = False
        self.outputs: list[Tensor] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def advance(self) -> tuple[Call, Tensor | None] | None:
        """Go on to the next operation: the call, and its output where that was computed; None at the end.

        Raises what forward raises.
        """
        self._call = self._result = None
        self._go.release()
        self._there.acquire()
        if self._error is not None:
            raise self._error
        return None if self._call is None else (self._call, self._result)

    def close(self) -> None:
        """End the thread, wherever it is."""
        self._ended = True
        self._go.release()
        self._thread.join()
        self._call = self._result = None
        self.outputs = []

    def _run(self) -> None:
        take_over_threads()
        self._go.acquire()
        try:
            if not self._ended:
                with torch.no_grad(), _Stops(self._known, self._wait, self._branches, self._queries):
                    self.outputs = outputs_in(self._inputs.run(self._module))
        except _StoppedError:
            pass
        except BaseException as error:
            self._error = error
        self._ended = True
        self._call = self._result = None
        self._there.release()

    def _wait(self, call: Call, compute: Callable[[], Tensor]) -> Tensor:
        late = call.kind == "sum" or (call.kind != "logits" and not self._early)
        result = compute() if late else None
        self._call, self._result = call, _first(result)
        self._there.release()
        self._go.acquire()
        if self._ended:
            raise _StoppedError
        return result if late else compute()  # type: ignore[return-value]


def _first(result: Any) -> Tensor | None:
    found: Tensor | None = result[0] if isinstance(result, tuple) else result
    return found


def _rows(found: Sum) -> Tensor:
    return found.rows


class _Stops(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(
        self,
        known: Parameters,
        wait: Callable[[Call, Callable[[], Any]], Any],
        branches: Branches,
        queries: Queries | None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = known
        self._wait = wait
        self._branches = branches
        self._queries = queries

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        call = recognise(func, args, kwargs, self._known)
        stop = call or self._logits(func, args, kwargs)
        out = func(*args, **kwargs) if stop is None else self._wait(stop, lambda: func(*args, **kwargs))
        for found in self._branches.follow(func, args, kwargs, out, call):
            self._wait(found.call(), partial(_rows, found))
        if self._queries is not None:
            self._queries.follow(func, args, kwargs, out, call, self._branches.ordinal)
        return out

    def _logits(self, func: Any, args: Any, kwargs: Any) -> Call | None:
        found = None if self._queries is None else self._queries.meeting(func, args, kwargs)
        return None if found is None else found.call()
