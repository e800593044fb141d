"""Task arithmetic on state dicts: exact where it can be, in float32 where it must be, refused where it cannot be."""

import pytest
import torch

from valuelab.weights import arithmetic as A


def states(dtype=torch.float64, seed=0):
    """Two state dicts of one shape, with an integer entry as models have them."""
    g = torch.Generator().manual_seed(seed)
    make = lambda: {  # noqa: E731
        "embed": torch.randn(7, 3, generator=g, dtype=torch.float64).to(dtype),
        "head": torch.randn(3, generator=g, dtype=torch.float64).to(dtype),
        "mask": torch.arange(4),
    }
    return make(), make()


def same_bits(a, b):
    return all(a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in b) and set(a) == set(b)


def test_a_task_vector_added_once_gives_the_tuned_weights():
    base, tuned = states()
    new = A.apply(base, [A.task_vector(tuned, base)], [1.0])
    for name in ("embed", "head"):
        torch.testing.assert_close(new[name], tuned[name])


def test_integer_entries_are_no_weights():
    base, tuned = states()
    tuned["mask"] = tuned["mask"] + 5
    vector = A.task_vector(tuned, base)
    assert set(vector) == {"embed", "head"}
    assert torch.equal(A.apply(base, [vector], [1.0])["mask"], base["mask"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_lambda_zero_restores_the_base_bit_for_bit_even_with_nan_in_the_vector(dtype):
    base, tuned = states(dtype)
    vector = A.task_vector(tuned, base)
    vector["head"] = vector["head"] * float("nan")
    base["head"][0] = -0.0
    new = A.apply(base, [vector, vector], [0.0, 0.0])
    assert same_bits(new, base)
    assert torch.signbit(new["head"][0])
    assert new["embed"].data_ptr() != base["embed"].data_ptr(), "a copy is wanted, not the base itself"


def test_half_precision_is_summed_in_float32():
    base = {"w": torch.full((4,), 1000.0, dtype=torch.float16)}
    small = {"w": torch.full((4,), 0.2)}  # each alone is lost in float16, whose step at 1000 is 0.5
    new = A.apply(base, [small] * 4, [1.0] * 4)
    assert new["w"].dtype == torch.float16
    assert torch.equal(new["w"].float(), torch.full((4,), 1001.0)), new["w"]
    vector = A.task_vector({"w": torch.tensor([1.001]).half()}, {"w": torch.tensor([1.0]).half()})
    assert vector["w"].dtype == torch.float32


def test_adding_then_negating_comes_back():
    base, tuned = states()
    vector = A.task_vector(tuned, base)
    back = A.apply(A.apply(base, [vector], [0.7]), [A.negate(vector)], [0.7])
    torch.testing.assert_close(back["embed"], base["embed"])


def test_order_and_grouping_of_vectors_do_not_matter():
    base, tuned = states()
    u = A.task_vector(tuned, base)
    v = A.random_like(u, 3)
    at_once = A.apply(base, [u, v], [0.3, -1.2])
    in_turn = A.apply(A.apply(base, [v], [-1.2]), [u], [0.3])
    as_one = A.apply(base, [A.combine([u, v], [0.3, -1.2])], [1.0])
    for other in (in_turn, as_one):
        torch.testing.assert_close(other["embed"], at_once["embed"])


def test_interpolation_has_its_ends_bit_for_bit_and_is_straight():
    a, b = states(torch.float16)
    assert same_bits(A.interpolate(a, b, 0), a)
    assert same_bits(A.interpolate(a, b, 1.0), {**b, "mask": a["mask"]})
    middle = A.interpolate(a, b, 0.5)["embed"]
    torch.testing.assert_close(middle, ((a["embed"].float() + b["embed"].float()) / 2).half())
    beyond = A.interpolate(a, b, 2.0)["embed"].float()
    torch.testing.assert_close(beyond, 2 * b["embed"].float() - a["embed"].float(), atol=2e-3, rtol=2e-3)


def test_an_analogy_completes_the_parallelogram():
    base, tuned = states()
    a = A.task_vector(tuned, base)
    b, c = A.random_like(a, 1), A.random_like(a, 2)
    d = A.analogy(a, b, c)
    side = A.difference(d, c)
    torch.testing.assert_close(side["head"], A.difference(b, a)["head"])
    assert A.cosine(A.analogy(a, a, c), c) == pytest.approx(1.0)


def test_flipped_pairs_turn_the_preference_vector_round_and_keep_the_drift():
    base, plus = states()
    minus = A.apply(plus, [A.random_like(A.task_vector(plus, base), 5)], [1.0])
    phi, shared = A.preference_and_drift(plus, minus, base)
    psi, same = A.preference_and_drift(minus, plus, base)
    assert torch.equal(psi["embed"], -phi["embed"])
    torch.testing.assert_close(same["embed"], shared["embed"])
    again = A.apply(base, [phi, shared], [0.5, 1.0])
    torch.testing.assert_close(again["embed"], plus["embed"])


def test_the_random_control_has_the_length_of_every_tensor_and_no_direction_of_it():
    g = torch.Generator().manual_seed(0)
    vector = {"big": 50 * torch.randn(40, 50, generator=g), "small": torch.randn(300, generator=g)}
    vector["none"] = torch.zeros(3)
    control = A.random_like(vector, 1)
    for name in vector:
        torch.testing.assert_close(control[name].norm(), vector[name].norm())
    assert abs(A.cosine(control, vector)) < 0.1
    assert torch.equal(A.random_like(vector, 1)["big"], control["big"])
    assert not torch.equal(A.random_like(vector, 2)["big"], control["big"])


def test_overlap_is_the_matrix_of_cosines():
    u = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([[0.0]])}
    v = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([[1.0]])}
    w = A.negate(u)
    found = A.overlap([u, v, w])
    wanted = torch.tensor([[1, 0.5**0.5, -1], [0.5**0.5, 1, -(0.5**0.5)], [-1, -(0.5**0.5), 1]], dtype=torch.float64)
    torch.testing.assert_close(found, wanted)
    assert A.norm(v) == pytest.approx(2**0.5)


def test_mixing_weights_reach_what_can_be_reached_and_shrink_with_the_ridge():
    g = torch.Generator().manual_seed(0)
    effects = torch.randn(3, 10, generator=g, dtype=torch.float64)
    true = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(A.mixing_weights(effects, true @ effects), true)
    wish = torch.randn(10, generator=g, dtype=torch.float64)
    found = A.mixing_weights(effects, wish, 0.5)
    loss = lambda x: ((x @ effects - wish) ** 2).sum() + 0.5 * (x**2).sum()  # noqa: E731
    for _ in range(20):
        assert loss(found) <= loss(found + 0.01 * torch.randn(3, generator=g, dtype=torch.float64))
    assert A.mixing_weights(effects, wish, 100.0).norm() < 0.2 * A.mixing_weights(effects, wish).norm()


U = {"w": torch.zeros(2)}


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: A.task_vector({"w": torch.zeros(3)}, U), r"shape \(3,\), in the base \(2,\)"),
        (lambda: A.task_vector({"x": torch.zeros(2)}, U), "only the first of the two state dicts has 'x'"),
        (lambda: A.task_vector({}, U), "only the second of the two state dicts has 'w'"),
        (lambda: A.apply(U, [{"x": torch.zeros(2)}], [1.0]), "has 'x'"),
        (lambda: A.apply(U, [U], [1.0, 2.0]), "one scale for each vector"),
        (lambda: A.apply(U, U, [1.0]), "a single vector"),
        (lambda: A.combine([U, {"w": torch.zeros(3)}], [1, 1]), "combine: 'w' has shape"),
        (lambda: A.analogy(U, U, {"v": torch.zeros(2)}), "analogy: only the first"),
        (lambda: A.cosine(U, U), "zero everywhere"),
        (lambda: A.mixing_weights(torch.ones(2, 3), torch.ones(2)), "one wish for each readout"),
        (lambda: A.mixing_weights(torch.ones(2, 3), torch.ones(3), -1.0), "ridge"),
    ],
)
def test_what_does_not_belong_together_is_refused_with_its_name(call, says):
    with pytest.raises(A.VectorError, match=says):
        call()
