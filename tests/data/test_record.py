"""The record type, its table, its errors, and the set that finds repeated ids."""

from __future__ import annotations

import pickle
import tracemalloc

import datasets

from valuelab.data import FEATURES, Annotation, DataError, Record, to_dataset
from valuelab.data.record import SeenIds, batches, check, from_row, pack

FULL = Record(
    id="toy/1",
    source="toy",
    context_id="garden",
    value="power",
    taxonomy="schwartz10",
    pole=-1,
    label="no",
    prompt="Shall I lead?",
    choices=("yes", "no"),
    response="No – never 豆",
    annotators=(Annotation("P1", "no", 2.0), Annotation("", "yes")),
    language="en",
    licence="MIT",
    meta=pack({"b": 1, "a": "豆"}),
)


def test_a_record_survives_the_way_into_a_dataset_and_back():
    bare = Record("toy/2", "toy")
    table = to_dataset([FULL, bare])
    assert isinstance(table, datasets.Dataset) and table.features == FEATURES
    assert [from_row(r) for r in table] == [FULL, bare]


def test_no_records_make_an_empty_dataset_with_all_columns():
    table = to_dataset([])
    assert len(table) == 0 and table.column_names == list(Record._fields)


def test_a_long_stream_keeps_its_order_across_batches():
    table = to_dataset((Record(f"toy/{i}", "toy") for i in range(23)), batch=5)
    assert table["id"][:] == [f"toy/{i}" for i in range(23)]
    assert [len(b) for b in batches(range(7), 3)] == [3, 3, 1]


def test_meta_is_the_same_text_for_the_same_facts():
    assert pack({"b": 1, "a": "豆"}) == pack({"a": "豆", "b": 1}) == '{"a": "豆", "b": 1}'


def test_each_field_of_a_wrong_type_is_named():
    assert check(FULL) == ""
    for field, bad in {
        "id": 1,
        "value": None,
        "pole": 2,
        "choices": ("a", 1),
        "annotators": (("P1", "no", 2.0),),
        "meta": {},
    }.items():
        assert check(FULL._replace(**{field: bad})) == field
    assert check(FULL._replace(pole=True)) == "pole"
    assert check(FULL._replace(choices=["a"])) == "choices"


def test_an_error_says_what_where_and_how_to_mend_it_and_survives_pickling():
    e = DataError("a/b.csv", 7, "label", "x" * 200, "expected '0' or '1'")
    assert "a/b.csv, line 7, column 'label': expected '0' or '1'; found 'xxx" in str(e)
    assert "..." in str(e) and "lenient=True" in str(e) and len(str(e)) < 300
    again = pickle.loads(pickle.dumps(e))
    assert (str(again), again.line, again.column) == (str(e), 7, "label")


def test_repeated_ids_are_found_among_many_and_no_new_one_is_taken_for_old():
    seen = SeenIds()
    assert all(seen.add(f"id {i}") for i in range(20_000))
    assert not any(seen.add(f"id {i}") for i in range(0, 20_000, 7))


def test_the_set_of_ids_costs_at_most_32_bytes_an_id_and_a_copy_while_it_grows():
    tracemalloc.start()
    seen = SeenIds()
    for i in range(20_000):
        seen.add(f"id {i}")
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert now < 32 * 20_000 and peak < 48 * 20_000
