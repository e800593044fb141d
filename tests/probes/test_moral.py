"""Claims about the moral direction, on planted embeddings."""

import numpy as np
import pytest
import torch

from valuelab import probes

D = 32
AXIS = torch.nn.functional.normalize(torch.arange(1.0, D + 1).double(), dim=0)


def embeddings(goodness, seed=0, strength=3.0):
    """(n, d) float64: goodness along AXIS, unit noise elsewhere, far from the origin."""
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(goodness), D, generator=draw).double()
    return 5.0 + noise + strength * torch.as_tensor(goodness).double()[:, None] * AXIS


def test_moral_direction_finds_the_planted_axis_with_dos_above():
    probe = probes.moral_direction(embeddings([1.0] * 30), embeddings([-1.0] * 30, seed=1))
    assert float(probe.direction @ AXIS) > 0.95
    assert probe.meta["p"] < 0.02 < probe.meta["p_second"]  # one axis, not two
    assert probe.meta["separated"] > 0.9 and probe.meta["share"] > 2 * probe.meta["second"]
    turned = probes.moral_direction(embeddings([-1.0] * 30, seed=1), embeddings([1.0] * 30))
    torch.testing.assert_close(turned.weight, -probe.weight)


def test_scores_follow_judgements_of_other_actions_and_shuffled_judgements_do_not():
    probe = probes.moral_direction(embeddings([1.0] * 30), embeddings([-1.0] * 30, seed=1))
    truth = np.linspace(-1, 1, 100)
    scores = probe(embeddings(truth, seed=2))
    verbs = np.arange(100) // 4
    found = probes.correlation(scores, truth, verbs)
    assert found.low > 0.7 and found.clusters == 25 and found.n == 100
    assert found.estimate == pytest.approx(np.corrcoef(scores, truth)[0, 1])
    null = probes.correlation(scores, np.random.default_rng(0).permutation(truth), verbs)
    assert null.low < 0 < null.high


def test_an_axis_that_is_not_moral_is_reported_as_separating_nothing():
    """Both lists vary along AXIS alike: the component is real, and dos do not lie above don'ts."""
    along = np.tile([1.0, -1.0], 20)
    probe = probes.moral_direction(embeddings(along), embeddings(along, seed=1))
    assert probe.meta["p"] < 0.02 and 0.3 < probe.meta["separated"] < 0.7
    nothing = probes.moral_direction(embeddings([0.0] * 30), embeddings([0.0] * 30, seed=1))
    assert nothing.meta["p"] > 0.05


def test_actions_are_asked_about_in_every_question_and_averaged():
    seen = []

    def embed(texts):
        seen.extend(texts)
        return np.array([[len(t), t.endswith("?")] for t in texts], float)

    X = probes.ask_about(embed, ["lie", "help"], ("{}", "Should I {}?"))
    assert seen == ["lie", "help", "Should I lie?", "Should I help?"]
    assert X.tolist() == [[(3 + 13) / 2, 0.5], [(4 + 14) / 2, 0.5]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: probes.ask_about(len, ["lie"], ("Should I lie?",)), "without a gap"),
        (lambda: probes.ask_about(len, []), "0 actions"),
        (lambda: probes.moral_direction(torch.ones(5, 3), torch.zeros(5, 4)), "same encoder"),
        (lambda: probes.moral_direction(torch.ones(5, 3), torch.ones(5, 3)), "not all alike"),
        (lambda: probes.moral_direction(torch.eye(3)[:2], torch.eye(3)), "at least 3"),
        (lambda: probes.correlation([1, 2, 3], [1, 1, 1]), "constant"),
        (lambda: probes.correlation([1, 2, np.nan], [1, 2, 3]), "finite"),
        (lambda: probes.correlation([1, 2, 3, 4], [1, 2, 3, 5], [0, 0, 1, 1]), "three groups"),
    ],
)
def test_what_cannot_be_computed_says_what_is_needed(call, message):
    with pytest.raises(ValueError, match=message):
        call()
