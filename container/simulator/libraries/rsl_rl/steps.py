"""Work on tensors that stay where they are: on a GPU captured once as a CUDA graph and replayed, elsewhere simply done.

A captured graph reads and writes addresses. So each step says which tensors it reads, and is captured anew when one of
them has been replaced; and which it changes, because the rehearsals before a capture must leave no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from isaaclab_flows.schemas.errors import SimulatorError

REHEARSALS = 3
"""Runs before a capture, in which libraries allocate what they need; CUDA's own advice."""
TURN_OFF = 'Set trainingConfig.acceleration to "off" to train with the library\'s own steps.'


class Step:
    """One piece of work.

    Args:
        name: For messages.
        work: Takes and returns nothing: it reads and writes tensors in place.
        tensors: Returns all that it reads or writes and that outlive it; their addresses are watched.
        changes: Returns those of them that it writes.
        device: Where it runs.
        failed: Is told why a capture failed; the work is done uncaptured from then on.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], None],
        *,
        tensors: Callable[[], Sequence[torch.Tensor]],
        changes: Callable[[], Sequence[torch.Tensor]],
        device: torch.device,
        failed: Callable[[str], None],
    ) -> None:
        self.name = name
        self.captures = 0
        self._work = work
        self._tensors = tensors
        self._changes = changes
        self._device = device
        self._failed = failed
        self._capturable = device.type == "cuda"
        self._graph: torch.cuda.CUDAGraph | None = None
        self._addresses: list[int] = []

    def __call__(self) -> None:
        """Do the work; call :meth:`refresh` first where something may have been replaced."""
        if self._graph is None and self._capturable:
            self.refresh()
        if self._graph is None:
            self._work()
        else:
            self._graph.replay()

    def refresh(self) -> None:
        """Capture where nothing is captured, or where a tensor that the graph knows lies elsewhere now."""
        if not self._capturable:
            return
        addresses = [tensor.data_ptr() for tensor in self._tensors()]
        if self._graph is not None and addresses == self._addresses:
            return
        self._graph = None
        try:
            self._graph = self._capture()
        except RuntimeError as error:  # out of memory included
            self._capturable = False
            torch.cuda.empty_cache()
            self._failed(f"{self.name}: {str(error).splitlines()[0]}")
            return
        self._addresses = addresses
        self.captures += 1

    def drop(self) -> None:
        """Forget the graph; work that it holds for other processes would keep them from parting."""
        self._graph = None

    def _capture(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        with _unchanged(self._changes(), self._device):
            stream = torch.cuda.Stream(self._device)
            stream.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(stream):
                for _ in range(REHEARSALS):
                    self._work()
            torch.cuda.current_stream(self._device).wait_stream(stream)
        torch.cuda.synchronize(self._device)
        with torch.cuda.graph(graph):  # records the work and does none of it
            self._work()
        return graph


@contextmanager
def _unchanged(tensors: Sequence[torch.Tensor], device: torch.device) -> Iterator[None]:
    """Put tensors and the random numbers back at the end."""
    kept = [tensor.detach().clone() for tensor in tensors]
    random = torch.cuda.get_rng_state(device)
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, kept, strict=True):
                tensor.copy_(value)
        torch.cuda.set_rng_state(random, device)


class Beside:
    """Lets work run beside what follows it, until :meth:`join`; without a GPU one after the other."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @contextmanager
    def fork(self) -> Iterator[None]:
        """Run the body's kernels beside those that are launched afterwards; it may not share temporary tensors."""
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            yield

    def join(self) -> None:
        """Let what follows wait for it."""
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)


def capture_failed(reason: str) -> SimulatorError:
    """Return the error of a training in several processes, which could no longer agree on what they do."""
    return SimulatorError(
        f"The training's steps could not be captured as CUDA graphs ({reason})",
        where="trainingConfig.acceleration",
        remedy=TURN_OFF,
    )
