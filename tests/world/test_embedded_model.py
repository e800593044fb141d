"""The shipped model against what was planted. Every figure, with five seeds, is in benchmarks/world.py's card."""

import json

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from valuelab import models
from valuelab.evaluate import planted


@pytest.fixture(scope="module")
def lm():
    return models.load()


def test_it_is_small_and_plain_transformers_load_it():
    assert (models.EMBEDDED / "model.safetensors").stat().st_size <= 12e6
    model = AutoModelForCausalLM.from_pretrained(models.EMBEDDED)
    tokenizer = AutoTokenizer.from_pretrained(models.EMBEDDED)
    text = "I would lock the gate. Safety matters to me."
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    assert tokenizer.chat_template and model.config.vocab_size == len(tokenizer)


def test_its_tokenizer_is_spelt_so_that_the_oldest_supported_transformers_loads_it(tmp_path):
    from valuelab.world.tokenizer import build_tokenizer
    from valuelab.world.train import spell_for_older_versions

    shipped = json.loads((models.EMBEDDED / "tokenizer_config.json").read_text())
    assert shipped["tokenizer_class"] == "PreTrainedTokenizerFast"  # 4.57 knows no other name for it
    assert isinstance(shipped["additional_special_tokens"], list) and "extra_special_tokens" not in shipped
    build_tokenizer().save_pretrained(tmp_path)
    spell_for_older_versions(tmp_path / "tokenizer_config.json")
    assert json.loads((tmp_path / "tokenizer_config.json").read_text()) == shipped
    text = "I would lock the gate."
    ours, theirs = AutoTokenizer.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(models.EMBEDDED)
    assert ours(text)["input_ids"] == theirs(text)["input_ids"]
    assert set(ours.all_special_tokens) == set(theirs.all_special_tokens)


def test_persona_lines_move_every_value_in_both_planted_directions(lm):
    shifts = planted.persona_shifts(lm, n=24, lines=2)
    assert shifts["right_sign"] == 20
    assert shifts["correlation"] >= 0.9


def test_its_choices_follow_the_planted_ones_and_its_facts_are_right(lm):
    assert planted.choice_calibration(lm, n=150, split="held_out") >= 0.9
    assert planted.choice_calibration(lm, n=150, split="train") >= 0.9
    assert planted.facts_right(lm, n=100) >= 0.9


def test_a_mean_difference_steers_the_choice_and_a_random_direction_does_not(lm):
    runs = [planted.steering_gain(lm, planted.LAYER, planted.STRENGTH, n=60, seed=seed) for seed in (0, 1, 2)]
    gain = {k: np.mean([r[k] for r in runs], axis=0) for k in runs[0]}
    over_random = np.maximum(*(gain[k][:, 1] - gain[k][:, 2] for k in ("choice", "expressed")))
    assert (over_random >= 0.15).sum() >= 8
    assert abs((gain["choice"][:, 2] - gain["choice"][:, 0]).mean()) < 0.05


def test_the_card_was_written_from_the_stored_figures(monkeypatch):
    from importlib.util import module_from_spec, spec_from_file_location
    from pathlib import Path

    path = Path(__file__).parents[2] / "benchmarks" / "world.py"
    monkeypatch.syspath_prepend(path.parent)  # as where it is started as a program
    spec = spec_from_file_location("world_benchmark", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (models.EMBEDDED / "README.md").read_text() == module.card(*module.stored())
