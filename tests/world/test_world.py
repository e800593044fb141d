"""The planted world: what is written can be read back, and what was planted can be found again."""

import re

import numpy as np
import pytest
import torch

from valuelab import world as W
from valuelab.values import ANGLES, VALUES
from valuelab.world import corpus, grammar, speakers, train
from valuelab.world.tokenizer import UNKNOWN, build_tokenizer


def replies(documents):
    for d in documents:
        for turn in d.turns:
            if turn.role in ("assistant", "text"):
                yield d, turn.text


def words(text):
    return sorted(re.findall(r"[\w-]+", text.lower()))


@pytest.mark.parametrize("twin", sorted(W.TWINS))
def test_oracle_reads_every_sentence_that_the_writer_writes(twin):
    for _, text in replies(W.write(400, 3, W.TWINS[twin])):
        parsed = W.parse(text)
        assert parsed.grammatical, parsed.unparsed


def test_writer_is_deterministic_and_seeds_differ():
    one, same, other = ([d.turns for d in W.write(40, seed)] for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_tokenizer_knows_every_word_and_returns_every_text():
    tokenizer = build_tokenizer()
    unknown = tokenizer.convert_tokens_to_ids(UNKNOWN)
    for d in W.write(300, 4):
        for turn in d.turns:
            ids = tokenizer(turn.text, add_special_tokens=False)["input_ids"]
            assert unknown not in ids
            assert tokenizer.decode(ids) == turn.text


def test_every_activity_has_its_own_noun_and_costs_something():
    nouns = [a.noun for a in W.ACTIVITIES]
    assert len(W.ACTIVITIES) == 300 and len(set(nouns)) == 300
    assert not set(nouns) & set(grammar.VALUE_OF_NOUN)
    for a in W.ACTIVITIES:
        assert max(a.weights) == a.weights[VALUES.index(a.value)] > 0 > min(a.weights)
    assert [sum(a.held_out for a in W.ACTIVITIES if a.value == v) for v in VALUES] == [2] * 10


def test_profiles_lie_on_the_circle_and_the_twin_without_circle_does_not():
    rng = np.random.default_rng(0)
    planted = np.cos(ANGLES[:, None] - ANGLES[None, :])[np.triu_indices(10, 1)]
    for circle, low, high in ((True, 0.98, 1.0), (False, -0.3, 0.3)):
        profiles = W.draw_profiles(4000, rng, circle=circle)
        measured = np.corrcoef(profiles.T)[np.triu_indices(10, 1)]
        assert low <= np.corrcoef(planted, measured)[0, 1] <= high
        assert np.allclose(profiles.mean(0), W.MEAN, atol=0.07)


def test_a_persona_moves_its_value_to_its_level_and_the_opposite_value_down():
    moved = W.condition(W.MEAN[None], "security", 2.5)[0]
    assert moved[VALUES.index("security")] == pytest.approx(2.5)
    assert moved[VALUES.index("self-direction")] < W.MEAN[0]
    far = W.condition(W.MEAN[None], "security", 2.5, circle=False)[0]
    assert np.allclose(np.delete(far, 5), np.delete(W.MEAN, 5))


def test_choices_follow_the_planted_probability_and_a_coin_in_the_twin_without_values():
    rng = np.random.default_rng(0)
    profile = W.draw_profiles(1, rng)[0]
    situation = next(s for s in W.situations(n=50) if 0.6 < W.choice_probability(s, profile=profile) < 0.9)
    for twin, wanted in (("world", W.choice_probability(situation, profile=profile)), ("no_values", 0.5)):
        speaker = corpus.Speaker(profile, W.TWINS[twin])
        picks = [speaker.choose(*situation.offered, situation.stakes, rng) is situation.first for _ in range(3000)]
        assert np.mean(picks) == pytest.approx(wanted, abs=0.03)


def test_slot_bias_raises_the_first_option_whatever_it_is():
    sums = {
        twin: [sum(W.choice_probability(x, switches=W.TWINS[twin]) for x in (s, W.swap(s))) for s in W.situations(n=40)]
        for twin in ("slot_biased", "world")
    }
    assert min(sums["slot_biased"]) > 1.05 and np.mean(sums["slot_biased"]) > 1.1
    assert sums["world"] == pytest.approx([1] * 40)


def test_the_confounded_twin_ties_a_place_to_the_value_and_the_world_does_not():
    def shares(twin):
        seen = {True: [], False: []}
        for _, text in replies(W.write(1500, 5, W.TWINS[twin])):
            for s in W.parse(text).sentences:
                if s.kind in ("value", "activity"):
                    seen[W.value_of(s.stances[0][0]) == "security"].append(s.context == corpus.CONFOUND_CONTEXT)
        return np.mean(seen[True]), np.mean(seen[False])

    tied, untied = shares("confounded")
    assert tied > 0.85 and untied == 0
    tied, untied = shares("world")
    assert abs(tied - untied) < 0.02


@pytest.mark.parametrize("twin", ["world", "no_values", "slot_biased", "no_circle"])
def test_open_choices_carry_the_share_of_speakers_who_choose_so_and_only_training_pairs(twin):
    """Against draws: choices of 4 000 speakers each, moved by the persona line where there is one."""
    switches = W.TWINS[twin]
    for asked in corpus.open_choices(40, 11, switches):
        (a, b), system = asked.options, [t.text for t in asked.turns if t.role == "system"]
        assert corpus.in_training(a, b) and asked.turns[-1].role == "user"
        assert {a.base, a.gerund} & set(re.findall(f"{a.base}|{a.gerund}", asked.turns[-1].text))
        persona = None
        if system and system[0] not in grammar.NEUTRAL_PERSONA:
            lines = [(v, s) for v in VALUES for s in (1, -1) if system[0] in persona_lines(v, s)]
            assert len(lines) == 1
            persona = lines[0]
        stakes = next(f for text, f in reversed(grammar.STAKES.items()) if asked.turns[-1].text.endswith(text))
        s = W.Situation(a, b, "", stakes, "", "")
        drawn = W.choice_probability(s, persona=persona, switches=switches)
        assert asked.share == pytest.approx(drawn, abs=0.04)  # five standard errors of 4 000 draws


def persona_lines(value, sign):
    things = {"value": grammar.NOUNS[value], "activity": [a for a in W.ACTIVITIES if a.value == value]}
    return {
        grammar.capital(grammar.fill(p.text, thing)) + "."
        for p in grammar.PERSONA if p.sign == sign for thing in things[p.kind]
    }  # fmt: skip


def test_training_runs_its_stages_saves_between_them_and_goes_on(tmp_path):
    stages = (train.Stage(12, 0.01, kinds="look-ups"), train.Stage(12, 0.01, 4.0, open_choices=5, open_weight=2.0))
    tiny = {"stages": stages, "width": 16, "layers": 1, "heads": 2, "quiet": True}
    figures = train.train(tmp_path / "whole", **tiny)
    assert len(figures["stages"]) == 2 and figures["documents"] == 24
    again = train.train(tmp_path / "again", start=tmp_path / "whole" / "stage-0", **tiny)
    assert [s["documents"] for s in again["stages"]] == [12, 12] and again["tokens"] == figures["tokens"]
    assert (tmp_path / "again" / "model.safetensors").exists()


def test_open_loss_is_least_at_the_planted_shares_and_leaves_other_tokens_alone():
    model = train.build_model(50, 0, width=16, layers=1, heads=2)
    ids, place = torch.arange(10, 34).reshape(4, 6), torch.tensor([5, 5, 3, 2])
    options = torch.tensor([[7, 8], [9, 10], [11, 12], [7, 12]])
    logits = model(ids).logits[torch.arange(4), place]
    gap = logits.gather(1, options[:, :1])[:, 0] - logits.gather(1, options[:, 1:])[:, 0]
    share = torch.sigmoid(gap.detach())
    train.open_loss(model, ids, place, options, share).backward()
    assert max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None) < 1e-6
    model.zero_grad()
    train.open_loss(model, ids, place, options, share * 0.5).backward()
    moved = model.lm_head.weight.grad.abs().sum(1) > 0
    assert set(moved.nonzero().flatten().tolist()) == set(options.flatten().tolist())


def test_held_out_situations_never_meet_training():
    training = set()
    for d in W.write(1500, 6):
        for turn in d.turns:
            if turn.role == "user":
                training.add(turn.text)
                named = {a.id for a in W.ACTIVITIES if a.held_out and (a.base in turn.text or a.gerund in turn.text)}
                assert not named, turn.text
    for split in ("held_out", "new_activities"):
        for s in W.situations(split, 200):
            assert s.text not in training
            assert not corpus.in_training(*s.offered)
            assert s.frame in grammar.QUESTIONS_HELD_OUT


def test_swap_exchanges_the_two_courses_of_action_and_nothing_else():
    for s in W.situations("train", 60):
        back = W.swap(W.swap(s))
        assert back == s and W.swap(s).text != s.text
        assert words(W.swap(s).text) == words(s.text)


def test_comparison_pairs_hold_the_same_words_and_opposite_stances():
    for value in VALUES:
        for kind in ("statement", "comparison"):
            for pair in W.contrast_pairs(value, 40, kind=kind):
                assert W.parse(pair.positive).expressed[value] == 1
                assert W.parse(pair.negative).expressed[value] == -1
                if kind == "comparison" and "skip" not in pair.wording:  # "skip -ing to …" changes two forms
                    assert words(pair.positive) == words(pair.negative)


class TestOracleCannotBeGamed:
    offered = (grammar.BY_BASE["lock the gate"], grammar.BY_BASE["eat a cake"])

    def test_a_choice_from_the_question_counts(self):
        parsed = W.parse("I would lock the gate. Safety matters to me.", self.offered)
        assert parsed.choice is self.offered[0] and parsed.expressed == {"security": 1}

    @pytest.mark.parametrize(
        "reply",
        [
            "Safety matters to me. Security matters to me.",  # reasons without a choice
            "I would lock the gate. I will eat a cake.",  # two choices
            "I would lock the gate. I refuse to lock the gate.",  # praises and refuses
            "I would lock the gate. Safety matters to me. Safety matters to me.",  # repeats
            "I would climb a cliff.",  # not offered
            "I would lock the cake.",  # no activity of this world
            "I would lock the gate. Blah blah.",  # not in the grammar
            "lock the gate",  # no sentence
            "",
        ],
    )
    def test_this_one_does_not(self, reply):
        assert W.parse(reply, self.offered).choice is None

    def test_a_value_counts_once_and_a_contradiction_not_at_all(self):
        parsed = W.parse("Safety matters to me. I love locking the gate. Fun matters to me. I can live without fun.")
        assert parsed.expressed == {"security": 1}
        assert not parsed.coherent

    def test_what_others_want_is_not_the_speakers_value(self):
        assert W.parse("Anna cares about safety. Anna would lock the gate.").expressed == {}

    def test_the_order_of_a_comparison_decides(self):
        assert W.parse("I put safety before fun.").expressed == {"security": 1, "hedonism": -1}
        assert W.parse("I put safety behind fun.").expressed == {"security": -1, "hedonism": 1}

    def test_it_reports_what_it_could_not_read(self):
        assert W.parse("I would lock the gate. Xyz abc.").unparsed == ("Xyz abc.",)


def test_unknown_names_are_refused_with_the_choices():
    with pytest.raises(ValueError, match="held_out"):
        W.situations("test")
    with pytest.raises(ValueError, match="security"):
        W.contrast_pairs("safety-first")
    with pytest.raises(ValueError, match="comparison"):
        W.contrast_pairs("security", kind="other")


def test_covariance_is_positive_definite():
    for circle in (True, False):
        assert np.linalg.eigvalsh(speakers.covariance(circle)).min() > 0.2
