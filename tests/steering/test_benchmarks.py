"""Parts of benchmarks that decide what is reported: the rule for settings, and how small real models are read."""

import struct
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import pretrained  # noqa: E402
import steering_control  # noqa: E402

from valuelab import models  # noqa: E402


def test_the_rule_takes_the_largest_gain_among_settings_that_stay_grammatical():
    rows = [
        {"setting": name, "gain_points": gain, "grammatical_over_unsteered": share}
        for name, gain, share in (("weak", 10, 1.0), ("good", 30, 0.98), ("strong", 60, 0.979))
    ]
    assert steering_control.choose(rows)["setting"] == "good"
    assert steering_control.choose(rows[2:])["setting"] == "strong"
    broken = rows[2:] + [{"setting": "worse", "gain_points": 90, "grammatical_over_unsteered": 0.5}]
    assert steering_control.choose(broken)["setting"] == "strong"  # none fits: the most grammatical one


def write_vocabulary(path, words):
    """tok*.bin: three special tokens, 256 bytes, then words with falling scores."""
    tokens = ["<unk>", "\n<s>\n", "\n</s>\n", *(f"<0x{i:02X}>" for i in range(256)), *words]
    scores = [0.0] * 259 + [-float(i) for i in range(len(words))]
    rows = [t.encode() for t in tokens]
    body = b"".join(struct.pack("<fi", s, len(t)) + t for s, t in zip(scores, rows, strict=True))
    path.write_bytes(struct.pack("<i", max(map(len, rows))) + body)


def test_the_best_scored_union_is_joined_first_and_unknown_letters_become_bytes(tmp_path):
    write_vocabulary(tmp_path / "tok.bin", ["ab", "bc", "abc", " a", " ", "a", "b", "c"])
    tokenizer = pretrained.llama2c_tokenizer(tmp_path / "tok.bin")
    read = tokenizer.encode("abc é")
    assert read.tokens == ["<s>", "▁", "abc", "▁", "<0xC3>", "<0xA9>"]  # "ab" before "bc", and before " a"
    assert tokenizer.decode(read.ids[1:]) == "abc é"


def test_the_real_model_reads_stories_in_its_own_tokens():
    if not (pretrained.HOME / "stories260k").is_dir():
        pytest.skip("no real pretrained model at ../shared/models/stories260k beside the clone")
    lm = pretrained.load_small(pretrained.HOME / "stories260k")
    prompt, end = "Once upon a time, there was a little", " girl named Lily. She loved to play in the park."
    [ids] = models.encode(lm, [end])
    assert float(models.log_probs(lm, [prompt], [end])[0]) / len(ids) > -1.5  # nats a token; chance is -6.2
