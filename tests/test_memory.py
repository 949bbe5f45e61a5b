"""Memory: statistics, reuse, release, refusal, peak."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

import ctorch

CACHING = os.environ.get("CTORCH_NO_CACHE", "0") in ("", "0")
needs_cache = pytest.mark.skipif(not CACHING, reason="CTORCH_NO_CACHE turns caching off")


def test_statistics_follow_a_tensor_through_its_life() -> None:
    gc.collect()
    before = ctorch.memory_stats()
    x = ctorch.ones(1000, 1000)
    during = ctorch.memory_stats()
    assert during["allocated_bytes"] - before["allocated_bytes"] == 4_000_000
    assert during["allocated_bytes_peak"] >= during["allocated_bytes"]
    assert during["reserved_bytes"] >= during["allocated_bytes"]
    view = x[10:20]
    del x
    assert ctorch.memory_stats()["allocated_bytes"] == during["allocated_bytes"]
    del view
    assert ctorch.memory_stats()["allocated_bytes"] == before["allocated_bytes"]


@needs_cache
def test_a_large_result_reuses_the_memory_of_the_last() -> None:
    x = ctorch.ones(1 << 20)
    y = x + x
    address = y.data_ptr()
    del y
    before = ctorch.memory_stats()
    y = x * x
    after = ctorch.memory_stats()
    assert y.data_ptr() == address
    assert after["system_allocations"] == before["system_allocations"]
    assert after["cache_hits"] > before["cache_hits"]


def test_empty_cache_gives_memory_back() -> None:
    x = ctorch.ones(1 << 22)
    del x
    ctorch.empty_cache()
    stats = ctorch.memory_stats()
    # Threads of the pool keep their small blocks.
    assert stats["cached_bytes"] <= (4 << 20) * (ctorch.get_num_threads() - 1)
    assert stats["reserved_bytes"] >= stats["allocated_bytes"]


def test_reset_peak_starts_from_what_is_in_use() -> None:
    x = ctorch.ones(1 << 20)
    del x
    ctorch.reset_peak_memory_stats()
    stats = ctorch.memory_stats()
    assert stats["allocated_bytes_peak"] == stats["allocated_bytes"]


@pytest.mark.parametrize("shape", [(1 << 50,), (1 << 40, 1 << 10), (10**13,)])
def test_memory_that_cannot_be_had_is_an_error_and_the_process_lives(shape: tuple[int, ...]) -> None:
    for make in (ctorch.empty, ctorch.zeros, ctorch.ones):
        with pytest.raises(RuntimeError, match=r"\d{13,}"):
            make(shape)
    assert ctorch.ones(3).sum().item() == 3


@pytest.mark.parametrize("shape", [(1 << 62, 4), (1 << 40, 1 << 40), (2**63 - 1, 2**63 - 1)])
def test_sizes_whose_product_overflows_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(RuntimeError):
        ctorch.empty(shape)


def test_data_begin_at_a_multiple_of_64_bytes() -> None:
    for length in (0, 1, 7, 100, 10_000, 1_000_000):
        assert ctorch.empty(length).data_ptr() % 64 == 0


@needs_cache
def test_the_cache_holds_no_more_than_was_ever_needed() -> None:
    code = """
import ctorch
for size in range(1, 60):
    x = ctorch.empty(size << 18)  # 1 to 59 MiB, no two alike
    x.zero_()
    del x
s = ctorch.memory_stats()
assert s["reserved_bytes_peak"] <= s["allocated_bytes_peak"] + (65 << 20), s
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_caching_can_be_turned_off() -> None:
    code = """
import ctorch
for _ in range(5):
    x = ctorch.ones(1 << 20) + 1
    y = ctorch.ones(3) + 1
del x, y
s = ctorch.memory_stats()
assert s["cached_bytes"] == 0 and s["cache_hits"] == 0, s
assert s["reserved_bytes"] == s["allocated_bytes"] or s["reserved_bytes"] - s["allocated_bytes"] < 4096, s
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "CTORCH_NO_CACHE": "1"})


def test_training_does_not_leak() -> None:
    model = ctorch.nn.Sequential(ctorch.nn.Linear(50, 80), ctorch.nn.ReLU(), ctorch.nn.Linear(80, 10))
    optimizer = ctorch.optim.Adam(model.parameters())

    def steps(n: int) -> int:
        for _ in range(n):
            optimizer.zero_grad()
            model(ctorch.randn(32, 50)).square().mean().backward()
            optimizer.step()
        gc.collect()
        return ctorch.memory_stats()["allocated_bytes"]

    assert steps(3) == steps(20)
