"""The collector's traced policy is bit-identical to the actor."""

import pytest
import torch
from helpers import make_learner, padded_spec

from torchrl_lite.collector.inference import Inference, exact_inference

SPEC = padded_spec([5, 4, 3], [2, 2, 1])
ROWS = torch.tensor([2, 0, 0, 1])


@pytest.mark.parametrize(
    ("algo", "kind"),
    [
        ("sac", "mlp"),
        ("td3", "multihead"),
        ("sac", "independent"),
        ("sac", "soft_module"),
        *(("sac", kind) for kind in ("paco", "moore", "film", "care")),
    ],
)
@pytest.mark.parametrize("explore", [True, False])
def test_actions_are_bit_identical_to_the_actors(algo: str, kind: str, explore: bool) -> None:
    actor = make_learner(algo, SPEC, kind=kind).actor.requires_grad_(False)
    infer = Inference(actor, SPEC, len(ROWS))
    for seed in range(4):  # torch optimises a traced method in its second and third call
        generator = torch.Generator().manual_seed(seed)
        obs = torch.randn(len(ROWS), 1, 5, generator=generator)
        noise = torch.randn(len(ROWS), 1, 2, generator=generator)
        for parameter in actor.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        infer.obs[:], infer.noise[:] = obs.numpy(), noise.numpy()
        with exact_inference():
            act = actor.explore(obs, ROWS, noise) if explore else actor.act(obs, ROWS)
            mine = torch.from_numpy(infer(ROWS, explore=explore))
        assert torch.equal(mine, act[:, 0])
