"""Random damage to bytes, numbers and trees, from a seeded generator."""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import torch

ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 0.5, -0.5, 1e-300, 1e308, -1e308, 2**31, 2**53, 2**63,
    2**64, 10**30, float("nan"), float("inf"), "", " ", "0", "1e999", "auto", "nan", "../x",
    "/dev/zero", "a\nb", "a\0b", "é", "\U0001f600", "\ud800", "%s{x}", "x" * 5000, [], {}, [[]],
    [None], [1, 2], ["a", "a"], {"a": 1}, {"": 0}, {"x" * 300: {}},
]  # fmt: skip
"""Values that few fields expect."""
SMALL = [0, 1, 2, 3, 5, 8, 0.1, 0.5, 0.9, 1e-8, True, False, None]
"""Values that are odd for some fields and keep a run small."""
TOKENS = [b"", b"-1", b"nan", b"1e999", b"99999999999999999999", b'"', b",", b"\n", b"\r", b"\0",
          b"\xff\xfe", b"{", b"]", b"[" * 3000, b"0" * 5000, b"\xef\xbb\xbf", b": ", b"&a *a",
          b"!!python/name:os.system", b";"]  # fmt: skip


def odd(rng: random.Random) -> Any:
    """An odd value; one in three is from `SMALL`, so that some are valid."""
    return copy.deepcopy(rng.choice(rng.choice([ODD, ODD, SMALL])))


def mutate_bytes(rng: random.Random, whole: bytes) -> bytes:
    """One to four small changes."""
    data = bytearray(whole)
    for _ in range(rng.randint(1, 4)):
        start = rng.randint(0, len(data))
        end = min(len(data), start + rng.choice([1, 1, 4, 40, 400]))
        kind = rng.randrange(6)
        if kind == 0:
            del data[start:]
        elif kind == 1:
            del data[start:end]
        elif kind == 2:
            data[start:end] = rng.choice(TOKENS)
        elif kind == 3:
            data[start:start] = rng.choice(TOKENS)
        elif kind == 4:
            data[start:start] = data[start:end]
        else:
            data[start:end] = rng.randbytes(end - start)
    return bytes(data)


def mutate_tree(
    rng: random.Random, tree: Any, value: Callable[[random.Random, Any], Any] | None = None
) -> Any:
    """A copy with one to three changes: values replaced, keys or items removed, added or renamed.

    ``value`` makes a new value from an old one; by default it is an `odd` one.
    """
    tree, new = copy.deepcopy(tree), value or (lambda rng, _: odd(rng))
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if not isinstance(tree, dict | list) or not tree or rng.random() < 0.01:
            return new(rng, tree)
        _change(rng, tree, new)
    return tree


def _change(rng: random.Random, node: Any, new: Callable[[random.Random, Any], Any]) -> None:
    while True:
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        child = node[key]
        if not isinstance(child, dict | list) or not child or rng.random() < 0.15:
            break
        node = child
    kind = rng.randrange(6)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[rng.choice([f"{key}x", str(key)[:-1], "env", "extends"])] = child
    elif kind == 1:
        node.insert(key, copy.deepcopy(child))
    else:
        node[key] = new(rng, child)


def mutate_state(rng: random.Random, state: Any) -> Any:
    """Like `mutate_tree`, for what `torch.save` writes: also replaces tensors by others."""
    return mutate_tree(rng, state, _other)


def _other(rng: random.Random, old: Any) -> Any:
    if not isinstance(old, torch.Tensor) or rng.random() < 0.2:
        return rng.choice([odd(rng), torch.zeros(2, 3), torch.tensor(float("nan"))])
    old = old.to_dense()  # an earlier change may have made it sparse
    changes: list[Callable[[], Any]] = [
        lambda: old.double(),
        lambda: old.to(torch.int8),
        lambda: old.to(torch.complex64),
        lambda: old[None],
        lambda: old.flatten()[:-1],
        lambda: old.repeat(*([2] * max(1, old.ndim))),
        lambda: torch.full_like(old, float("nan")) if old.is_floating_point() else old + 1,
        lambda: torch.full_like(old, float("inf")) if old.is_floating_point() else -old,
        lambda: old.to_sparse() if old.ndim else old,
        lambda: torch.empty(0),
    ]
    return rng.choice(changes)()


def as_json(rng: random.Random, tree: Any) -> bytes:
    """JSON text, including Python's extensions such as NaN; one in five is damaged."""
    text = json.dumps(tree, indent=rng.choice([None, 2])).encode()
    return mutate_bytes(rng, text) if rng.random() < 0.2 else text
