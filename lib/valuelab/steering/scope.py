"""Which tokens of a forward pass are steered: known inside the pass, whatever called it.

A token is told by its index among the real tokens of its row (padding does not count) and by
whether that lies in the prompt. So the answer is the same with and without a key-value cache, for
padding on either side, for beams, and for rows that differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NAMES = ("all", "prompt", "last", "generated")
Scope = str | Iterable[str] | Tensor | Callable[["Tokens"], Tensor]


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of one forward pass, (batch, length) each, on the model's device.

    ids: token ids (None where the caller passed embeddings).
    mask: attention mask from the first cached token to the last of this pass, (batch, past +
        length); None if nothing is padded.
    past: tokens in the cache, padding included.
    real: False for padding.
    prompt_lengths: real prompt tokens of each row, (batch,).
    rows: which row of the caller's list each batch row is, (batch,); None if nobody said.
    phase: "prompt", "generated", or "mixed" where the pass may hold both.
    count: rows of the caller's list; None if nobody said.
    """

    ids: Tensor | None
    mask: Tensor | None
    past: int
    real: Tensor
    prompt_lengths: Tensor
    rows: Tensor | None
    phase: str
    count: int | None = None

    @property
    def index(self) -> Tensor:
        """Place among the real tokens of the row, from 0; below 0 for padding in front.

        Counted when asked for: most passes write one token that every scope knows by its phase.
        """
        if self.mask is not None:
            return self.mask.long().cumsum(1)[:, self.past :] - 1
        batch, length = self.real.shape
        columns = self.past + torch.arange(length, device=self.real.device)
        return columns.expand(batch, length)

    def of_rows(self, given: Tensor) -> Tensor:
        """What was given for each row of the call, (n, ...), for each row of the batch.

        Without an announcement, row i of n serves batch rows i·k to i·k + k − 1, as beams and
        repeated samples are laid out.
        """
        given = given.to(self.real.device)
        if self.rows is not None:
            if len(given) != self.count:
                raise ValueError(
                    f"steer: {len(given)} rows were given (targets, gate or mask) for {self.count} prompts; give one "
                    "for each prompt of the call."
                )
            return given[self.rows]
        batch = len(self.real)
        if batch % len(given):
            raise ValueError(
                f"steer: {len(given)} rows were given (targets, gate or mask) but the batch has "
                f"{batch}; give one for each prompt."
            )
        return given.repeat_interleave(batch // len(given), 0)

    @property
    def prompt(self) -> Tensor:
        return self.real & (self.index < self.prompt_lengths[:, None])

    @property
    def last(self) -> Tensor:
        return self.real & (self.index == self.prompt_lengths[:, None] - 1)

    @property
    def generated(self) -> Tensor:
        return self.real & (self.index >= self.prompt_lengths[:, None])


def check_scope(scope: Any) -> Any:
    """A callable, a mask, or a frozenset of known names; ValueError otherwise."""
    if callable(scope):
        return scope
    if torch.is_tensor(scope):
        if scope.ndim != 2:
            raise ValueError(
                f"scope: the mask has shape {tuple(scope.shape)}; give (rows, tokens), counting "
                "each row's real tokens from 0."
            )
        return scope.bool()
    names = frozenset([scope] if isinstance(scope, str) else scope)
    if not names or not names <= set(NAMES):
        raise ValueError(
            f"scope: {sorted(names) or 'nothing'}; choose among {', '.join(NAMES)}, or give a "
            "mask (rows, tokens) or a function of Tokens."
        )
    return names


def in_scope(scope: Any, tokens: Tokens) -> Tensor | bool:
    """(batch, length) booleans, or True (every token) or False (none) where that is known."""
    if callable(scope):
        return scope(tokens).bool() & tokens.real
    if torch.is_tensor(scope):
        return by_mask(scope, tokens)
    if "all" in scope or {"prompt", "generated"} <= scope:
        return True
    if tokens.phase == "generated":
        return "generated" in scope
    if tokens.phase == "prompt":
        scope = scope - {"generated"}
        if not scope:
            return False
    found = torch.zeros_like(tokens.real)
    for name in scope:
        found = found | getattr(tokens, name)
    return found


def by_mask(mask: Tensor, tokens: Tokens) -> Tensor:
    """Entry (row, index) of the mask for every token; tokens beyond its width are left alone."""
    index = tokens.index
    wide = index.clamp(0, mask.shape[1] - 1)
    chosen = tokens.of_rows(mask).gather(1, wide)
    return chosen & tokens.real & (index < mask.shape[1])


class Tracker:
    """Follows forward passes and says which tokens each one holds.

    Within `valuelab` the caller announces rows and prompt lengths (`lm.announcing`). Otherwise the
    first pass of a call is taken for the prompt, and what follows it, through the cache or by
    repeating the prompt with one more token, for generated text. Prefill in several chunks and a
    cache that outlives a call cannot be told from generation: call `reset()` between prompts, or
    announce them.
    """

    def __init__(self, lm: Any):
        self.lm = lm
        self.reset()

    def reset(self) -> None:
        """Forget the prompt: the next pass starts a new one."""
        self.total = 0  # columns seen so far, padding included
        self.prompt_total = 0
        self.prompt_lengths: Tensor | None = None
        self.prompt_ids: Tensor | None = None

    def follow(self, args: tuple, kwargs: dict[str, Any]) -> Tokens:
        """Tokens of the pass that is about to run with these arguments."""
        ids = kwargs.get("input_ids", args[0] if args else None)
        given = ids if ids is not None else kwargs.get("inputs_embeds")
        if given is None:
            raise ValueError("steer: the pass has neither input_ids nor inputs_embeds.")
        batch, length = given.shape[:2]
        past = cached_length(kwargs.get("past_key_values"))
        mask, real = padding(kwargs, batch, length, past, given.device)
        announced, rows, count = self.lm.current, None, None
        fresh = announced is None and not self.continues(ids, batch, length, past)
        if announced is not None:
            self.prompt_lengths, rows, count = announced.prompt_lengths, announced.rows, announced.count
            if past == 0:
                self.prompt_total = length
        elif fresh:
            self.prompt_total = past + length
            unpadded = torch.full((batch,), self.prompt_total, device=given.device)
            self.prompt_lengths = unpadded if mask is None else mask.long().sum(1)
            self.prompt_ids = ids
        self.total = past + length
        phase = "generated" if past >= self.prompt_total else "prompt" if fresh else "mixed"
        return Tokens(ids, mask, past, real, self.prompt_lengths, rows, phase, count)

    def continues(self, ids: Tensor | None, batch: int, length: int, past: int) -> bool:
        """Whether an unannounced pass goes on with the prompt seen before."""
        known = self.prompt_lengths
        if known is None or len(known) != batch:
            return False
        if past > 0:
            return past == self.total
        if ids is None or self.prompt_ids is None or length != self.total + 1:
            return False
        return torch.equal(ids[:, : self.prompt_ids.shape[1]], self.prompt_ids)


def cached_length(cache: Any) -> int:
    """Tokens that a key-value cache holds already."""
    if cache is None:
        return 0
    if hasattr(cache, "get_seq_length"):
        return int(cache.get_seq_length())
    return int(cache[0][0].shape[-2])


def padding(
    kwargs: dict[str, Any], batch: int, length: int, past: int, device: torch.device
) -> tuple[Tensor | None, Tensor]:
    """The pass's attention mask, (batch, past + length) or None, and its last `length` columns."""
    mask = kwargs.get("attention_mask")
    if torch.is_tensor(mask) and mask.ndim == 2 and mask.shape[1] >= past + length:
        if mask.shape[1] > past + length:  # a static cache's mask is longer
            mask = mask[:, : past + length]
        mask = mask.to(device)
        return mask, mask[:, past:].bool()
    return None, torch.ones(batch, length, dtype=torch.bool, device=device)
