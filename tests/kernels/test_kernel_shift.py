"""Kernel 1: the fused gated minimal shift of one value."""

import pytest
import torch
from kernel_buffers import Guarded, close, draw, poisoned_outputs

from valuelab import kernels

SHAPES = [(1, 1), (1, 200), (37, 256), (64, 1000), (17, 4096), (5, 123)]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def exact(h, w, target, bias, side, gate=None):
    """The formula in float64, written another way than the reference: case by case."""
    h, w = h.double().cpu(), w.double().cpu()
    z = (h * w).sum(1) + bias
    wanted = {"at least": z.clamp(min=target), "at most": z.clamp(max=target)}
    goal = wanted.get(side, torch.full_like(z, target))
    step = (goal - z) / (w * w).sum()
    if gate is not None:
        step = step * gate.double().cpu()
    return h + step[:, None] * w, z, step * w.norm()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_float64_on_awkward_shapes(device, shape, dtype):
    n, d = shape
    h, w = draw(n, d, dtype=dtype, device=device), draw(d, seed=1, device=device) / d**0.5
    packed = kernels.settings(0.3, 0.8, "at least", device)
    out, score, size = kernels.steer(h, w, packed, report=True)
    want, z, length = exact(h, w, 0.8, 0.3, "at least")
    scale = (h.double() * w.double()).abs().sum(1).cpu() + 1
    assert ((score.double().cpu() - z).abs() <= 1e-6 * scale).all()
    close(size, length, torch.float32, slack=2e-6 * scale / w.double().norm().cpu())
    close(out, want, dtype, slack=2e-6)


@pytest.mark.parametrize("side", ["at least", "at most", "exactly"])
def test_moves_only_the_side_that_was_asked(device, side):
    h, w = draw(50, 96, device=device), draw(96, seed=1, device=device) / 10
    packed = kernels.settings(-0.1, 0.2, side, device)
    out, score, size = kernels.steer(h, w, packed, report=True)
    after = out @ w - 0.1
    moved = {"at least": score < 0.2, "at most": score > 0.2, "exactly": score == score}[side]
    assert moved.any() and (side == "exactly" or not moved.all())
    torch.testing.assert_close(after[moved], torch.full_like(after[moved], 0.2))
    assert torch.equal(out[~moved], h[~moved]) and (size[~moved] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("gap,shift", [(0, 0), (8, 0), (3, 1)], ids=str)
@pytest.mark.parametrize("inplace", [True, False])
def test_reads_and_writes_nothing_outside_its_rows(device, gap, shift, inplace, dtype):
    h = Guarded(draw(21, 75, dtype=dtype, device=device), gap, shift)
    w = Guarded(draw(1, 75, seed=1, device=device) / 8, shift=shift)
    gate = (draw(21, seed=2) > 0).to(device)
    before = h.view.clone()
    packed = kernels.settings(0.0, 0.5, device=device)
    with poisoned_outputs():
        out, score, size = kernels.steer(h.view, w.view[0], packed, gate=gate, inplace=inplace, report=True)
    assert h.untouched_outside() and w.untouched_outside()
    assert out.isfinite().all() and score.isfinite().all() and size.isfinite().all()
    if inplace:
        assert out.data_ptr() == h.view.data_ptr()
    else:
        assert torch.equal(h.view, before)
    want = exact(before, w.view[0], 0.5, 0.0, "at least", gate)[0]
    close(out, want, dtype, slack=2e-6)


def test_a_shut_gate_keeps_every_bit(device):
    h = draw(40, 33, dtype=torch.bfloat16, device=device)
    h[::2, 0] = -0.0
    gate = torch.zeros(40, dtype=torch.bool, device=device)
    packed = kernels.settings(0.0, 9.0, device=device)
    for inplace in (False, True):
        out = kernels.steer(h.clone(), torch.ones(33, device=device), packed, gate=gate, inplace=inplace)
        assert torch.equal(out.view(torch.int16), h.view(torch.int16))


def test_a_float_gate_takes_that_share_of_the_step(device):
    h, w = draw(8, 64, device=device), draw(64, seed=1, device=device)
    packed = kernels.settings(0.0, 40.0, device=device)
    whole = kernels.steer(h, w, packed) - h
    half = kernels.steer(h, w, packed, gate=torch.full((8,), 0.5, device=device)) - h
    torch.testing.assert_close(half, whole / 2, rtol=1e-4, atol=1e-6)


def test_in_place_equals_out_of_place_bit_for_bit_and_runs_repeat(device):
    h, w = draw(33, 500, dtype=torch.bfloat16, device=device), draw(500, seed=1, device=device)
    packed = kernels.settings(0.1, 1.0, device=device)
    first = kernels.steer(h, w, packed)
    assert torch.equal(first, kernels.steer(h, w, packed))
    assert torch.equal(first, kernels.steer(h.clone(), w, packed, inplace=True))


def test_rows_wider_than_the_registers_take_two_passes(device):
    from valuelab.kernels import shift_triton

    d = shift_triton.WIDEST + 77
    h, w = draw(3, d, device=device), draw(d, seed=1, device=device) / d**0.5
    gate = torch.tensor([1.0, 0.0, 1.0], device=device)
    packed = kernels.settings(0.0, 1.5, device=device)
    out, score, _ = kernels.steer(h, w, packed, gate=gate, report=True)
    want, z, _ = exact(h, w, 1.5, 0.0, "at least", gate)
    close(score, z, torch.float32, slack=1e-6 * (h * w).abs().sum(1).cpu())
    close(out, want, torch.float32, slack=2e-6)
    assert torch.equal(out[1], h[1])
    assert torch.equal(kernels.steer(h.clone(), w, packed, gate=gate, inplace=True), out)


@pytest.mark.parametrize("shape", [(0, 64), (2, 0, 64), (2, 3, 64), (64,)], ids=str)
def test_any_number_of_leading_axes_empty_ones_too(device, shape):
    h, w = draw(*shape, device=device), draw(64, seed=1, device=device)
    packed = kernels.settings(0.0, 5.0, device=device)
    out, score, size = kernels.steer(h, w, packed, report=True)
    assert out.shape == h.shape and score.shape == size.shape == h.shape[:-1]
    rows = kernels.steer(h.reshape(-1, 64), w, packed)
    assert torch.equal(out.reshape(-1, 64), rows)


def test_slices_and_transposes_are_steered_where_they_lie(device):
    whole, w = draw(4, 9, 48, device=device), draw(48, seed=1, device=device)
    packed = kernels.settings(0.0, 5.0, device=device)
    for piece in (lambda x: x[:, 1:], lambda x: x[:, -1], lambda x: x.transpose(0, 1)):
        want = kernels.steer(piece(whole).contiguous(), w, packed)
        copy = whole.clone()
        kernels.steer(piece(copy), w, packed, inplace=True)
        assert torch.equal(piece(copy), want)
        assert torch.equal(kernels.steer(piece(whole), w, packed), want)
    columns = draw(48, 9, device=device).T
    assert torch.equal(kernels.steer(columns, w, packed), kernels.steer(columns.contiguous(), w, packed))


def test_a_zero_probe_or_an_infinite_state_is_left_alone(device):
    h = draw(3, 16, device=device)
    h[1, 0] = float("inf")
    h[2, 0] = float("nan")
    packed = kernels.settings(0.0, 100.0, device=device)
    out = kernels.steer(h, torch.ones(16, device=device), packed)
    assert out[0].isfinite().all() and not torch.equal(out[0], h[0])
    assert torch.equal(out[1:].nan_to_num(7.0), h[1:].nan_to_num(7.0))
    assert torch.equal(kernels.steer(h[:1], torch.zeros(16, device=device), packed), h[:1])


def test_the_gradient_is_the_projection_that_float64_autograd_finds(device):
    h, w = draw(24, 80, device=device), draw(80, seed=1, device=device) / 9
    gate = (draw(24, seed=2) > -0.5).to(device)
    packed = kernels.settings(0.1, 0.4, device=device)
    weights = [draw(*s, seed=i, device=device) for i, s in enumerate([(24, 80), (24,), (24,)], 5)]

    def loss(h, run, dtype):
        found = run(h)
        return sum((f * g.to(dtype)).sum() for f, g in zip(found, weights, strict=True))

    ours = h.clone().requires_grad_()
    loss(ours, lambda x: kernels.steer(x, w, packed, gate=gate, report=True), h.dtype).backward()
    exact = h.double().requires_grad_()
    args = (w.double(), packed.double(), gate.double())
    loss(exact, lambda x: kernels.steer_reference(x, *args), torch.float64).backward()
    close(ours.grad, exact.grad, torch.float32, slack=2e-6)


def test_bfloat16_storage_misses_the_target_by_little_and_is_never_asserted_exactly(device):
    h, w = draw(64, 1024, dtype=torch.bfloat16, device=device), draw(1024, seed=1, device=device)
    w = w / w.norm()
    packed = kernels.settings(0.0, 1.0, device=device)
    after = kernels.steer(h, w, packed).double() @ w.double()
    assert (after >= 1.0 - 0.05).all() and (after < 1.0).any()


def test_bad_input_says_what_and_how_to_mend_it(device):
    h, w, packed = draw(4, 8), draw(8), kernels.settings(0.0, 1.0)
    cases = [
        (lambda: kernels.steer(h, w[:7], packed), "read h at the layer"),
        (lambda: kernels.steer(h, w, packed[:2]), "settings(bias, target, side)"),
        (lambda: kernels.steer(h.long(), w, packed), "floating point"),
        (lambda: kernels.steer(h, w, packed, gate=torch.ones(3)), "one gate for each"),
        (lambda: kernels.settings(0.0, 1.0, "more"), "at least"),
        (lambda: kernels.settings(0.0, float("inf")), "ask for 0.99"),
        (
            lambda: kernels.steer(h.clone().requires_grad_(), w, packed, inplace=True),
            "inplace=False",
        ),
    ]
    for call, phrase in cases:
        with pytest.raises(ValueError, match=phrase.replace("(", r"\(").replace(")", r"\)")):
            call()
