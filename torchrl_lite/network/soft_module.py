"""Soft modularization (Yang et al. 2020, arXiv:2003.13661).

Layers of modules. The input of each module is a mixture of the previous layer's outputs; a routing
network computes the mixture weights from the task and the observation.

The authors' code, which produced the published results, differs from the paper. This module follows
the code:

1. There are additional fully connected layers (``num_gating_layers`` of ``gating_hidden`` units)
   between the product of task and observation embedding and the first routing probabilities.
2. A ReLU is applied to the observation embedding before the first modules.
3. The routing of layer l sees the probabilities of all previous layers; in the paper it sees only
   the previous layer's, before the softmax.
4. The ReLU is applied to the weighted sum, not to each module's output.
5. The last layer's modules are mixed by one more softmax, and a linear head reads the mixture; in
   the paper the sum over that layer is the output.
6. Loss weights are the number of tasks times the softmax of minus log temperature, instead of the
   softmax of minus temperature (`torchrl_lite.algo.sac`, ``temperature_weights``).

One deviation from both: the task embedding is one vector per task, without the shared bias that a
linear layer on a one-hot id would add; both represent the same functions.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from torchrl_lite.config import NetConfig
from torchrl_lite.network.initialisation import Init, uniform, zeros
from torchrl_lite.network.layers import EnsembleLinear, LayerNorm
from torchrl_lite.network.mlp import MLP
from torchrl_lite.network.shape import Shape


class Modules(nn.Module):
    """The ``M`` linear modules of a layer, computed in one batched product."""

    def __init__(
        self, modules: int, in_features: int, out_features: int, *, ensemble: int, init: Init
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(ensemble, modules, in_features, out_features))
        self.bias = nn.Parameter(torch.empty(ensemble, modules, out_features))
        init(self.weight, self.bias)

    def forward(self, x: Float[Tensor, "E T B m I"]) -> Float[Tensor, "E T B M O"]:
        ensemble, modules = self.weight.shape[:2]
        x = x.expand(-1, -1, -1, modules, -1).movedim(3, 1)  # [E, M, T, B, I]
        shape = x.shape[:-1]
        flat = torch.baddbmm(
            self.bias.flatten(0, 1)[:, None],
            x.reshape(ensemble * modules, -1, x.shape[-1]),
            self.weight.flatten(0, 1),
        )
        return flat.view(*shape, -1).movedim(1, 3)


class SoftModuleNetwork(nn.Module):
    """Observation embedding, modules with their routing, and a linear head."""

    task_parameters = ("task_rows",)

    def __init__(self, net: NetConfig, shape: Shape) -> None:
        super().__init__()
        config, ensemble, hidden_init = net.soft_module, shape.ensemble, shape.scheme.hidden
        self.num_modules = modules = config.num_modules
        width, gating = shape.hidden[-1], config.gating_hidden
        norm = net.norm == "layer"
        head = shape.head(config.module_hidden)

        def linear(size_in: int, size_out: int, init: Init = hidden_init) -> EnsembleLinear:
            return EnsembleLinear(size_in, size_out, ensemble=ensemble, init=init)

        def network(size_in: int, sizes: Sequence[int]) -> MLP:
            return MLP(
                size_in, sizes, ensemble=ensemble, norm=norm, linear_output=True, init=hidden_init
            )

        self.observation = network(shape.inputs, shape.hidden)
        self.task_rows = nn.Parameter(torch.empty(ensemble, shape.num_tasks, width))
        hidden_init.weight(self.task_rows.data, shape.num_tasks, width)
        self.gating = network(width, [gating] * config.num_gating_layers)
        # Routing starts near uniform, whatever the initialisation of other layers.
        near_uniform = uniform(1e-3)._replace(bias=zeros)
        square = modules * modules
        self.routes = nn.ModuleList(
            linear(gating, square, near_uniform) for _ in range(config.num_layers - 1)
        )
        self.last_route = linear(gating, modules, near_uniform)
        self.conditions = nn.ModuleList(
            linear(layer * square, gating) for layer in range(1, config.num_layers)
        )
        sizes = [width] + [config.module_hidden] * config.num_layers
        self.layers = nn.ModuleList(
            Modules(modules, size_in, size_out, ensemble=ensemble, init=hidden_init)
            for size_in, size_out in pairwise(sizes)
        )
        self.norms = nn.ModuleList(
            LayerNorm(config.module_hidden) for _ in range(config.num_layers if norm else 0)
        )
        """Applied to each mixture, before its ReLU."""
        self.head = head

    def forward(
        self, x: Float[Tensor, "e T B I"], task: Int[Tensor, " T"]
    ) -> Float[Tensor, "E T B O"]:
        embedding = self.observation(x, task)
        mixtures, last = self.routing(embedding, task)
        outputs = self.layers[0](torch.relu(embedding)[:, :, :, None])  # deviation 2
        for depth, (layer, mixture) in enumerate(zip(self.layers[1:], mixtures, strict=True)):
            outputs = layer(self._activate(mixture @ outputs, depth))  # deviation 4
        mixed = last[..., None, :] @ outputs  # deviation 5
        return self.head(self._activate(mixed, -1).squeeze(-2), task)

    def _activate(
        self, mixed: Float[Tensor, "E T B m I"], depth: int
    ) -> Float[Tensor, "E T B m I"]:
        return torch.relu(self.norms[depth](mixed) if self.norms else mixed)

    def routing(
        self, embedding: Float[Tensor, "E T B H"], task: Int[Tensor, " T"]
    ) -> tuple[list[Float[Tensor, "E T B M M"]], Float[Tensor, "E T B M"]]:
        """Mixture matrices between layers (entry j, i: the weight of module i in the input of
        module j of the next layer), and the weights of the last layer's modules."""
        gate = torch.relu(self.task_rows[:, task][:, :, None] * embedding)
        gate = self.gating(gate, task)  # deviation 1
        mixtures: list[Tensor] = []
        condition = gate
        for route, condition_layer in zip(self.routes, self.conditions, strict=True):
            raw = route(torch.relu(condition), task)
            raw = raw.unflatten(-1, (self.num_modules, self.num_modules))
            mixtures.append(raw.softmax(-1))
            seen = torch.cat([mixture.flatten(-2) for mixture in mixtures], dim=-1)  # deviation 3
            condition = condition_layer(seen, task) * gate
        return mixtures, self.last_route(torch.relu(condition), task).softmax(-1)
