"""Replay buffer ``[T, capacity, D]`` on the learner's device."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from torchrl_lite.types import Batch, Block, Spec


def row_widths(obs_dim: int, act_dim: int) -> list[int]:
    """Columns of ``obs | act | next_obs | rew | cont | first``."""
    return [obs_dim, act_dim, obs_dim, 1, 1, 1]


class ReplayBuffer:
    """One ring of transitions per task, so that a batch is balanced by construction.

    A transition is one row ``obs | act | next_obs | rew | cont | first`` of float32, so that
    sampling is a single gather of contiguous bytes. How much is filled is a device tensor: a
    sampling step can be captured in a CUDA graph and replayed while the buffer grows.

    Rows come in the order of time, those of a task's ``copies`` environments in turn: what follows
    a row in its episode is the row ``copies`` later, if there is one and it is no ``first``.
    """

    def __init__(
        self,
        spec: Spec,
        capacity: int,
        device: torch.device,
        *,
        copies: int = 1,
        old_weight: float = 1.0,
    ) -> None:
        """``capacity`` is in transitions per task, ``copies`` the environments that bring them.

        ``old_weight``: how likely a transition from before `retire` is drawn, against one from
        after it; with 0 it is never drawn again.
        """
        self._widths = row_widths(spec.obs_dim, spec.act_dim)
        self.capacity, self.copies = capacity, copies
        self.data = torch.zeros(spec.num_tasks, capacity, sum(self._widths), device=device)
        self.size = torch.zeros(spec.num_tasks, dtype=torch.int64, device=device)
        self.reward_scale = torch.ones(spec.num_tasks, device=device)
        """Multiplies rewards as they are sampled; what is stored stays raw."""
        self.old_weight = old_weight
        self._written = [0] * spec.num_tasks
        self._retired = [0] * spec.num_tasks
        # Where the oldest transition lies and how many are old; followed only where it matters.
        self._first = torch.zeros_like(self.size)
        self._old = torch.zeros_like(self.size)

    @property
    def bytes_per_transition(self) -> int:
        return self.data.shape[-1] * self.data.element_size()

    def add_block(self, block: Block, tasks: Sequence[int]) -> None:
        """Appends the rows of these tasks, oldest first, over the oldest of a full ring.

        Raises:
            ValueError: the block has more transitions per task than the buffer holds, or is of
                another number of environments.
        """
        if block.rew.shape[2] != self.copies:
            raise ValueError(f"a block of {block.rew.shape[2]} copies, not of {self.copies}")
        ends = torch.stack((block.rew, block.cont, block.first), dim=-1)
        rows = torch.cat((block.obs, block.act, block.next_obs, ends), dim=-1)
        rows = rows.flatten(1, 2)  # [T, L * K, D]
        count = rows.shape[1]
        if count > self.capacity:
            raise ValueError(
                f"an epoch brings {count} transitions per task, the buffer holds {self.capacity}"
            )
        rows = rows.to(self.data.device)
        for task in tasks:
            self._append(task, rows[task])
        self._publish()

    def add_rows(self, task: int, rows: Float[Tensor, "n D"]) -> None:
        """Appends rows such as `rows` gives, of another run; of too many, the newest."""
        self._append(task, rows[-self.capacity :])
        self._publish()

    def _append(self, task: int, rows: Float[Tensor, "n D"]) -> None:
        count = len(rows)
        start = self._written[task] % self.capacity
        first = min(count, self.capacity - start)
        self.data[task, start : start + first] = rows[:first]
        self.data[task, : count - first] = rows[first:]
        self._written[task] += count

    def retire(self, tasks: Sequence[int]) -> None:
        """What these tasks hold is old from now on: drawn with ``old_weight``."""
        for task in tasks:
            self._retired[task] = self._written[task]
        self._publish()

    def _publish(self) -> None:
        """Tells the device what is stored where."""
        gone = [max(0, n - self.capacity) for n in self._written]  # overwritten
        counts = zip(self._written, self._retired, gone, strict=True)
        size, old, first = zip(
            *((n - g, max(0, retired - g), g % self.capacity) for n, retired, g in counts),
            strict=True,
        )
        self.size.copy_(torch.tensor(size))
        self._old.copy_(torch.tensor(old))
        self._first.copy_(torch.tensor(first))

    def sample(
        self,
        pick: Float[Tensor, "T B"],
        task: Int[Tensor, " T"],
        *,
        discount: float,
        n_step: int = 1,
    ) -> Batch:
        """Returns that begin at ``pick`` (uniform in [0, 1)) of each task row's filled part.

        A return ends early with its episode, and with the newest row; it then spans fewer steps.
        """
        slot = self._slot(pick, task) if self.old_weight == 1 else self._weighted_slot(pick, task)
        start = self.batch(self._rows_at(slot, task), task, discount=discount)
        return start if n_step == 1 else self._n_step(start, slot, discount, n_step)

    def batch(
        self, rows: Float[Tensor, "T B D"], task: Int[Tensor, " T"], *, discount: float
    ) -> Batch:
        """Transitions as rows of the buffer, with rewards in today's scale."""
        obs, act, next_obs, rew, cont, _ = rows.split(self._widths, dim=-1)
        rew = rew.squeeze(-1) * self.reward_scale[task][:, None]
        return Batch(obs, act, rew, next_obs, discount * cont.squeeze(-1), task)

    def _rows_at(
        self, slot: Int[Tensor, "T B *n"], task: Int[Tensor, " T"], first_column: int = 0
    ) -> Float[Tensor, "T B *n D"]:
        place = slot + (task * self.capacity).view(-1, *[1] * (slot.ndim - 1))
        return self.data.flatten(0, 1)[:, first_column:][place]

    def _n_step(
        self, start: Batch, slot: Int[Tensor, "T B"], discount: float, n_step: int
    ) -> Batch:
        """Sutton & Barto 2018, eq. 12.1, cut where the episode or what is stored of it ends."""
        task = start.task
        steps = torch.arange(n_step, device=slot.device)  # [n]
        ahead = steps * self.copies
        newer = self.size[task][:, None] - 1 - (slot - self._first[task][:, None]) % self.capacity
        slots = (slot[..., None] + ahead) % self.capacity  # [T, B, n]
        rew, cont, first = self._rows_at(slots, task, -3).unbind(-1)
        goes_on = (ahead <= newer[..., None]) & ((first == 0) | (steps == 0))
        spanned = goes_on.long().cumprod(-1)  # [T, B, n]
        last = spanned.sum(-1, keepdim=True) - 1
        rew = (rew * discount**steps * spanned).sum(-1) * self.reward_scale[task][:, None]
        end = self._rows_at(slots.take_along_dim(last, -1).squeeze(-1), task)
        cont = cont.take_along_dim(last, -1).squeeze(-1)
        return start._replace(
            rew=rew,
            next_obs=end.split(self._widths, dim=-1)[2],
            discount=discount ** (last.squeeze(-1) + 1) * cont,
        )

    def _slot(self, pick: Float[Tensor, "T B"], task: Int[Tensor, " T"]) -> Int[Tensor, "T B"]:
        size = self.size[task][:, None]
        return torch.minimum((pick * size).long(), size - 1)  # a product may round up to size

    def _weighted_slot(
        self, pick: Float[Tensor, "T B"], task: Int[Tensor, " T"]
    ) -> Int[Tensor, "T B"]:
        """Old transitions fill ``old_weight`` of an interval each, new ones a whole one: ``pick``
        is the place on that line, which begins with the oldest."""
        size, old = self.size[task][:, None], self._old[task][:, None]
        of_old = self.old_weight * old.double()
        place = pick * (of_old + size - old)
        among_old = torch.minimum((place / (self.old_weight or 1.0)).long(), old - 1)
        among_new = torch.minimum(old + (place - of_old).long(), size - 1)
        age = torch.where(place < of_old, among_old, among_new)
        return (self._first[task][:, None] + age) % self.capacity

    def holds(self, task: int) -> bool:
        """Whether there is anything of this task to sample."""
        lost = self._retired[task] if self.old_weight == 0 else 0
        return self._written[task] > lost

    @property
    def written(self) -> list[int]:
        """How many rows each task has ever received; row n of them is in slot n % capacity."""
        return list(self._written)

    def rows(self, task: int, start: int) -> Float[Tensor, "n D"]:
        """A task's rows from number ``start`` on, oldest first, on the CPU.

        Raises:
            ValueError: the ring holds other rows there by now.
        """
        end = self._written[task]
        if not max(0, end - self.capacity) <= start <= end:
            raise ValueError(f"row {start} of task {task} is not in the buffer")
        slots = torch.arange(start, end, device=self.data.device) % self.capacity
        return self.data[task, slots].cpu()

    def restore(self, task: int, start: int, rows: Float[Tensor, "n D"]) -> None:
        """Puts rows number ``start`` and following back; `load_state_dict` says which count."""
        slots = torch.arange(start, start + len(rows), device=self.data.device) % self.capacity
        self.data[task, slots] = rows.to(self.data.device)

    def state_dict(self) -> dict[str, object]:
        """What there is besides the rows."""
        return {
            "written": self.written,
            "retired": list(self._retired),
            "reward_scale": self.reward_scale.cpu().clone(),
        }

    def load_state_dict(self, state: dict) -> None:
        self._written = list(state["written"])
        self._retired = list(state["retired"])
        self.reward_scale.copy_(state["reward_scale"])
        self._publish()
