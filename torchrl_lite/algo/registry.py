"""The algorithms: name of the configuration section, learner, and model of the section."""

from torchrl_lite.algo.agent_config import AgentConfig
from torchrl_lite.algo.ddpg import DDPG, DDPGConfig
from torchrl_lite.algo.learner import Learner
from torchrl_lite.algo.sac import SAC, SACConfig
from torchrl_lite.algo.td3 import TD3, TD3Config
from torchrl_lite.config import Sections

ALGORITHMS: dict[str, tuple[type[Learner], type[AgentConfig]]] = {
    "sac": (SAC, SACConfig),
    "td3": (TD3, TD3Config),
    "ddpg": (DDPG, DDPGConfig),
}

SECTIONS: Sections = {name: section for name, (_, section) in ALGORITHMS.items()}
"""The models of their sections, for `config.load` and `config.check`."""
