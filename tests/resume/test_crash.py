"""A run killed at any moment and resumed is the run that was never killed, to the last bit."""

import random
from collections.abc import Callable, Iterator

import pytest
from resume.crash import Crashes
from resume.killing import Moment, Server, random_moments
from resume.setups import SETUPS

Runs = Callable[[str], Crashes]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """The uninterrupted run of a setup, made when it is first asked for."""
    server = Server()
    made: dict[str, Crashes] = {}

    def get(name: str) -> Crashes:
        if name not in made:
            made[name] = Crashes(server, tmp_path_factory.mktemp("runs"), SETUPS[name])
        return made[name]

    yield get
    server.close()


def test_a_worker_killed_in_an_epoch_changes_no_file(runs: Runs) -> None:
    assert runs("overlap").crash("worker", [Moment("worker", 4)]) == 0  # it came to its end
    lines = [line for line in runs("overlap").said.splitlines() if "died" in line]
    assert len(lines) == 1 and "(exit code -9)" in lines[0]


# Each in another epoch; the writes of a save are reached three times a file and its folder.
IN_EVERY_PHASE = [
    Moment("collect", 45),
    Moment("save", 4),
    Moment("evaluate", 1),
    Moment("update", 20),
    Moment("save", 23),
    Moment("log", 2),
]


@pytest.mark.parametrize("name", ["curriculum", pytest.param("one task", marks=pytest.mark.slow)])
def test_killed_in_every_phase(runs: Runs, name: str) -> None:
    """The others are killed at 25 random moments, slowly."""
    assert runs(name).crash("phases", IN_EVERY_PHASE) >= 5


def test_killed_in_two_phases(runs: Runs) -> None:
    assert runs("few updates").crash("phases", [Moment("update", 20), Moment("save", 23)]) == 2


def test_killed_with_tasks_of_different_shapes(runs: Runs) -> None:
    """And without any evaluation but the last."""
    moments = [Moment("collect", 45), Moment("save", 21), Moment("update", 12)]
    assert runs("shapes").crash("shapes", moments) == 3


def test_killed_with_workers_that_collect_ahead(runs: Runs) -> None:
    assert runs("overlap").crash("ahead", [Moment("save", 25)]) == 1


def test_killed_anywhere_in_the_first_saves(runs: Runs) -> None:
    """From the files that a run begins with to its first checkpoint, and within it."""
    moments = [Moment("save", count) for count in (2, 9, 14, 18)]
    assert runs("one task").crash("saves", moments) == 4


def test_killed_while_a_transferred_policy_is_frozen(runs: Runs) -> None:
    """Before there is a checkpoint, while it stands still, and when it just moved."""
    moments = [Moment("collect", 25), Moment("update", 22), Moment("update", 14)]
    assert runs("transfer").crash("still", moments) == 3


# Stages end with epochs 2, 3, 5 and 6, and every second epoch is saved.
AT_THE_END_OF_A_STAGE = [
    Moment("stage", 1),  # the first one: nothing is told, there is no checkpoint
    Moment("stage", 3),  # its weights are there, and still no checkpoint
    Moment("stage", 5),  # the second one is told
    Moment("stage", 4),  # the third one, from a checkpoint within it
    Moment("stage", 6),  # the weights that completed the curriculum are there
]


@pytest.mark.parametrize(
    "name", ["curriculum", pytest.param("curriculum ahead", marks=pytest.mark.slow)]
)
def test_killed_at_the_end_of_every_stage(runs: Runs, name: str) -> None:
    assert runs(name).crash("stages", AT_THE_END_OF_A_STAGE) == 5


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SETUPS)
def test_killed_at_25_random_moments(runs: Runs, name: str) -> None:
    rng, kills, number = random.Random(25), 0, 0
    while kills < 25:
        kills += runs(name).crash(f"random_{number}", random_moments(rng, 4))
        number += 1
