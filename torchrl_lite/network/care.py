"""CARE, contextual attention-based representations (Sodhani et al. 2021, arXiv:2102.06177).

``k`` encoders encode the observation, and attention by the task's context mixes the encodings. The
policy or Q network sees the mixture and the context (figure 3):

    alpha = softmax(attention(stop_gradient(z_context)) / temperature)
    z = [sum_i alpha_i z_enc^i, z_context]

In a critic, the action joins behind the encoders.

The authors' code differs from the paper, and so does this:

1. A feed-forward network computes ``alpha`` from the context alone; in the paper's figure the
   encodings take part.

Deviations of our own:

2. The context is a vector that each task learns, behind a feed-forward network. The paper's comes
   from a language model's embedding of the task's description, which is another project's data.
3. The actor and each critic have their own encoders and context, trained by their own loss, as in
   metaworld-algorithms. The authors' actor uses the critics' encoders and does not train them.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from torchrl_lite.config import NetConfig
from torchrl_lite.network.mlp import MLP
from torchrl_lite.network.shape import Shape


class CareTrunk(nn.Module):
    """Encoders, their attention, and the hidden layers behind them."""

    task_parameters = ("task_rows",)

    def __init__(self, net: NetConfig, shape: Shape) -> None:
        super().__init__()
        config, norm = net.care, net.norm == "layer"
        ensemble, init = shape.ensemble, shape.scheme.hidden
        self.obs_dim, self.temperature = shape.obs_dim, config.temperature
        self.num_encoders, size = config.num_encoders, config.embedding_dim

        def small(size_in: int, size_out: int, members: int) -> MLP:
            sizes = [config.encoder_hidden] * config.encoder_layers + [size_out]
            return MLP(size_in, sizes, ensemble=members, norm=norm, linear_output=True, init=init)

        self.encoders = small(shape.obs_dim, size, ensemble * config.num_encoders)
        self.task_rows = nn.Parameter(torch.randn(ensemble, shape.num_tasks, size))
        self.context = small(size, size, ensemble)
        self.attention = small(size, config.num_encoders, ensemble)
        inputs = shape.act_dim + 2 * size
        self.mlp = MLP(inputs, shape.hidden, ensemble=ensemble, norm=norm, init=init)

    def forward(
        self, x: Float[Tensor, "1 T B I"], task: Int[Tensor, " T"]
    ) -> Float[Tensor, "E T B H"]:
        obs, act = x[..., : self.obs_dim], x[..., self.obs_dim :]
        encodings = self.encoders(obs, task).unflatten(0, (-1, self.num_encoders))
        context = self.context(self.task_rows[:, task][:, :, None], task)  # [E, T, 1, D]
        alpha = self.alpha(context, task)
        mixture = torch.einsum("ektbd,etk->etbd", encodings, alpha)
        rows = mixture.shape[:3]
        parts = (act.expand(*rows, -1), mixture, context.expand(*rows, -1))
        return self.mlp(torch.cat(parts, dim=-1), task)

    def alpha(
        self, context: Float[Tensor, "E T 1 D"], task: Int[Tensor, " T"]
    ) -> Float[Tensor, "E T K"]:
        """Each encoder's share of the mixture. The gradient stops at the context."""
        logits = self.attention(context.detach(), task).squeeze(2)
        return (logits / self.temperature).softmax(-1)
