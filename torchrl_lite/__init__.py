"""Off-policy reinforcement learning on Meta-World and Gymnasium in plain PyTorch.

The names in ``__all__`` are the library's interface (``docs/library.md``). Each is imported when
it is first used, so that ``import torchrl_lite`` needs neither torch nor an environment.
"""

TYPE_CHECKING = False  # as in typing, which takes longer to import than a starter has for a signal
if TYPE_CHECKING:
    from torchrl_lite.command.load import load_config
    from torchrl_lite.command.parts import make_buffer, make_collector, make_learner
    from torchrl_lite.command.train import train
    from torchrl_lite.env.make import make_env
    from torchrl_lite.env.wrappers import register_wrapper
    from torchrl_lite.errors import RunError, UserError
    from torchrl_lite.policies.evaluate import evaluate, summary
    from torchrl_lite.policies.load import load_policy
    from torchrl_lite.policies.policy import Policy

__version__ = "0.1.0"
__all__ = [
    "Policy",
    "RunError",
    "UserError",
    "evaluate",
    "load_config",
    "load_policy",
    "make_buffer",
    "make_collector",
    "make_env",
    "make_learner",
    "register_wrapper",
    "summary",
    "train",
]
_HOME = {
    "Policy": "policies.policy",
    "RunError": "errors",
    "UserError": "errors",
    "evaluate": "policies.evaluate",
    "load_config": "command.load",
    "load_policy": "policies.load",
    "make_buffer": "command.parts",
    "make_collector": "command.parts",
    "make_env": "env.make",
    "make_learner": "command.parts",
    "register_wrapper": "env.wrappers",
    "summary": "policies.evaluate",
    "train": "command.train",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
