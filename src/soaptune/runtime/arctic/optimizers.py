"""Optimizers that need no C++ compiler: torch's AdamW, and Muon for weight matrices."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportIncompatibleVariableOverride=false
# pyright: reportIncompatibleMethodOverride=false, reportUnknownParameterType=false
# ArcticTraining, DeepSpeed and datasets come without complete types, and its registry reads narrowed class attributes.

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from arctic_training.config.optimizer import OptimizerConfig
from arctic_training.optimizer.adam_factory import FusedAdamOptimizerFactory
from arctic_training.optimizer.factory import OptimizerFactory
from pydantic import Field

__all__ = ["AdamWFactory", "Muon", "MuonFactory"]


class AdamWFactory(OptimizerFactory):
    """``torch.optim.AdamW``; biases and norms are not decayed."""

    name = "adamw"
    config: OptimizerConfig

    def create_optimizer(self, model: Any, optimizer_config: OptimizerConfig) -> torch.optim.Optimizer:
        """Makes the optimizer.

        Args:
            model: The model.
            optimizer_config: Learning rate, betas and weight decay.

        Returns:
            The optimizer over the trainable parameters.
        """
        groups = FusedAdamOptimizerFactory.get_optimizer_grouped_params(model, optimizer_config.weight_decay)
        return torch.optim.AdamW(groups, lr=optimizer_config.learning_rate, betas=optimizer_config.betas, fused=True)


class MuonConfig(OptimizerConfig):
    """Options of Muon."""

    muon_learning_rate: float = Field(default=0.02, gt=0.0)
    """ Learning rate of the matrices; `learning_rate` is that of all other parameters. """

    muon_momentum: float = Field(default=0.95, ge=0.0, lt=1.0)
    """ Momentum of the matrices. """


class MuonFactory(OptimizerFactory):
    """Muon for the hidden matrices, AdamW for embeddings, norms and biases."""

    name = "muon"
    config: MuonConfig

    def create_optimizer(self, model: Any, optimizer_config: MuonConfig) -> torch.optim.Optimizer:
        """Makes the optimizer.

        Args:
            model: The model.
            optimizer_config: Learning rates, momentum, betas and weight decay.

        Returns:
            One optimizer that treats both kinds of parameters.
        """
        head = {id(m.weight) for m in (model.get_input_embeddings(), model.get_output_embeddings()) if m is not None}
        trainable = [p for p in model.parameters() if p.requires_grad]
        matrices = [p for p in trainable if p.ndim == 2 and id(p) not in head]
        others = [p for p in trainable if p.ndim != 2 or id(p) in head]
        return Muon(
            matrices,
            others,
            matrix_lr=optimizer_config.muon_learning_rate,
            lr=optimizer_config.learning_rate,
            momentum=optimizer_config.muon_momentum,
            betas=optimizer_config.betas,
            weight_decay=optimizer_config.weight_decay,
        )


class Muon(torch.optim.Optimizer):
    """Momentum whose update is brought to the nearest orthogonal matrix by a Newton–Schulz iteration.

    Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); the quintic
    iteration's coefficients are the published ones. It runs in fp32 and on all matrices of one shape at once:
    ``torch.optim.Muon`` iterates in bf16, which CPUs without bf16 units do many times slower.
    """

    COEFFICIENTS = (3.4445, -4.7750, 2.0315)
    ITERATIONS = 5

    def __init__(
        self,
        matrices: Iterable[torch.nn.Parameter],
        others: Iterable[torch.nn.Parameter],
        *,
        matrix_lr: float,
        lr: float,
        momentum: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        groups = [
            {"params": list(matrices), "lr": matrix_lr, "muon": True},
            {"params": list(others), "lr": lr, "muon": False},
        ]
        defaults = {"momentum": momentum, "betas": betas, "weight_decay": weight_decay, "eps": 1e-8}
        super().__init__([g for g in groups if g["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Makes one step.

        Args:
            closure: Computes the loss anew, as for every optimizer of torch.

        Returns:
            What the closure gave.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            (self._muon if group["muon"] else self._adamw)(params, group)
        return loss

    def _muon(self, params: list[torch.nn.Parameter], group: dict[str, Any]) -> None:
        by_shape: dict[tuple[int, int], list[tuple[torch.nn.Parameter, torch.Tensor]]] = {}
        for p in params:
            assert p.grad is not None
            state = self.state[p]
            buffer = state.setdefault("momentum_buffer", torch.zeros_like(p))
            buffer.lerp_(p.grad, 1 - group["momentum"])
            update = p.grad.lerp(buffer, group["momentum"])
            wide = update if p.shape[0] <= p.shape[1] else update.T
            by_shape.setdefault((wide.shape[0], wide.shape[1]), []).append((p, wide))
        for members in by_shape.values():
            orthogonal = newton_schulz(torch.stack([wide for _, wide in members]).float())
            for (p, _), one in zip(members, orthogonal, strict=True):
                step = one if p.shape[0] <= p.shape[1] else one.T
                scale = max(1.0, p.shape[0] / p.shape[1]) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(step, alpha=-group["lr"] * scale)

    def _adamw(self, params: list[torch.nn.Parameter], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        for p in params:
            assert p.grad is not None
            state = self.state[p]
            if not state:
                state.update(step=0, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
            state["step"] += 1
            state["exp_avg"].lerp_(p.grad, 1 - beta1)
            state["exp_avg_sq"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
            size = group["lr"] / (1 - beta1 ** state["step"])
            spread = (state["exp_avg_sq"] / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
            p.addcdiv_(state["exp_avg"], spread, value=-size)


def newton_schulz(matrices: torch.Tensor) -> torch.Tensor:
    """Brings the singular values of matrices near 1.

    Args:
        matrices: Shape (n, rows, columns), rows ≤ columns.

    Returns:
        The same shape.
    """
    a, b, c = Muon.COEFFICIENTS
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(Muon.ITERATIONS):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x
