"""Combined gradients against textbook loops, with a backward pass per task and flat vectors."""

import pickle
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from helpers import (
    FULL,
    KINDS,
    filled_buffer,
    make_learner,
    make_spec,
    per_task_parameters,
    random_batch,
    random_noise,
    record_gradients,
    run_updates,
    through_a_file,
)
from scipy.optimize import minimize
from torch import Tensor
from torch.optim import Adam

from torchrl_lite.algo.gradients import METHODS
from torchrl_lite.algo.gradients.cagrad import CAGrad
from torchrl_lite.algo.gradients.cosine import mean_cosine
from torchrl_lite.algo.gradients.gradnorm import GradNorm
from torchrl_lite.algo.gradients.pcgrad import PCGrad

F64 = torch.float64
ALL = torch.arange(3)
SHARING = [kind for kind in KINDS if kind != "independent"]
SMALL = {"soft_module": {"module_hidden": 6, "gating_hidden": 7}, "hidden_shapes": [10, 8]}


# --- textbooks ------------------------------------------------------------------------------------


class Mean:
    """Base class of the textbooks, which may update their state after a step."""

    def __init__(self, tasks: int, method: Any = None) -> None:
        self.tasks, self.method = tasks, method

    def direction(self, grads: list[Tensor], losses: Tensor) -> Tensor:  # noqa: ARG002
        return sum(grads) / len(grads)

    def after(self, grads: list[Tensor], losses: Tensor, progress: Any) -> None: ...


class Surgery(Mean):
    def direction(self, grads: list[Tensor], losses: Tensor) -> Tensor:  # noqa: ARG002
        total = torch.zeros_like(grads[0])
        for i, own in enumerate(grads):
            g = own.clone()
            for j in self.method.order[i].argsort().tolist():
                if j != i and g @ grads[j] < 0:
                    g -= (g @ grads[j]) / (grads[j] @ grads[j]) * grads[j]
            total += g
        return total / len(grads)


class Averse(Mean):
    def direction(self, grads: list[Tensor], losses: Tensor) -> Tensor:  # noqa: ARG002
        n = len(grads)
        size = (sum(g @ g for g in grads) / n).sqrt()
        units = [g / size for g in grads]
        mean = sum(units) / n

        def value(w: Tensor) -> Tensor:
            mix = sum(w[i] * units[i] for i in range(n))
            return mix @ mean + 0.5 * mean.norm() * mix.norm()

        w, size = torch.full((n,), 1 / n, dtype=F64), float(n)
        for _ in range(40):
            (slope,) = torch.autograd.grad(value(w.requires_grad_()), w)
            w = w.detach()
            tried = w * (-size * slope).exp() / (w * (-size * slope).exp()).sum()
            if better := bool(value(tried) < value(w)):
                w = tried
            size *= 2 if better else 0.5
        mix = sum(w[i] * grads[i] for i in range(n))
        mean = sum(grads) / n
        return mean + 0.5 * mean.norm() * mix / mix.norm()


class Adaptive(Mean):
    def __init__(self, tasks: int, method: Any) -> None:
        super().__init__(tasks, method)
        self.xi = torch.zeros(tasks, dtype=F64, requires_grad=True)
        self.adam = Adam([self.xi], lr=0.025, weight_decay=0.01)

    def direction(self, grads: list[Tensor], losses: Tensor) -> Tensor:
        """The gradient of sum_i z_i log l_i, normalised by c."""
        z = self.xi.detach().softmax(0)
        logs = sum(z[i] / (losses[i] + 1e-8) * grads[i] for i in range(self.tasks))
        return logs / (z / (losses + 1e-8)).sum()

    def after(self, grads: list[Tensor], losses: Tensor, progress: Any) -> None:  # noqa: ARG002
        before, after = progress()
        delta = (before + 1e-8).log() - (after + 1e-8).log()
        (self.xi.grad,) = torch.autograd.grad(self.xi.softmax(0), self.xi, delta)
        self.adam.step()


class Normed(Mean):
    def __init__(self, tasks: int, method: Any) -> None:
        super().__init__(tasks, method)
        self.w = torch.ones(tasks, dtype=F64, requires_grad=True)
        self.adam = Adam([self.w], lr=0.025)
        self.first: Tensor | None = None

    def direction(self, grads: list[Tensor], losses: Tensor) -> Tensor:  # noqa: ARG002
        return sum(self.w.detach()[i] * grads[i] for i in range(self.tasks)) / self.tasks

    def after(self, grads: list[Tensor], losses: Tensor, progress: Any) -> None:
        self.first = losses if self.first is None else self.first
        rate = losses / self.first / (losses / self.first).mean()
        rate = rate**0.12 if progress is not None else torch.ones_like(rate)
        sizes = torch.stack([self.w[i] * grads[i].norm() for i in range(self.tasks)])
        l_grad = (sizes - sizes.mean().detach() * rate).abs().sum()
        (self.w.grad,) = torch.autograd.grad(l_grad, self.w)
        self.adam.step()
        with torch.no_grad():
            self.w *= self.tasks / self.w.sum()


BOOKS = {"mean": Mean, "pcgrad": Surgery, "cagrad": Averse, "famo": Adaptive, "gradnorm": Normed}


def use_textbook(learner: Any, other: Any, name: str, cosines: dict[str, float]) -> None:
    """Makes ``learner`` take textbook steps, with the random projection orders of ``other``."""
    own = {id(p) for p in per_task_parameters(learner, 3).values()}
    plain, books = learner.step, {}

    def step(
        part: str,
        losses: Tensor,
        task: Tensor,
        *,
        max_norm: float | None = None,
        progress: Any = None,
    ) -> Tensor:
        if part == "alpha":
            return plain(part, losses, task)
        if part not in books:
            combiner = other._combiners.get(part)
            by_name = BOOKS[name] if combiner else Mean
            books[part] = by_name(3, combiner and combiner.method)
        parameters = learner.optimizers[part].param_groups[0]["params"]
        shared = [p for p in parameters if id(p) not in own]
        mean = torch.autograd.grad(losses.mean(), parameters, retain_graph=True)
        for p, grad in zip(parameters, mean, strict=True):
            p.grad = grad
        flat = [
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, shared, retain_graph=True)])
            for loss in losses
        ]
        units = [g / g.norm() for g in flat]
        cosines[part] = sum(float(units[i] @ units[j]) for i, j in [(0, 1), (0, 2), (1, 2)]) / 3
        combined = books[part].direction(flat, losses.detach())
        for p, own_part in zip(shared, combined.split([p.numel() for p in shared]), strict=True):
            p.grad = own_part.view_as(p)
        norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm or float("inf"))
        learner.optimizers[part].step()
        books[part].after(flat, losses.detach(), progress)
        return norm.expand(3)

    learner.step = step


CASES = [
    *(("sac", kind, "pcgrad", {}) for kind in SHARING),
    *(("sac", "multihead", name, {"grad_clip": 0.5}) for name in BOOKS),
    ("sac", "film", "cagrad", {"temperature_weights": True, "critic": {"kind": "c51", "bins": 7}}),
    ("sac", "mlp", "famo", {"critic": {"kind": "hl_gauss", "bins": 7}}),
    ("td3", "multihead", "gradnorm", {"task_input": "embedding"}),
    ("ddpg", "mlp", "pcgrad", {"norm": "layer"}),
]


@pytest.mark.parametrize(("algo", "kind", "name", "fields"), CASES, ids=str)
def test_updates_match_the_textbook(
    algo: str, kind: str, name: str, fields: dict[str, Any]
) -> None:
    """Gradients, norms, cosines, and all weights after four updates; TD3 delays its policy."""
    fields = dict(fields)
    net = SMALL | {key: fields.pop(key) for key in ("critic", "norm") if key in fields}

    def make(gradients: str) -> Any:
        return make_learner(
            algo, make_spec(3), kind=kind, dtype=F64, net=net, gradients=gradients,
            plr=1e-2, qlr=1e-2, adam_eps=1e-3, **fields,
        )  # fmt: skip

    ours, book, cosines = make(name), make("mean"), {}
    use_textbook(book, ours, name, cosines)
    for step in range(4):
        batch = random_batch(ours.spec, seed=step)
        noise = random_noise(batch, seed=step)
        generator = torch.Generator().manual_seed(step)
        for combiner in ours._combiners.values():
            combiner.method.draw(generator)
        logged = ours.update(batch, noise, ours.variant(step))
        expected = book.update(batch, noise, book.variant(step))
        for key, value in expected.items():
            torch.testing.assert_close(logged[key], value, rtol=1e-7, atol=1e-9)
        if name in ("pcgrad", "cagrad", "gradnorm"):
            for part, cosine in cosines.items():
                measured = ours._cosines[f"{part}_grad_cosine"]
                torch.testing.assert_close(measured, torch.full((3,), cosine, dtype=F64))
    for one, other in zip(ours.parameters(), book.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-8)


# --- hand-computed cases --------------------------------------------------------------------------


def test_pcgrad_draws_the_order_of_its_projections() -> None:
    """Two projections turn the first gradient against its original, which is no conflict."""
    method, generator = PCGrad(3).double(), torch.Generator().manual_seed(0)
    angles = torch.tensor([0.0, 170.0, 250.0], dtype=F64).deg2rad()
    grads = torch.stack((angles.cos(), angles.sin()), dim=1)
    found = set()
    for _ in range(60):
        method.draw(generator)
        combined = method.weights(torch.ones(3), grads @ grads.T, ALL) @ grads
        torch.testing.assert_close(combined, Surgery(3, method).direction(list(grads), grads))
        found.add(tuple(combined.tolist()))
    assert len(found) > 2


@pytest.mark.parametrize("spread", [0.0, 1.5])
@pytest.mark.parametrize("n", [2, 10, 50])
def test_cagrad_stays_close_to_the_mean_and_helps_the_worst_task(n: int, spread: float) -> None:
    torch.manual_seed(n)
    grads = torch.randn(n, 60, dtype=F64) * torch.exp(spread * torch.randn(n, 1, dtype=F64))
    products, mean = grads @ grads.T, grads.mean(0)
    d = CAGrad(n).weights(torch.ones(n), products, torch.arange(n)) @ grads
    assert (d - mean).norm().item() == pytest.approx(0.5 * mean.norm().item(), rel=1e-6)

    def dual(w: Any) -> float:
        mix = torch.tensor(w) @ grads
        return (mix @ mean + 0.5 * mean.norm() * mix.norm()).item()

    one = {"type": "eq", "fun": lambda w: 1 - w.sum()}
    best = minimize(dual, np.ones(n) / n, bounds=[(0, 1)] * n, constraints=one).fun
    worst = (grads @ d).min().item()  # equal to the dual at the optimum
    start = (1.5 * grads @ mean).min().item()  # for the longest step along the mean
    assert worst <= best * (1 + 1e-6) + 1e-9
    assert worst > start
    assert best - worst < 0.2 * (best - start)


def test_opposite_gradients_cancel_and_degenerate_ones_stay_finite() -> None:
    grads = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    for method in (PCGrad(2), CAGrad(2)):
        w = method.weights(torch.ones(2), grads @ grads.T, torch.arange(2))
        assert (w @ grads).norm() < 1e-6
    zero = torch.zeros(2, 2)
    assert mean_cosine(zero) == 0
    rounded = torch.tensor([[1.0, -1.0000001], [-1.0000001, 1.0]])  # squared norm of the mean < 0
    assert all(m.weights(zero[0], products, torch.arange(2)).isfinite().all()
               for m in (PCGrad(2), CAGrad(2)) for products in (zero, rounded))  # fmt: skip


@pytest.mark.parametrize("algo", ["sac", "td3"])
def test_progress_is_measured_by_the_critics_losses_on_half_the_batch(algo: str) -> None:
    learner = make_learner(algo, make_spec(3), dtype=F64, gradients="famo", plr=1e-2, qlr=1e-2)
    batch = random_batch(learner.spec, batch_size=9)
    half = batch._replace(**{f: getattr(batch, f)[:, ::2] for f in batch._fields if f != "task"})
    noise, method = random_noise(batch), learner._combiners["critic"].method
    target = learner.td_target(half, noise.act[0][:, ::2])

    def losses() -> Tensor:
        return learner.critic.loss(learner.critic(half.obs, half.act, half.task), target).mean(0)

    logged, before = {}, losses()
    method.learn = lambda *_, progress: logged.update(found=progress())
    learner.update(batch, noise, "critic")
    assert not torch.equal(before, losses())
    torch.testing.assert_close(logged["found"], (before.detach(), losses().detach()))


def test_gradnorm_gives_more_weight_to_a_slow_task() -> None:
    """One loss falls to a half, the other to a quarter."""
    method, task = GradNorm(2), torch.arange(2)
    for left in (1.0, 0.5):
        losses = torch.tensor([3.0 * left, 5.0 * left**2])
        method.learn(losses, torch.eye(2), task, progress=lambda: ())
    assert method.task_weights[0] > 1 > method.task_weights[1]


def test_gradnorm_keeps_a_minimum_weight_for_each_task() -> None:
    method, products = GradNorm(2), torch.diag(torch.tensor([1.0, 1e8]))
    for _ in range(60):
        method.learn(torch.ones(2), products, torch.arange(2), progress=None)
    assert method.task_weights.min() == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize("name", METHODS)
def test_two_active_tasks_of_four_are_combined_like_two_tasks(name: str) -> None:
    """Whatever the state of the method is for inactive tasks of a curriculum."""
    four, two, training = METHODS[name](4), METHODS[name](2), torch.tensor([3, 1])
    for known in four.state_dict().values():
        known[[0, 2]] = 3.0
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        losses, after = torch.rand(2, 2, generator=generator)
        grads = torch.randn(2, 5, generator=generator)
        facts = losses, grads @ grads.T if four.NEEDS_PRODUCTS else None
        progress = partial(tuple, (losses, after))
        weights = four.weights(*facts, training)
        torch.testing.assert_close(weights, two.weights(*facts, torch.arange(2)))
        four.learn(*facts, training, progress=progress)
        two.learn(*facts, torch.arange(2), progress=progress)
    for known, expected in zip(four.state_dict().values(), two.state_dict().values(), strict=True):
        torch.testing.assert_close(known[training], expected)


@pytest.mark.parametrize("name", METHODS)
def test_a_single_active_task_trains_as_with_the_mean(name: str) -> None:
    """For example, the last task of a curriculum."""
    ours, plain = (
        make_learner("sac", make_spec(3), kind="multihead", dtype=F64, gradients=gradients)
        for gradients in (name, "mean")
    )
    for combiner in ours._combiners.values():
        for known in combiner.method.state_dict().values():
            known.fill_(0.5)
    for step in range(3):
        batch = random_batch(ours.spec, tasks=[1], seed=step)
        for learner in (ours, plain):
            learner.update(batch, random_noise(batch, seed=step), FULL)
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    assert not ours._cosines
    for combiner in ours._combiners.values():
        assert all((known == 0.5).all() for known in combiner.method.state_dict().values())


# --- in training ----------------------------------------------------------------------------------


def test_the_mean_is_the_gradient_of_the_mean_loss_to_the_last_bit() -> None:
    """It also draws no random numbers beyond those for picks and actions."""
    learner = make_learner("sac", make_spec(3), kind="multihead")
    expected: dict[str, tuple[Tensor, ...]] = {}
    plain = learner.step

    def step(name: str, losses: Tensor, task: Tensor, **more: Any) -> Tensor:
        parameters = learner.optimizers[name].param_groups[0]["params"]
        expected[name] = torch.autograd.grad(losses.mean(), parameters, retain_graph=True)
        return plain(name, losses, task, **more)

    learner.step, seen = step, record_gradients(learner)
    for _ in range(3):
        run_updates(learner, 1)
        assert seen.keys() == expected.keys() == {"critic", "actor", "alpha"}
        assert all(torch.equal(*pair) for name in seen
                   for pair in zip(seen[name], expected[name], strict=True))  # fmt: skip
    generator = torch.Generator().manual_seed(2**31)
    for _ in range(3):
        torch.empty(3, 8, dtype=F64).uniform_(generator=generator)
        torch.empty(2, 3, 8, 2).normal_(generator=generator)
    assert torch.equal(learner._generator.get_state(), generator.get_state())


@pytest.mark.parametrize(
    ("algo", "kind", "name"),
    [
        *(("sac", "multihead", name) for name in METHODS),
        *(("sac", kind, "mean") for kind in KINDS),
        ("td3", "multihead", "mean"),
    ],
)
def test_training_leaves_inactive_tasks_unchanged(algo: str, kind: str, name: str) -> None:
    """Their parameters, optimiser moments and task weights."""
    net = {"norm": "layer"} | ({"task_input": "embedding"} if kind in ("mlp", "multihead") else {})
    learner = make_learner(algo, make_spec(4), kind=kind, net=net, gradients=name, grad_clip=1.0)
    run_updates(learner, 3)
    assert any(name.startswith("target") for name in per_task_parameters(learner, 4))

    def rows(task: int) -> list[Tensor]:
        own = list(per_task_parameters(learner, 4).values())
        states = [
            opt.state[p] for opt in learner.optimizers.values() for p in own if p in opt.state
        ]
        tensors = [*own, *(state[key] for state in states for key in ("exp_avg", "exp_avg_sq"))]
        for combiner in learner._combiners.values():
            tensors += combiner.method.state_dict().values()
        return [(t[task] if t.ndim == 1 else t[:, task]).detach().clone() for t in tensors]

    before = [rows(task) for task in range(4)]
    run_updates(learner, 3, [2, 0])
    run_updates(learner, 1, [2])
    after = [rows(task) for task in range(4)]
    for task in (1, 3):
        assert all(map(torch.equal, before[task], after[task]))
    first_losses = 1 if name == "gradnorm" else 0
    changed = [not torch.equal(*pair) for pair in zip(before[0], after[0], strict=True)]
    assert changed.count(False) <= 2 * first_losses
    assert all(torch.isfinite(p).all() for p in learner.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_a_restored_learner_continues_bit_identically(name: str) -> None:
    def make(seed: int) -> Any:
        return make_learner("sac", make_spec(3), gradients=name, seed=seed, policy_delay=2)

    learner, restored = make(0), make(1)
    run_updates(learner, 5)
    run_updates(restored, 2)  # a history of its own
    restored.load_training_state(through_a_file(learner.training_state()))
    learner.flush(), restored.flush()
    for one in (learner, restored):
        run_updates(one, 5)
    state, other = learner.state_dict(), restored.state_dict()
    assert all(torch.equal(state[key], other[key]) for key in state)
    logged = learner.flush()
    assert restored.flush() == logged
    assert list(logged) == learner.metrics.columns
    measures = name != "famo"
    assert all((f"train/{part}_grad_cosine" in logged) == measures for part in ("critic", "actor"))


def test_a_frozen_policy_keeps_its_task_weights() -> None:
    learner = make_learner("sac", make_spec(3), gradients="gradnorm")
    learner.start_gently(lr_multiplier=1.0, frozen_updates=3)
    run_updates(learner, 3)
    weights = {name: one.method.task_weights for name, one in learner._combiners.items()}
    assert torch.equal(weights["actor"], torch.ones(3))
    assert not torch.equal(weights["critic"], torch.ones(3))


def test_a_copied_policy_has_no_gradient_copies() -> None:
    """The collector traces a copy; leftovers of the last update would prevent that."""
    learner = make_learner("td3", make_spec(2), gradients="pcgrad")
    run_updates(learner, 2)
    assert not learner.actor.per_task_body.take() and not learner.critic.per_task_body.take()
    batch = random_batch(learner.spec, dtype=torch.float32)
    learner.actor.act(batch.obs, batch.task)
    for copy in (deepcopy(learner.actor), pickle.loads(pickle.dumps(learner.actor))):
        assert learner.actor.per_task_body is not None and copy.per_task_body is None
        with torch.no_grad():
            expected = learner.actor.act(batch.obs, batch.task)
        assert torch.equal(copy.act(batch.obs, batch.task), expected)


def test_imitation_draws_the_order_of_projections() -> None:
    learner = make_learner("td3", make_spec(3), gradients="pcgrad")
    learner.imitate(filled_buffer(learner.spec), updates=1, batch_size=8)
    assert learner._combiners["actor"].method.order.any()
