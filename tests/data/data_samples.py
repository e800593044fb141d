"""Small files in the format of each public dataset, made up here: no row of a real one is copied.

A sample lists its rows; `data_damage.py` writes them in the format that the file's ending names,
whole or damaged. `wrong` is a place in the last row and something that must not stand there; `id`
is the column that must not repeat.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Sample:
    path: str
    rows: Any  # list of dicts, lists or texts; a dict for JSON objects; text for .txt
    wrong: tuple[tuple, Any] | None = None
    id: Any = None
    header: bool = True
    quoted: bool = True
    sheet: str = ""
    whole: bool = False  # the JSON value is one row


@dataclass
class Case:
    files: list[Sample]  # the first one is the main file
    records: int
    first: dict[str, Any] = field(default_factory=dict)


def _each(columns: str, *rows: tuple) -> list[dict]:
    names = columns.split()
    return [dict(zip(names, row, strict=True)) for row in rows]


_CHECKPOINT = {
    "checkpoint_id": "a1",
    "checkpoint_name": "Ask first",
    "related_functions": ["ask"],
    "why_it_matters": "so that nobody is surprised",
    "expected_actions": ["Call ask."],
    "expected_signal": "a question was sent",
}
_CASE = {
    "case_name": "garden_watering",
    "environment": "Garden",
    "value_system": "little",
    "value_items": ["Care", "Thrift"],
    "task_description": "Water the beans, or save the water.",
    "env_initial_parameters": {"tank": 3},
    "special_state_list": [],
    "function_list": ["water", "ask"],
    "value_a_checkpoint_list": [_CHECKPOINT],
    "value_b_checkpoint_list": [_CHECKPOINT],
}
_SYSTEMS = {
    "little": {
        "name": "LITTLE",
        "values": [
            {"value": "Care", "definition": "to look after"},
            {"value": "Thrift", "definition": "to save"},
        ],
    }
}
_PERSONA = _each(
    "question statement label_confidence answer_matching_behavior answer_not_matching_behavior",
    ('Would you say?\n"I water the beans"', "I water the beans", 0.75, " Yes", " No"),
    ('Would you say?\n"I let them dry"', "I let them dry", 0.5, " No", " Yes"),
)
_OPTION = {"prompt": "Which?\n (A) left\n (B) right", "corrects": [" (B)"], "incorrects": [" (A)"]}
_ETHICS = [
    {"label": "0", "scenario": "I kept my word."},
    {"label": "1", "scenario": "I lied, a bit."},
]
_PCT = {
    "templ_id": "templ-01",
    "templ_prompt": "What of this?",
    "templ_note": "explicit",
    "pct_id": "pc-1",
    "pct_prompt": "Beans are better than peas.",
    "pct_note": "economy",
    "ans_id": "ans-01",
    "ans_prompt": "1) No\n2) Yes",
    "ans_note": "main",
    "jail_id": "jail-01",
    "jail_prompt": "",
    "jail_note": "neutral",
    "full_prompt": "What of this?\nBeans are better than peas.\n1) No\n2) Yes",
}
_JUDGED = {"": "7", **_PCT, "completion": "No.", "model": "toy"}
_NOTES = {"disagreement": "", "disagreement_note": "", "decision": ""}
_AGREEMENT = {
    **_JUDGED,
    "annot2_label": "2_agree",
    "annot2_note": "",
    "annot1_label": "1_disagree",
    "annot1_note": "",
    **_NOTES,
}
_INVALID = {
    **_JUDGED,
    "validation_label": "invalid",
    **{f"annot{i}_{m}": "0" for i in (2, 1) for m in ("donothave", "bothsides", "oneside")},
    **{f"annot{i}_refusal": "1" for i in (2, 1)},
    **{f"annot{i}_note": "" for i in (2, 1)},
    **_NOTES,
}
_SOCIAL = {
    "area": "toy",
    "m": "1",
    "split": "train",
    "rot-agree": "4.0",
    "rot-categorization": "social-norms",
    "rot-moral-foundations": "care-harm",
    "rot-char-targeting": "char-0",
    "rot-bad": "0",
    "rot-judgment": "It's good",
    "action": "sharing beans",
    "action-agency": "agency",
    "action-moral-judgment": "1.0",
    "action-agree": "4.0",
    "action-legal": "legal",
    "action-pressure": "",
    "action-char-involved": "char-0",
    "action-hypothetical": "explicit",
    "situation": "having too many beans",
    "situation-short-id": "toy/1",
    "rot": "It's good to share beans.",
    "rot-id": "rot/toy/1",
    "rot-worker-id": "5",
    "breakdown-worker-id": "6",
    "n-characters": "2",
    "characters": "narrator|a friend",
}
_STORY = {
    "ID": "T1",
    "norm": "You should share.",
    "moral_action": "Ann shares.",
    "immoral_action": None,
    "label": 1,
    "split": "dev",
}
_STORY0 = {
    **_STORY,
    "ID": "T2",
    "moral_action": None,
    "immoral_action": "Ann hides it.",
    "label": 0,
}
_BASE = "data/contrastive_moral_stories/"


def _stories(variant: str, **extra: Any) -> Sample:
    rows = [{**_STORY, **extra}, {**_STORY0, **extra}]
    path = f"{_BASE}{variant}/action+norm/norm_distance/dev.jsonl"
    return Sample(path, rows, (("label",), 2))


_RULES = {
    f"a{i}_{v}": "No"
    for i in (1, 2)
    for v in (
        "death pain disable freedom pleasure deceive cheat break_promise break_law duty".split()
    )
}
_SCENARIO = {
    "scenario_id": "H_001",
    "ambiguity": "high",
    "generation_type": "Hand-Written",
    "generation_rule": "Do not cheat",
    "context": "You count the beans, and nobody looks.",
    "action1": "I count right.",
    "action2": "I add one.",
    **_RULES,
    "a2_cheat": "Yes",
}
_DILEMMA = {
    "scenario_id": "F_1",
    "generation_type": "generated",
    "generation_theme": "Harm_Care",
    "context": "A bean falls, and rolls.",
    "action1": "Pick it up",
    "action2": "Leave it",
}
_VIEW = {
    "scenario_id": "V_1",
    "generaton_type": "generated",
    "generation_theme": "Ontology",
    "context": "What is a bean?",
    **{f"action{i}": f"answer {i}" for i in (1, 2, 3, 4)},
}
_PAIR = {"instruction": "Answer with A or B.", "input": "Beans? A. yes B. no", "output": ["A", "B"]}
_LIMA = {"instruction": "Name a bean.", "input": "", "output": "Fava.", "history": []}
_RAW = "src/evaluation/raw_dataset/"
_TEN = (
    "Conformity Tradition Benevolence Universalism Self_Direction "
    "Stimulation Hedonism Achievement Power Security"
).split()
_FOUR = "Self_Enhancement Self_Transcendence Conservation Openness_to_Change".split()
_FIVE = "Openness Conscientiousness Extraversion Agreeableness Neuroticism".split()
_ANSWERS = [
    {
        "content": f"answer {i}",
        "id": i,
        "higher_pvq_correlations": [["Conservation", 0.1]],
        "correlations": [["Power", 0.1]],
        "bfi_correlations": [["Openness", 0.1]],
    }
    for i in (1, 2, 3, 4, 5)
]


def _rho(kind: str, value: str) -> list[dict]:
    row = {"portrait_id": "11", "option_id": 1, f"{kind}_dimension": value, "spearman_corr": 0.25}
    return [{**row, "spearman_p_value": 0.5}, {**row, "option_id": 2, "spearman_p_value": 0.25}]


_MODELS = (
    "gpt-4-1106-preview gpt-3.5-turbo-1106 llama-7b-chat "
    "llama-70b-chat mistral-7b-instruct mixtral-8x7b-instruct"
).split()
_RATED = {
    "questionnaire info": "TOY",
    "scenario description": "I like order.",
    "corresponding value": "Order",
    "Agreement": 1,
    "REP": "",
    "Notice": "",
    "question": "Should I sow beans in rows?",
    **{f"{m}_{k}": "yes" for m in _MODELS for k in ("answer", "explanation", "answers")},
    **{f"{m}_rating": 7 for m in _MODELS},
}
_DEFINED = {
    "questionnaire info": "TOY",
    "value dimension": "Order",
    "corresponding definition/description": "A liking for order",
    "Upper dimension": "",
    "opposite dimension": "",
    "Level Summarization": "",
    "DicDef": "",
}
_IPIP = {
    "instrument": "T",
    "alpha": "0.8",
    "key": 1,
    "text": "I sort.",
    "label": "Order",
    "text.2": "Sort.",
}
_QUESTION = {
    "topic": "Beans",
    "topic_english": "Beans",
    "question": "Are beans good?",
    "original": "Do you find beans good?",
    "original_english": "Do you find beans good?",
    "rephrase": True,
    "options": {"yes": "supports", "no": "opposes"},
}
_PVQ = {
    "statement": "Rows of beans matter to her.",
    "schwartz_value": "security",
    "values": [{"text": "Security"}],
    "options": {"like me": "supports", "not like me": "opposes"},
    "question": "How much like you?",
}
_TWENTY = [
    "Self-direction: thought",
    "Self-direction: action",
    "Stimulation",
    "Hedonism",
    "Achievement",
    "Power: dominance",
    "Power: resources",
    "Face",
    "Security: personal",
    "Security: societal",
    "Tradition",
    "Conformity: rules",
    "Conformity: interpersonal",
    "Humility",
    "Benevolence: caring",
    "Benevolence: dependability",
    "Universalism: concern",
    "Universalism: nature",
    "Universalism: tolerance",
    "Universalism: objectivity",
]
_ARGUMENTS = [
    {"Argument ID": f"A0000{i}", "Conclusion": "Plant beans", "Stance": "in favor of", "Premise": p}
    for i, p in ((1, 'they feed "all"'), (2, "they are green"))
]
_LABELS = [
    {"Argument ID": "A00001", **dict.fromkeys(_TWENTY, "0"), "Face": "1"},
    {"Argument ID": "A00002", **dict.fromkeys(_TWENTY, "0"), "Face": "1", "Humility": "1"},
]
_CLIP = {
    "id": "clip-1",
    "behaviors": ["wave", "wait", "sit", "run", ""],
    "justifications": ["it is kind", "it is calm", "", "", ""],
    "correct": 1,
    "sensibles": [0, 1],
    "taxonomy": {"0": [], "1": ["Politeness", "Safety"], "2": [], "3": [], "4": []},
    "desc": "A door opens.",
}
_SCENE = {
    "idx": "55",
    "basic_situation": "sharing.",
    "dilemma_situation": "You have two beans, and so has nobody else.",
    "action_type": "to_do",
    "action": "Share",
    "negative_consequence": "One bean is left.",
    "parties_direct": "['You']",
    "parties_indirect": "['others']",
    "values_direct": "['Care', \"One's own\"]",
    "values_indirect": "[]",
    "reason_direct": "['it helps']",
    "reason_indirect": "[]",
    "model_resp_gpt35_clean": "to_do",
    "model_resp_gpt4_clean": "to_do",
    "values_names": "['care', 'thrift']",
    "values_types": "['direct', 'direct']",
    "wvs": "[nan, 'Survival']",
    "mft": "['Care', nan]",
    "virtue": "[nan, nan]",
    "emotion": "['trust', nan]",
    "maslow": "['safety', nan]",
    "background": "a table",
    "topic": "11",
    "topic_group": "food",
}
_TALK = "\n\nHuman: Beans?\n\nAssistant:"
_US = {
    "": "0",
    "American_Norm": "Say hello.",
    "American_Situation": "A fair.",
    "Labeled_Dialogue": "A: Hi,\nB: hi",
}
_CN = {
    "": "0",
    "Norm": "Greet.",
    "Situation": "A fair.",
    "cn_Norm": "打招呼",
    "cn_Situation": "集市",
    "Labeled_Dialogue": "甲：你好",
}
_CLEAN = "NormDial_clean_dataset/"
_SCORES = "Supplemental_Material/"
_COUNTS = "src/scruples/demos/scoracle/templates/dev.scruples-{}_label-counts.json"
_UTILITY = "utility_analysis/experiments/"
_ANECDOTE = {
    "id": "i1",
    "post_type": "HISTORICAL",
    "title": "Was it me?",
    "text": "I ate the bean.",
    "label_scores": {"AUTHOR": 2, "OTHER": 1, "EVERYBODY": 0, "NOBODY": 0, "INFO": 0},
    "label": "AUTHOR",
}
_CHOICE = {
    "id": "d1",
    "actions": [{"id": "a", "description": "share"}, {"id": "b", "description": "hide"}],
    "gold_label": 0,
    "gold_annotations": [3, 2],
}
_TRANSCRIPT = """Ann Toy
Link: https://example.org/1
===

[00:00:00] hope; work
---

[00:00:02] I plant beans.

[00:00:09] They grow.
"""

CASES: dict[str, Case] = {
    "agent_valuebench": Case(
        [
            Sample("case/case_00001.json", _CASE, (("value_system",), "unheard"), whole=True),
            Sample("configs/value_systems.json", _SYSTEMS, (("values", 0, "value"), 3)),
        ],
        4,
        {"value": "Care", "pole": 1, "context_id": "garden_watering", "choices": ("water", "ask")},
    ),
    "anthropic_evals": Case(
        [Sample("persona/likes-beans.jsonl", _PERSONA, (("answer_matching_behavior",), " Maybe"))],
        2,
        {"value": "likes-beans", "pole": 1, "label": "Yes", "response": "I water the beans"},
    ),
    "constitutional_harmlessness": Case(
        [
            Sample(
                "evals/438HHHEvaluations.jsonl",
                [{**_OPTION, "text_correct": f"{_TALK} Kind.", "text_incorrect": f"{_TALK} Rude."}] * 2,
                (("corrects",), []),
            ),
            Sample("evals/HarmfulVsEthical.jsonl", [_OPTION, _OPTION], (("corrects", 0), "B")),
        ],
        4,
        {"prompt": _TALK, "choices": (" Kind.", " Rude."), "response": " Kind.", "label": "(B)"},
    ),
    "conva": Case(
        [
            Sample(
                "data/value/tradition_hard.csv",
                _each(
                    "question_1 question_2",
                    ("She kept the feast.", "She skipped the feast."),
                    ('"He asked, as ever."', '"He did not ask, ""for once""."'),
                ),
                (("question_2",), " "),
            ),
            Sample(
                "data/value/test_power_new.csv", [{"text": 'Shall I "just" lead?'}], (("text",), "")
            ),
        ],
        5,
        {"value": "power", "label": "test"},
    ),
    "cvalues": Case(
        [
            Sample(
                "dataset/cvalues_responsibility_prompts.jsonl",
                _each(
                    "id_ prompt domain_en domain_zh",
                    (1, "豆子好吗？", "law", "法律"),
                    (2, "怎么种豆子？", "psychology", "心理"),
                ),
                (("domain_en",), "cookery"),
                id="id_",
            )
        ],
        2,
        {"value": "law", "language": "zh", "prompt": "豆子好吗？"},
    ),
    "daily_dilemmas": Case(
        [
            Sample(
                "data/dilemma.csv",
                [
                    {
                        "": "0",
                        "idx": "55",
                        "basic_situation": "sharing.",
                        "dilemma_situation": "Two, or one?",
                    },
                    {
                        "": "1",
                        "idx": "56",
                        "basic_situation": "waiting.",
                        "dilemma_situation": "Now, or later?",
                    },
                ],
                (("idx",), "fifty"),
                id="idx",
            ),
            Sample(
                "data/values.csv",
                [
                    dict(
                        zip(["", *"value WVS MFT Virtue Emotion Maslow".split()], row, strict=True)
                    )
                    for row in (
                        ("0", "care", "", "Care", "", "trust", "safety"),
                        ("1", "thrift", "Survival", "", "", "", ""),
                    )
                ],
                (("MFT",), "Kindness"),
                id="value",
            ),
            Sample(
                "data/dilemmas_with_detail_by_action_test.csv",
                [_SCENE],
                (("values_names",), "care"),
            ),
            Sample(
                "data/principle_openai.csv", [{"principle": "Be fair, always.", "source": "toy"}]
            ),
        ],
        6,
        {"context_id": "55", "label": "sharing."},
    ),
    "ealm": Case(
        [
            Sample(
                "mp-ethics_train_revised.csv",
                _each(
                    "input Commonsense Deontology Justice Utilitarianism Virtue",
                    ("I shared my beans, all of them.", "1", "0", "1", "1", "1"),
                    ("I hid them.", "0", "0", "0", "0", "0"),
                ),
                (("Virtue",), "2"),
            )
        ],
        2,
        {"label": "commonsense|justice|utilitarianism|virtue", "value": ""},
    ),
    "egonormia": Case(
        [
            Sample(
                "src/final_dataset/ood_robot.json",
                {"clip-1": _CLIP},
                (("taxonomy", "1"), ["Charm"]),
            )
        ],
        1,
        {"value": "politeness", "response": "wait", "label": "politeness|safety"},
    ),
    "emergent_values": Case(
        [
            Sample(
                "utility_analysis/shared_options/options_hierarchical.json",
                {"Beans": ["You get a bean.", "You lose a bean."], "Peas": ["You get a pea."]},
                ((), []),
            ),
            Sample(
                _UTILITY + "expected_utility_implicit/implicit_lotteries/options.json",
                {
                    "base_options": [
                        {
                            "option": "It rains",
                            "sub_options": [
                                {"option": "much", "probability": 0.5},
                                {"option": "little", "probability": 0.5},
                            ],
                        }
                    ]
                },
                ((0, "sub_options", 0, "probability"), "half"),
            ),
            Sample(
                _UTILITY + "instrumental_values/markov_processes.json",
                {
                    "MarkovProcesses": [
                        {
                            "name": "Growing",
                            "states": [{"id": 0, "observation": "a seed", "is_terminal": False}],
                            "transitions": {"0": [[0, 1.0]]},
                            "start_state_distribution": [[0, 1.0]],
                        }
                    ]
                },
                ((0, "states", 0, "is_terminal"), "no"),
            ),
            Sample(
                _UTILITY + "maximization/util_max_questions.json",
                [
                    {
                        "question": "Which?",
                        "pair_prompt": "Which one?",
                        "possible_answers": ["a", "b"],
                    }
                ],
                (("possible_answers",), ["a"]),
            ),
        ],
        6,
        {"context_id": "Beans", "prompt": "You get a bean."},
    ),
    "ethics": Case(
        [
            Sample(
                "ethics/commonsense/cm_test.csv",
                _each(
                    "label input is_short edited",
                    ("0", "I watered the beans.", "True", "False"),
                    ("1", "I trod on them,\nand laughed.", "False", "False"),
                ),
                (("label",), "wrong"),
            ),
            Sample(
                "ethics/commonsense/cm_ambig.csv", [['May I "borrow", say, a bean?']], header=False
            ),
            Sample("ethics/justice/justice_test.csv", _ETHICS, (("label",), "")),
            Sample(
                "ethics/deontology/deontology_test.csv",
                [{**r, "excuse": "No, never."} for r in _ETHICS],
                (("label",), "yes"),
            ),
            Sample(
                "ethics/virtue/virtue_test.csv",
                [{"label": "1", "scenario": "Ann shared. [SEP] generous"}],
                (("label",), "-1"),
            ),
            Sample(
                "ethics/utilitarianism/util_test.csv",
                [["I got a bean, and a pea.", "I got a bean."], ["It grew.", "It died."]],
                ((1,), " "),
                header=False,
            ),
        ],
        10,
        {"value": "commonsense", "pole": 1, "label": "0"},
    ),
    "flames": Case(
        [
            Sample(
                "Flames_1k_Chinese.jsonl",
                _each(
                    "dimension subcomponent prompt",
                    ("Fairness", "Beans and peas", "豆子比豌豆好吗？"),
                    ("Data protection", "Names", "豆子叫什么？"),
                ),
                (("dimension",), "Taste"),
            )
        ],
        2,
        {"value": "fairness", "language": "zh"},
    ),
    "global_opinions": Case(
        [
            Sample(
                "data/eval.json",
                _each(
                    "country question options distribution",
                    ("Atlantis", "Beans?", ["Good", "Bad"], [0.75, 0.25]),
                    ("Utopia", "Beans?", [1.0, 2.0, "Other"], [0.5, 0.25, 0.25]),
                ),
                (("distribution",), [0.5, 0.5, 0.5]),
            )
        ],
        2,
        {"label": "Good", "context_id": "Beans?", "choices": ("Good", "Bad")},
    ),
    "hh_rlhf": Case(
        [
            Sample(
                "harmless-base/test.jsonl.gz",
                [
                    {"chosen": _TALK + " Yes, cooked.", "rejected": _TALK + " Throw them."},
                    {
                        "chosen": _TALK + " Yes.\n\nHuman: How?\n\nAssistant: Boil.",
                        "rejected": _TALK + " No.\n\nHuman: How?\n\nAssistant: Burn.",
                    },
                ],
                (("chosen",), "Beans?"),
            )
        ],
        2,
        {"prompt": _TALK, "choices": (" Yes, cooked.", " Throw them.")},
    ),
    "llm_values_pct": Case(
        [
            Sample(
                "data/prompts/toy.csv",
                [_PCT, {**_PCT, "pct_id": "pc-2", "pct_note": "religion"}],
                (("pct_note",), "sport"),
                id="pct_id",
            ),
            Sample(
                "data/templates/pct_propositions.csv",
                [{k: _PCT[k] for k in ("pct_id", "pct_prompt", "pct_note")}],
                (("pct_note",), "sport"),
            ),
            Sample(
                "data/annotations/agreement_toy.csv", [_AGREEMENT], (("annot1_label",), "agree")
            ),
            Sample("data/annotations/invalid_toy.csv", [_INVALID], (("annot2_refusal",), "x")),
        ],
        5,
        {"context_id": "pc-01", "label": "economy"},
    ),
    "mmlu": Case(
        [
            Sample(
                "data/test/bean_lore_test.csv",
                [
                    ["Which is a bean?", "fava", "oak", "rye", "elm", "A"],
                    ["Which is not, then?", "fava", "lima", "mung", "elm", "D"],
                ],
                ((5,), "E"),
                header=False,
            )
        ],
        2,
        {"label": "A", "response": "fava", "context_id": "Which is a bean?"},
    ),
    "moral_graph": Case(
        [Sample("data/Ann Toy.txt", _TRANSCRIPT)],
        2,
        {"label": "hope|work", "response": "I plant beans.", "context_id": "Ann Toy"},
    ),
    "moral_stories": Case(
        [
            _stories("contra_ms"),
            Sample(
                f"{_BASE}original_ms/action+norm/norm_distance/dev.jsonl",
                [
                    {"ID": "T11", "norm": "Share.", "moral_action": "Ann shares.", "label": "1"},
                    {"ID": "T10", "norm": "Share.", "immoral_action": "Ann hides.", "label": "0"},
                ],
                (("label",), "2"),
            ),
            _stories("anti_ms_llama", **{"flipped-rot": "You should."}),
            Sample(
                "data/operator_mappings/obligatory_sc101.csv",
                [_SOCIAL, {**_SOCIAL, "rot-id": "rot/toy/2"}],
                (("rot-moral-foundations",), "care-harm|beauty"),
                id="rot-id",
            ),
            Sample(
                f"{_BASE}flipped_sample.csv",
                [{"": "3", "ID": "T1", "norm": "Share, please.", "flipped-norm": "Do not."}],
                (("ID",), ""),
            ),
        ],
        9,
        {"pole": 1, "response": "Ann shares.", "licence": "MIT"},
    ),
    "moralchoice": Case(
        [
            Sample(
                "data/scenarios/moralchoice_high_ambiguity.csv",
                [_SCENARIO, {**_SCENARIO, "scenario_id": "H_002"}],
                (("generation_rule",), "Do not dance"),
                id="scenario_id",
            )
        ],
        2,
        {"value": "do not cheat", "label": "high", "choices": ("I count right.", "I add one.")},
    ),
    "mort": Case(
        [
            Sample(
                _SCORES + "UserStudy/userStudy_score_globalAMT.csv",
                _each("Action Score", ("share, often", "0.75"), ("hide", "0.25")),
                (("Score",), "much"),
            ),
            Sample(
                _SCORES + "MoralScore/weat/toy_dos.csv",
                [["0.5", "share"], ["-0.5", "hide"]],
                ((0,), "nan"),
                header=False,
            ),
            Sample(
                _SCORES + "MoralScore/actions_for_subspace/list.csv",
                [["eat", "beans;peas"], ["hide away from", "peas;"]],
                ((1,), ""),
                header=False,
            ),
        ],
        6,
        {"pole": 1, "prompt": "share, often", "label": "0.7500"},
    ),
    "normdial": Case(
        [
            Sample(
                f"{_CLEAN}American/adherence/greeting/cleaned_dialogue.csv",
                [_US, {**_US, "": "1", "Labeled_Dialogue": "A: Hello"}],
                (("",), "x"),
            ),
            Sample(f"{_CLEAN}Chinese/violation/leave/cleaned_dialogue.csv", [_CN], (("Norm",), "")),
        ],
        3,
        {"value": "greeting", "pole": 1, "prompt": "A fair."},
    ),
    "nurvalues": Case(
        [
            Sample(
                "data/original_data.csv",
                [{"original_text": "护士浇豆子"}, {"original_text": '护士说 "豆子", 然后走了'}],
                (("original_text",), " "),
            )
        ],
        2,
        {"language": "zh"},
    ),
    "progressgym": Case(
        [
            Sample(
                _RAW + "foundation/final.csv",
                [_DILEMMA, {**_DILEMMA, "scenario_id": "F_2"}],
                (("generation_theme",), "Beauty"),
                id="scenario_id",
            ),
            Sample(
                _RAW + "views/final.csv",
                [_VIEW, {**_VIEW, "scenario_id": "V_2", "action4": ""}],
                (("generation_theme",), "theme"),
                id="scenario_id",
            ),
            Sample(_RAW + "moralchoice/final.csv", [_SCENARIO], (("ambiguity",), "middling")),
            Sample(
                "libs/llama_factory/data/value_preferences_toy.json", [_PAIR], (("output",), ["A"])
            ),
            Sample("libs/llama_factory/data/lima.json", [_LIMA, _LIMA], (("history",), [["a"]])),
        ],
        8,
        {"value": "care", "choices": ("Pick it up", "Leave it")},
    ),
    "pyvalues": Case(
        [
            Sample(
                "src/pyvalues/assets/dictionaries/20221007/en.json",
                {"Power": ["rule", "rank"], "Self-Direction": ["choose"]},
                ((0,), 5),
            )
        ],
        3,
        {"value": "power", "prompt": "rule", "language": "en"},
    ),
    "repe": Case(
        [
            Sample(
                "data/facts/facts_true_false.csv",
                _each("statement label", ("Beans grow, slowly.", "1"), ("Beans fly.", "0")),
                (("label",), "true"),
            ),
            Sample("data/emotions/fear.json", ["The beans are gone.", "It hails."], ((), " ")),
            Sample(
                "data/memorization/quotes/quote_completions.json",
                [{"input": "A bean is", "target": " a bean"}],
                (("input",), 1),
            ),
        ],
        5,
        {"pole": 1, "label": "1"},
    ),
    "scruples": Case(
        [
            Sample(_COUNTS.format("anecdotes"), [[0, 3, 1, 0, 0], [2, 2, 0, 0, 0]], ((0,), -1)),
            Sample(_COUNTS.format("dilemmas"), [[3, 2], [1, 4]], ((), [1, 2, 3])),
            Sample(
                "tests/fixtures/corpus-easy/dev.jsonl",
                [_ANECDOTE, {**_ANECDOTE, "id": "i2"}],
                (("label",), "ME"),
                id="id",
            ),
            Sample(
                "tests/fixtures/resource-easy/dev.jsonl",
                [_CHOICE, {**_CHOICE, "id": "d2"}],
                (("gold_label",), 2),
                id="id",
            ),
        ],
        8,
        {"label": "OTHER"},
    ),
    "value_portrait": Case(
        [
            Sample(
                "data/correlation_results/pvq_correlation_results.json",
                _rho("pvq", "Self_Direction"),
                (("pvq_dimension",), "Beauty"),
                id="option_id",
            ),
            Sample(
                "data/correlation_results/bfi_correlation_results.json",
                _rho("bfi", "Openness"),
                (("spearman_corr",), "0.2"),
                id="option_id",
            ),
            Sample(
                "data/query-response-tagged/query-response-tagged.json",
                [
                    {"content": {"title": None, "text": t}, "outputs": _ANSWERS, "portrait_id": i}
                    for i, t in ((11, "Beans?"), (12, "Peas?"))
                ],
                (("portrait_id",), "11"),
                id="portrait_id",
            ),
            Sample(
                "data/prolific/value/main/value.json",
                {
                    "P1": {
                        "bfi": dict.fromkeys(_FIVE, 3.0),
                        "pvq": dict.fromkeys(_TEN, 0.5),
                        "higher_pvq": dict.fromkeys(_FOUR, 0.5),
                    }
                },
                (("pvq", "Power"), None),
            ),
            Sample(
                "data/prolific/survey/main/survey.json",
                [{"11": [{"option_id": i, "data": [[4, "P1"]]} for i in (1, 2, 3, 4, 5)]}],
                (("11", 0, "data", 0, 0), 7),
            ),
        ],
        12,
        {"value": "self-direction", "pole": 1, "prompt": "Beans?", "response": "answer 1"},
    ),
    "valuebench": Case(
        [
            Sample(
                "data/value_orientation.csv",
                _each(
                    "questionnaire item value agreement question",
                    (
                        "TOY",
                        "I like beans in rows, mostly.",
                        "Order",
                        "1",
                        "Should I sow beans in rows?",
                    ),
                    ("TOY", "I sow beans anywhere.", "Order", "-1", "Should I sow beans anywhere?"),
                ),
                (("agreement",), "0"),
            ),
            Sample(
                "data/value_data.xlsx", [_DEFINED], (("value dimension",), ""), sheet="value2def"
            ),
            Sample("data/value_data.xlsx", [_IPIP, _IPIP], (("key",), 2), sheet="IPIP"),
            Sample(
                "assets/QA-dataset-answers-rating.xlsx",
                [_RATED],
                (("llama-7b-chat_rating",), "high"),
                sheet="Sheet1",
            ),
        ],
        6,
        {"value": "Order", "pole": 1, "response": "I like beans in rows, mostly."},
    ),
    "valueconsistency": Case(
        [
            Sample(
                "data/controversial_english_us.jsonl",
                [_QUESTION, {**_QUESTION, "topic_english": None, "rephrase": 0}],
                (("options", "yes"), "likes"),
            ),
            Sample("data/pvq_english.jsonl", [_PVQ, _PVQ], (("schwartz_value",), "beauty")),
        ],
        4,
        {"context_id": "us/Beans", "label": "controversial", "choices": ("yes", "no")},
    ),
    "valueeval23": Case(
        [
            Sample(
                "data/arguments-test.tsv",
                _ARGUMENTS,
                (("Stance",), "maybe"),
                id="Argument ID",
                quoted=False,
            ),
            Sample("data/labels-test.tsv", _LABELS, (("Face",), "2"), quoted=False),
        ],
        2,
        {"value": "face", "label": "face", "prompt": "Plant beans"},
    ),
}
