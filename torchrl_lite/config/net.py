"""The networks. Sizes of architectures default to those published for MT10, unless noted."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from torchrl_lite.config.section import MAX_DEPTH, Depth, Few, Positive, Section, Size

Widths = Annotated[list[Size], Field(min_length=1, max_length=MAX_DEPTH)]


class SoftModuleConfig(Section):
    """Sizes of a soft-module network; the defaults are the shallow network of Yang et al. 2020."""

    num_layers: Depth = Field(2, description="layers of modules")
    num_modules: Few = Field(2, description="modules per layer")
    module_hidden: Size = Field(256, description="outputs per module")
    num_gating_layers: Depth = Field(2, description="fully connected layers before the routing")
    gating_hidden: Size = Field(256, description="units per gating layer")


class PacoConfig(Section):
    """A PaCo network (Sun et al. 2022)."""

    num_sets: Few = Field(5, description="parameter sets that each task's network is composed of")
    reset_loss: Positive | None = Field(
        None,
        description="a task with a larger critic loss is left out of that critic update and "
        "restarts from a random mixture of the remaining tasks' networks; null: never",
    )


class MooreConfig(Section):
    """Sizes of a MOORE network (Hendawy et al. 2024)."""

    num_experts: Few = Field(4, description="experts whose representations are made orthogonal")


class CareConfig(Section):
    """Sizes of a CARE network (Sodhani et al. 2021)."""

    num_encoders: Few = Field(6, description="encoders of the observation")
    encoder_layers: Depth = Field(
        2, description="hidden layers of an encoder, of the context network and of the attention"
    )
    encoder_hidden: Size = Field(50, description="units of each of them")
    embedding_dim: Size = Field(50, description="size of an encoding and of a task's context")
    temperature: Positive = Field(1.0, description="divides the attention's logits")


class CriticConfig(Section):
    """How critics predict the discounted return, and how their predictions are combined."""

    kind: Literal["scalar", "hl_gauss", "two_hot", "c51"] = Field(
        "scalar",
        description="a scalar, or a categorical distribution over bins, trained towards a Gaussian "
        "around the target (hl_gauss), its two nearest bins (two_hot) or the target distribution "
        "(c51)",
    )
    bins: Annotated[int, Field(ge=2, le=2**12)] = Field(
        101, description="bins of a categorical critic, from -bound to bound"
    )
    bound: Positive = Field(5.0, description="largest value of a categorical critic")
    sigma: Positive = Field(0.75, description="hl_gauss: standard deviation, in bins")
    combine: Literal["min", "mean"] = Field(
        "min", description="how two critics are combined in targets and in SAC's policy loss"
    )


NEEDS_TASKS = ("paco", "moore", "film", "care")
"""Architectures that only make sense for several tasks."""


class NetConfig(Section):
    """Networks of the actor and the critics."""

    kind: Literal[
        "mlp", "multihead", "independent", "soft_module", "paco", "moore", "film", "care"
    ] = Field("mlp", description="architecture")
    hidden_shapes: Widths = Field([256, 256], description="hidden units per layer")
    actor_hidden_shapes: Widths | None = Field(
        None, description="hidden units per layer of the actor; null: hidden_shapes"
    )
    norm: Literal["none", "layer"] = Field(
        "none", description="normalisation before each ReLU: LayerNorm, or none"
    )
    normalize_obs: bool = Field(
        False,
        description="normalise each task's observations by the running mean and standard deviation "
        "of all that were collected",
    )
    residual: bool = Field(
        False,
        description="replace every hidden layer after the first with a residual block of two",
    )
    critic: CriticConfig = Field(CriticConfig(), description="the critics")
    task_input: Literal["onehot", "embedding"] = Field(
        "onehot", description="how the task enters a shared trunk"
    )
    embedding_dim: Size = Field(32, description="size of a learned task embedding")
    soft_module: SoftModuleConfig = Field(
        SoftModuleConfig(), description="sizes for kind soft_module"
    )
    paco: PacoConfig = Field(PacoConfig(), description="kind paco")
    moore: MooreConfig = Field(MooreConfig(), description="sizes for kind moore")
    care: CareConfig = Field(CareConfig(), description="sizes for kind care")
    init: Literal["garage", "metaworld_algorithms", "torch"] = Field(
        "metaworld_algorithms",
        description="initialisation: Xavier (garage), He with small heads (metaworld_algorithms), "
        "or that of torch.nn.Linear (torch)",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.task_input == "embedding" and self.kind not in ("mlp", "multihead"):
            raise ValueError(f'task_input: "embedding" is not supported for kind {self.kind!r}')
        if self.residual and self.kind in ("soft_module", *NEEDS_TASKS):
            raise ValueError(f'residual: is not supported for kind "{self.kind}"')
        for name in ("hidden_shapes", "actor_hidden_shapes"):
            shapes = getattr(self, name)
            if self.kind == "moore" and shapes and self.moore.num_experts > shapes[-1]:
                raise ValueError(
                    f"moore.num_experts: {self.moore.num_experts} representations of {shapes[-1]} "
                    "numbers cannot be orthogonal"
                )
            if self.residual and shapes and len(set(shapes)) > 1:
                raise ValueError(f"{name}: {shapes}: residual layers need equal widths")
        return self

    def hidden(self, role: Literal["actor", "critic"]) -> list[int]:
        """Hidden units of a role's networks."""
        return (role == "actor" and self.actor_hidden_shapes) or self.hidden_shapes
