"""Metrics with values computed by hand."""

import pytest

from soaptune.evaluate.examples import Count, Example, Prediction
from soaptune.evaluate.metrics import (
    fact_precision,
    fact_recall,
    invented,
    invented_items,
    rouge_l,
    rouge_l_fields,
    schema_valid,
)
from soaptune.evaluate.metrics.rouge import lcs_length
from soaptune.facts import Item, Vocabulary
from soaptune.tasks.fact import Fact

VOCABULARY = Vocabulary(["chest pain", "pain", "metoprolol 25 mg", "lisinopril 10 mg", "nausea", "two weeks", "fever"])
EXAMPLE = Example(
    id="1",
    source="I have had chest pain and nausea for three days. I take metoprolol 25 mg. Come back in two weeks.",
    reference={"S": "Chest pain and nausea for 3 days.", "P": "Metoprolol 25 mg. Return in 2 weeks."},
    facts=(
        Fact(field="S", kind="symptom", value="chest pain"),
        Fact(field="S", kind="symptom", value="nausea"),
        Fact(field="P", kind="drug", value="metoprolol 25 mg"),
        Fact(field="P", kind="interval", value="two weeks"),
    ),
)


def answer(s, p):
    return Prediction("...", {"S": s, "P": p})


BROKEN = Prediction('{"S": "chest pain, fever for 9 days', None, "not-json")


def test_recall_counts_facts_in_the_field_where_they_belong():
    assert fact_recall(EXAMPLE, answer("Chest pain.", "Metoprolol 25 mg. Back in 2 weeks. Nausea.")) == {
        "S": Count(1, 2),
        "P": Count(2, 2),
    }


def test_an_answer_that_does_not_parse_has_no_recall_and_stays_in_the_count():
    assert fact_recall(EXAMPLE, BROKEN) == {"S": Count(0, 2), "P": Count(0, 2)}
    assert schema_valid(BROKEN) == Count(0, 1)
    assert rouge_l_fields(EXAMPLE.reference, None) == 0.0


def test_precision_counts_checkable_items_that_are_right_where_they_stand():
    found = fact_precision(EXAMPLE, answer("Chest pain, fever, for 3 days.", "Metoprolol 25 mg, nausea."), VOCABULARY)
    assert found == {"S": Count(2, 3), "P": Count(1, 2)}  # fever is not a fact; nausea belongs to S


def test_affirming_what_the_reference_denies_is_wrong_but_not_invented():
    example = Example("1", "I have no fever.", {"S": "No fever."}, (Fact(field="S", kind="denied", value="fever"),))
    affirmed, denied = Prediction("", {"S": "Fever."}), Prediction("", {"S": "No fever."})
    assert fact_recall(example, affirmed)["S"] == (0, 1)
    assert fact_precision(example, affirmed, VOCABULARY)["S"] == (0, 1)
    assert invented(example, affirmed, VOCABULARY) == (0, 1)
    assert fact_recall(example, denied)["S"] == fact_precision(example, denied, VOCABULARY)["S"] == (1, 1)


def test_precision_accepts_a_part_of_a_fact():
    assert fact_precision(EXAMPLE, answer("Pain.", ""), VOCABULARY)["S"] == Count(1, 1)


def test_precision_counts_all_items_of_a_broken_answer_as_wrong():
    assert fact_precision(EXAMPLE, BROKEN, VOCABULARY) == {"": Count(0, 3)}


def test_the_reference_itself_is_perfect():
    reference = Prediction("...", EXAMPLE.reference)
    for counts in (fact_recall(EXAMPLE, reference), fact_precision(EXAMPLE, reference, VOCABULARY)):
        assert all(count.hits == count.total > 0 for count in counts.values())
    assert invented(EXAMPLE, reference, VOCABULARY).hits == 0
    assert rouge_l_fields(EXAMPLE.reference, reference.fields) == 1.0


def test_invented_items_are_those_that_the_source_never_says():
    wrong, items = invented_items(
        EXAMPLE, answer("Chest pain 3 days, fever.", "Lisinopril 10 mg. 4 weeks."), VOCABULARY
    )
    assert wrong == (Item("fever"), Item("lisinopril 10 mg"), Item("4 week", quantity=True))
    assert len(items) == 5


def test_the_wrong_dose_of_the_right_drug_is_invented():
    wrong, _ = invented_items(EXAMPLE, answer("", "Metoprolol 250 mg."), VOCABULARY)
    assert wrong == (Item("250 mg", quantity=True),)


def test_breaking_the_format_hides_no_invention():
    assert invented(EXAMPLE, BROKEN, VOCABULARY) == Count(2, 3)


def test_without_facts_only_quantities_are_checked():
    example = Example("1", "for three days", {"S": "3 days"}, None)
    assert invented(example, Prediction("", {"S": "fever for 3 days, 40 degrees"}), Vocabulary()) == Count(1, 2)


def test_a_name_of_the_lexicon_is_checked_where_no_fact_of_the_data_has_it():
    lexicon = Vocabulary(["allopurinol", "metoprolol"])
    example = Example("1", "Take metoprolol.", {"P": "Metoprolol."}, None)
    wrong, items = invented_items(example, Prediction("", {"P": "Metoprolol and allopurinol."}), lexicon)
    assert (wrong, len(items)) == ((Item("allopurinol"),), 2)


def test_what_a_fact_says_in_other_words_than_the_source_is_not_invented():
    example = Example(
        "1", "my pressure is up", {"A": "hypertension"}, (Fact(field="A", kind="x", value="hypertension"),)
    )
    assert invented(example, Prediction("", {"A": "Hypertension"}), Vocabulary(["hypertension"])) == Count(0, 1)


def test_rouge_l_is_the_published_example():
    # C.-Y. Lin (2004), section 3: F = 3/4 for the first and 2/4 for the second candidate.
    assert rouge_l("police killed the gunman", "police kill the gunman") == pytest.approx(0.75)
    assert rouge_l("police killed the gunman", "the gunman kill police") == pytest.approx(0.5)


def test_rouge_l_ignores_case_and_punctuation_and_knows_empty_texts():
    assert rouge_l("A b, c!", "a B c") == 1.0
    assert rouge_l("", "") == 1.0
    assert rouge_l("a", "") == 0.0
    assert rouge_l("a b", "c d") == 0.0


def test_lcs_length_agrees_with_the_table_that_defines_it():
    first, second = ["a", "b", "c", "b", "d", "a", "b"], ["b", "d", "c", "a", "b", "a"]
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, x in enumerate(first, 1):
        for j, y in enumerate(second, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if x == y else max(table[i - 1][j], table[i][j - 1])
    assert lcs_length(first, second) == table[-1][-1] == 4
