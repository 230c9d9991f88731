"""The generated visits are grounded, plausible, complete over the grid, and the same everywhere."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from importlib import resources
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from soaptune.common.fingerprint import fingerprint_table
from soaptune.errors import ConfigError
from soaptune.facts import Vocabulary
from soaptune.generation import ExampleGenerator, load_generator
from soaptune.soap.generator import SoapGenerator
from soaptune.soap.grid import AXES, plausible_cells, why_implausible
from soaptune.tasks import SOAP
from soaptune.tasks.hooks import load_lexicon
from tests.unit.soap.auditor import audit

PATH = "soaptune.soap.generator:SoapGenerator"
LEVELS = ("brief", "standard", "detailed", "comprehensive")
CARED_FOR = ("infant", "toddler", "child")


def read(name: str) -> Any:
    return json.loads(resources.files("soaptune.soap").joinpath(name).read_text("utf-8"))


@functools.lru_cache(maxsize=1)
def conditions() -> dict[tuple[str, str], dict[str, Any]]:
    folder = resources.files("soaptune.soap").joinpath("lexicon/conditions")
    files = {f.name.removesuffix(".json").replace("_", " "): f for f in folder.iterdir() if f.name.endswith(".json")}
    return {(s, c["name"]): c for s, f in files.items() for c in json.loads(f.read_text("utf-8"))}


@functools.lru_cache(maxsize=2)
def rows(pools: Any = "standard") -> list[dict[str, Any]]:
    return SoapGenerator().columns(seed=3, start=0, stop=5_000, pools=pools).to_pylist()


def condition_of(row: dict[str, Any]) -> dict[str, Any]:
    return conditions()[row["specialty"], row["condition"]]


def values(row: dict[str, Any], kind: str) -> list[str]:
    return [fact["value"] for fact in row["facts"] if fact["kind"] == kind]


def templates(pools: str, *, note_only: bool = False) -> set[str]:
    found: set[str] = set()
    for entry in [*read("phrases_note.json").values(), *([] if note_only else [read("phrases_dialogue.json")])]:
        for ways in entry["passages"].values():
            found |= {way if isinstance(way, str) else way["text"] for way in ways[pools]}
    return found


def test_it_is_a_generator_that_its_task_finds_by_path():
    assert isinstance(load_generator(PATH), ExampleGenerator)
    assert SoapGenerator().levels() == LEVELS


def test_any_slice_equals_that_slice_of_the_whole():
    make = functools.partial(SoapGenerator().columns, seed=9)
    whole = make(start=0, stop=700)
    assert make(start=123, stop=456).equals(whole.slice(123, 333).combine_chunks())
    assert make(start=699, stop=700).to_pylist() == whole.slice(699, 1).to_pylist()
    assert make(start=5, stop=5).num_rows == 0


def test_slices_agree_across_the_blocks_in_which_rows_are_made():
    make = functools.partial(SoapGenerator().columns, seed=9, verbosity={"brief": 1})
    across = make(start=8_190, stop=8_195).to_pylist()
    assert across == make(start=0, stop=8_195).slice(8_190).to_pylist()


def test_another_seed_gives_other_rows_and_the_same_seed_the_same():
    make = functools.partial(SoapGenerator().columns, start=0, stop=50)
    assert make(seed=1).equals(make(seed=1))
    assert make(seed=1)["dialogue"].to_pylist() != make(seed=2)["dialogue"].to_pylist()


def test_another_process_makes_the_same_rows():
    code = (
        "from soaptune.soap.generator import SoapGenerator as G;"
        "from soaptune.common.fingerprint import fingerprint_table as f;"
        "print(f(G().columns(seed=42, start=0, stop=200)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == fingerprint_table(SoapGenerator().columns(seed=42, start=0, stop=200))


def test_every_plausible_cell_occurs_once_there_are_as_many_rows():
    cells = len(plausible_cells())
    table = SoapGenerator().columns(seed=1, start=0, stop=cells, verbosity={"brief": 1})
    assert table.select(AXES).group_by(AXES).aggregate([]).num_rows == cells


def test_every_implausible_cell_has_a_reason():
    reasons = why_implausible()
    assert len(reasons) + len(plausible_cells()) == 25 * 5 * 7 * 5
    assert [cell for cell, reason in reasons.items() if not reason] == []


def test_the_conditions_of_a_cell_take_turns():
    cells = plausible_cells()
    table = SoapGenerator().columns(seed=1, start=0, stop=3 * len(cells), verbosity={"brief": 1})
    seen = {name.as_py() for name in pc.unique(table["condition"])}
    assert {name for (_, name), c in conditions().items() if not c["held_out"]} - seen == set()


@pytest.mark.parametrize("pools", ["standard", "held_out"])
def test_every_fact_is_said_and_nothing_else_is_written(pools: str):
    words = {
        w for t in templates(pools, note_only=True) for w in re.findall(r"[a-z]+", re.sub(r"\{\w+\}", " ", t).lower())
    }
    words |= {"bp", "blood", "pressure", "hr", "heart", "rate", "temperature", "t", "rr", "patient", "and", "or", "an"}
    drugs = {t["drug"] for c in conditions().values() for t in c["treatments"] if t.get("drug")}
    names = sorted(drugs | {a["name"] for a in read("lexicon/allergies.json")})
    faults = [(row["id"], fault) for row in rows(pools) for fault in audit(row, fixed_words=words, names=names)]
    assert faults == []


def test_the_auditor_finds_what_was_never_said():
    row = dict(rows()[0])
    words = {w for t in templates("standard", note_only=True) for w in re.findall(r"[a-z]+", t.lower())}
    assert audit({**row, "P": row["P"] + " Take zorbamycin 93 mg."}, fixed_words=words)


@pytest.mark.parametrize("pools", ["standard", "held_out"])
def test_patients_fit_their_condition(pools: str):
    for row in rows(pools):
        condition = condition_of(row)
        assert condition["held_out"] == (pools == "held_out")
        assert condition["type"] == row["condition_type"]
        assert row["age_group"] in condition["ages"]
        assert row["visit_context"] in condition["contexts"]
        person, sex = (values(row, "sex") or [""])[0], condition["sex"]
        if person and sex != "any":
            assert person.split()[-1] in {"female": ("woman", "girl"), "male": ("man", "boy")}[sex]


def test_ages_are_those_of_the_group():
    groups = {group["name"]: group for group in read("lexicon/axes.json")["age_groups"]}
    for row in rows():
        for value in values(row, "age"):
            number, unit = int(value.split("-")[0]), value.split("-")[1]
            group = groups[row["age_group"]]
            assert unit == ("month" if row["age_group"] == "infant" else "year")
            low, high = ("min_months", "max_months") if unit == "month" else ("min_years", "max_years")
            assert group[low] <= number <= group[high]


def test_history_and_habits_fit_the_age_and_sex():
    for row in rows():
        known = {h["text"]: h for h in condition_of(row)["history"]}
        person = (values(row, "sex") or [""])[0].split()
        for value in values(row, "history"):
            if item := known.get(value):
                assert row["age_group"] in (item.get("ages") or condition_of(row)["ages"])
                if person and item.get("sex", "any") != "any":
                    assert (person[-1] in ("woman", "girl")) == (item["sex"] == "female")
        adult = "adult" in row["age_group"]
        assert adult or not re.search(r"never smoked|smoker|cigarettes a day", row["S"])
        assert adult or not values(row, "medication")
        assert not (adult and "vaccines are up to date" in row["S"])


def test_treatments_fit_the_age_and_the_allergies():
    for row in rows():
        fitting = [t for t in condition_of(row)["treatments"] if row["age_group"] in t.get("ages", [row["age_group"]])]
        drug, allergy = values(row, "drug"), values(row, "allergy")[0]
        if drug:
            chosen = [t for t in fitting if t.get("drug") == drug[0]]
            assert any(allergy not in t.get("avoid_allergy", ()) for t in chosen)
            dose = [f["value"] for f in row["facts"] if f["field"] == "P" and f["kind"] == "dose"]
            assert any(dose[0] in t["doses"] for t in chosen)
        else:
            assert values(row, "treatment")[0] in [t.get("text") for t in fitting]
        assert allergy not in values(row, "medication")
        assert not set(drug) & set(values(row, "medication"))


def test_durations_are_shorter_than_the_life():
    for row in rows():
        if row["age_group"] == "infant":
            amount, unit = values(row, "duration")[0].split()
            assert int(amount) * {"day": 1, "week": 7, "month": 30}[unit.rstrip("s")] <= 90


def test_carers_speak_for_children_and_nobody_else():
    for row in rows():
        speakers = set(re.findall(r"^(\w+):", row["dialogue"], re.MULTILINE))
        if row["age_group"] in CARED_FOR:
            assert speakers in ({"Doctor", "Mother"}, {"Doctor", "Father"})
        else:
            assert speakers == {"Doctor", "Patient"}


def test_video_visits_have_only_what_a_camera_and_a_home_can_tell():
    for row in rows():
        if row["visit_context"] == "telehealth":
            remote = {f["text"] for f in condition_of(row)["findings"] if f.get("remote")}
            assert set(values(row, "finding")) <= remote
            assert not re.search(r"RR|SpO2", row["O"])
            assert "nurse" not in row["dialogue"]


def test_one_unit_of_temperature_is_used_in_an_example():
    for row in rows():
        units = set(re.findall(r"\d+\.\d (?:degrees )?([CF])", row["dialogue"] + row["O"]))
        assert len(units) <= 1


def test_levels_differ_in_length_and_come_in_the_mix_that_was_asked_for():
    table = SoapGenerator().columns(seed=5, start=0, stop=4_000, verbosity={"brief": 3, "comprehensive": 1})
    counts = {item["values"]: item["counts"] for item in pc.value_counts(table["verbosity"]).to_pylist()}
    assert set(counts) == {"brief", "comprehensive"}
    assert abs(counts["brief"] / 4_000 - 0.75) < 0.03
    make = functools.partial(SoapGenerator().columns, seed=5, start=0, stop=400)
    means = [pc.mean(pc.utf8_length(make(verbosity={level: 1})["dialogue"])).as_py() for level in LEVELS]
    assert means == sorted(means)
    assert 500 < means[0] < 700


def test_levels_that_do_not_exist_are_refused():
    with pytest.raises(ConfigError, match="brief, standard"):
        SoapGenerator().columns(seed=1, start=0, stop=1, verbosity={"chatty": 1})
    with pytest.raises(ConfigError, match="zero"):
        SoapGenerator().columns(seed=1, start=0, stop=1, verbosity={"brief": 0})


def test_held_out_rows_share_neither_words_nor_templates_with_standard_ones():
    assert not templates("standard") & templates("held_out")
    held_out = {a["name"] for a in read("lexicon/allergies.json") if a["held_out"]}
    for pools in ("standard", "held_out"):
        said = {v for row in rows(pools) for v in values(row, "allergy")} - {"no known allergies"}
        assert said and said <= held_out if pools == "held_out" else not said & held_out
    assert {r["id"] for r in rows()}.isdisjoint(r["id"] for r in rows("held_out"))


def test_every_passage_can_be_put_in_several_ways():
    from soaptune.soap.phrases import spread

    for name, passage in read("phrases_dialogue.json")["passages"].items():
        ways = [way if isinstance(way, str) else way["text"] for way in passage["standard"]]
        assert len({one for way in ways for one in spread(way)}) >= 5, name
    for section, entry in read("phrases_note.json").items():
        for name, passage in entry["passages"].items():
            assert len(passage["standard"]) >= 3, (section, name)


def test_text_is_plain_and_templates_are_filled():
    table = SoapGenerator().columns(seed=8, start=0, stop=2_000)
    for name in ("dialogue", "S", "O", "A", "P"):
        for text in table[name].to_pylist():
            assert text.isascii()
            assert not re.search(r"[{}\[\]|]|  | \.|\.\.|\?\.|^\s|\s$|,,|: \.", text), text


def test_the_columns_are_those_of_a_dataset():
    table = SoapGenerator().columns(seed=8, start=0, stop=3)
    assert table.column_names[:8] == ["id", "dialogue", "S", "O", "A", "P", "facts", "group"]
    assert table.column_names[8:] == [*AXES, "verbosity", "condition"]
    assert pa.types.is_list(table.schema.field("facts").type)
    assert table["id"].to_pylist() == ["8-00000000", "8-00000001", "8-00000002"]


@pytest.mark.parametrize("pools", ["standard", "held_out"])
def test_every_drug_and_allergen_of_a_visit_is_a_term_of_the_lexicon(pools):
    known = Vocabulary(load_lexicon(SOAP.hooks["lexicon"]))
    said = {value for row in rows(pools) for kind in ("drug", "medication", "allergy") for value in values(row, kind)}
    unknown = {value for value in said if value not in [item.text for item in known.items(value)]}
    assert unknown == {"no known allergies"}
