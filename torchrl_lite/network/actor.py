"""Policies on top of a network body of any architecture."""

from math import log, pi

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from torchrl_lite.network.role import Role
from torchrl_lite.types import Spec


def tanh_log_jacobian(z: Float[Tensor, " *dims"]) -> Float[Tensor, " *dims"]:
    """log(1 - tanh(z)^2), accurate also for large z, where the textbook form loses all digits.

    Haarnoja et al. 2018 (arXiv:1812.05905), appendix C, rewritten with
    ``1 - tanh(z)^2 = 4 exp(-2z) / (1 + exp(-2z))^2``. (torch's softplus drops a term above 20.)
    """
    return 2 * (log(2) - z + logsigmoid(2 * z))


class GaussianPolicy(Role):
    """Squashed Gaussian: tanh of a normal with state-dependent mean and standard deviation.

    Haarnoja et al. 2018 (arXiv:1812.05905), appendix C.
    """

    KIND = "gaussian"
    """Its name in policy files."""

    def __init__(
        self, body: nn.Module, spec: Spec, *, log_std_min: float, log_std_max: float
    ) -> None:
        super().__init__(body, spec)
        self.log_std_min, self.log_std_max = log_std_min, log_std_max

    def forward(
        self, obs: Float[Tensor, "T B O"], task: Int[Tensor, " T"]
    ) -> tuple[Float[Tensor, "T B A"], Float[Tensor, "T B A"]]:
        """Mean and log standard deviation before squashing."""
        mean, log_std = self.outputs(self.prepare_obs(obs, task)[None], task)[0].chunk(2, dim=-1)
        return mean, log_std.clamp(self.log_std_min, self.log_std_max)

    def act(self, obs: Float[Tensor, "T B O"], task: Int[Tensor, " T"]) -> Float[Tensor, "T B A"]:
        """The deterministic evaluation action, tanh(mean)."""
        return self.mask_act(torch.tanh(self(obs, task)[0]), task)

    def explore(
        self, obs: Float[Tensor, "T B O"], task: Int[Tensor, " T"], noise: Float[Tensor, "T B A"]
    ) -> Float[Tensor, "T B A"]:
        mean, log_std = self(obs, task)
        return self.mask_act(torch.tanh(mean + log_std.exp() * noise), task)

    def sample(
        self, obs: Float[Tensor, "T B O"], task: Int[Tensor, " T"], noise: Float[Tensor, "T B A"]
    ) -> tuple[Float[Tensor, "T B A"], Float[Tensor, "T B"]]:
        """Reparametrised actions from standard normal ``noise``, and their log-density."""
        mean, log_std = self(obs, task)
        z = mean + log_std.exp() * noise
        logp = -0.5 * noise.square() - log_std - 0.5 * log(2 * pi) - tanh_log_jacobian(z)
        return self.mask_act(torch.tanh(z), task), self.mask_act(logp, task).sum(-1)


class DeterministicPolicy(Role):
    """tanh(mean), with clipped Gaussian exploration noise; its log-density is 0 by convention."""

    KIND = "deterministic"

    def __init__(self, body: nn.Module, spec: Spec, *, noise_std: float, noise_clip: float) -> None:
        super().__init__(body, spec)
        self.noise_std, self.noise_clip = noise_std, noise_clip

    def act(self, obs: Float[Tensor, "T B O"], task: Int[Tensor, " T"]) -> Float[Tensor, "T B A"]:
        return self.mask_act(
            torch.tanh(self.outputs(self.prepare_obs(obs, task)[None], task)[0]), task
        )

    def explore(
        self, obs: Float[Tensor, "T B O"], task: Int[Tensor, " T"], noise: Float[Tensor, "T B A"]
    ) -> Float[Tensor, "T B A"]:
        clipped = (noise * self.noise_std).clamp(-self.noise_clip, self.noise_clip)
        return self.mask_act((self.act(obs, task) + clipped).clamp(-1, 1), task)

    def sample(
        self, obs: Float[Tensor, "T B O"], task: Int[Tensor, " T"], noise: Float[Tensor, "T B A"]
    ) -> tuple[Float[Tensor, "T B A"], Float[Tensor, "T B"]]:
        act = self.explore(obs, task, noise)
        return act, act.new_zeros(act.shape[:2])


Actor = GaussianPolicy | DeterministicPolicy
"""Any policy: ``act``, ``explore`` and ``sample`` return masked actions in [-1, 1]."""
