"""Threads: results do not depend on their number; forked children and concurrent callers work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

import ctorch


@pytest.fixture(autouse=True)
def same_thread_count_after() -> Iterator[None]:
    before = ctorch.get_num_threads()
    yield
    ctorch.set_num_threads(before)


def work() -> list[bytes]:
    """One result of each kind of kernel, large enough to be shared out among threads, as bytes."""
    ctorch.manual_seed(3)
    x = ctorch.randn(300, 1777)
    w = ctorch.randn(1777, 130)
    image = ctorch.randn(4, 8, 40, 40)
    kernel = ctorch.randn(12, 8, 3, 3)
    results = [
        x + x.flip(0),
        x.exp(),
        x.sum(),
        x.sum(0),
        x.var(1),
        x.cumsum(1),
        x.softmax(1),
        x.t().contiguous(),
        x.sort(1)[0],
        x[:, ::3].index_select(0, ctorch.arange(299, -1, -1)),
        x @ w,
        ctorch.nn.functional.conv2d(image, kernel, padding=1),
        ctorch.nn.functional.max_pool2d(image, 2),
        ctorch.nn.functional.layer_norm(x, (1777,)),
    ]
    return [result.numpy().tobytes() for result in results]


def test_results_are_the_same_bits_for_any_number_of_threads() -> None:
    ctorch.set_num_threads(1)
    serial = work()
    for threads in (2, 3, 7):
        ctorch.set_num_threads(threads)
        assert ctorch.get_num_threads() == threads
        assert work() == serial


def test_gradients_are_the_same_bits_for_any_number_of_threads() -> None:
    def gradients() -> list[bytes]:
        ctorch.manual_seed(5)
        model = ctorch.nn.Sequential(
            ctorch.nn.Conv2d(3, 16, 3),
            ctorch.nn.ReLU(),
            ctorch.nn.Flatten(),
            ctorch.nn.Linear(16 * 26 * 26, 10),
        )
        model(ctorch.randn(16, 3, 28, 28)).square().mean().backward()
        return [p.grad.numpy().tobytes() for p in model.parameters()]

    ctorch.set_num_threads(1)
    serial = gradients()
    ctorch.set_num_threads(4)
    assert gradients() == serial


def test_thread_count_must_be_positive() -> None:
    for bad in (0, -1):
        with pytest.raises(RuntimeError, match="positive"):
            ctorch.set_num_threads(bad)


def in_child(check: Callable[[], bool], seconds: int = 60) -> int:
    """Fork, run `check` in the child; its process number. A child that hangs is ended by an alarm."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
        good = False
        try:
            good = check()
        finally:
            os._exit(0 if good else 1)
    return child


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_four_forked_children_do_the_same_work() -> None:
    ctorch.set_num_threads(2)
    expected = work()

    def check() -> bool:
        serial = work() == expected
        ctorch.set_num_threads(2)
        return serial and work() == expected

    children = [in_child(check) for _ in range(4)]
    statuses = [os.waitpid(child, 0)[1] for child in children]
    assert statuses == [0, 0, 0, 0]
    assert work() == expected


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_children_train_after_the_parent_trained() -> None:
    def train() -> bool:
        model = ctorch.nn.Linear(300, 200)
        optimizer = ctorch.optim.Adam(model.parameters())
        for _ in range(3):
            optimizer.zero_grad()
            loss = model(ctorch.randn(256, 300)).square().mean()
            loss.backward()
            optimizer.step()
        return bool(ctorch.isfinite(loss))

    assert train()
    children = [in_child(train) for _ in range(2)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]


def test_python_threads_compute_at_the_same_time() -> None:
    ctorch.set_num_threads(2)
    x = ctorch.arange(200_000, dtype=ctorch.float64).reshape(400, 500)
    expected = (x * 2 + 1).sum().item()
    results: list[float] = []

    def compute() -> None:
        for _ in range(20):
            results.append((x * 2 + 1).sum().item())

    threads = [threading.Thread(target=compute) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 80


def threads_in_fresh_process(**environment: str) -> int:
    clean = {k: v for k, v in os.environ.items() if k not in ("CTORCH_NUM_THREADS", "OMP_NUM_THREADS")}
    code = "import ctorch; print(ctorch.get_num_threads())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**clean, **environment}, check=True
    )
    return int(done.stdout)


def test_default_thread_count_comes_from_the_affinity_mask() -> None:
    allowed = os.sched_getaffinity(0)
    assert threads_in_fresh_process() <= len(allowed)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert threads_in_fresh_process() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_environment_sets_the_thread_count() -> None:
    assert threads_in_fresh_process(CTORCH_NUM_THREADS="3") == 3
    assert threads_in_fresh_process(OMP_NUM_THREADS="5") == 5
    assert threads_in_fresh_process(CTORCH_NUM_THREADS="3", OMP_NUM_THREADS="5") == 3
    assert threads_in_fresh_process(CTORCH_NUM_THREADS="many") == threads_in_fresh_process()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_while_another_thread_draws_leaves_a_child_that_draws() -> None:
    stop = threading.Event()

    def draw() -> None:
        while not stop.is_set():
            ctorch.rand(200, 200)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        for _ in range(12):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                ctorch.rand(10)
                ctorch.Generator().manual_seed(1)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()
