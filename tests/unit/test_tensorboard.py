"""What TensorBoard shows: hyperparameters with results, and all tasks on one page."""

import errno
import json
import re
from pathlib import Path
from unittest.mock import Mock

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.summary.writer.record_writer import RecordWriter
from tiny_runs import one_line, result_of
from two_tasks import TASKS, plain, start

from torchrl_lite.algo.registry import SECTIONS
from torchrl_lite.config import load
from torchrl_lite.reporting.hyperparameters import hyperparameters
from torchrl_lite.reporting.tensorboard import Board

__all__ = ["plain"]  # a fixture


@pytest.fixture(scope="module")
def events(plain: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(plain), size_guidance={"scalars": 0, "tensors": 0})
    return accumulator.Reload()


def hparams(events: EventAccumulator) -> dict[str, HParamsPluginData]:
    content = events.PluginTagToContent("hparams")
    return {tag: HParamsPluginData.FromString(data) for tag, data in content.items()}


def test_the_hyperparameters_match_the_configuration(plain: Path, events: EventAccumulator) -> None:
    params = json.loads((plain / "params.json").read_text())
    shown = hparams(events)["_hparams_/session_start_info"].session_start_info.hparams
    assert len(hparams(events)) == 3
    assert shown["sac.discount"].number_value == params["sac"]["discount"] == 0.99
    assert shown["sac.alpha"].string_value == params["sac"]["alpha"] == "auto"
    assert shown["net.hidden_shapes"].string_value == "[8]"
    assert shown["seed"].number_value == 1
    assert shown["algo"].string_value == "sac"
    assert shown["train.opt_steps"].number_value == params["train"]["opt_steps"]
    assert len(shown) < 25
    assert not [key for key in shown if key.startswith(("log.", "system.", "replay_buffer."))]
    changed = load(None, ['env.tasks=["push-v3"]', "net.norm=layer"], sections=SECTIONS)
    assert hyperparameters(changed)["net.norm"] == "layer" and "net.norm" not in shown


def test_only_a_finished_run_is_marked_as_ended(tmp_path: Path) -> None:
    for end in (False, True):
        board = Board(tmp_path / str(end))
        board.describe({"sac.tau": 0.1}, ["final/return"])
        if end:
            board.final({"final/return": 1.0}, frames=10)
        board.close()
        described = hparams(EventAccumulator(str(tmp_path / str(end))).Reload())
        assert ("_hparams_/session_end_info" in described) == end
    status = described["_hparams_/session_end_info"].session_end_info.status
    assert status == SessionEndInfo().status + 1  # success


def test_one_page_shows_all_tasks_together(events: EventAccumulator) -> None:
    (event,) = events.Tensors("custom_scalars__config__")
    layout = Layout.FromString(event.tensor_proto.string_val[0])
    names = events.Tags()["scalars"]
    charts = {
        (category.title, chart.title): {
            name for name in names for tag in chart.multiline.tag if re.match(tag, name)
        }
        for category in layout.category
        for chart in category.chart
    }
    for chart in ("eval_success", "eval_return", "train_alpha"):
        assert {f"{chart}/{task}" for task in TASKS} in charts.values()
    together = {"eval/success_rate", "rollout/success_rate"}
    assert charts["all tasks together", "success"] == together
    assert charts["all tasks together", "return"] == {"eval/return", "rollout/ep_rew_mean"}
    losses = {"train/q1_loss", "train/q2_loss", "eval/td_error"}
    assert charts["all tasks together", "loss of the critics"] == losses


def test_the_final_metrics_are_shown_too(plain: Path, events: EventAccumulator) -> None:
    described = hparams(events)
    experiment = described["_hparams_/experiment"].experiment
    metrics = {metric.name.tag: metric.name.group for metric in experiment.metric_infos}
    result = result_of(plain)
    kinds = ["eval/success_rate", "eval/return"]
    kinds += [f"eval_{kind}/{task}" for kind in ("success", "return") for task in TASKS]
    shared = [f"{when}/{kind}" for when in ("eval", "final") for kind in ("success_rate", "return")]
    assert metrics == dict.fromkeys(shared, "")
    for kind in kinds:
        (point,) = events.Scalars(kind.replace("eval", "final"))
        assert point.step == result["frames"]
        assert point.value == pytest.approx(result[kind], rel=1e-6)
    shown = described["_hparams_/session_start_info"].session_start_info.hparams
    assert {info.name for info in experiment.hparam_infos} == set(shown)


def test_a_full_disk_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The writer thread prints no traceback of its own."""
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(RecordWriter, "write", Mock(side_effect=full))
    code, folder = start(tmp_path)
    assert code == 1
    one_line(capsys.readouterr().err, f"{folder}: the log cannot be written (No space left on")


@pytest.mark.parametrize("jumps", [[0, -86_400, -86_400], [0, 10**7, -(10**7)], [0, 0, 0]])
def test_a_clock_that_is_set_back_hides_no_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jumps: list[int]
) -> None:
    """Event files are read in the order of their names, which begin with the time."""
    for part, jump in enumerate(jumps):
        monkeypatch.setattr("time.time", lambda jump=jump: 1.7e9 + jump)
        board = Board(tmp_path, keep_until=10 * part)
        board.row({"updates": part}, frames=10 * (part + 1))
        board.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars("updates")] == [10, 20, 30]
