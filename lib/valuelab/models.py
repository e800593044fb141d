"""Load any Hugging Face causal language model, find its decoder blocks, talk to it.

Layer convention of the whole library: layer `l`, counted from 0, is the OUTPUT of decoder block
`l`, before the final norm.
"""

import contextlib
import copy
import functools
import hashlib
import inspect
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

EMBEDDED = Path(__file__).parent / "world" / "model"
SMALL = 200_000_000  # parameters; below this, float32 costs little and half precision only blurs
WIDE = 2**25  # logits that are taken to float32 at once: 134 MB, and as much again for the sum


class ModelError(Exception):
    """A model cannot be used. The message is one sentence: what is wrong and how to mend it."""


@dataclass
class Pass:
    """What a caller knows about the batch that it is about to run, for hooks that need it.

    rows: for each batch row, its index in the caller's list, (batch,) on the model's device.
    prompt_lengths: real tokens of each row that belong to the prompt, (batch,), same device.
    count: length of the caller's list.
    """

    rows: Tensor
    prompt_lengths: Tensor
    count: int


@dataclass
class LM:
    """A causal language model with its tokenizer and its decoder blocks.

    Attributes:
        model: the unmodified Hugging Face module, in eval mode.
        tokenizer: its tokenizer; pads on the left, always has a padding token.
        name: hub id or folder it came from ("embedded" for the model in this package).
        embedded: whether it is the planted-world model shipped with valuelab.
        blocks: decoder blocks in order; `blocks[l]` produces the residual stream of layer `l`.
    """

    model: nn.Module
    tokenizer: Any
    name: str = "unnamed"
    embedded: bool = False
    blocks: list[nn.Module] | None = None
    current: Pass | None = field(default=None, repr=False)

    def __post_init__(self):
        if self.blocks is None:
            self.blocks = find_blocks(self.model)
        self.model.eval()  # dropout would give every reading of one text other states
        ensure_padding(self.tokenizer)

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    @property
    def d_model(self) -> int:
        return text_config(self.model).hidden_size

    @property
    def device(self) -> torch.device:
        return self.model.get_input_embeddings().weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.get_input_embeddings().weight.dtype

    @property
    def has_chat_template(self) -> bool:
        return bool(getattr(self.tokenizer, "chat_template", None))

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when the architecture or the weights do (a hash of samples).

        Read once, when first asked for. `load` reads it before it changes the precision, so a model has
        one fingerprint in whichever precision it is loaded.
        """
        return fingerprint(self.model)

    @contextlib.contextmanager
    def announcing(self, rows: Tensor, prompt_lengths: Tensor, count: int) -> Iterator[None]:
        """Tell hooks which of `count` rows run inside this block and how long their prompts are."""
        before, self.current = self.current, Pass(rows, prompt_lengths, count)
        try:
            yield
        finally:
            self.current = before


# ------------------------------------------------------------------ structure of a model


def plain(model: nn.Module) -> nn.Module:
    """The module under `torch.compile`, or the model itself."""
    return getattr(model, "_orig_mod", model)


def text_config(model: nn.Module) -> Any:
    """Configuration of the language part (models that also see images nest it)."""
    return plain(model).config.get_text_config(decoder=True)


def readout_width(model: nn.Module) -> int:
    """Width of the last state, which the word head reads: d_model, or less where it is projected down (OPT 350M)."""
    head = plain(model).get_output_embeddings()
    return text_config(model).hidden_size if head is None else head.weight.shape[1]


def find_blocks(model: nn.Module) -> list[nn.Module]:
    """Decoder blocks of a causal language model in order, found by structure and not by name.

    Climb from the token embedding to the nearest ancestor that holds a list of modules; the
    largest such list that lies in no other list is the stack of blocks. Lists of experts lie inside
    the blocks, and towers for images hang elsewhere, so neither is taken for it.

    Raises:
        ModelError: no list is found, or its length differs from the configuration's.
    """
    model = plain(model)
    names = {module: name for name, module in model.named_modules()}
    here = names.get(model.get_input_embeddings(), "")
    stack: list[nn.Module] = []
    while here and not stack:
        here = here.rpartition(".")[0]
        stack = largest_outer_list(model.get_submodule(here))
    expected = getattr(text_config(model), "num_hidden_layers", len(stack))
    if not stack or len(stack) != expected:
        raise ModelError(
            f"{type(model).__name__}: found {len(stack)} decoder blocks beside the token embedding "
            f"but the configuration says {expected}; pass them yourself, "
            "LM(model, tokenizer, blocks=[...])."
        )
    return stack


def largest_outer_list(root: nn.Module) -> list[nn.Module]:
    """The module list under `root`, inside no other list, whose members have most parameters."""
    outer: list[nn.Module] = []

    def walk(module: nn.Module) -> None:
        for child in module.children():
            if isinstance(child, (nn.ModuleList, nn.Sequential)):
                outer.append(child)
            else:
                walk(child)

    walk(root)
    size = [sum(p.numel() for p in one.parameters()) for one in outer]
    return list(outer[size.index(max(size))]) if outer and max(size) > 0 else []


def fingerprint(model: nn.Module) -> str:
    """Hash of the parameter names, shapes and a few dozen entries of each parameter."""
    seen = hashlib.sha256()
    for name, weight in plain(model).named_parameters():
        step = max(1, weight.numel() // 32)
        sample = weight.detach().flatten()[::step][:32]
        # bfloat16 keeps float32 and bfloat16 copies of one model equal; a float16 copy was rounded once before
        bits = sample.to("cpu", torch.bfloat16).contiguous().view(torch.uint8).numpy()
        seen.update(f"{name}{tuple(weight.shape)}".encode() + bits.tobytes())
    return seen.hexdigest()[:16]


def accepts(model: nn.Module, argument: str) -> bool:
    """Whether the model's forward names this argument."""
    return argument in inspect.signature(plain(model).forward).parameters


# ---------------------------------------------------------------------------- loading


def load(
    name_or_folder: str | os.PathLike | None = None,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
) -> LM:
    """Load a causal language model with its tokenizer.

    Args:
        name_or_folder: hub id ("HuggingFaceTB/SmolLM2-135M-Instruct") or folder. None takes the
            environment variable VALUELAB_MODEL, and without it the model shipped with valuelab.
        device: "cpu", "cuda", "mps", ...; None takes a GPU if there is one. "auto" spreads a large
            model over several devices (needs the accelerate package).
        dtype: torch.float32, "bfloat16", ...; None takes float32 for models under 200 million
            parameters and wherever it fits in a processor's memory, else the stored precision.

    Returns:
        LM in eval mode.

    Raises:
        ModelError: no such model, no network, not a causal language model, damaged files, no
            tokenizer, weights that are not safetensors, a model that ships its own code, or a device
            that this machine does not have. Nothing is ever unpickled and `trust_remote_code` stays off.
    """
    wanted = name_or_folder or os.environ.get("VALUELAB_MODEL") or EMBEDDED
    source, embedded = resolve(wanted)
    dtype = resolve_dtype(dtype)
    target = None if device == "auto" else resolve_device(device)
    with quiet_transformers():
        config = load_config(source)
        refuse_if_not_causal(config, source)
        tokenizer = load_tokenizer(source)
        model = load_weights(source, device)
    vocabulary = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > vocabulary:
        raise ModelError(
            f"{source}: the tokenizer knows {len(tokenizer)} tokens but the model embeds only "
            f"{vocabulary}, so they do not belong together; save both from the same run."
        )
    if target:
        dtype = dtype or sensible_dtype(model, target)
    changed = dtype and any(p.dtype != dtype for p in model.parameters() if p.is_floating_point())
    stored = fingerprint(model) if changed else None
    if target:
        model = model.to(target, dtype)
    elif dtype:
        model = model.to(dtype)
    name = "embedded" if embedded else str(source)
    lm = LM(model, tokenizer, name, embedded)
    if stored:
        lm.fingerprint = stored
    if not lm.has_chat_template:
        warnings.warn(
            f"{name} has no chat template: chat() writes plain 'User: ... Assistant:' turns, which "
            "a base model may not answer as a reply.",
            stacklevel=2,
        )
    return lm


def resolve(wanted: str | os.PathLike) -> tuple[str, bool]:
    """Folder or hub id to load from, and whether it is the embedded model."""
    folder = Path(wanted).expanduser()
    if folder.is_dir():
        return str(folder), folder.resolve() == EMBEDDED.resolve()
    if folder == EMBEDDED:
        raise ModelError(
            f"The embedded model is missing from {EMBEDDED}; run `make model`, reinstall valuelab, "
            "or name another model with VALUELAB_MODEL."
        )
    text = str(wanted)
    looks_like_a_path = isinstance(wanted, Path) or text[:1] in "./~\\" or text.count("/") > 1
    if looks_like_a_path or "\\" in text:
        raise ModelError(
            f"There is no folder {text} (working folder: {Path.cwd()}); correct the path, or give "
            "a hub id such as 'HuggingFaceTB/SmolLM2-135M-Instruct'."
        )
    return text, False


def resolve_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """A floating torch dtype from its name ("bfloat16", "torch.float16") or itself."""
    found = dtype
    if isinstance(dtype, str):
        found = getattr(torch, dtype.removeprefix("torch."), None)
    if dtype is not None and not (isinstance(found, torch.dtype) and found.is_floating_point):
        raise ModelError(
            f"dtype={dtype!r} is no floating type of torch; use 'float32', 'bfloat16' or 'float16'."
        )
    return found


def resolve_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, or the best there is. ModelError where this machine does not have it."""
    try:
        target = torch.device(device or best_device())
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError) as error:  # the second where torch was built without CUDA
        raise ModelError(
            f"device={str(device)!r} cannot be used here ({first_line(error)}); use 'cpu', or leave it out "
            "to take a GPU if there is one."
        ) from error
    return target


def best_device() -> str:
    """The accelerator if there is one, else the processor."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def sensible_dtype(model: nn.Module, device: torch.device) -> torch.dtype:
    """float32 for small models and for processors with the memory; else as stored."""
    count = sum(p.numel() for p in model.parameters())
    stored = next(p.dtype for p in model.parameters() if p.is_floating_point())
    if count < SMALL:
        return torch.float32
    if device.type == "cpu":
        return torch.float32 if 4 * count < 0.6 * free_memory() else stored
    if device.type == "cuda" and stored is torch.bfloat16 and not hardware_bf16(device):
        return torch.float32
    return stored


def hardware_bf16(device: torch.device) -> bool:
    """Whether a GPU computes in bfloat16 itself: compute capability 8.0 and newer, and every ROCm device."""
    return torch.cuda.get_device_capability(device) >= (8, 0) or torch.version.hip is not None


def free_memory(device: str | torch.device = "cpu") -> int:
    """Bytes a process may still take: of a GPU, else of main memory (half of 8 GB where it cannot be told)."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(torch.device(device).index)[0]  # None: the current GPU
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable"))
    return 4 * 2**30


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No bars and no reports while files are read; what matters is raised as an error instead."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_config(source: str) -> Any:
    """The configuration of a hub id or folder; ModelError says what is wrong and how to mend it."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    except Exception as error:
        raise explain(source, error) from error


def load_tokenizer(source: str) -> Any:
    """The tokenizer of a hub id or folder; ModelError where it is missing, damaged or empty."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:
        if isinstance(error, OSError) and not Path(source).is_dir():
            raise explain(source, error) from error
        raise ModelError(
            f"{source}: its tokenizer is missing or damaged ({first_line(error)}); put "
            "tokenizer.json and tokenizer_config.json beside config.json."
        ) from error
    # transformers may build an empty tokenizer where the file with the vocabulary is missing
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)) + 1:
        raise ModelError(
            f"{source}: its tokenizer has no vocabulary (only {len(tokenizer)} special tokens); "
            "put tokenizer.json beside config.json."
        )
    return tokenizer


def load_weights(source: str, device: Any) -> nn.Module:
    """The causal language model of a hub id or folder, every weight of it read from its files; else ModelError."""
    from transformers import AutoModelForCausalLM

    where = {"device_map": "auto"} if device == "auto" else {}
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            source,
            dtype="auto",
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **where,
        )
    except Exception as error:
        raise explain(source, error) from error
    missing = sorted(info["missing_keys"]) + sorted(str(k) for k in info.get("mismatched_keys", ()))
    if missing:
        raise ModelError(
            f"{source}: {len(missing)} weights are missing or have another shape (first: "
            f"{missing[0]}), so they would be random; the folder does not match its config.json: "
            "copy or download it again."
        )
    return model


def refuse_if_not_causal(config: Any, source: str) -> None:
    """Only a model that was trained to continue text from left to right passes."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as known

    stated = list(getattr(config, "architectures", None) or [])
    endings = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
    reads_onward = not stated or any(name.endswith(endings) for name in stated)
    two_sided = getattr(config, "is_encoder_decoder", False) or (
        "bert" in config.model_type and not getattr(config, "is_decoder", False)
    )
    if config.model_type not in known or not reads_onward or two_sided:
        what = ", ".join(stated) or config.model_type
        raise ModelError(
            f"{source} is not a causal language model ({what}); choose one whose class ends in "
            "ForCausalLM or LMHeadModel."
        )


def explain(source: str, error: Exception) -> ModelError:
    """One sentence for what transformers raised."""
    text = str(error)
    kinds = " ".join(type(e).__name__ for e in (error, error.__cause__, error.__context__))
    local = Path(source).is_dir()
    if "trust_remote_code" in text or "custom code" in text:
        what = "ships its own code, which valuelab never runs; choose a model that transformers has"
    elif "GatedRepo" in kinds or "gated repo" in text:
        what = "is gated: accept its licence on the hub, then run `hf auth login`"
    elif "no file named" in text or ("safetensors" in text and "not appear to have" in text):
        what = (
            "has no safetensors weights, and valuelab unpickles nothing; save the model with "
            "save_pretrained, or choose a repository with model.safetensors"
        )
    elif "does not recognize this architecture" in text:
        what = "has an architecture this transformers does not know; upgrade transformers"
    elif local and not (Path(source) / "config.json").is_file():
        what = "holds no config.json; give the folder that save_pretrained wrote"
    elif local:
        what = f"is damaged or incomplete ({first_line(error)}); copy or download it again"
    elif "RepositoryNotFound" in kinds or "not a valid model identifier" in text:
        what = "is neither a folder here nor a public model on the hub; check the spelling"
    elif "connect" in text or "Offline" in kinds or "LocalEntryNotFound" in kinds:
        off = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        what = (
            f"is not on this machine and the hub cannot be reached{off}; go online once, or give "
            "a folder that holds the model"
        )
    elif "Repo id must" in text or "HFValidation" in kinds:
        what = "is neither a folder here nor a hub id of the form owner/name; check the spelling"
    else:
        what = f"could not be loaded ({first_line(error)}); check the name and the files"
    return ModelError(f"{source} {what}.")


def first_line(error: Exception) -> str:
    """The first 160 characters of an error's message, or its type where it says nothing."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text[:160].rstrip(". ")


def ensure_padding(tokenizer: Any) -> None:
    """Left padding with a token that exists. Padding is masked, so any token will do."""
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        stand_in = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
        tokenizer.pad_token = stand_in


# --------------------------------------------------------------------- prompts and tokens


def chat(lm: LM, user: str, system: str | None = None, history: Sequence[Any] = ()) -> str:
    """Prompt text that ends where the assistant's reply starts.

    Args:
        user: what the user says now.
        system: instructions or persona; folded into the first user turn where the model's template
            knows no system role.
        history: earlier turns, as (user, reply) pairs or {"role": ..., "content": ...} dicts.

    Returns:
        The model's own chat template filled in, special tokens included. Models without a template
        get plain "System: / User: / Assistant:" lines.
    """
    turns = as_messages(history) + [{"role": "user", "content": user}]
    start = [{"role": "system", "content": system}] if system else []
    if not lm.has_chat_template:
        lines = [f"{m['role'].capitalize()}: {m['content']}" for m in start + turns]
        return "\n".join([*lines, "Assistant:"])
    options = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
    try:
        return lm.tokenizer.apply_chat_template(start + turns, **options)
    except Exception as error:  # jinja's TemplateError, raised by templates without a system role
        if not system or "ystem" not in str(error):
            raise ModelError(
                f"{lm.name}: its chat template refuses these turns ({first_line(error)}); let user "
                "and assistant alternate, beginning with the user."
            ) from error
        turns = [dict(turns[0], content=f"{system}\n\n{turns[0]['content']}"), *turns[1:]]
        return lm.tokenizer.apply_chat_template(turns, **options)


def as_replies(lm: LM, prompts: Sequence[str], replies: Sequence[str]) -> list[str]:
    """Replies as the model would write them after prompts that `chat` returned: with a space in front, or without.

    Where the prompt ends in a line break (ChatML, Llama 3, Gemma) a reply starts at once; elsewhere it starts as
    the chat template writes it, and in plain "Assistant:" lines after a space.
    """
    if len(prompts) != len(replies):
        raise ValueError(f"as_replies: {len(prompts)} prompts but {len(replies)} replies; pass one for each prompt.")
    lead, said = " ", ("Hello", "Fine")
    if lm.has_chat_template:
        asked = chat(lm, said[0])
        turns = as_messages([said])
        whole = lm.tokenizer.apply_chat_template(turns, tokenize=False)
        rest = whole[len(asked) :] if whole.startswith(asked) else ""
        lead = rest[: len(rest) - len(rest.lstrip())] if rest.lstrip().startswith(said[1]) else lead
    return [("" if p[-1:].isspace() else lead) + r.strip() for p, r in zip(prompts, replies, strict=True)]


def as_messages(history: Sequence[Any]) -> list[dict[str, str]]:
    """A history of messages or of (said, reply) pairs as chat messages."""
    messages: list[dict[str, str]] = []
    for turn in history:
        if isinstance(turn, dict):
            messages.append({"role": turn["role"], "content": turn["content"]})
        else:
            said, reply = turn
            messages.append({"role": "user", "content": said})
            messages.append({"role": "assistant", "content": reply})
    return messages


def encode(lm: LM, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, unpadded.

    The tokenizer's start token is added unless the text already begins with a special token, as
    filled chat templates do. An end token that the tokenizer would append is left out.
    """
    if isinstance(texts, str):
        raise TypeError("encode: texts is one string; pass a list of strings, e.g. [text].")
    texts = list(texts)
    special = tuple(t for t in lm.tokenizer.all_special_tokens if t)
    raw = [i for i, t in enumerate(texts) if not (special and t.startswith(special))]
    ids: list[list[int]] = [[] for _ in texts]
    for group, add in ((raw, True), (sorted(set(range(len(texts))) - set(raw)), False)):
        if group:
            chosen = [texts[i] for i in group]
            for i, row in zip(group, tokenize(lm, chosen, add), strict=True):
                ids[i] = row
    return ids


def tokenize(lm: LM, texts: list[str], add_special: bool) -> list[list[int]]:
    """Token ids of each text, without the end token that some tokenizers append: the text is to go on."""
    found = lm.tokenizer(
        texts, add_special_tokens=add_special, padding=False, return_attention_mask=False
    )["input_ids"]
    end = lm.tokenizer.eos_token_id
    ends = tuple(t for t in [lm.tokenizer.eos_token] if t)
    return [
        row[:-1] if add_special and row and row[-1] == end and not text.endswith(ends) else row
        for row, text in zip(found, texts, strict=True)
    ]


def check_length(lm: LM, ids: Sequence[Sequence[int]], extra: int = 0) -> None:
    """Refuse texts that do not fit into the model's context, and texts without any token."""
    limit = context_length(lm.model)
    for index, row in enumerate(ids):
        if not row:
            raise ValueError(f"text {index} has no tokens; pass at least one word.")
        if len(row) + extra > limit:
            raise ValueError(
                f"text {index} has {len(row)} tokens and {extra} more are wanted, but {lm.name} "
                f"reads at most {limit}; shorten it or ask for fewer."
            )


def context_length(model: nn.Module) -> int:
    """Tokens the model can read at once (10⁹ where its configuration sets no limit)."""
    config = text_config(model)
    sizes = (getattr(config, key, None) for key in ("max_position_embeddings", "n_positions"))
    return next((int(s) for s in sizes if s), 10**9)


def length_batches(ids: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """Indices in batches of similar length, longest first (memory trouble shows at once)."""
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}; use 1 or more.")
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def pad(lm: LM, rows: Sequence[Sequence[int]], side: str) -> tuple[Tensor, Tensor]:
    """Token ids and mask, both (rows, longest), padded on `side`, on the model's device."""
    width = max(len(row) for row in rows)
    fill = [lm.tokenizer.pad_token_id]
    left = side == "left"
    ids = [
        fill * (width - len(r)) + list(r) if left else list(r) + fill * (width - len(r))
        for r in rows
    ]
    ids = torch.tensor(ids, device=lm.device)
    lengths = torch.tensor([len(r) for r in rows], device=lm.device)[:, None]
    place = torch.arange(width, device=lm.device)
    mask = place >= width - lengths if left else place < lengths
    return ids, mask.long()


# ------------------------------------------------------------------------- generation


def stop_tokens(lm: LM) -> list[int]:
    """Ids that end a reply: the tokenizer's end token and those of the generation settings."""
    settings = getattr(plain(lm.model), "generation_config", None)
    stated = getattr(settings, "eos_token_id", None)
    stated = stated if isinstance(stated, (list, tuple)) else [stated]
    return sorted({t for t in [lm.tokenizer.eos_token_id, *stated] if t is not None})


@torch.no_grad()
def generate(
    lm: LM,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 40,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 64,
) -> list[str]:
    """Sampled replies, without the prompt and without special tokens.

    Reply `i` depends on the seed, on `i` and on prompt `i`, and on no other prompt: batches are
    padded on the left and every row draws its own random numbers.

    Args:
        prompts: texts as `chat` returns them, or plain text.
        temperature: 0 takes the likeliest token at each step.
        seed: of the sampling; the global random state is neither read nor changed.

    Raises:
        ValueError: negative temperature, an empty prompt, or one that leaves no room.
    """
    tokens = generate_ids(
        lm,
        encode(lm, prompts),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        batch_size=batch_size,
    )
    return [lm.tokenizer.decode(t, skip_special_tokens=True).strip() for t in tokens]


@torch.no_grad()
def generate_ids(
    lm: LM,
    ids: Sequence[Sequence[int]],
    *,
    max_new_tokens: int = 40,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 64,
) -> list[list[int]]:
    """Like `generate`, from token ids to new token ids (stop token left out)."""
    if temperature < 0 or max_new_tokens < 1:
        raise ValueError(
            f"generate: temperature={temperature} and max_new_tokens={max_new_tokens}; "
            "use temperature >= 0 and at least one new token."
        )
    check_length(lm, ids, max_new_tokens)
    draw = torch.Generator().manual_seed(seed)
    uniform = torch.rand(max_new_tokens, len(ids), generator=draw, dtype=torch.float64)
    return draw_replies(lm, ids, range(len(ids)), uniform, temperature, batch_size)


@torch.no_grad()
def draw_replies(
    lm: LM, ids: Sequence[Sequence[int]], rows: Sequence[int], uniform: Tensor, temperature: float, batch_size: int
) -> list[list[int]]:
    """New token ids of each prompt, drawn with the numbers of its column in `uniform`, (steps, prompts).

    rows: the number of each prompt that hooks are told.
    """
    replies: list[list[int]] = [[] for _ in ids]
    for batch in length_batches(ids, batch_size):
        prompt, mask = pad(lm, [ids[i] for i in batch], "left")
        with lm.announcing(torch.tensor([rows[i] for i in batch], device=lm.device), mask.sum(1), max(rows) + 1):
            new = sample(lm, prompt, mask, uniform[:, batch].to(lm.device), temperature)
        for i, row in zip(batch, new.tolist(), strict=True):
            replies[i] = cut(row, stop_tokens(lm))
    return replies


def cut(row: list[int], stops: list[int]) -> list[int]:
    """The tokens before the first stop token."""
    return row[: next((k for k, token in enumerate(row) if token in stops), len(row))]


def sample(lm: LM, ids: Tensor, mask: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """New tokens (batch, <= steps) after left-padded `ids`; `uniform` is (steps, batch)."""
    stops = torch.tensor(stop_tokens(lm), device=ids.device)
    step = Stepper(lm, mask)
    done = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    new = []
    for number, u in enumerate(uniform):
        token = pick(step(ids if number == 0 else new[-1][:, None]), u, temperature)
        new.append(token)
        done |= torch.isin(token, stops)
        # one look at the device every few steps is enough: the extra tokens are cut off
        if (ids.device.type == "cpu" or number % 8 == 7) and done.all():
            break
    return torch.stack(new, 1)


def pick(logits: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """One token per row, (batch,): the likeliest, or by inverting the cumulative distribution."""
    return logits.argmax(-1) if temperature == 0 else draw(chances(logits, temperature), uniform)


def chances(logits: Tensor, temperature: float) -> Tensor:
    """Probability of each token, (batch, vocabulary), in float64 where the device has it."""
    wide = torch.float32 if logits.device.type == "mps" else torch.float64
    return torch.softmax(logits.to(wide) / temperature, -1)


def draw(p: Tensor, uniform: Tensor) -> Tensor:
    """One token per row, (batch,), by inverting the cumulative distribution at `uniform`, (batch,)."""
    heap = p.cumsum(-1)
    place = (uniform.to(p.dtype)[:, None] * heap[:, -1:]).contiguous()
    return torch.searchsorted(heap, place, right=True)[:, 0].clamp(max=p.shape[-1] - 1)


class Stepper:
    """Next-token logits, one call a step, with the model's cache between calls."""

    def __init__(self, lm: LM, mask: Tensor):
        from transformers import DynamicCache

        self.model, self.mask = lm.model, mask
        if not accepts(lm.model, "past_key_values"):
            raise ModelError(
                f"{lm.name} keeps no key-value cache (a state-space model?), and valuelab.generate "
                "needs one; use a transformer."
            )
        self.options: dict[str, Any] = {"use_cache": True}
        self.options["past_key_values"] = DynamicCache(config=plain(lm.model).config)
        if accepts(lm.model, "logits_to_keep"):
            self.options["logits_to_keep"] = 1
        self.positions = accepts(lm.model, "position_ids")
        self.first = True

    def __call__(self, ids: Tensor) -> Tensor:
        if not self.first:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(ids), 1)], 1)
        self.first = False
        if self.positions:
            places = (self.mask.cumsum(1) - 1).clamp(min=0)
            self.options["position_ids"] = places[:, -ids.shape[1] :]
        out = self.model(input_ids=ids, attention_mask=self.mask, **self.options)
        return out.logits[:, -1]

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows of the batch, in this order; a row may be taken several times."""
        self.options["past_key_values"].reorder_cache(rows)
        self.mask = self.mask[rows]


# ------------------------------------------------------------------------ log-probability


@torch.no_grad()
def log_probs(
    lm: LM, prompts: Sequence[str], continuations: Sequence[str], *, batch_size: int = 64
) -> Tensor:
    """Summed log-probability of each continuation after its prompt, in nats.

    Prompt and continuation are written as one text and tokenised together. Where a token spans the
    seam it counts as the continuation's.

    Returns:
        float32 tensor (n,) on the processor.

    Raises:
        ValueError: lists of different length, an empty continuation, a prompt without any token
            before the seam, or a text longer than the model's context.
    """
    whole, starts = join(lm, prompts, continuations)
    check_length(lm, whole)
    result = torch.empty(len(whole))
    for batch in length_batches(whole, batch_size):
        ids, mask = pad(lm, [whole[i] for i in batch], "right")
        start = torch.tensor([starts[i] for i in batch], device=lm.device)
        first = min(starts[i] for i in batch)
        with lm.announcing(torch.tensor(batch, device=lm.device), start, len(whole)):
            scores = token_log_probs(lm, ids, mask, first)
        place = torch.arange(first, ids.shape[1], device=lm.device)
        counted = (place >= start[:, None]) & mask[:, first:].bool()
        result[batch] = scores.masked_fill(~counted, 0).sum(1).cpu()
    return result


def join(
    lm: LM, prompts: Sequence[str], continuations: Sequence[str]
) -> tuple[list[list[int]], list[int]]:
    """Token ids of each prompt with its continuation, and where the continuation starts."""
    prompts, continuations = list(prompts), list(continuations)
    if len(prompts) != len(continuations):
        raise ValueError(
            f"log_probs: {len(prompts)} prompts but {len(continuations)} continuations; pass one "
            "continuation for each prompt."
        )
    whole = encode(lm, [p + c for p, c in zip(prompts, continuations, strict=True)])
    heads = encode(lm, prompts)
    starts = [shared_prefix(a, b) for a, b in zip(heads, whole, strict=True)]
    for index, (start, row) in enumerate(zip(starts, whole, strict=True)):
        if start == len(row):
            raise ValueError(
                f"log_probs: continuation {index} adds no token; it must not be empty."
            )
        if start == 0:
            raise ValueError(
                f"log_probs: prompt {index} leaves no token to condition on; begin it with a word "
                "or with the tokenizer's start token."
            )
    return whole, starts


def shared_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Number of leading tokens that two sequences have in common."""
    return next(
        (k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def token_log_probs(lm: LM, ids: Tensor, mask: Tensor, first: int = 1) -> Tensor:
    """Log-probability of tokens `first` onward given those before, (batch, length - first).

    ids, mask: (batch, length), padded on the right. Computed in float32 or wider, a few positions at a time: a
    float32 copy of all logits, and a second one for the sum, would take more memory than the model gave.
    """
    options = {"use_cache": False} if accepts(lm.model, "use_cache") else {}
    wanted = ids.shape[1] - first + 1  # the logits before each wanted token, and the last
    if accepts(lm.model, "logits_to_keep"):
        options["logits_to_keep"] = wanted
    logits = lm.model(input_ids=ids, attention_mask=mask, **options).logits[:, -wanted:-1]
    width = max(1, WIDE // (logits.shape[0] * logits.shape[2]))
    parts = zip(logits.split(width, 1), ids[:, first:].split(width, 1), strict=True)
    return torch.cat([log_softmax_at(part, tokens) for part, tokens in parts], 1)


def log_softmax_at(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-softmax of logits (batch, n, vocabulary), in float32 or wider, at one token (batch, n) each."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits.gather(-1, tokens[..., None])[..., 0] - logits.logsumexp(-1)


def untrained(lm: LM, seed: int = 0) -> LM:
    """A copy of the model with freshly drawn weights: the control for every probe.

    The global random state is restored afterwards.
    """
    config = copy.deepcopy(plain(lm.model).config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = type(plain(lm.model))(config)
    model = model.to(lm.device, lm.dtype).eval()
    return LM(model, lm.tokenizer, f"{lm.name} (untrained)")


def describe(lm: LM) -> str:
    """One line: name, class, blocks, width, parameters, precision and device."""
    count = sum(p.numel() for p in plain(lm.model).parameters())
    return (
        f"{lm.name}: {type(plain(lm.model)).__name__}, {lm.n_layers} blocks of width {lm.d_model}, "
        f"{count / 1e6:.1f} M parameters, {str(lm.dtype).removeprefix('torch.')} on {lm.device}"
    )


def card(lm: LM) -> dict[str, Any]:
    """What identifies a model in a saved file: name, class, width, blocks, fingerprint."""
    return {
        "model": lm.name,
        "architecture": type(plain(lm.model)).__name__,
        "d_model": lm.d_model,
        "n_layers": lm.n_layers,
        "fingerprint": lm.fingerprint,
    }
