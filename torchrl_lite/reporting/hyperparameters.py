"""The hyperparameters that runs are compared by."""

from torchrl_lite.config import Config, flat

MATTER = (
    "algo",
    "env.num_envs",
    "net.kind",
    "net.hidden_shapes",
    "train.batch_size",
    "train.opt_steps",
    "train.n_step",
    "train.gradients",
    *(f"agent.{name}" for name in ("discount", "tau", "plr", "qlr", "alpha")),
)
"""Shown of every run; ``agent`` stands for the algorithm's section."""


def hyperparameters(config: Config) -> dict[str, object]:
    """Few fields, by full name: those that usually matter, and what else differs from its default
    in the sections of the algorithm and the networks. ``params.json`` has all of them."""
    everything = flat(config.model_dump(mode="json"))
    names = [name.replace("agent", config.algo, 1) for name in MATTER]
    changed = config.model_dump(
        mode="json", exclude_defaults=True, include={config.algo: True, "net": True}
    )
    return {
        name: everything[name]
        for name in dict.fromkeys([*names, *flat(changed)])
        if name in everything
    }
