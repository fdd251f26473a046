"""Sizes of the networks for many tasks; the defaults are those published for MT10."""

from pydantic import Field

from torchrl_lite.config.section import Depth, Few, Positive, Section, Size


class PacoConfig(Section):
    """Sizes of a PaCo network (Sun et al. 2022)."""

    num_sets: Few = Field(5, description="parameter sets that each task's network is composed of")


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
