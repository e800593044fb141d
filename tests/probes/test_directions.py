"""Claims about subspaces, noise ceilings, decomposed preferences and value neurons."""

import math

import numpy as np
import pytest
import torch
from tiny_models import TEXTS, tiny_lm

from valuelab import probes
from valuelab.activations import capture
from valuelab.probes.directions import neuron_activations, orthonormal, writing_matrix

D = 24


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------- subspaces


def test_principal_angles_recover_planted_angles_down_to_zero():
    q = torch.linalg.qr(noise(D, D).double()).Q.T
    for angles in ([0.0, 0.3], [1e-6, math.pi / 2], [0.7, 1.2]):
        A = q[:2]
        B = torch.stack([math.cos(t) * q[i] + math.sin(t) * q[i + 2] for i, t in enumerate(angles)])
        mixed = torch.tensor([[2.0, 1.0], [0.5, -3.0]]).double() @ B  # any basis of the same plane
        found = probes.principal_angles(A, mixed)
        wanted = torch.tensor(angles, dtype=torch.float64)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)
        assert probes.grassmann_distance(A, B) == pytest.approx(math.hypot(*angles))
    line = probes.principal_angles(q[0], q[:3])
    assert len(line) == 1 and line[0] < 1e-7
    assert len(probes.principal_angles(q[:3], q[0])) == 1


def test_principal_angles_agree_with_scipy():
    from scipy.linalg import subspace_angles

    A, B = noise(3, D, seed=1), noise(5, D, seed=2)
    ours = probes.principal_angles(A, B).flip(0).numpy()
    np.testing.assert_allclose(ours, subspace_angles(A.double().T.numpy(), B.double().T.numpy()))


def test_subspaces_are_not_centred_and_their_mean_is_the_shared_part():
    axis = torch.nn.functional.normalize(noise(D), dim=0)
    differences = 3 * axis + 0.3 * noise(200, D, seed=1)
    assert abs(probes.subspace(differences, 1)[0] @ axis.double()) > 0.99
    q = torch.linalg.qr(noise(D, D)).Q.T
    bases = [torch.stack([q[0], q[1 + k]]) for k in range(4)]  # all hold q0, each one other
    mean, shared = probes.grassmann_mean(bases, 2)
    assert abs(mean[0] @ q[0].double()) == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(shared, [1.0, 0.25], atol=1e-6)
    # no other line is nearer to all of them
    distance = sum(float(torch.sin(probes.principal_angles(mean[0], b)) ** 2) for b in bases)
    for k in range(20):
        other = probes.principal_angles
        rival = mean[0] + 0.2 * noise(D, seed=k).double()
        assert sum(float(torch.sin(other(rival, b)) ** 2) for b in bases) > distance


def test_impossible_subspaces_are_explained():
    with pytest.raises(ValueError, match="k=30 directions"):
        probes.subspace(noise(40, D), 30)
    with pytest.raises(ValueError, match="span fewer than k=2"):
        probes.subspace(torch.ones(5, D), 2)
    with pytest.raises(ValueError, match="not independent"):
        probes.principal_angles(torch.ones(2, D), noise(2, D))
    with pytest.raises(ValueError, match="widths"):
        probes.principal_angles(noise(2, D), noise(2, D + 1))
    with pytest.raises(ValueError, match="no subspaces"):
        probes.grassmann_mean([])


def test_decomposed_preferences_keep_the_mean_and_add_what_it_lacks():
    q = torch.linalg.qr(noise(D, D)).Q.T
    taste = torch.randn(300, 1, generator=torch.Generator().manual_seed(2))
    rise = 2 * q[0] + 1.5 * taste * q[1] + 0.1 * noise(300, D, seed=3)
    low = noise(300, D, seed=4)
    heads = probes.preference_directions(low + rise, low, 3)
    assert heads[0].direction @ q[0] > 0.98 and abs(heads[1].direction @ q[1]) > 0.98
    shares = [h.meta["share"] for h in heads]
    assert shares[0] > shares[1] > 10 * shares[2]
    gram = torch.stack([h.direction for h in heads])
    torch.testing.assert_close(gram @ gram.T, torch.eye(3), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="no pairs"):
        probes.preference_directions(low, low[:4], 2)


# ------------------------------------------------------------------------ noise ceilings


@pytest.mark.parametrize("size", [0.15, 0.4, 1.0])
def test_reliability_is_the_squared_cosine_with_the_truth(size):
    truth = torch.nn.functional.normalize(noise(64), dim=0)
    found, exact = [], []
    for seed in range(20):
        X = size * truth + noise(60, 64, seed=seed + 1) / 4
        found.append(probes.reliability(X, seed=seed))
        mean = X.mean(0)
        exact.append(float((mean @ truth / mean.norm()) ** 2))
    assert np.mean(found) == pytest.approx(np.mean(exact), abs=0.06)


@pytest.mark.parametrize("cosine", [1.0, 0.6, 0.0])
def test_the_corrected_cosine_recovers_what_noise_hides(cosine):
    q = torch.linalg.qr(noise(64, 64)).Q.T
    raw, corrected = [], []
    for seed in range(80):
        a, b = q[0], cosine * q[0] + (1 - cosine**2) ** 0.5 * q[1]
        A = 0.25 * a + noise(60, 64, seed=100 + seed) / 4
        B = 0.25 * b + noise(90, 64, seed=500 + seed) / 4
        found = probes.agreement(A, B, draws=10)
        raw.append(found.cosine)
        corrected.append(found.corrected)
    assert np.mean(corrected) == pytest.approx(cosine, abs=0.06)
    if cosine == 1.0:
        assert np.mean(raw) < 0.7  # read without its ceiling, the same direction looks like another


def test_the_shared_axis_and_the_rest_rebuild_both_directions():
    A, B = noise(30, D, seed=1) + 1, noise(40, D, seed=2) + 1
    found = probes.agreement(A, B)
    units = torch.stack([x.double().mean(0) / x.double().mean(0).norm() for x in (A, B)])
    along = (units @ found.shared)[:, None] * found.shared
    torch.testing.assert_close(along + found.own, units)
    assert float((units @ found.shared)[0] ** 2) == pytest.approx((1 + found.cosine) / 2)
    torch.testing.assert_close(found.own[0], -found.own[1])
    with pytest.raises(ValueError, match="at least four"):
        probes.agreement(A[:3], B)


def test_pure_noise_has_no_ceiling_and_no_corrected_cosine():
    A, B = noise(50, 64, seed=1), noise(50, 64, seed=2)
    found = probes.agreement(A - A.mean(0), B)
    assert found.ceiling < 0.1 and math.isnan(found.corrected)


# ------------------------------------------------------------------------- value neurons


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "qwen3"])
def test_contributions_add_up_to_what_the_block_writes(architecture):
    lm, layer = tiny_lm(architecture), 1
    v = noise(32, seed=3)
    module, written = writing_matrix(lm.blocks[layer], lm.d_model)
    outputs = []
    handle = module.register_forward_hook(lambda m, a, out: outputs.append(out.detach()))
    for text in TEXTS[:4]:
        capture(lm, [text], layer)
    handle.remove()
    ends = [o.reshape(-1, 32)[-1] for o in outputs]
    wanted = (torch.stack(ends[:2]).mean(0) - torch.stack(ends[2:]).mean(0)) @ v / v.norm()
    found = probes.neuron_contributions(lm, TEXTS[:2], TEXTS[2:4], v, layer)
    assert found.shape == (written.shape[0],)
    torch.testing.assert_close(found.sum(), wanted, rtol=1e-4, atol=1e-5)


def test_holding_the_top_neurons_removes_more_of_the_direction_than_random_ones():
    lm, layer = tiny_lm("llama"), 1
    v = noise(32, seed=3)
    c = probes.neuron_contributions(lm, TEXTS[:2], TEXTS[2:4], v, layer)
    top = c.argsort(descending=True)[:5]

    def gap():
        high, low = (capture(lm, t, layer)[layer].mean(0) for t in (TEXTS[:2], TEXTS[2:4]))
        return float((high - low) @ v / v.norm())

    before = gap()
    with probes.without_neurons(lm, layer, top):
        after = gap()
    assert before - after == pytest.approx(float(c[top].sum()), abs=1e-4)
    draws = []
    for seed in range(10):
        chosen = torch.randperm(len(c), generator=torch.Generator().manual_seed(seed))[:5]
        with probes.without_neurons(lm, layer, chosen):
            draws.append(before - gap())
    assert before - after > max(draws) and gap() == pytest.approx(before)


def test_neurons_are_read_at_the_last_token_and_mixtures_are_refused():
    lm = tiny_lm("llama")
    a = neuron_activations(lm, TEXTS, 0)
    assert a.shape == (len(TEXTS), 48)
    torch.testing.assert_close(a[1:2], neuron_activations(lm, TEXTS[1:2], 0))
    with pytest.raises(ValueError, match="mixtures of experts"):
        neuron_activations(tiny_lm("mixtral"), TEXTS, 0)
    with pytest.raises(ValueError, match="0 to 47"), probes.without_neurons(lm, 0, [48]):
        pass


def test_orthonormal_rows_span_the_same_space():
    A = noise(4, D)
    q = orthonormal(A)
    torch.testing.assert_close(q @ q.T, torch.eye(4).double())
    torch.testing.assert_close(A.double() @ q.T @ q, A.double())
