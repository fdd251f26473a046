"""Writes a policy as an ONNX model, which needs neither torch nor this package (extra ``[onnx]``).

Input ``obs`` ``[batch, O]`` float32 and, for several tasks, ``task`` ``[batch]`` int64, the index
of each row's task. Output ``act`` ``[batch, A]``: the deterministic action in [-1, 1]. Observations
and actions are padded with zeros to the largest task. The graph is written operation by operation
with ``onnx.helper``: a policy has few of them, and torch's exporters need more packages.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import normalize

from torchrl_lite.checkpoint.files import write_atomically
from torchrl_lite.config.extras import import_extra
from torchrl_lite.errors import UserError
from torchrl_lite.network.layers import EnsembleLinear
from torchrl_lite.network.mlp import MLP
from torchrl_lite.policies.policy import Policy

SUFFIX = ".onnx"
KINDS = ("mlp", "multihead", "independent")
"""Architectures that can be written."""
OPSET = 17
"""The first with LayerNormalization."""


def check_onnx(policy: Policy) -> None:
    """
    Raises:
        UserError: onnx is not installed, or the architecture cannot be written.
    """
    _onnx()
    kind = policy.config.net.kind
    if kind not in KINDS:
        raise UserError(
            f'--export: net.kind "{kind}" cannot be written as ONNX, only {", ".join(KINDS)}'
        )


def _onnx() -> Any:
    return import_extra("onnx", "onnx", needed_by="--export")


def write(path: Path, policy: Policy) -> None:
    """Writes the model atomically; its metadata names the tasks and their sizes.

    Raises:
        UserError: onnx is not installed, or the architecture cannot be written.
    """
    check_onnx(policy)
    model: Any = _Graph(_onnx(), policy).model()
    content = model.SerializeToString()
    write_atomically(path, lambda file: file.write(content))


class _Graph:
    """The nodes and constants of one policy. Values are named; ``[batch, 1, n]`` inside."""

    def __init__(self, onnx: Any, policy: Policy) -> None:
        self._onnx, self._policy = onnx, policy
        self._nodes: list[object] = []
        self._constants: list[object] = []

    def model(self) -> Any:
        helper, types, spec = self._onnx.helper, self._onnx.TensorProto, self._policy.spec
        inputs = [helper.make_tensor_value_info("obs", types.FLOAT, ["batch", spec.obs_dim])]
        if spec.num_tasks > 1:
            inputs.append(helper.make_tensor_value_info("task", types.INT64, ["batch"]))
        output = helper.make_tensor_value_info("act", types.FLOAT, ["batch", spec.act_dim])
        self._act()
        graph = helper.make_graph(self._nodes, "policy", inputs, [output], self._constants)
        model = helper.make_model(
            graph, producer_name="torchrl_lite", opset_imports=[helper.make_opsetid("", OPSET)]
        )
        model.ir_version = 8  # that of this opset
        facts = {"tasks": spec.tasks, "obs_dims": spec.obs_dims, "act_dims": spec.act_dims}
        helper.set_model_props(model, {key: json.dumps(value) for key, value in facts.items()})
        self._onnx.checker.check_model(model, full_check=True)
        return model

    def _act(self) -> None:
        actor, axis = self._policy.actor, self._constant(np.array([1]))
        x = self._node("Unsqueeze", "obs", axis)
        x = self._normalized(self._masked(x, actor.obs_mask))
        mean = self._head(self._trunk(x), actor.body.get_submodule("head"))
        act = self._masked(self._node("Tanh", mean), actor.act_mask)
        self._node("Squeeze", act, axis, output="act")

    def _masked(self, x: str, mask: Tensor) -> str:
        return x if mask.all() else self._node("Mul", x, self._row(mask))

    def _normalized(self, x: str) -> str:
        """As `ObsNormalizer`, with ``net.normalize_obs``."""
        normalizer = self._policy.actor.normalizer
        if normalizer is None:
            return x
        mean, var = normalizer.mean[0, :, None], normalizer.var[0, :, None]
        scale = (var + normalizer.EPSILON).rsqrt()
        x = self._node("Sub", x, self._row(mean.float()))
        x = self._node("Mul", x, self._row(scale.float()))
        limit = np.array([normalizer.CLIP], np.float32)
        x = self._node("Max", x, self._constant(-limit))
        return self._node("Min", x, self._constant(limit))

    def _trunk(self, x: str) -> str:
        trunk = self._policy.actor.body.get_submodule("trunk")
        assert isinstance(trunk, MLP)
        x = self._layer(trunk, 0, x, relu=True)
        step = 2 if trunk.residual else 1
        for depth in range(1, len(trunk.layers), step):
            if trunk.residual:
                inner = self._layer(trunk, depth, x, relu=True)
                x = self._node("Add", x, self._layer(trunk, depth + 1, inner, relu=False))
            else:
                x = self._layer(trunk, depth, x, relu=True)
        return x

    def _layer(self, trunk: MLP, depth: int, x: str, *, relu: bool) -> str:
        layer = trunk.layers[depth]
        assert isinstance(layer, EnsembleLinear)
        bias = layer.bias[0]
        if depth == 0 and trunk.embedding is not None:
            task = trunk.embedding
            bias = bias + normalize(task.rows[0], dim=-1) @ task.weight[0]
        x = self._linear(x, layer.weight[0], bias)
        if trunk.norms:
            ones = self._constant(np.ones(layer.weight.shape[-1], np.float32))
            x = self._node("LayerNormalization", x, ones, axis=-1)
        return self._node("Relu", x) if relu else x

    def _head(self, x: str, head: nn.Module) -> str:
        """Of a Gaussian, only the means, which are the first outputs."""
        assert isinstance(head, EnsembleLinear)
        size = self._policy.spec.act_dim
        return self._linear(x, head.weight[0, :, :, :size], head.bias[0, :, :size])

    def _linear(self, x: str, weight: Tensor, bias: Tensor) -> str:
        product = self._node("MatMul", x, self._row(weight))
        return self._node("Add", product, self._row(bias[:, None]))

    def _row(self, parameter: Tensor) -> str:
        """``[T, ...]``: the entry of each row's task; ``[1, ...]``: the same for all rows."""
        values = self._constant(parameter.detach().numpy())
        return values if len(parameter) == 1 else self._node("Gather", values, "task", axis=0)

    def _constant(self, values: np.ndarray) -> str:
        name = f"c{len(self._constants)}"
        array = np.ascontiguousarray(values)
        self._constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def _node(self, kind: str, *inputs: str, output: str = "", **attributes: int) -> str:
        name = output or f"v{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [name], **attributes))
        return name
