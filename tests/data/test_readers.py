"""Each reader three ways: a small made-up file, the real files, and damaged versions."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from data_damage import damaged, whole, write
from data_samples import CASES

from valuelab import data
from valuelab.data.readers import NAMES, reader
from valuelab.data.record import DataError, check, from_row, to_dataset
from valuelab.data.sources import registry

# Records of the real files by part, counted in the files themselves and compared with what their
# authors say: 1,988 items, 5,200 correlations, 8,005 questions, 133,204 statements and so on.
REAL = {
    "agent_valuebench": {"case": 2 * 520, "definition": 332},
    "anthropic_evals": {"": 133_204},
    "constitutional_harmlessness": {
        "438HHHEvaluations": 438,
        "HarmfulVsEthical": 254,
        "HarmfulnessClassification": 287,
    },
    "cvalues": {"": 664},
    "daily_dilemmas": {"dilemma": 1_360, "value": 301, "action": 8, "principle": 59 + 16},
    "ealm": {"": 300 + 30},
    "egonormia": {"": 11},
    "emergent_values": {
        "options_hierarchical": 510,
        "policy_options": 136,
        "entities": 39,
        "lottery": 20,
        "markov_processes": 21,
        "markov_processes_unnatural": 21,
        "maximise": 30,
    },
    "ethics": {
        "": sum(
            (
                *(3_885, 3_964, 995),  # commonsense
                *(18_164, 3_596, 3_536),  # deontology
                *(21_791, 2_704, 2_052),  # justice
                *(13_738, 4_808, 4_272),  # utilitarianism
                *(28_245, 4_975, 4_780),  # virtue
            )
        )
    },
    "flames": {"": 1_000},
    "global_opinions": {"": 4_633},
    "hh_rlhf": {"": 2_312},
    "llm_values_pct": {
        "pct": 62,
        "templ": 20,
        "jail": 9,
        "ans": 8,
        "prompt": 310 + 310 + 620 + 620,
        "annotation": 200 + 100,
    },
    "mmlu": {"": 285 + 1_542 + 14_079},
    "moral_graph": {"": 753 - 110},  # paragraphs, less those that only name subjects
    "moral_stories": {
        "original_ms": 2_000 + 2_000,
        "contra_ms": 5_980 + 6_000,
        "anti_ms": 1_990 + 2_000,
        "optional_ms": 1_990 + 2_000,
        "anti_ms_llama": 2_000 + 2_000,
        "anti_ms_splits_only": 1_990 + 2_000,
        "social-chem": 8_358 + 3_288,
        "flipped_sample": 500,
    },
    "moralchoice": {"": 680 + 687},
    "mort": {
        "UserStudy": 116 + 116,
        "userstudy": 5 * 113,
        "weat": 10 * 50,
        "figures": 65 + 64,
        "subspace": 29,
    },
    "normdial": {"": 3_850},
    "nurvalues": {"": 976},
    "progressgym": {
        "foundation": 600 + 766,
        "views": 539 + 258,
        "": 680 + 383,
        "preference": 2_496 + 1_859,
        "lima": 1_029,
    },
    "pyvalues": {"": 1_152 + 1_067 + 1_228 + 1_069 + 1_210 + 1_035 + 1_050},
    "repe": {
        "facts": 612,
        "emotions": 203 + 205 + 203 + 203 + 228 + 208 + 203 + 202,
        "memorization": 49 + 100 + 103 + 32 + 32,
    },
    "scruples": {"counts": 2_500 + 2_340, "anecdote": 20 + 5 + 5, "dilemma": 16 + 4 + 4},
    "value_portrait": {
        "pvq": 5_200,
        "higher_pvq": 2_080,
        "bfi": 2_600,
        "query": 104,
        "person": 569,
        "survey": 104 * 5,
    },
    "valuebench": {"item": 1_988, "definition": 582, "ipip": 3_805, "answers": 1_988},
    "valueconsistency": {"": 8_005 + 3 * 21},
    "valueeval23": {"": 5_393 + 1_896 + 1_576},
}

names = pytest.mark.parametrize("name", NAMES)


def part(record: data.Record) -> str:
    _, found, rest = record.meta.partition('"part": "')
    return rest.partition('"')[0] if found else ""


def test_every_reader_has_a_sample_a_count_and_a_registry_entry():
    assert set(CASES) == set(NAMES) == set(registry())
    assert set(REAL) == set(NAMES) - {"conva"}  # ConVA's files are nobody's to ship


@names
def test_a_made_up_file_becomes_the_records_expected(name, tmp_path):
    case = CASES[name]
    write(tmp_path, case.files)
    records = list(data.read(name, tmp_path))
    assert len(records) == case.records
    assert all(check(r) == "" and r.source == name and r.licence for r in records)
    assert len({r.id for r in records}) == len(records)
    first = next(
        (r for r in records if all(getattr(r, k) == v for k, v in case.first.items())), None
    )
    assert first is not None, f"no record has {case.first}; the first is {records[0]}"

    table = to_dataset(records)
    assert table.features == data.FEATURES and len(table) == case.records
    assert [from_row(row) for row in table] == records


@names
def test_every_damaged_version_is_refused_with_file_and_line(name, tmp_path):
    case = CASES[name]
    for k, sample in enumerate(case.files):
        survived, misplaced, kinds = [], [], []
        for i, (kind, raw, line) in enumerate(damaged(sample, case.files)):
            root = tmp_path / f"{k}-{i}"
            write(root, case.files)
            path = root / sample.path
            path.write_bytes(raw)
            kinds.append(kind)
            try:
                records = list(data.read(name, root))
            except DataError as e:
                if str(path) not in str(e) or f"line {e.line}" not in str(e) or not e.problem:
                    misplaced.append((kind, str(e)))
                if line is not None and e.line != line:
                    misplaced.append((kind, f"line {line} expected", str(e)))
            else:
                survived.append((kind, len(records)))
        assert not survived, f"{sample.path}: read as if whole: {survived}"
        assert not misplaced, f"{sample.path}: wrong place: {misplaced}"
        assert len(set(kinds)) >= 10, f"{sample.path}: only {kinds}"


@names
def test_all_rows_of_the_real_files_are_read(name, real_data):
    if name == "conva":
        pytest.skip("conva is read from a user's own copy; no licence, so no copy is at hand")
    folder = real_data / name
    counts: Counter = Counter()
    for record in data.read(name, folder):
        counts[part(record)] += 1
    assert dict(counts) == REAL[name]
    assert sum(REAL[name].values()) == registry()[name].records


def test_every_real_file_is_either_read_or_left_alone_for_a_reason(real_data):
    listed = json.loads((real_data / "MANIFEST.json").read_text(encoding="utf-8"))["files"]
    astray = []
    for entry in listed:
        name, _, path = entry["file"].partition("/")
        r = reader(name)
        needed = any(path in _glob(real_data / name, pattern) for pattern in r.needs)
        reason = any(path in _glob(real_data / name, pattern) for pattern in r.unread)
        if not needed and not reason:
            astray.append(entry["file"])
    assert not astray


_globs: dict[tuple[Path, str], set[str]] = {}


def _glob(root: Path, pattern: str) -> set[str]:
    if (root, pattern) not in _globs:
        _globs[root, pattern] = {f.relative_to(root).as_posix() for f in root.glob(pattern)}
    return _globs[root, pattern]


def test_the_registry_agrees_with_the_manifest_of_the_real_files(real_data):
    manifest = json.loads((real_data / "MANIFEST.json").read_text(encoding="utf-8"))
    facts = {f["file"]: f for f in manifest["files"]}
    for name, source in registry().items():
        for file in source.files:
            fact = facts[f"{name}/{file.path}"]
            assert (file.bytes, file.sha256) == (fact["bytes"], fact["sha256"]), file.path
            assert (source.repository, source.commit) == (fact["repository"], fact["commit"])
            assert file.origin == fact["path"]
        if name != "conva":
            needed = {p for pattern in reader(name).needs for p in _glob(real_data / name, pattern)}
            needed -= {p for p in needed if Path(p).name in _left_out(name)}
            assert {f.path for f in source.files} == needed, name


def _left_out(name: str) -> set[str]:
    r = reader(name)
    named = {n for t in r.tables for n in t.not_for}
    return {
        n
        for n in named
        if not any(t.pattern.endswith(n) for t in r.tables) and n.startswith("all_")
    }


@names
def test_records_carry_the_licence_of_the_registry(name):
    stated = registry()[name].licence
    assert reader(name).licence == stated


@names
def test_a_single_file_can_be_read_by_itself(name, tmp_path):
    sample = CASES[name].files[0]
    write(tmp_path, CASES[name].files)
    alone = list(data.read(name, tmp_path / sample.path))
    everything = {r.id for r in data.read(name, tmp_path)}
    assert alone and {r.id for r in alone} <= everything


def test_lenient_reading_skips_bad_rows_and_says_how_many_and_which(tmp_path, capsys):
    sample = CASES["valuebench"].files[0]
    good = whole(sample).splitlines(keepends=True)
    bad = b"TOY,item,Order,maybe,question\n"
    path = tmp_path / sample.path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"".join([*good, bad, b"too,short\n", b"b\xffd,i,v,1,q\n", good[1]]))
    skipped: list[DataError] = []
    records = list(data.read("valuebench", path, lenient=True, skipped=skipped))
    assert len(records) == 3
    assert [e.line for e in skipped] == [4, 5, 6]
    told = capsys.readouterr().err
    assert "read 3 records, skipped 3 rows" in told
    assert all(f"line {n}: " in told for n in (4, 5, 6)) and "'maybe'" in told

    with pytest.raises(DataError, match="line 4, column 'agreement'.*'maybe'"):
        list(data.read("valuebench", path))


def test_lenient_reading_goes_on_after_a_quote_that_was_never_closed(tmp_path):
    path = tmp_path / "data" / "value_orientation.csv"
    path.parent.mkdir()
    head = "questionnaire,item,value,agreement,question\n"
    path.write_text(head + 'T,"a"b,V,1,q\n' + "T,i,V,1,q\n", encoding="utf-8")
    skipped: list[DataError] = []
    assert len(list(data.read("valuebench", path, lenient=True, skipped=skipped))) == 1
    assert [e.line for e in skipped] == [2] and "quoting" in skipped[0].problem


def test_a_folder_without_known_files_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="mp-ethics_"):
        list(data.read("ealm", tmp_path))
    with pytest.raises(ValueError, match="Choose from"):
        data.read("no such dataset", tmp_path)


def test_the_samples_are_not_copies_of_real_rows(real_data):
    """Made-up rows talk of beans; a copied one would be found by its text."""
    for name in ("ealm", "moralchoice", "valuebench"):
        sample = CASES[name].files[0]
        file = reader(name).tables[0].files(real_data / name)[0]
        texts = {r.prompt for r in data.read(name, file)}
        assert not texts & {v for row in sample.rows for v in row.values() if len(v) > 12}
