"""Replay buffer ``[T, capacity, D]`` on the learner's device."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from torchrl_lite.types import Batch, Block, Spec


def row_widths(obs_dim: int, act_dim: int) -> list[int]:
    """Widths of ``obs | act | next_obs | rew | cont | first``."""
    return [obs_dim, act_dim, obs_dim, 1, 1, 1]


class ReplayBuffer:
    """One ring buffer per task, so that batches are balanced by construction.

    A transition is one float32 vector ``obs | act | next_obs | rew | cont | first``, so that
    sampling is a single gather of contiguous bytes. The fill level is a device tensor: a sampling
    step can be captured in a CUDA graph and replayed while the buffer grows.

    Transitions are in time order, with a task's ``copies`` environments interleaved: the successor
    of a transition is ``copies`` slots later. An n-step return ends before a successor that is not
    stored yet, or is marked ``first``.
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
        """``capacity``: transitions per task; ``copies``: environments per task.

        ``old_weight``: sampling weight of a transition from before `retire`, relative to a newer
        one; 0 means that it is never sampled again.
        """
        self._widths = row_widths(spec.obs_dim, spec.act_dim)
        self.capacity, self.copies = capacity, copies
        self.data = torch.zeros(spec.num_tasks, capacity, sum(self._widths), device=device)
        self.size = torch.zeros(spec.num_tasks, dtype=torch.int64, device=device)
        self.reward_scale = torch.ones(spec.num_tasks, device=device)
        """Multiplies rewards when they are sampled; stored rewards stay raw."""
        self.old_weight = old_weight
        self._written = [0] * spec.num_tasks
        self._retired = [0] * spec.num_tasks
        # Slot of the oldest transition, and the number of transitions from before `retire`.
        self._oldest = torch.zeros_like(self.size)
        self._old = torch.zeros_like(self.size)

    @property
    def bytes_per_transition(self) -> int:
        return self.data.shape[-1] * self.data.element_size()

    def add_block(self, block: Block, tasks: Sequence[int]) -> None:
        """Append the transitions of these tasks; a full ring overwrites its oldest ones.

        Raises:
            ValueError: the block has more transitions per task than the buffer holds, or a
                different number of environments.
        """
        if block.rew.shape[2] != self.copies:
            raise ValueError(f"the block has {block.rew.shape[2]} copies, not {self.copies}")
        count = block.rew.shape[1] * self.copies
        if count > self.capacity:
            raise ValueError(
                f"an epoch has {count} transitions per task, but the buffer holds {self.capacity}"
            )
        for task in tasks:
            obs, act, rew, next_obs, cont, first = (part[task] for part in block)
            ends = torch.stack((rew, cont, first), dim=-1)
            rows = torch.cat((obs, act, next_obs, ends), dim=-1).flatten(0, 1)  # [L * K, D]
            self._append(task, rows.to(self.data.device))
        self._publish()

    def add_rows(self, task: int, rows: Float[Tensor, "n D"]) -> None:
        """Append transitions in the format of `rows`; if they are too many, only the newest."""
        self._append(task, rows[-self.capacity :])
        self._publish()

    def _append(self, task: int, rows: Float[Tensor, "n D"]) -> None:
        count = len(rows)
        start = self._written[task] % self.capacity
        fitting = min(count, self.capacity - start)
        self.data[task, start : start + fitting] = rows[:fitting]
        self.data[task, : count - fitting] = rows[fitting:]
        self._written[task] += count

    def retire(self, tasks: Sequence[int]) -> None:
        """Mark the stored transitions of these tasks as old: sampled with ``old_weight``."""
        for task in tasks:
            self._retired[task] = self._written[task]
        self._publish()

    def _publish(self) -> None:
        """Update the device tensors that say what is stored where."""
        gone = [max(0, n - self.capacity) for n in self._written]  # overwritten
        counts = zip(self._written, self._retired, gone, strict=True)
        size, old, oldest = zip(
            *((n - g, max(0, retired - g), g % self.capacity) for n, retired, g in counts),
            strict=True,
        )
        self.size.copy_(torch.tensor(size))
        self._old.copy_(torch.tensor(old))
        self._oldest.copy_(torch.tensor(oldest))

    def sample(
        self,
        pick: Float[Tensor, "T B"],
        task: Int[Tensor, " T"],
        *,
        discount: float,
        n_step: int = 1,
    ) -> Batch:
        """Sample n-step returns that start at ``pick`` (uniform in [0, 1)) of each task's data.

        A return spans fewer steps if its episode or the stored data ends early.
        """
        slot = self._slot(pick, task) if self.old_weight == 1 else self._weighted_slot(pick, task)
        start = self.batch(self._rows_at(slot, task), task, discount=discount)
        return start if n_step == 1 else self._n_step(start, slot, discount, n_step)

    def batch(
        self, rows: Float[Tensor, "T B D"], task: Int[Tensor, " T"], *, discount: float
    ) -> Batch:
        """Stored transitions as a Batch, with the current reward scale."""
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
        """Sutton & Barto 2018, eq. 12.1, truncated where the episode or the stored data ends."""
        task = start.task
        steps = torch.arange(n_step, device=slot.device)  # [n]
        ahead = steps * self.copies
        newer = self.size[task][:, None] - 1 - (slot - self._oldest[task][:, None]) % self.capacity
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
        """Place all transitions on a line, oldest first: an old one has length ``old_weight``, a
        new one length 1. ``pick`` is a position on that line."""
        size, old = self.size[task][:, None], self._old[task][:, None]
        of_old = self.old_weight * old.double()
        place = pick * (of_old + size - old)
        among_old = torch.minimum((place / (self.old_weight or 1.0)).long(), old - 1)
        among_new = torch.minimum(old + (place - of_old).long(), size - 1)
        age = torch.where(place < of_old, among_old, among_new)
        return (self._oldest[task][:, None] + age) % self.capacity

    def holds(self, task: int) -> bool:
        """Whether there are transitions of this task to sample."""
        lost = self._retired[task] if self.old_weight == 0 else 0
        return self._written[task] > lost

    @property
    def written(self) -> list[int]:
        """Transitions ever received per task; number n is in slot n % capacity."""
        return list(self._written)

    def rows(self, task: int, start: int) -> Float[Tensor, "n D"]:
        """A task's transitions from number ``start`` on, oldest first, on the CPU.

        Raises:
            ValueError: they are overwritten, or not written yet.
        """
        end = self._written[task]
        if not max(0, end - self.capacity) <= start <= end:
            raise ValueError(f"transition {start} of task {task} is not in the buffer")
        slots = torch.arange(start, end, device=self.data.device) % self.capacity
        return self.data[task, slots].cpu()

    def restore(self, task: int, start: int, rows: Float[Tensor, "n D"]) -> None:
        """Put back transitions from number ``start`` on; `load_state_dict` sets the counts."""
        slots = torch.arange(start, start + len(rows), device=self.data.device) % self.capacity
        self.data[task, slots] = rows.to(self.data.device)

    def state_dict(self) -> dict[str, object]:
        """Everything except the transitions."""
        return {
            "written": self.written,
            "retired": list(self._retired),
            "reward_scale": self.reward_scale.cpu().clone(),
        }

    def load_state_dict(self, state: dict) -> None:
        """
        Raises:
            ValueError: it is of other tasks.
        """
        written, retired = list(state["written"]), list(state["retired"])
        if not len(written) == len(retired) == len(self._written):
            raise ValueError(f"transitions of {len(written)} tasks, not {len(self._written)}")
        self._written, self._retired = written, retired
        self.reward_scale.copy_(state["reward_scale"])
        self._publish()
