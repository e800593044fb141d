"""Read hidden states: chosen layers and token positions only, in batches, without keeping the rest.

Layer `l` is the output of decoder block `l`; layer -1 (`EMBEDDING`) is what enters block 0.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from valuelab.models import LM, accepts, check_length, encode, join, length_batches, pad

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


def check_layers(lm: LM, layers: Iterable[int] | int | None) -> list[int]:
    """Sorted layers without repetition, each of which the model has."""
    if layers is None:
        return list(range(lm.n_layers))
    wanted = sorted({int(x) for x in ([layers] if isinstance(layers, int) else layers)})
    wrong = [x for x in wanted if not EMBEDDING <= x < lm.n_layers]
    if wrong or not wanted:
        raise ValueError(
            f"capture: layers {wrong or 'empty'}, but {lm.name} has blocks 0 to {lm.n_layers - 1} "
            f"(and {EMBEDDING} for the embedding)."
        )
    return wanted


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
    elif isinstance(position, int):
        found = [position + size if position < 0 else position]
    else:
        raise ValueError(
            f"capture: position={position!r}; use 'last', 'mean', 'every', an index or a function."
        )
    if not found or min(found) < 0 or max(found) >= size:
        raise ValueError(
            f"capture: position {position!r} chooses {found or 'nothing'} in text {index}, which "
            f"has {size} tokens; choose at least one place from 0 to {size - 1}."
        )
    return [start + place for place in found]


def as_places(chosen: Any, size: int) -> list[int]:
    """Indices from what a predicate returned: an index, several, or one boolean for each token."""
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
        lm.announcing(*announced),
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
