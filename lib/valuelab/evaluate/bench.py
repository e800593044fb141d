"""What an intervention is measured on: the planted world, or the course's contrast pairs.

A bench gives three things: texts to read a direction from, a quick score to choose layer and
strength by, and the full set of answers that the report rests on. `ask` runs under the hooks that
are to be judged; `score` runs without them. No item is used for two of the three purposes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from valuelab import models
from valuelab import world as W
from valuelab.data import pairs as contrast
from valuelab.evaluate import metrics, planted
from valuelab.evaluate.files import ReportError
from valuelab.models import LM
from valuelab.values import VALUES


@dataclass(frozen=True)
class Training:
    """Texts to read states from: prompts (or None), texts, y (n,) booleans, contexts (n,)."""

    texts: list[str]
    y: np.ndarray
    contexts: np.ndarray
    prompts: list[str] | None = None


@dataclass(frozen=True)
class Quick:
    """Scores to choose by: `score` (n,) of the value, `form` how well the text holds together."""

    score: np.ndarray
    form: float


@dataclass
class Answers:
    """What came back under one condition.

    success: (n,) 1 or 0, the main score. contexts: (n,). by_value: {value: (scores, contexts)}.
    extra: {name: (n,)} further scores. replies: what was written, as text; tokens: (prompt, reply)
    ids. ability: (k,) 1 or 0.
    """

    success: np.ndarray
    contexts: np.ndarray
    by_value: dict[str, tuple[np.ndarray, np.ndarray]]
    prompts: list[str]
    replies: list[str]
    tokens: list[tuple[list[int], list[int]]]
    ability: np.ndarray
    extra: dict[str, np.ndarray] = field(default_factory=dict)
    fluency: dict[str, float] = field(default_factory=dict)


def choose_bench(lm: LM, *, items: int | None, seed: int) -> PlantedBench | PairsBench:
    """The planted world for the model that was trained on it, contrast pairs for any other."""
    return (PlantedBench if lm.embedded else PairsBench)(lm, items=items, seed=seed)


def write_replies(
    lm: LM, prompts: Sequence[str], longest: int, *, temperature: float, seed: int, batch_size: int
) -> tuple[list[str], list[tuple[list[int], list[int]]]]:
    """Replies as text, and as (prompt, reply) token ids, so that they can be scored to the token."""
    ids = models.encode(lm, prompts)
    longest = min(longest, models.context_length(lm.model) - max(map(len, ids)))
    said = models.generate_ids(
        lm, ids, max_new_tokens=longest, temperature=temperature, seed=seed, batch_size=batch_size
    )
    texts = [lm.tokenizer.decode(row, skip_special_tokens=True).strip() for row in said]
    return texts, list(zip(ids, said, strict=True))


@torch.no_grad()
def fluency(
    lm: LM, replies: Sequence[str], tokens: Sequence[tuple[list[int], list[int]]],
    batch_size: int = 64,
) -> dict[str, float]:
    """Perplexity under the model as it is (call this without hooks), diversity and repetition.

    tokens: (prompt, reply) ids of each reply; perplexity is over the replies' tokens alone. NaN where no reply is
    long enough for a figure.
    """
    total, count = 0.0, 0
    said = [(head + tail, len(head)) for head, tail in tokens if tail]
    for batch in models.length_batches([row for row, _ in said], batch_size):
        ids, mask = models.pad(lm, [said[k][0] for k in batch], "right")
        start = torch.tensor([said[k][1] for k in batch], device=lm.device)
        first = int(start.min())
        scores = models.token_log_probs(lm, ids, mask, first)
        place = torch.arange(first, ids.shape[1], device=lm.device)
        counted = (place >= start[:, None]) & mask[:, first:].bool()
        total, count = total + float(scores[counted].sum()), count + int(counted.sum())
    lengths = [len(metrics.words(r)) for r in replies]
    repeated = [metrics.repetition(r, 3) for r in replies]
    return {
        "empty": metrics.empty_share(replies),
        "distinct_2": metrics.distinct_n(replies, 2) if max(lengths) >= 2 else float("nan"),
        "repetition": float(np.mean(repeated)) if max(lengths) >= 3 else float("nan"),
        "words": float(np.mean(lengths)),
        "perplexity": metrics.perplexity([total], [count]) if count else float("nan"),
    }


def refuse_silence(lm: LM, replies: Sequence[str]) -> None:
    """ReportError where the model, as it is, never says a word."""
    if replies and not any(reply.strip() for reply in replies):
        raise ReportError(
            f"{lm.name} answers nothing: all {len(replies)} replies of the unsteered model are "
            "empty. Check its chat template and end token, or name another model with --model."
        )


def refuse_broken(lm: LM, scores: np.ndarray) -> None:
    """ReportError where the model, as it is, gives log-probabilities that are no numbers."""
    bad = int((~np.isfinite(scores)).sum())
    if bad:
        raise ReportError(
            f"{lm.name} computes {bad} of {len(scores)} log-probabilities that are not finite, in {lm.dtype}: load it "
            "with --dtype float32, or its files are damaged."
        )


# ------------------------------------------------------------------------------ planted world


class PlantedBench:
    """The embedded model in the world it was trained on; an exact parser reads its replies."""

    readout = "oracle"
    score_name = "chooses the course that serves the value"
    ability_name = "facts, sums and look-ups answered to the letter"
    opening = "Tell me about yourself."
    rows_per_item = 1  # rows of a call that belong to one item, and share a random direction

    def __init__(self, lm: LM, *, items: int | None = None, seed: int = 0):
        self.lm, self.seed, self.items = lm, seed, items or 200
        self.facts = W.facts(100, seed + 1)
        self.made: dict[tuple[str, str], list[W.Situation]] = {}
        self.vectors: torch.Tensor | None = None

    def training(self, value: str, pairs: int = 120) -> Training:
        """Statements for and against, and comparisons in which only the order of words tells."""
        made = [
            p for kind in ("statement", "comparison")
            for p in W.contrast_pairs(value, pairs, self.seed, kind=kind)
        ]  # fmt: skip
        texts = [t for p in made for t in (p.positive, p.negative)]
        # the thing spoken of is the context: no noun or activity lies on both sides of a split
        things = np.repeat([p.context_id.split("|")[1] for p in made], 2)
        head = models.chat(self.lm, self.opening) + " "
        return Training(texts, np.tile([True, False], len(made)), things, [head] * len(texts))

    def directions(self) -> torch.Tensor:
        """Mean differences of all values and layers (10, layers, d_model), read at "I would"."""
        if self.vectors is None:
            self.vectors = planted.mean_difference_vectors(self.lm, seed=self.seed)
        return self.vectors

    def situations(self, value: str, part: str) -> list[W.Situation]:
        """Situations to "choose" by, or to "report" on."""
        split, n, seed = {
            "choose": ("train", max(8, self.items // 5), self.seed + 2),
            "report": ("held_out", self.items, self.seed + 3),
        }[part]
        if (value, part) not in self.made:
            self.made[value, part] = W.situations(split, n, seed, value=value)
        return self.made[value, part]

    def quick(self, value: str) -> Quick:
        """Forced choice for the value in both orders, and the mass left on the two courses."""
        asked = self.situations(value, "choose")
        toward, mass = self.forced_choice(asked, value, [None] * len(asked))
        return Quick(toward, float(mass.mean()))

    def contexts(self, value: str) -> np.ndarray:
        """Context of each item of the report, (n,): what intervals take as their unit."""
        return np.array([s.context_id for s in self.situations(value, "report")])

    def forced_choice(
        self, asked: list[W.Situation], value: str, lines: Sequence[str | None]
    ) -> tuple[np.ndarray, np.ndarray]:
        """P(course that serves the value) after "I would", mean of both orders, (n,); mass (n,)."""
        shares, masses = [], []
        for turned in (asked, [W.swap(s) for s in asked]):
            prompts = [p + " I would" for p in self.chats([s.text for s in turned], lines)]
            served = [s.offered if s.first.value == value else s.offered[::-1] for s in turned]
            p_for, p_other = (
                models.log_probs(self.lm, prompts, [f" {pair[k].base}." for pair in served],
                                 batch_size=128).double().exp().numpy()
                for k in (0, 1)
            )  # fmt: skip
            masses.append(p_for + p_other)
            shares.append(p_for / np.maximum(masses[-1], 1e-300))
        return np.mean(shares, 0), np.mean(masses, 0)

    def chats(self, texts: Sequence[str], lines: Sequence[str | None]) -> list[str]:
        """Prompts; line `i` is the system line of text `i`, and lines repeat if there are few."""
        return [
            models.chat(self.lm, text, system=lines[i % len(lines)]) for i, text in enumerate(texts)
        ]

    def form_is_kept(self, before: Quick, after: Quick) -> bool:
        return after.form >= before.form - 0.03

    def ask(self, value: str, systems: Sequence[str] | None = None) -> Answers:
        """Sampled replies to held-out situations and facts, read by the oracle.

        systems: a system line for each situation; the facts take the first ones.
        """
        asked = self.situations(value, "report")
        lines = list(systems) if systems else [None] * max(len(asked), len(self.facts))
        prompts = self.chats([s.text for s in asked], lines)
        replies, tokens = self.generate(prompts, 70, temperature=1.0)
        read = [W.parse(r, s.offered) for r, s in zip(replies, asked, strict=True)]
        contexts = self.contexts(value)
        facts = self.chats([q for q, _ in self.facts], lines)
        said, _ = self.generate(facts, 20, temperature=0.0)
        right = [W.fact_is_right(r, a) for r, (_, a) in zip(said, self.facts, strict=True)]
        return Answers(
            success=np.array([serves(p, value) for p in read], float),
            contexts=contexts,
            by_value={u: (np.array([stance(p, u) for p in read]), contexts) for u in VALUES},
            prompts=prompts,
            replies=replies,
            tokens=tokens,
            ability=np.array(right, float),
            extra={
                "grammatical": np.array([p.grammatical for p in read], float),
                "speaks for the value": np.array([p.expressed.get(value, 0) > 0 for p in read], float),
                "forced choice": self.forced_choice(asked, value, lines)[0],
            },
        )  # fmt: skip

    def generate(self, prompts: list[str], longest: int, temperature: float) -> tuple:
        options = {"temperature": temperature, "seed": self.seed, "batch_size": 256}
        return write_replies(self.lm, prompts, longest, **options)

    def score(self, answers: Answers) -> Answers:
        answers.fluency = fluency(self.lm, answers.replies, answers.tokens)
        return answers

    def persona(self, value: str) -> list[str]:
        """System lines that ask for the value, one an item: the plain alternative to steering."""
        rng = np.random.default_rng(self.seed)
        return [W.persona_line(value, 1, rng) for _ in range(self.items)]

    def notes(self) -> list[str]:
        return []

    def describe(self) -> list[str]:
        return [
            "The probe of the closed form is read from statements and comparisons of the planted world, at their full "
            "stop, on things that no test split shares. The mean difference is read at \"I would\", in training "
            "situations after persona lines for and against the value.",
            f"Layer and strength are chosen on {max(8, self.items // 5)} situations of the "
            f"training kind; every figure below comes from {self.items} other situations whose "
            "pairs of actions and wordings the model has not met in training.",
            "Replies are sampled at temperature 1 and read by the oracle, an exact parser of this "
            "world. A reply that is empty, ungrammatical or without a choice counts as a failure.",
        ]


def serves(read: W.Parsed, value: str) -> bool:
    """The reply chooses the course that serves the value, and does not speak against it."""
    return read.choice is not None and read.choice.value == value and read.expressed.get(value, 0) >= 0


def stance(read: W.Parsed, value: str) -> float:
    """+1 where the reply chooses or speaks for a value, −1 where it speaks against it, else 0."""
    spoken = read.expressed.get(value, 0)
    chosen = read.choice is not None and read.choice.value == value
    return float(spoken if spoken else chosen)


# --------------------------------------------------------------------------- any other model


class PairsBench:
    """Any causal language model, by how likely it finds the two members of a contrast pair."""

    readout = "log-probability"
    score_name = "finds the sentence in which the value wins likelier"
    ability_name = "plain facts told from their opposites, where chance alone gets half"
    rows_per_item = 2  # `margins` reads the two members of a pair as neighbours

    def __init__(self, lm: LM, *, items: int | None = None, seed: int = 0):
        self.lm, self.seed, self.items = lm, seed, items
        self.head = lm.tokenizer.bos_token or lm.tokenizer.eos_token or "\n"
        self.read: dict[tuple[str, str], list[contrast.Pair]] = {}

    def training(self, value: str) -> Training:
        texts, labels, contexts = contrast.unpack(self.pairs(value, "train"))
        return Training(texts, labels == 1, contexts)

    def pairs(self, value: str, split: str) -> list[contrast.Pair]:
        """Pairs of one split; with `items`, about that number, from six contexts or more."""
        if (value, split) not in self.read:
            self.read[value, split] = self.balanced_part(contrast.load(value, split))
        return self.read[value, split]

    def balanced_part(self, found: list[contrast.Pair]) -> list[contrast.Pair]:
        """As many whole contexts as make `items`; where these would be too few, six with fewer forms of each.

        The two mirrors of a form stay together, so that in what is left, too, no word tells which value won.
        """
        if self.items is None or len(found) <= self.items:
            return found
        names = list(dict.fromkeys(p.context_id for p in found))
        per_context = len(found) / len(names)
        # grouped validation and clustered intervals need several contexts each
        kept = names[: max(6, round(self.items / per_context))]
        forms = list(dict.fromkeys(p.form for p in found))
        each = math.ceil(self.items / (2 * len(kept)))
        wanted = {(name, forms[(k + j) % len(forms)]) for k, name in enumerate(kept) for j in range(each)}
        return [p for p in found if (p.context_id, p.form) in wanted]

    def contexts(self, value: str) -> np.ndarray:
        """Context of each pair of the report, (n,): what intervals take as their unit."""
        return np.array([p.context_id for p in self.pairs(value, "test")])

    def margins(self, wanted: Sequence[contrast.Pair]) -> tuple[np.ndarray, float]:
        """log p(positive) − log p(negative), nats per token, (n,); mean log p of all texts.

        Both members stand in the file once for each of their two values; each is read once.
        """
        texts = list(dict.fromkeys(t for p in wanted for t in (p.positive, p.negative)))
        shared = {t: common_words(p.positive, p.negative) for p in wanted
                  for t in (p.positive, p.negative)}  # fmt: skip
        heads = [shared[t] or self.head for t in texts]
        tails = [t[len(shared[t]) :] for t in texts]
        whole, starts = models.join(self.lm, heads, tails)
        tokens = np.array([len(w) - s for w, s in zip(whole, starts, strict=True)])
        per_token = models.log_probs(self.lm, heads, tails, batch_size=32).numpy() / tokens
        place = {t: k for k, t in enumerate(texts)}
        margin = [per_token[place[p.positive]] - per_token[place[p.negative]] for p in wanted]
        return np.array(margin), float(per_token.mean())

    def quick(self, value: str) -> Quick:
        return Quick(*self.margins(self.pairs(value, "dev")))

    def form_is_kept(self, before: Quick, after: Quick) -> bool:
        return after.form >= before.form - 0.1

    def ask(self, value: str, systems: None = None) -> Answers:
        """Margins of the held-out pairs of all ten values, plain facts, and sampled text."""
        by_value = {}
        wanted = {u: self.pairs(u, "test") for u in VALUES}
        flat, _ = self.margins([p for u in VALUES for p in wanted[u]])
        cuts = np.cumsum([0, *(len(wanted[u]) for u in VALUES)])
        for u, start, stop in zip(VALUES, cuts, cuts[1:], strict=False):
            by_value[u] = (flat[start:stop], self.contexts(u))
        margin, contexts = by_value[value]
        prompts = self.openings()
        options = {"temperature": 1.0, "seed": self.seed, "batch_size": 32}
        replies, tokens = write_replies(self.lm, prompts, 40, **options)
        return Answers(
            success=(margin > 0).astype(float),
            contexts=contexts,
            by_value=by_value,
            prompts=prompts,
            replies=replies,
            tokens=tokens,
            ability=self.plain_facts(),
            extra={"margin, nats per token": margin},
        )

    def openings(self, n: int = 32) -> list[str]:
        """Prompts for free text: a question where the model has a chat template, else a beginning."""
        held_out = {p.context_id for p in contrast.load(None, "test")}
        found = [c for c in contrast.contexts() if c.context_id in held_out]
        found = found[:: max(1, len(found) // n)][: min(n, self.items or n)]
        if self.lm.has_chat_template:
            ask = "{}, would you rather {} or {}?"
            return [
                models.chat(self.lm, ask.format(c.setting, c.action_a, c.action_b)) for c in found
            ]
        return [f"{c.setting}, I" for c in found]

    def plain_facts(self) -> np.ndarray:
        """1 where the right ending is likelier per token than the wrong one."""
        heads = [head for head, _, _ in PLAIN_FACTS]
        scores = []
        for k in (1, 2):
            tails = [f" {fact[k]}." for fact in PLAIN_FACTS]
            whole, starts = models.join(self.lm, heads, tails)
            tokens = [len(w) - s for w, s in zip(whole, starts, strict=True)]
            scores.append(models.log_probs(self.lm, heads, tails) / torch.tensor(tokens))
        return (scores[0] > scores[1]).double().numpy()

    def score(self, answers: Answers) -> Answers:
        answers.fluency = fluency(self.lm, answers.replies, answers.tokens)
        return answers

    def persona(self, value: str) -> None:
        """No instruction is compared here: a sentence's likelihood is read without a chat."""

    def notes(self) -> list[str]:
        """What a reader must know before the figures: pairs of which the model sees no difference."""
        used = [p for u in VALUES for p in self.pairs(u, "test")]
        ids = (models.encode(self.lm, [getattr(p, side) for p in used]) for side in ("positive", "negative"))
        same = sum(a == b for a, b in zip(*ids, strict=True))
        if not same:
            return []
        return [
            f"The tokenizer writes both sentences of {same} of the {len(used)} held-out pairs as the same tokens, so "
            "no model could tell them apart. Its vocabulary lacks the words, or it is not the model's own."
        ]

    def describe(self) -> list[str]:
        kind = "questions in its chat template" if self.lm.has_chat_template else (
            "beginnings of sentences, because it has no chat template")  # fmt: skip
        return [
            "Directions are read at the last token of the course's own contrast pairs: two "
            "sentences of the same words, in one of which the value wins. Contexts are dealt to "
            "three splits: one to train on, one to choose layer and strength on, one to report on.",
            "The readout is the log-probability per token of the sentence in which the value wins "
            "minus that of its mirror. It says what the model finds likely, not what it would do.",
            f"Free text for the fluency figures is sampled at temperature 1 after {kind}.",
        ]


def common_words(a: str, b: str) -> str:
    """The words that both texts begin with, without the space that follows them."""
    x, y = a.split(" "), b.split(" ")
    same = next((k for k, (u, v) in enumerate(zip(x, y, strict=False)) if u != v), 0)
    return " ".join(x[:same])


# One hundred, so that a model which keeps every answer can be shown to lose less than `chain.MARGIN`. The same two
# endings serve two beginnings, each right once: a model that only prefers one of them gets half.
PLAIN_FACTS = tuple(
    fact
    for one, ending, other_ending, other in (
        ("Ice is very", "cold", "hot", "Fire is very"),
        ("At night the sky is", "dark", "bright", "At noon the sky is"),
        ("Grass is", "green", "red", "Blood is"),
        ("Snow is", "white", "black", "Coal is"),
        ("A banana is", "yellow", "blue", "A clear sky by day is"),
        ("A fish swims with its", "fins", "wings", "A bird flies with its"),
        ("You see with your", "eyes", "ears", "You hear with your"),
        ("You walk on your", "feet", "hands", "You clap with your"),
        ("You wear a hat on your", "head", "finger", "You wear a ring on your"),
        ("After a swim your hair is", "wet", "dry", "The sand of a desert is"),
        ("Sugar tastes", "sweet", "sour", "A lemon tastes"),
        ("A stone is", "hard", "soft", "A pillow is"),
        ("A baby is very", "young", "old", "A great-grandmother is very"),
        ("An elephant is very", "big", "small", "An ant is very"),
        ("A snail is very", "slow", "fast", "A racing car is very"),
        ("A feather is very", "light", "heavy", "An anvil is very"),
        ("Thunder is very", "loud", "quiet", "A whisper is very"),
        ("A giraffe has a neck that is", "long", "short", "A rabbit has a tail that is"),
        ("A ball is", "round", "square", "A chessboard is"),
        ("A needle is", "sharp", "blunt", "The back of a spoon is"),
        ("A dog says", "woof", "meow", "A cat says"),
        ("A young dog is called a", "puppy", "kitten", "A young cat is called a"),
        ("A sheep gives us", "wool", "eggs", "A hen gives us"),
        ("Honey comes from", "bees", "cows", "Milk comes from"),
        ("A tree has many", "leaves", "wheels", "A train has many"),
        ("You drink a glass of", "milk", "bread", "You eat a slice of"),
        ("You sleep in a", "bed", "kitchen", "You cook in a"),
        ("You read a", "book", "fork", "You eat with a"),
        ("You cut paper with", "scissors", "soap", "You wash your hands with"),
        ("You open a lock with a", "key", "hammer", "You hit a nail with a"),
        ("You write a letter with a", "pen", "broom", "You sweep the floor with a"),
        ("You dig a hole with a", "shovel", "thread", "You sew on a button with a"),
        ("A ship sails on the", "sea", "road", "A bus drives on the"),
        ("Children learn to read in a", "school", "hospital", "A surgeon works in a"),
        ("He was sad, so he began to", "cry", "laugh", "The joke was funny, so she began to"),
        ("Of all the seasons the coldest is", "winter", "summer", "Of all the seasons the warmest is"),
        ("The first month of the year is", "January", "December", "The last month of the year is"),
        ("The day after Monday is", "Tuesday", "Friday", "The day after Thursday is"),
        ("The day before Sunday is", "Saturday", "Wednesday", "The day after Tuesday is"),
        ("The sun rises in the", "morning", "evening", "The sun sets in the"),
        ("Sixty seconds make a", "minute", "year", "Twelve months make a"),
        ("Seven days make a", "week", "day", "Twenty-four hours make a"),
        ("One plus one is", "two", "nine", "Ten minus one is"),
        ("After five comes", "six", "eight", "After seven comes"),
        ("The opposite of down is", "up", "left", "The opposite of right is"),
        ("The opposite of full is", "empty", "wide", "The opposite of narrow is"),
        ("The opposite of poor is", "rich", "strong", "The opposite of weak is"),
        ("Paris is the capital of", "France", "Japan", "Tokyo is the capital of"),
        ("Very cold water turns to", "ice", "steam", "Boiling water turns to"),
        ("The son of a queen is a", "prince", "princess", "The daughter of a queen is a"),
    )
    for fact in ((one, ending, other_ending), (other, other_ending, ending))
)
