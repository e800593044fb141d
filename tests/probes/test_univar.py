"""Claims about the value embedding across models, on planted answers."""

import math

import numpy as np
import pytest
import torch

from valuelab import probes
from valuelab.probes.univar import divide, found_sources

SOURCES, QUESTIONS, D = 6, 64, 24


def planted(value: float, style: float, seed: int = 0, sources: int = SOURCES):
    """Answers (sources, questions, d) to value questions, and the same to control questions.

    A source has values, which show in answers to value questions only, and a style, which shows in
    all. Every question has a part of its own that all sources share.
    """
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=draw)

    values, styles = value * normal(sources, 1, D), style * normal(sources, 1, D)

    def ask():
        return normal(1, QUESTIONS, D) + normal(sources, QUESTIONS, D) + styles

    return ask() + values, ask()


def test_planted_values_are_found_on_new_value_questions_and_not_on_control_questions():
    found = probes.source_test(*planted(value=1.0, style=0.0))
    assert found.value.estimate > 0.9 and found.value.low > 3 * found.chance and found.gap.low > 0.4
    assert found.control.low <= found.chance <= found.control.high
    assert found.verdict.startswith("values: ")


def test_a_fingerprint_is_called_authorship_however_well_sources_are_told_apart():
    found = probes.source_test(*planted(value=0.0, style=1.0))
    assert found.value.estimate > 0.9 and found.value.low > 3 * found.chance and found.control.low > found.chance
    assert found.verdict.startswith("authorship")


def test_without_values_or_style_nothing_is_found():
    found = probes.source_test(*planted(value=0.0, style=0.0))
    assert found.value.low <= found.chance and found.verdict.startswith("nothing")


def test_training_finds_sources_that_a_random_projection_hardly_tells_apart():
    """Values in 3 of 48 dimensions, under noise and the questions' own parts."""
    found = {50: [], 0: []}
    for seed in range(4):
        draw = torch.Generator().manual_seed(seed)
        few = torch.linalg.qr(torch.randn(48, 48, generator=draw)).Q[:3]
        answers = torch.randn(SOURCES, 1, 3, generator=draw) @ few
        answers = answers + 2 * torch.randn(1, QUESTIONS, 48, generator=draw)
        answers = answers + torch.randn(SOURCES, QUESTIONS, 48, generator=draw)
        known, new = divide(answers, 0.5, seed, 4)
        for steps, shares in found.items():
            embed = probes.value_embedding(known, steps=steps, seed=seed)
            shares.append(found_sources(embed, known, new, 4, seed).mean())
    assert np.mean(found[50]) > np.mean(found[0]) + 0.08
    assert np.mean(found[50]) > 2 / SOURCES


def test_info_nce_of_indistinguishable_views_is_the_logarithm_of_their_number():
    e = torch.nn.functional.normalize(torch.ones(3, 4, 5), dim=-1)
    assert float(probes.info_nce(e)) == pytest.approx(math.log(11), abs=1e-5)
    apart = torch.eye(3)[:, None].expand(3, 4, 3)  # same source alike, others orthogonal
    assert float(probes.info_nce(apart, 1.0)) == pytest.approx(math.log(3 + 8 / math.e), abs=1e-5)


def test_views_use_each_answer_once_and_the_same_questions_for_each_source():
    answers = torch.arange(10.0)[None, :, None] + torch.tensor([0.0, 100.0])[:, None, None]
    got = probes.views(answers, 4)
    assert got.shape == (2, 2, 1)
    torch.testing.assert_close(got[1] - got[0], torch.full((2, 1), 100.0))
    assert len(set((got[0] * 4).flatten().tolist())) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: probes.value_embedding(torch.ones(1, 20, 3)), "two sources"),
        (lambda: probes.value_embedding(torch.ones(2, 7, 3)), "8 questions"),
        (lambda: probes.value_embedding(torch.full((2, 8, 3), math.nan)), "not finite"),
        (lambda: probes.source_test(torch.ones(2, 12, 3), torch.ones(2, 12, 3)), "do not divide"),
        (lambda: probes.source_test(torch.ones(2, 20, 3), torch.ones(3, 20, 3)), "same sources"),
    ],
)
def test_what_cannot_be_trained_says_what_is_needed(call, message):
    with pytest.raises(ValueError, match=message):
        call()
