"""A run killed at any moment and resumed is bit-identical to an uninterrupted one."""

import random
from collections.abc import Callable, Iterator

import pytest
from resume.crash import Crashes
from resume.killing import Moment, Server, random_moments
from resume.setups import SETUPS

Runs = Callable[[str], Crashes]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Gets the uninterrupted run of a setup, made on first use."""
    server = Server()
    made: dict[str, Crashes] = {}

    def get(name: str) -> Crashes:
        if name not in made:
            made[name] = Crashes(server, tmp_path_factory.mktemp("runs"), SETUPS[name])
        return made[name]

    yield get
    server.close()


def test_a_worker_killed_in_an_epoch_changes_no_result(runs: Runs) -> None:
    assert runs("overlap").crash("worker", [Moment("worker", 4)]) == 0  # the run finished
    lines = [line for line in runs("overlap").output.splitlines() if "died" in line]
    assert len(lines) == 1 and "(exit code -9)" in lines[0]


# Each in another epoch; a save reaches its hook three times per file.
IN_EVERY_PHASE = [
    Moment("collect", 45),
    Moment("save", 4),
    Moment("evaluate", 1),
    Moment("update", 20),
    Moment("save", 23),
    Moment("log", 2),
]


@pytest.mark.parametrize("name", ["curriculum", pytest.param("one task", marks=pytest.mark.slow)])
def test_a_run_resumes_exactly_after_kills_in_every_phase(runs: Runs, name: str) -> None:
    """Other setups are covered by the slow test with random moments."""
    assert runs(name).crash("phases", IN_EVERY_PHASE) >= 5


# Stages end with epochs 2, 3, 5 and 6; every second epoch saves a checkpoint.
AT_THE_END_OF_A_STAGE = [
    Moment("stage", 1),  # the first one: not logged yet, no checkpoint
    Moment("stage", 3),  # its weights are written, still no checkpoint
    Moment("stage", 5),  # the second one is logged
    Moment("stage", 4),  # the third one, resumed from a checkpoint within it
    Moment("stage", 6),  # the weights that completed the curriculum are written
]


@pytest.mark.parametrize(
    ("name", "moments"),
    [
        # from the initial files of a run to within its first checkpoint
        ("one task", [Moment("save", count) for count in (2, 5, 9, 14, 18)]),
        ("few updates", [Moment("update", 20), Moment("save", 23)]),
        # without any evaluation before the last
        ("different shapes", [Moment("collect", 45), Moment("save", 21), Moment("update", 12)]),
        ("overlap", [Moment("save", 25)]),
        # before the first checkpoint, while the policy is frozen, and just after unfreezing
        ("transfer", [Moment("collect", 25), Moment("update", 22), Moment("update", 14)]),
        ("curriculum", AT_THE_END_OF_A_STAGE),
        pytest.param("curriculum, overlap", AT_THE_END_OF_A_STAGE, marks=pytest.mark.slow),
    ],
)
def test_a_run_resumes_exactly_after_kills_at_its_own_moments(
    runs: Runs, name: str, moments: list[Moment]
) -> None:
    assert runs(name).crash("killed", moments) == len(moments)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SETUPS)
def test_every_setup_resumes_exactly_after_25_random_kills(runs: Runs, name: str) -> None:
    rng, kills, number = random.Random(25), 0, 0
    while kills < 25:
        kills += runs(name).crash(f"random_{number}", random_moments(rng, 4))
        number += 1
