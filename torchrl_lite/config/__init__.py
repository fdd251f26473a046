"""The configuration of a run: models, files, and errors that a person can act on."""

from torchrl_lite.config.check import Sections, check, load, model, reference, validate
from torchrl_lite.config.config import Config
from torchrl_lite.config.curriculum import CurriculumConfig
from torchrl_lite.config.env import EnvConfig
from torchrl_lite.config.files import (
    flat,
    merge,
    nest,
    parse_json,
    parse_override,
    plain,
    read_tree,
)
from torchrl_lite.config.hints import nearest
from torchrl_lite.config.net import CriticConfig, NetConfig
from torchrl_lite.config.section import (
    MAX_AT_ONCE,
    MAX_HORIZON,
    MAX_NAME,
    MAX_SEED,
    Count,
    NonNegative,
    Positive,
    Section,
    Seed,
    Unit,
)
from torchrl_lite.config.system import RayConfig, SystemConfig, check_address
from torchrl_lite.config.transfer import TransferConfig
from torchrl_lite.config.wrapper import WrapperConfig

__all__ = [
    "MAX_AT_ONCE",
    "MAX_HORIZON",
    "MAX_NAME",
    "MAX_SEED",
    "Config",
    "Count",
    "CriticConfig",
    "CurriculumConfig",
    "EnvConfig",
    "NetConfig",
    "NonNegative",
    "Positive",
    "RayConfig",
    "Section",
    "Sections",
    "Seed",
    "SystemConfig",
    "TransferConfig",
    "Unit",
    "WrapperConfig",
    "check",
    "check_address",
    "flat",
    "load",
    "merge",
    "model",
    "nearest",
    "nest",
    "parse_json",
    "parse_override",
    "plain",
    "read_tree",
    "reference",
    "validate",
]
