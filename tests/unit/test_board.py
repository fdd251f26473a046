"""TensorBoard as people use it: hyperparameters beside results, all tasks on one page."""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from test_film import TASKS, start


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    code, folder = start(tmp_path_factory.mktemp("board"))
    assert code == 0
    return folder


@pytest.fixture(scope="module")
def events(run: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0})
    return accumulator.Reload()


def hparams(events: EventAccumulator) -> dict[str, HParamsPluginData]:
    content = events.PluginTagToContent("hparams")
    return {tag: HParamsPluginData.FromString(data) for tag, data in content.items()}


def test_everything_is_in_one_event_file(run: Path, events: EventAccumulator) -> None:
    assert len(list(run.rglob("events.out.tfevents*"))) == 1
    assert len(hparams(events)) == 3


def test_the_hyperparameters_are_those_of_the_configuration(
    run: Path, events: EventAccumulator
) -> None:
    params = json.loads((run / "params.json").read_text())
    shown = hparams(events)["_hparams_/session_start_info"].session_start_info.hparams
    assert shown["sac.discount"].number_value == params["sac"]["discount"] == 0.99
    assert shown["train.batch_size"].number_value == params["train"]["batch_size"] == 4
    assert shown["sac.alpha"].string_value == params["sac"]["alpha"] == "auto"
    assert shown["env.fast"].string_value == "true"
    assert shown["net.hidden_shapes"].string_value == "[8]"
    assert shown["seed"].number_value == 1
    assert shown["algo"].string_value == "sac"
    assert not [key for key in shown if key.startswith("log.")]  # changes no result
    assert "env.tasks" not in shown


def test_the_final_metrics_stand_beside_them(run: Path, events: EventAccumulator) -> None:
    described = hparams(events)
    experiment = described["_hparams_/experiment"].experiment
    metrics = {metric.name.tag: metric.name.group for metric in experiment.metric_infos}
    result = json.loads((run / "result.json").read_text())
    kinds = ["eval/success_rate", "eval/return"]
    kinds += [f"eval_{kind}/{task}" for kind in ("success", "return") for task in TASKS]
    assert metrics == {kind.replace("eval", "final"): "" for kind in kinds}
    for kind in kinds:
        (point,) = events.Scalars(kind.replace("eval", "final"))
        assert point.step == result["frames"]
        assert point.value == pytest.approx(result[kind], rel=1e-6)
    shown = described["_hparams_/session_start_info"].session_start_info.hparams
    assert {info.name for info in experiment.hparam_infos} == set(shown)


def test_a_run_that_ended_says_so_and_one_that_stopped_does_not(
    events: EventAccumulator, tmp_path: Path
) -> None:
    end = hparams(events)["_hparams_/session_end_info"].session_end_info
    assert end.status == SessionEndInfo().status + 1  # success
    code, folder = start(tmp_path, "--until", "40")
    assert code == 0
    stopped = EventAccumulator(str(folder)).Reload()
    assert set(hparams(stopped)) == {"_hparams_/experiment", "_hparams_/session_start_info"}


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
    assert charts["tasks", "success"] == {f"eval_success/{task}" for task in TASKS}
    assert charts["tasks", "return"] == {f"eval_return/{task}" for task in TASKS}
    assert charts["tasks", "temperature"] == {f"train_alpha/{task}" for task in TASKS}
    assert charts["all tasks together", "success"] == {"eval/success_rate"}
    assert charts["all tasks together", "return"] == {"eval/return", "rollout/ep_rew_mean"}
    assert charts["all tasks together", "loss of the critics"] == {
        "train/q1_loss",
        "train/q2_loss",
        "eval/td_error",
    }


def test_a_resumed_run_is_one_run(tmp_path: Path, events: EventAccumulator) -> None:
    assert start(tmp_path, "--until", "80")[0] == 0
    code, folder = start(tmp_path, "--resume")
    assert code == 0
    resumed = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    assert set(hparams(resumed)) == set(hparams(events))
    assert resumed.Tags()["scalars"] == events.Tags()["scalars"]
    for name in ("final/return", "eval/return", f"final_success/{TASKS[1]}"):
        points = [
            [(point.step, point.value) for point in one.Scalars(name)] for one in (resumed, events)
        ]
        assert points[0] == points[1], name


# --- TensorBoard itself --------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, logdir: Path) -> None:
        self.address = f"http://127.0.0.1:{(port := free_port())}/data/plugin/"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--port",
             str(port), "--load_fast", "false", "--reload_interval", "1"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def ask(self, path: str, question: dict[str, Any] | None = None, **query: str) -> Any:
        url = self.address + path + ("?" + urllib.parse.urlencode(query) if query else "")
        data = None if question is None else json.dumps(question).encode()
        request = urllib.request.Request(url, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def wait_for(self, run: str, tag: str) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if tag in self.ask("scalars/tags").get(run, {}):
                    return
            except (urllib.error.URLError, ConnectionError):
                pass
            time.sleep(0.5)
        pytest.fail("TensorBoard does not show the run")


@pytest.mark.slow
def test_tensorboard_shows_it_all(run: Path) -> None:
    server = Server(run.parents[2])
    name = str(run.relative_to(run.parents[2]))
    try:
        server.wait_for(name, "final/return")
        layout = server.ask("custom_scalars/layout")
        (tag,) = layout["category"][0]["chart"][0]["multiline"]["tag"]
        curves = server.ask("custom_scalars/scalars", run=name, tag=tag)
        assert curves["regex_valid"]
        assert set(curves["tag_to_events"]) == {f"eval_success/{task}" for task in TASKS}
        assert len(curves["tag_to_events"][f"eval_success/{TASKS[0]}"]) == 4
        statuses = ["STATUS_SUCCESS", "STATUS_RUNNING", "STATUS_UNKNOWN", "STATUS_FAILURE"]
        question = {"allowedStatuses": statuses, "startIndex": 0, "sliceSize": 9}
        (group,) = server.ask("hparams/session_groups", question)["sessionGroups"]
    finally:
        server.process.terminate()
        server.process.wait(30)
    assert group["name"] == name
    assert group["hparams"]["sac.tau"] == 0.005
    result = json.loads((run / "result.json").read_text())
    values = {metric["name"]["tag"]: metric["value"] for metric in group["metricValues"]}
    assert values["final/return"] == pytest.approx(result["eval/return"], rel=1e-6)
