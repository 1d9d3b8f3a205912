"""Muon: momentum whose matrices are made orthogonal before each step (Jordan and others, 2024).

The size of a step is that of AdamW at the same rate (Liu and others, 2025, section 2.2). Matrices
of the same shape go through together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the odd polynomial that brings singular values to 1
N_ITERATIONS = 5


def orthogonal(x: Tensor) -> Tensor:
    """[matrices, rows, columns] -> the nearest with equal singular values, roughly."""
    a, b, c = COEFFICIENTS
    tall = x.shape[1] > x.shape[2]
    y = x.mT.bfloat16() if tall else x.bfloat16()
    y = y / (y.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(N_ITERATIONS):
        square = y @ y.mT
        y = a * y + (b * square + c * square @ square) @ y
    return y.mT if tall else y


class Muon(torch.optim.Optimizer):
    def __init__(
        self, matrices: Iterable[Tensor], lr: float, momentum: float = 0.95, decay: float = 0.1
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for p in group["params"]:
                if "mean" not in self.state[p]:
                    self.state[p]["mean"] = torch.zeros_like(p)
                alike[p.shape].append(p)
            for shape, matrices in alike.items():
                gradients = [p.grad for p in matrices]
                means = [self.state[p]["mean"] for p in matrices]
                torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
                ahead = torch._foreach_lerp(gradients, means, group["momentum"])  # Nesterov's
                steps = orthogonal(torch.stack(ahead)).float() * 0.2 * max(shape) ** 0.5
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["decay"])
                torch._foreach_add_(matrices, list(steps.unbind()), alpha=-group["lr"])
