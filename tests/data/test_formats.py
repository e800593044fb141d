"""Row sources: long values across reading blocks, positions of faults, endings and byte marks."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from valuelab.data import DataError
from valuelab.data import formats as f
from valuelab.data.kinds import free, integer, maybe, number, optional, text, whole


def rows(source, path, raw: bytes):
    path.write_bytes(raw)
    return list(source(path))


def test_values_that_straddle_the_reading_blocks_are_read_whole(tmp_path):
    long = ["豆" * n for n in (1, 90_000, 3, 200_000, 5)]  # 3 bytes a character, blocks of 256 KB
    members = [{"a": x, "b": i} for i, x in enumerate(long)]
    schema = {"a": text, "b": integer}
    raw = json.dumps(members, ensure_ascii=False, indent=2).encode()
    found = rows(f.json_list(schema), tmp_path / "a.json", raw)
    assert [r for _, r in found] == members
    assert [line for line, _ in found] == [2, 6, 10, 14, 18]

    keyed = {x[:1] + str(i): x for i, x in enumerate(long)}
    raw = json.dumps(keyed, ensure_ascii=False, indent=2).encode()
    found = rows(f.json_object(text), tmp_path / "b.json", raw)
    assert [r["value"] for _, r in found] == long and [n for n, _ in found] == [2, 3, 4, 5, 6]

    raw = "".join(json.dumps({"a": x}, ensure_ascii=False) + "\n" for x in long).encode()
    found = rows(f.jsonl_rows({"a": text}), tmp_path / "c.jsonl", raw)
    assert [r["a"] for _, r in found] == long

    raw = ("a,b\n" + "".join(f'"{x[:30_000]}\n",{i}\n' for i, x in enumerate(long))).encode()
    found = rows(f.csv_rows({"a": text, "b": whole}), tmp_path / "d.csv", raw)
    assert [r["b"] for _, r in found] == [0, 1, 2, 3, 4] and [n for n, _ in found] == [
        2,
        4,
        6,
        8,
        10,
    ]


@pytest.mark.parametrize("number_of_good", [0, 5, 15_000])
def test_a_fault_far_into_a_file_is_placed_in_its_line(tmp_path, number_of_good):
    n = number_of_good
    bad = tmp_path / "x.json"
    bad.write_text("[\n" + '{"a": 1},\n' * n + '{"a": 1 "b"},\n{"a": 1}\n]', encoding="utf-8")
    with pytest.raises(DataError) as e:
        list(f.json_list({"a": integer})(bad))
    assert e.value.line == n + 2
    bad.write_bytes(b"[\n" + b'{"a": 1},\n' * n + b'{"a": "\xff"}\n]')
    with pytest.raises(DataError, match="UTF-8") as e:
        list(f.json_list({"a": integer})(bad))
    assert e.value.line == n + 2
    found = rows(f.csv_rows({"a": free}), tmp_path / "x.csv", b"a\n" + b"1\n" * n + b"\xff\n2\n")
    assert [line for line, r in found if isinstance(r, DataError)] == [n + 2]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_endings_and_a_byte_mark_change_nothing(tmp_path, end, mark):
    raw = mark + end.join(["a,b", '"x, y",1', "z,2", ""]).encode()
    found = rows(f.csv_rows({"a": text, "b": whole}), tmp_path / "a.csv", raw)
    assert found == [(2, {"a": "x, y", "b": 1}), (3, {"a": "z", "b": 2})]
    raw = mark + end.join(["[", '{"a": 1}', "]", ""]).encode()
    assert rows(f.json_list({"a": integer}), tmp_path / "a.json", raw) == [(2, {"a": 1})]


def test_a_last_line_without_newline_is_cut_off_unless_published_so(tmp_path):
    for source, good in (
        (f.csv_rows, b"a\nwhole text\nwhole te"),
        (f.jsonl_rows, b'{"a": "x"}\n{"a": "y"}'),
    ):
        found = rows(source({"a": text}), tmp_path / "a", good)
        assert isinstance(found[-1][1], DataError) and "cut off" in found[-1][1].problem
        assert found[-1][1].line == good.count(b"\n") + 1
        found = rows(source({"a": text}, ends=False), tmp_path / "b", good)
        assert not isinstance(found[-1][1], DataError)


def test_columns_may_come_in_another_order_but_not_under_another_name(tmp_path):
    source = f.csv_rows({"a": text, "b": whole})
    assert rows(source, tmp_path / "a.csv", b"b,a\n1,x\n") == [(2, {"b": 1, "a": "x"})]
    with pytest.raises(DataError, match="line 1, column 'b': this column is missing; 'B'"):
        rows(source, tmp_path / "b.csv", b"a,B\nx,1\n")


def test_missing_keys_are_allowed_only_where_the_schema_says_so(tmp_path):
    source = f.jsonl_rows({"a": maybe(text), "b": optional(text, "none")})
    found = rows(source, tmp_path / "a.jsonl", b'{"a": null}\n{"b": "x"}\n{"a": "y", "b": "x"}\n')
    assert found[0] == (1, {"a": "", "b": "none"}) and found[2] == (3, {"a": "y", "b": "x"})
    assert isinstance(found[1][1], DataError) and found[1][1].column == "a"


def test_true_is_no_number_and_infinity_no_finite_one(tmp_path):
    source = f.jsonl_rows({"a": number})
    found = rows(
        source, tmp_path / "a.jsonl", b'{"a": true}\n{"a": Infinity}\n{"a": 1e999}\n{"a": 1}\n'
    )
    assert [isinstance(r, DataError) for _, r in found] == [True, True, True, False]


def test_memory_stays_flat_while_a_list_and_a_table_get_ten_times_longer(tmp_path, monkeypatch):
    monkeypatch.setattr(f, "_CHUNK", 4_096)  # small blocks show a leak in a small file

    def peak(source, path):
        tracemalloc.start()
        for _ in source(path):
            pass
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    tops = {}
    for n in (1_000, 10_000):
        path = tmp_path / f"{n}.json"
        path.write_text("[" + ",\n".join(['{"a": "some text"}'] * n) + "]", encoding="utf-8")
        table = tmp_path / f"{n}.csv"
        table.write_text("a\n" + "some text\n" * n, encoding="utf-8")
        tops[n] = (peak(f.json_list({"a": text}), path), peak(f.csv_rows({"a": text}), table))
    for short, long in zip(*tops.values(), strict=True):
        assert long < short + 20_000, tops  # a leak of two bytes a row would show
