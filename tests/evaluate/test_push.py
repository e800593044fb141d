import pytest
import torch

from valuelab import models
from valuelab.activations import capture
from valuelab.evaluate.push import random_push, random_units, step_sizes
from valuelab.probes import Probe
from valuelab.steering.controller import steer
from valuelab.steering.plan import Shift

TEXTS = ["I locked the door", "We helped the old man", "She sang all night long"]


@pytest.fixture(scope="module")
def lm(chat_model):
    return models.load(chat_model, device="cpu")


def shifts():
    weight = torch.randn(32, generator=torch.Generator().manual_seed(3))
    probe = Probe(weight, -0.5, layer=1)
    return {
        "add": (Shift(probe, "add", strength=2.0), None),
        "minimal": (Shift(probe, "minimal", target=0.9), None),
        "minimal, capped": (Shift(probe, "minimal", target=0.999), 0.05),
    }


@pytest.mark.parametrize("kind", ["add", "minimal", "minimal, capped"])
def test_random_steps_are_as_long_as_those_they_stand_in_for_at_every_token(lm, kind):
    shift, cap = shifts()[kind]
    before = capture(lm, TEXTS, 1, "every")[1]
    with steer(lm, shift, cap=cap):
        steered = capture(lm, TEXTS, 1, "every")[1]
    with random_push(lm, shift, seed=1, cap=cap):
        pushed = capture(lm, TEXTS, 1, "every")[1]
    for b, s, p in zip(before, steered, pushed, strict=True):
        torch.testing.assert_close((p - b).norm(dim=-1), (s - b).norm(dim=-1), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(step_sizes(shift, b, cap), (s - b).norm(dim=-1), rtol=1e-4, atol=1e-4)
    assert max((s - b).norm() for b, s in zip(before, steered, strict=True)) > 0.01


def test_each_item_has_its_own_direction_and_members_of_a_group_share_one(lm):
    shift, _ = shifts()["add"]

    def directions(group):
        before = capture(lm, TEXTS[:1] * 4, 1)[1]
        with random_push(lm, shift, seed=1, group=group):
            after = capture(lm, TEXTS[:1] * 4, 1)[1]
        step = after - before
        return step / step.norm(dim=1, keepdim=True)

    alone, paired = directions(1), directions(2)
    assert (alone @ alone.T).fill_diagonal_(0).abs().max() < 0.7
    torch.testing.assert_close(paired[0], paired[1])
    torch.testing.assert_close(paired[2], paired[3])
    assert paired[0] @ paired[2] < 0.7


def test_hooks_are_gone_afterwards_even_after_an_error(lm):
    shift, _ = shifts()["add"]
    before = capture(lm, TEXTS, 1)[1]
    with pytest.raises(RuntimeError), random_push(lm, shift):
        raise RuntimeError
    assert torch.equal(capture(lm, TEXTS, 1)[1], before)


def test_random_directions_are_unit_length_and_fixed_by_the_seed():
    units = random_units(50, 32, seed=4)
    torch.testing.assert_close(units.norm(dim=1), torch.ones(50))
    assert torch.equal(units, random_units(50, 32, seed=4))
    assert not torch.equal(units, random_units(50, 32, seed=5))


def test_a_shift_without_a_size_is_refused(lm):
    probe = Probe(torch.ones(32), layer=1)
    with pytest.raises(ValueError, match="remove"):
        step_sizes(Shift(probe, "remove"), torch.zeros(2, 32))
