"""The kernels as torch operators: opcheck, compile, hooks, export, dispatch."""

import pytest
import torch
from kernel_buffers import draw
from torch.library import opcheck

from valuelab import kernels
from valuelab.kernels import joint, logprob, norm, pairs, shift


def samples(device):
    """(operator, arguments) for each operator, with and without a gradient where there is one."""
    h, w = draw(6, 32, device=device), draw(32, seed=1, device=device)
    packed, gate = kernels.settings(0.1, 1.0, device=device), draw(6, device=device) > 0
    head = draw(3, 32, seed=2, device=device)
    many = kernels.settings(0.0, [0.5, 1.0, -1.0], ["at least", "at most", "exactly"], device)
    ready = kernels.prepare(head)
    targets = torch.arange(6, device=device)
    leaf = h.clone().requires_grad_()
    tail = (many, gate, 1e-3, float("inf"), "fused")
    yield shift.steer_op, (h, w, packed, None)
    yield shift.steer_op, (leaf, w, packed, gate)
    yield shift.steer_op_, (h.clone(), w, packed, gate)
    yield joint.steer_joint_op_, (h.clone(), *ready, *tail)
    yield norm.add_steer_norm_op, (leaf, leaf.detach() + 1, w, w, packed, gate, 1e-6)
    yield logprob.token_log_prob_op, (leaf, targets, 0.9)
    row = torch.rand(6, device=device)
    yield logprob.token_log_prob_backward_op, (row, row, h, targets, row, row, 0.9)
    yield logprob.linear_log_prob_op, (leaf, draw(40, 32, device=device), targets, 1.0, 4)
    yield pairs.pair_loss_op, (leaf[:, 0].detach().clone().requires_grad_(), h[:, 1].clone(), 0.1)


@pytest.mark.parametrize("number", range(9))
def test_opcheck_passes(device, number):
    operator, args = list(samples(device))[number]
    opcheck(operator, args)


def test_opcheck_passes_for_the_joint_operator(device):
    h = draw(6, 32, device=device)
    ready = kernels.prepare(draw(3, 32, seed=2, device=device))
    many = kernels.settings(0.0, [0.5, 1.0, -1.0], ["at least", "at most", "exactly"], device)
    for leaf in (h, h.clone().requires_grad_()):
        opcheck(joint.steer_joint_op, (leaf, *ready, many, None, 1e-3, 2.0, "library"))


class Block(torch.nn.Module):
    """A decoder block's bare bones, steered between its two halves."""

    def __init__(self, device, how):
        super().__init__()
        self.linear = torch.nn.Linear(32, 32, device=device)
        self.w = draw(32, seed=1, device=device)
        self.packed = kernels.settings(0.1, 1.0, device=device)
        self.ready = kernels.prepare(draw(3, 32, seed=2, device=device))
        self.many = kernels.settings(0.0, [0.5, 1.0, -1.0], ["at least"] * 3, device)
        self.how = how

    def forward(self, x):
        h = self.linear(x)
        if self.how == "inplace":
            h = kernels.steer(h, self.w, self.packed, inplace=True)
        if self.how == "bare":
            return kernels.steer(x, self.w, self.packed)
        if self.how == "out":
            h = kernels.steer(h, self.w, self.packed, gate=h[..., 0] > 0)
        if self.how == "joint":
            h = kernels.steer_joint(h, self.ready, self.many)
        if self.how == "norm":
            h = kernels.add_steer_norm(h, x, self.w, self.w, self.packed)[0]
        if self.how == "logprob":
            return kernels.token_log_prob(h, torch.arange(5, device=h.device).expand(2, 5))[0]
        return torch.relu(h)


@pytest.mark.parametrize("how", ["out", "joint", "norm", "logprob"])
def test_full_graph_compilation_gives_the_same_values_and_gradients(device, how):
    torch._dynamo.reset()
    block, x = Block(device, how), draw(2, 5, 32, device=device)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    eager, graph = x.clone().requires_grad_(), x.clone().requires_grad_()
    a, b = block(eager), compiled(graph)
    torch.testing.assert_close(a, b)
    a.sum().backward()
    b.sum().backward()
    torch.testing.assert_close(eager.grad, graph.grad)


@torch.no_grad()
def test_full_graph_compilation_of_the_step_in_place(device):
    torch._dynamo.reset()
    block, x = Block(device, "inplace"), draw(2, 5, 32, device=device)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(block(x), compiled(x))


def test_inductor_compiles_around_the_kernel(device):
    torch._dynamo.reset()
    how = "out" if device == "cuda" else "bare"  # around it, the CPU needs a C++ compiler
    block, x = Block(device, how), draw(2, 5, 32, device=device)
    torch.testing.assert_close(torch.compile(block, fullgraph=True)(x), block(x))


def test_export_keeps_the_operator_in_the_graph(device):
    block, x = Block(device, "out"), draw(2, 5, 32, device=device)
    exported = torch.export.export(block, (x,))
    assert any("valuelab.steer" in str(node.target) for node in exported.graph.nodes)
    torch.testing.assert_close(exported.module()(x), block(x))


def test_a_forward_hook_steers_and_its_settings_can_change_between_calls(device):
    layer, w = torch.nn.Linear(32, 32, device=device), draw(32, seed=1, device=device)
    packed = kernels.settings(0.0, 3.0, device=device)
    layer.register_forward_hook(lambda m, i, out: kernels.steer(out, w, packed, inplace=True))
    x = draw(7, 32, device=device)
    with torch.no_grad():
        assert ((layer(x) @ w) > 3.0 - 1e-3).all()
        packed[1] = 6.0
        assert ((layer(x) @ w) > 6.0 - 1e-3).all()


def test_dispatch_follows_the_switch_and_refuses_unknown_names(device, monkeypatch):
    x = draw(2, 4)
    with kernels.using("torch"):
        assert kernels.choose(x) == "torch"
    with kernels.using("interpret"):
        assert kernels.choose(x) == "interpret"
        assert kernels.choose(x.double()) == "torch"
    with pytest.raises(ValueError, match="auto, torch, interpret"), kernels.using("fast"):
        pass
    monkeypatch.setattr(kernels.backend, "_forced", [])
    monkeypatch.setenv("VALUELAB_KERNELS", "torch")
    assert kernels.choose(x) == "torch"
    monkeypatch.setenv("VALUELAB_KERNELS", "quick")
    with pytest.raises(ValueError, match="VALUELAB_KERNELS='quick'"):
        kernels.choose(x)


def test_a_probe_that_is_being_trained_takes_the_reference(device):
    h, w = draw(6, 32, device=device), draw(32, seed=1, device=device).requires_grad_()
    kernels.steer(h, w, kernels.settings(0.0, 9.0, device=device)).sum().backward()
    assert w.grad is not None and (w.grad != 0).any()
