"""Clients side by side: forked processes of one torch thread each, which share the images with the parent.

A client's result does not depend on which process made it, so neither the number of workers nor their pace changes a
number.
"""

import io
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from fldrep.machine.threads import one_thread
from fldrep.train.federation import Federation

# call(function, state, tasks) gives function(federation, state, *task) for each task, in the order of the tasks.
Call = Callable[[Callable, Mapping[str, Tensor], Iterable[tuple]], Iterator[Any]]


@contextmanager
def client_pool(workers: int, federation: Federation) -> Iterator[Call]:
    """A way to call functions of a federation and a state for many tasks, by this many processes (1: this one).

    Where processes cannot be forked, or the model is on a GPU, this process does it all; the results are the same.
    """
    forkable = "fork" in multiprocessing.get_all_start_methods() and federation.model.head.weight.device.type == "cpu"
    with one_thread():
        if workers == 1 or not forkable:
            yield lambda function, state, tasks: (function(federation, state, *task) for task in tasks)
            return
        with _forked(workers, federation) as call:
            yield call


@contextmanager
def _forked(workers: int, federation: Federation) -> Iterator[Call]:
    context = multiprocessing.get_context("fork")
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(federation,))

    def call(function: Callable, state: Mapping[str, Tensor], tasks: Iterable[tuple]) -> Iterator[Any]:
        results = executor.map(_work, repeat(function), repeat(_packed(dict(state))), tasks)
        return map(pickle.loads, results)

    try:
        yield call
    except BaseException:
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()  # a client in the middle of a long epoch is not waited for
        raise
    finally:
        executor.shutdown(cancel_futures=True)


# In a worker ---------------------------------------------------------------------------------------------------------

_federation: Federation | None = None


def _start_worker(federation: Federation) -> None:
    global _federation
    _federation = federation
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent ends the workers
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent killed without warning leaves no worker behind."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _work(function: Callable, state: bytes, task: tuple) -> bytes:
    return _packed(function(_federation, pickle.loads(state), *task))


# Between processes of this run ---------------------------------------------------------------------------------------


class _Pickler(pickle.Pickler):
    """Tensors as arrays: torch's own pickling is slow for small ones, and sharing by file handles runs out of them."""

    def reducer_override(self, value: Any):
        if isinstance(value, Tensor):
            return torch.from_numpy, (value.detach().numpy(),)
        return NotImplemented


def _packed(value: Any) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream, pickle.HIGHEST_PROTOCOL).dump(value)
    return stream.getvalue()
