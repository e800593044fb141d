"""The small real models that a benchmark reads from a folder beside the clone."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers import models as kinds

from valuelab import models
from valuelab.models import LM

HOME = Path(__file__).resolve().parents[2] / "shared" / "models"


def load_small(folder: str | Path) -> LM:
    """`models.load`, also for a folder with a llama2.c tokenizer (tok*.bin) in place of tokenizer.json."""
    folder = Path(folder)
    if (folder / "tokenizer.json").exists():
        return models.load(folder)
    [file] = folder.glob("tok*.bin")
    with tempfile.TemporaryDirectory() as place:
        for path in folder.iterdir():
            (Path(place) / path.name).symlink_to(path.resolve())
        llama2c_tokenizer(file).save(str(Path(place) / "tokenizer.json"))
        names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
        (Path(place) / "tokenizer_config.json").write_text(json.dumps(settings))
        lm = models.load(place)
    return LM(lm.model, lm.tokenizer, folder.name)


def llama2c_tokenizer(file: Path) -> Tokenizer:
    """A sentencepiece vocabulary as llama2.c writes it: longest token, then score, length and bytes of each token.

    Sentencepiece joins the neighbours whose union has the best score; as merges, that is the list of all ways to cut
    a token in two, best score first.
    """
    data, at, tokens = file.read_bytes(), 4, []
    while at < len(data):
        score, size = struct.unpack_from("<fi", data, at)
        tokens.append((data[at + 8 : at + 8 + size].decode("utf-8"), score))
        at += 8 + size
    names = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    names += [text.replace(" ", "▁") for text, _ in tokens[len(names) :]]
    vocabulary = {name: i for i, name in enumerate(names)}
    joins = [
        (-tokens[i][1], name[:k], name[k:])
        for i, name in enumerate(names[259:], 259)
        for k in range(1, len(name))
        if name[:k] in vocabulary and name[k:] in vocabulary
    ]
    merges = [(a, b) for _, a, b in sorted(joins)]
    made = Tokenizer(kinds.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.pre_tokenizer = pre_tokenizers.Sequence([])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return made
