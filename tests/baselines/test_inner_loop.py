"""The order of every meta-gradient, by finite differences in float64; and one step by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

from baselines.gradient.reptile import towards
from baselines.nn.inner_loop import Moved, forward, initial, whole
from baselines.nn.inner_loop import descend as descend_in_any_form

RATE, TASKS, K, D = 0.2, 3, 4, 6  # K < D: the first of several layers is adapted in the dual
MASK = torch.arange(K) < torch.tensor([0, 2, 4])[:, None]


def descend(*arguments, **keywords):
    return whole(descend_in_any_form(*arguments, **keywords))


def _double(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _weights(hidden: tuple[int, ...]) -> tuple[Tensor, ...]:
    weights = initial((D, *hidden), torch.Generator().manual_seed(5), 0.5)
    return tuple(w.double() + 0.1 * _double(i, *w.shape) for i, w in enumerate(weights))


X, TARGET, QUERY = _double(1, TASKS, K, D), _double(2, TASKS, K).sigmoid(), _double(3, TASKS, 5, D)
WRONG = {"logistic": lambda f: (f.sigmoid() - TARGET) * MASK, "squared": lambda f: (f - TARGET) * MASK}


def _inner_loss(weights, x, target, mask, kind):
    f = forward(weights, x[None])[0][0]
    each = torch.nn.functional.softplus(f) - target * f if kind == "logistic" else (f - target).square() / 2
    return (each * mask).sum()


def _outer(phi) -> Tensor:
    return (forward(phi, QUERY)[0] - 1.0).square().mean()


@pytest.mark.parametrize("kind", ["logistic", "squared"])
@pytest.mark.parametrize("hidden", [(), (4,), (5, 4)])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_written_gradient_equals_vmap_of_grad(hidden, kind, steps):
    theta = _weights(hidden)
    fast = descend(theta, X, WRONG[kind], [RATE] * len(theta), steps)
    slow = tuple(w.expand(TASKS, *w.shape) for w in theta)
    for _ in range(steps):
        step = vmap(grad(_inner_loss), in_dims=(0, 0, 0, 0, None))(slow, X, TARGET, MASK, kind)
        slow = tuple(w - RATE * g for w, g in zip(slow, step, strict=True))
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    for one, start in zip(fast, theta, strict=True):
        assert torch.equal(one[0], start.view_as(one[0])), "at zero shots phi is theta"


@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_dual_first_layer_equals_the_whole_one(steps, second_order):
    """Rows that count nothing make K >= D, where the layer is formed."""
    theta = tuple(w.requires_grad_() for w in _weights((5, 4)))
    rates = [RATE] * len(theta)
    padded = torch.nn.functional.pad(X, (0, 0, 0, 4), value=1.0)
    found = []
    for x, wrong in (
        (X, WRONG["logistic"]),
        (padded, lambda f: torch.nn.functional.pad(WRONG["logistic"](f[:, :K]), (0, 4))),
    ):
        phi = descend_in_any_form(theta, x, wrong, rates, steps, second_order)
        assert isinstance(phi[0], Moved) == (x is X)
        found.append([*whole(phi), *torch.autograd.grad(_outer(phi), theta)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def _numeric(loss, weights, which: int) -> Tensor:
    found = torch.zeros_like(weights[which])
    for i in range(found.numel()):
        ends = []
        for step in (1e-6, -1e-6):
            moved = [w.clone() for w in weights]
            moved[which].view(-1)[i] += step
            ends.append(loss(tuple(moved)).item())
        found.view(-1)[i] = (ends[0] - ends[1]) / 2e-6
    return found


def _rates(method: str, n: int) -> list[float]:
    return [0.0] * (n - 2) + [RATE] * 2 if method == "anil" else [RATE] * n


@pytest.mark.parametrize("kind", ["logistic", "squared"])
@pytest.mark.parametrize("method", ["maml", "anil"])
@pytest.mark.parametrize("hidden", [(), (4,)])
def test_the_meta_gradient_is_of_second_order(method, hidden, kind):
    theta = tuple(w.requires_grad_() for w in _weights(hidden))

    def loss(weights):
        return _outer(descend(weights, X, WRONG[kind], _rates(method, len(weights)), 3))

    exact = torch.autograd.grad(loss(theta), theta)
    for which, got in enumerate(exact):
        torch.testing.assert_close(got, _numeric(loss, [w.detach() for w in theta], which), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ["logistic", "squared"])
def test_first_order_is_the_gradient_at_the_adapted_weights_and_not_the_exact_one(kind):
    theta = tuple(w.requires_grad_() for w in _weights((4,)))
    rates = [RATE] * len(theta)
    exact = torch.autograd.grad(_outer(descend(theta, X, WRONG[kind], rates, 3)), theta)
    first = torch.autograd.grad(_outer(descend(theta, X, WRONG[kind], rates, 3, second_order=False)), theta)
    phi = tuple(w.detach().requires_grad_() for w in descend(theta, X, WRONG[kind], rates, 3))
    at_phi = torch.autograd.grad(_outer(phi), phi)
    for one, there in zip(first, at_phi, strict=True):
        torch.testing.assert_close(one, there.sum(0).view_as(one), rtol=0, atol=1e-12)
    assert max(float((a - b).abs().max()) for a, b in zip(exact, first, strict=True)) > 1e-3


def test_meta_sgd_learns_its_rates_through_the_inner_step():
    theta = _weights(())
    rates = tuple(torch.full_like(w, RATE).requires_grad_() for w in theta)

    def loss(alpha):
        return _outer(descend(theta, X, WRONG["logistic"], alpha, 2))

    for which, got in enumerate(torch.autograd.grad(loss(rates), rates)):
        torch.testing.assert_close(got, _numeric(loss, [r.detach() for r in rates], which), rtol=1e-5, atol=1e-8)


def test_reptile_with_one_inner_step_is_sgd():
    theta = tuple(w.requires_grad_() for w in _weights((4,)))
    end = descend(theta, X, WRONG["squared"], [RATE] * len(theta), 1)
    step = torch.autograd.grad(towards(theta, tuple(w.detach() for w in end)), theta)
    joint = sum(_inner_loss(theta, X[t], TARGET[t], MASK[t], "squared") for t in range(TASKS)) / TASKS
    for one, plain in zip(step, torch.autograd.grad(joint, theta), strict=True):
        torch.testing.assert_close(one, RATE * plain, rtol=0, atol=1e-12)


def test_on_a_quadratic_one_step_is_one_step():
    """L = |X w - y|^2 / 2: phi = theta - rate (H theta - X'y), d phi / d theta = I - rate H."""
    x, y, w, c = X[2], TARGET[2], _double(7, D, 1), torch.zeros(1, 1, dtype=torch.float64)
    design = torch.cat([x, torch.ones(K, 1, dtype=torch.float64)], 1)

    def step(flat):
        phi = descend((flat[:D, None], flat[D:, None]), x[None], lambda f: f - y, [RATE, RATE], 1)
        return torch.cat([phi[0][0, :, 0], phi[1][0, :, 0]])

    theta = torch.cat([w[:, 0], c[0]])
    hessian = design.T @ design
    torch.testing.assert_close(step(theta), theta - RATE * (hessian @ theta - design.T @ y))
    jacobian = torch.autograd.functional.jacobian(step, theta)
    torch.testing.assert_close(jacobian, torch.eye(D + 1, dtype=torch.float64) - RATE * hessian)
