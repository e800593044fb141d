"""Read hidden states: chosen layers and token positions only, in batches, without keeping the rest.

Layer `l` is the output of decoder block `l`; layer -1 (`EMBEDDING`) is what enters block 0.
`capture` keeps them in memory, `capture_to_disk` writes them in shards, with as many processes as
there are, and goes on where it was stopped.
"""

import contextlib
import hashlib
import json
import operator
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from tqdm.auto import tqdm

from valuelab.models import LM, accepts, card, check_length, encode, join, length_batches, pad

EMBEDDING = -1
Choice = Callable[[list[str]], Any]  # token strings of one text -> index, indices or mask


class Enough(Exception):  # noqa: N818 - a signal, not an error
    """Raised in a hook to end the forward pass: no later block is needed."""


def capture(
    lm: LM,
    texts: Sequence[str],
    layers: Iterable[int] | int | None = None,
    position: str | int | Choice = "last",
    batch_size: int = 32,
    *,
    prompts: Sequence[str] | None = None,
    progress: bool = False,
) -> dict[int, Tensor] | dict[int, list[Tensor]]:
    """Hidden states of texts at chosen layers and token positions.

    Texts of similar length run together, padded on the right; the pass ends after the last layer
    asked for, and only the chosen positions leave the device.

    Args:
        layers: one layer, several, or None for all blocks. -1 is the embedding.
        position: "last" token; "mean" over the text (with `prompts`: over the response only);
            "every" token; an index (negative counts from the end); or a function that gets the
            token strings of one text and returns an index, several indices or a list of booleans
            (several tokens are averaged).
        prompts: if given, text `i` is read after prompt `i`, tokenised as one, and indices and
            functions see the response's tokens alone.

    Returns:
        {layer: float32 tensor (n, d_model) on the processor}; for "every", {layer: list of n
        tensors (tokens, d_model)}.

    Raises:
        ValueError: a layer the model does not have, a position outside a text, a text that is empty
            or longer than the model's context.
    """
    wanted = check_layers(lm, layers)
    if prompts is None:
        ids, starts = encode(lm, texts), None
    else:
        ids, starts = join(lm, prompts, texts)
    check_length(lm, ids)
    begin = starts or [0] * len(ids)
    places = [choose(lm, row[s:], position, i, s) for i, (row, s) in enumerate(zip(ids, begin))]  # noqa: B905
    out = {layer: [torch.empty(0)] * len(ids) for layer in wanted}
    batches = tqdm(
        list(length_batches(ids, batch_size)), "reading", disable=not progress, leave=False
    )
    for batch in batches:
        for layer, states in read(lm, batch, ids, starts, places, wanted).items():
            for i, state in zip(batch, states, strict=True):
                out[layer][i] = state
    if position == "every":
        return out
    empty = torch.empty(0, lm.d_model)
    return {
        layer: torch.stack([s.mean(0) if len(s) > 1 else s[0] for s in rows]) if rows else empty
        for layer, rows in out.items()
    }


# ------------------------------------------------------------------------------ to disk


class CaptureError(ValueError):
    """A folder of captured states cannot be used. The message says what is wrong with it."""


FORMAT = "valuelab.capture/1"


def capture_to_disk(
    lm: LM,
    texts: Sequence[str],
    folder: str | os.PathLike,
    layers: Iterable[int] | int | None = None,
    position: str | int = "last",
    batch_size: int = 32,
    *,
    prompts: Sequence[str] | None = None,
    shard: int = 1024,
    dtype: torch.dtype = torch.float32,
    progress: bool = False,
) -> Path:
    """Like `capture`, but in shards on disk: more states than memory holds, and safe to interrupt.

    Shard k holds texts k·shard to (k+1)·shard − 1. Each is written under another name first and then
    moved, so a shard that is there is whole, and a second call reads only what is missing. Under
    `accelerate launch` or `torchrun` every process takes each w-th shard; the files are the same as
    from one process.

    Args:
        lm, texts, layers, position, batch_size, prompts: as for `capture`; a function as position
            could not be written into the manifest and is refused.
        folder: made if missing. Holds manifest.json and shard-00000.safetensors onward.
        shard: texts a shard; that many states of all layers lie in memory at once.
        dtype: precision on disk.

    Returns:
        The folder; `load_captured(folder)` gives the states back.

    Raises:
        CaptureError: the folder holds states of another model, other texts or other settings.
    """
    if callable(position):
        raise ValueError("capture_to_disk: position must be a name or an index, not a function.")
    if shard < 1:
        raise ValueError(f"capture_to_disk: shard={shard}; use 1 or more texts a shard.")
    position = position if isinstance(position, str) else as_index(position)
    texts, folder = list(texts), Path(folder)
    manifest = {
        "format": FORMAT,
        "model": card(lm),
        "layers": check_layers(lm, layers),
        "position": position,
        "dtype": str(dtype).removeprefix("torch."),
        "texts": len(texts),
        "shard": shard,
        "sha256": digest(texts, prompts),
    }
    claim_folder(folder, manifest)
    rank, world = process()
    mine = range(rank, -(-len(texts) // shard), world)
    for k in tqdm(mine, "shards", disable=not progress, leave=False):
        path = shard_path(folder, k)
        if is_whole(path):
            continue
        part = slice(k * shard, (k + 1) * shard)
        heads = None if prompts is None else list(prompts)[part]
        states = capture(lm, texts[part], manifest["layers"], position, batch_size, prompts=heads)
        write_whole(path, save(as_tensors(states, dtype)))
    return folder


def load_captured(
    folder: str | os.PathLike, layers: Iterable[int] | int | None = None
) -> dict[int, Tensor] | dict[int, list[Tensor]]:
    """The states of all shards, as `capture` returns them (in the precision on disk).

    Raises:
        CaptureError: no manifest, missing or damaged shards (named), or layers not captured.
    """
    manifest = read_manifest(Path(folder))
    parts = list(captured_shards(folder, layers))
    empty = torch.empty(0, manifest["model"]["d_model"])
    wanted = as_layers(layers, manifest)
    if manifest["position"] == "every":
        return {k: [row for part in parts for row in part[k]] for k in wanted}
    return {k: torch.cat([part[k] for part in parts]) if parts else empty for k in wanted}


def captured_shards(
    folder: str | os.PathLike, layers: Iterable[int] | int | None = None
) -> Iterator[dict]:
    """One shard after another, in order: {layer: states}, for sets that do not fit in memory."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    wanted = as_layers(layers, manifest)
    paths = [shard_path(folder, k) for k in range(-(-manifest["texts"] // manifest["shard"]))]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise CaptureError(
            f"{folder}: {len(missing)} of {len(paths)} shards are missing (first: {missing[0]}); "
            "call capture_to_disk again with the same texts, it goes on where it stopped."
        )
    for path in paths:
        try:
            with safe_open(path, "pt") as file:
                states = {k: file.get_tensor(f"layer {k}") for k in wanted}
                sizes = file.get_tensor("tokens").tolist() if "tokens" in file.keys() else None  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise CaptureError(
                f"{path}: damaged ({error}); delete it and capture again."
            ) from error
        yield states if sizes is None else {k: list(s.split(sizes)) for k, s in states.items()}


def process() -> tuple[int, int]:
    """Number of this process and of all, as accelerate and torchrun tell them; (0, 1) when alone."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def digest(texts: list[str], prompts: Sequence[str] | None) -> str:
    """Hash of what is read, so that a folder is never continued with other texts."""
    return hashlib.sha256(json.dumps([texts, prompts and list(prompts)]).encode()).hexdigest()


def claim_folder(folder: Path, manifest: dict) -> None:
    """Write the manifest, or find there the very same one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.json"
    if not path.exists():
        # every process writes the same bytes, so it does not matter which comes last
        write_whole(path, (json.dumps(manifest, indent=1) + "\n").encode())
    there = read_manifest(folder)
    differ = [key for key in manifest if manifest[key] != there.get(key)]
    if differ:
        raise CaptureError(
            f"{folder} already holds other states (different: {', '.join(differ)}); choose another "
            "folder, or delete this one."
        )


def read_manifest(folder: Path) -> dict:
    """What `capture_to_disk` wrote about itself; CaptureError where the folder holds no such file."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CaptureError(
            f"{folder}: no readable manifest.json ({error}); is this a folder of capture_to_disk?"
        ) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CaptureError(f"{folder}: manifest.json is not of the form {FORMAT}.")
    return manifest


def as_layers(layers: Iterable[int] | int | None, manifest: dict) -> list[int]:
    """The layers asked for (None: all that were captured); CaptureError names those that were not."""
    there = manifest["layers"]
    if layers is None:
        return there
    wanted = as_integers(layers)
    absent = [k for k in wanted if k not in there]
    if absent:
        raise CaptureError(f"layers {absent} were not captured; there are {there}.")
    return wanted


def shard_path(folder: Path, k: int) -> Path:
    """Where shard `k` of a capture lies."""
    return folder / f"shard-{k:05d}.safetensors"


def is_whole(path: Path) -> bool:
    """Whether a shard is there and can be opened (its header states the length of the file)."""
    try:
        with safe_open(path, "pt"):
            return True
    except (SafetensorError, OSError):
        return False


def as_tensors(states: dict, dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors of one shard; for "every", rows of all texts end to end, and how many each has."""
    out = {}
    for layer, rows in states.items():
        if isinstance(rows, list):
            out["tokens"] = torch.tensor([len(r) for r in rows])
            rows = torch.cat(rows)
        out[f"layer {layer}"] = rows.to(dtype).contiguous()
    return out


def write_whole(path: Path, data: bytes) -> None:
    """Write beside the file first, then move: nobody ever sees half a file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def check_layers(lm: LM, layers: Iterable[int] | int | None) -> list[int]:
    """Sorted layers without repetition, each of which the model has."""
    if layers is None:
        return list(range(lm.n_layers))
    wanted = sorted(set(as_integers(layers)))
    wrong = [x for x in wanted if not EMBEDDING <= x < lm.n_layers]
    if wrong or not wanted:
        raise ValueError(
            f"capture: layers {wrong or 'empty'}, but {lm.name} has blocks 0 to {lm.n_layers - 1} "
            f"(and {EMBEDDING} for the embedding)."
        )
    return wanted


def as_integers(layers: Iterable[int] | int) -> list[int]:
    """One layer or several as a list of plain integers, of whatever integer type they are."""
    try:
        return [operator.index(layers)]
    except TypeError:
        return [int(x) for x in layers]


def choose(lm: LM, row: list[int], position: Any, index: int, start: int) -> list[int]:
    """Places of one text that are wanted, counted from the first token of its batch row."""
    size = len(row)
    if position in ("mean", "every"):
        # a start token says nothing about the text, and its state is an outlier in most models
        skip = int(start == 0 and size > 1 and row[0] == lm.tokenizer.bos_token_id)
        found = list(range(skip if position == "mean" else 0, size))
    elif position == "last":
        found = [size - 1]
    elif callable(position):
        found = as_places(position(lm.tokenizer.convert_ids_to_tokens(row)), size)
    else:
        place = as_index(position)
        found = [place + size if place < 0 else place]
    if not found or min(found) < 0 or max(found) >= size:
        raise ValueError(
            f"capture: position {position!r} chooses {found or 'nothing'} in text {index}, which "
            f"has {size} tokens; choose at least one place from 0 to {size - 1}."
        )
    return [start + place for place in found]


def as_index(position: Any) -> int:
    """A position as a plain integer, of whatever integer type it is."""
    try:
        return operator.index(position)
    except TypeError:
        raise ValueError(
            f"capture: position={position!r}; use 'last', 'mean', 'every', an index or a function."
        ) from None


def as_places(chosen: Any, size: int) -> list[int]:
    """Indices from what a predicate returned: an index, several, or one boolean for each token."""
    chosen = np.asarray(chosen).tolist()  # numpy's own integers and booleans become Python's
    if isinstance(chosen, int) and not isinstance(chosen, bool):
        chosen = [chosen]
    chosen = list(chosen)
    if len(chosen) == size and all(isinstance(c, bool) for c in chosen):
        return [k for k, c in enumerate(chosen) if c]
    return [int(c) + size if c < 0 else int(c) for c in chosen]


@torch.no_grad()
def read(
    lm: LM,
    batch: list[int],
    ids: list[list[int]],
    starts: list[int] | None,
    places: list[list[int]],
    layers: list[int],
) -> dict[int, list[Tensor]]:
    """For one batch: {layer: for each text the states (places, d_model), float32, processor}."""
    tokens, mask = pad(lm, [ids[i] for i in batch], "right")
    rows = [k for k, i in enumerate(batch) for _ in places[i]]
    columns = [place for i in batch for place in places[i]]
    where = torch.tensor([rows, columns], device=lm.device)
    heads = [starts[i] if starts else len(ids[i]) for i in batch]
    announced = torch.tensor([batch, heads], device=lm.device)
    kept: dict[int, Tensor] = {}
    options = {"use_cache": False} if accepts(lm.model, "use_cache") else {}
    with (
        recording(lm.blocks, layers, lambda layer, h: kept.update({layer: h[where[0], where[1]]})),
        lm.announcing(*announced, len(ids)),
        contextlib.suppress(Enough),
    ):
        lm.model(input_ids=tokens, attention_mask=mask, **options)
    stacked = torch.stack([kept[layer] for layer in layers]).float().cpu()  # one copy a batch
    sizes = [len(places[i]) for i in batch]
    return {layer: list(s.split(sizes)) for layer, s in zip(layers, stacked, strict=True)}


def residual(output: Any) -> Tensor:
    """Hidden states (batch, length, d_model) in what a block returns, a tensor or a tuple."""
    return output[0] if isinstance(output, tuple) else output


def with_residual(output: Any, h: Tensor) -> Any:
    """The same output with other hidden states."""
    return (h, *output[1:]) if isinstance(output, tuple) else h


@contextlib.contextmanager
def recording(
    blocks: list[nn.Module], layers: Sequence[int], keep: Callable[[int, Tensor], None]
) -> Iterator[None]:
    """Call `keep(layer, h)` at each layer asked for; raises `Enough` in the pass after the last."""
    last = max(layers)

    def hook(layer: int) -> Callable:
        def after(module, args, output):
            keep(layer, residual(output))
            if layer == last:
                raise Enough

        return after

    def before(module, args, kwargs):
        keep(EMBEDDING, args[0] if args else kwargs["hidden_states"])
        if last == EMBEDDING:
            raise Enough

    with contextlib.ExitStack() as stack:
        for layer in layers:
            if layer == EMBEDDING:
                handle = blocks[0].register_forward_pre_hook(before, with_kwargs=True)
            else:
                handle = blocks[layer].register_forward_hook(hook(layer))
            stack.callback(handle.remove)
        yield
