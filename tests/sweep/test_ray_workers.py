"""What becomes of a run whose worker dies: it goes on in another one, once. Ray itself is played by a few lines."""

import itertools
from types import SimpleNamespace

import pytest

from plora.sweep.ray_workers import RayWorkers


class LostError(Exception):
    """What Ray raises for a worker that it has lost."""


class Item:
    """A run of a sweep, as far as workers see it."""

    def __init__(self, label: str, deaths: int) -> None:
        self.label, self.deaths, self.failure, self.begun = label, deaths, None, 0
        config = SimpleNamespace(
            row=SimpleNamespace(trains_backbone=False),
            backbone=SimpleNamespace(model_dump_json=lambda: "{}"),
            training=SimpleNamespace(precision="fp32"),
            model_dump_json=lambda: label,
        )
        self.run = SimpleNamespace(label=label, config=config)

    def begin(self, say: object) -> None:
        self.begun += 1

    def end(self, failure: str, say: object) -> None:
        self.failure = failure


class Cluster:
    """Runs each call when its answer is asked for; a run kills as many workers as it says."""

    exceptions = SimpleNamespace(RayError=LostError)

    def __init__(self, items: list[Item]) -> None:
        self.deaths = {item.label: item.deaths for item in items}
        self.made, self.killed, self.calls = [], [], itertools.count()

    def worker(self) -> object:
        made = SimpleNamespace(learn=SimpleNamespace(remote=lambda label, config: (label, next(self.calls))))
        self.made.append(made)
        return made

    def wait(self, refs: list[tuple[str, int]], num_returns: int) -> tuple[list[tuple[str, int]], list[object]]:
        return refs[:num_returns], refs[num_returns:]

    def get(self, ref: tuple[str, int]) -> str:
        if self.deaths[ref[0]]:
            self.deaths[ref[0]] -= 1
            raise LostError("the actor\nis unavailable")
        return ""

    def kill(self, worker: object) -> None:
        self.killed.append(worker)


def learned(monkeypatch: pytest.MonkeyPatch, *items: Item) -> Cluster:
    cluster, workers = Cluster([*items]), RayWorkers(2, 1, 0, None)
    workers._ray = cluster
    monkeypatch.setattr(workers, "_worker", cluster.worker)
    workers.learn([*items], lambda _: None)
    return cluster


def test_a_run_that_lost_its_worker_goes_on_in_another(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [Item("a", 0), Item("b", 1), Item("c", 0)]
    cluster = learned(monkeypatch, *items)
    assert [item.failure for item in items] == ["", "", ""]
    assert [item.begun for item in items] == [1, 2, 1]
    assert len(cluster.killed) == 1
    assert len(cluster.made) == 3


def test_a_run_that_loses_two_workers_has_failed_and_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [Item("a", 2), Item("b", 0), Item("c", 0)]
    cluster = learned(monkeypatch, *items)
    assert items[0].failure == "two workers died over it (the actor is unavailable)"
    assert [item.failure for item in items[1:]] == ["", ""]
    assert len(cluster.killed) == 2
