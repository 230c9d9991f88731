"""From completions to predictions and counts."""

import datetime

import pyarrow.parquet as pq
from pydantic import BaseModel

from soaptune.engines import Completion, Unanswered
from soaptune.errors import EngineError
from soaptune.evaluate.judges import Facts
from soaptune.evaluate.scoring import ALWAYS, error_codes, example, missing_metrics, predict, sample, score
from soaptune.facts import Vocabulary
from soaptune.handles.report import Metric
from soaptune.runtime.evaluate.tables import write_predictions
from soaptune.tasks import Task
from soaptune.tasks.fact import Fact
from soaptune.tasks.spec import TaskSpec

SPEC = TaskSpec(
    name="ticket",
    system_prompt="Summarise.",
    user_template="{text}",
    output_schema={
        "type": "object",
        "properties": {"who": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}},
        "required": ["who", "tags"],
        "additionalProperties": False,
    },
    output_fields=("who", "tags"),
    input_fields=("text",),
)
ROW = {"id": "7", "text": "Ann calls about fees", "who": "Ann", "tags": '["fees"]'}


def test_a_valid_answer_gives_texts_by_field_as_the_data_set_stores_them():
    prediction = predict(SPEC, Completion('{"who": "Ann", "tags": ["fees"]}'))
    assert prediction.fields == {"who": "Ann", "tags": '["fees"]'}
    assert prediction.error == ""


class Visit(BaseModel):
    day: datetime.date
    share: float
    who: str | None
    drugs: list[dict[str, float]] = []


def test_predictions_and_references_of_typed_fields_are_written_the_same_way(tmp_path):
    task = Task(
        name="visit", system_prompt="", user_template="{text}", output=Visit,
        rubric=dict.fromkeys(Visit.model_fields, "right"),
    )  # fmt: skip
    spec = task.spec()
    stored = spec.stored({"day": "2024-02-29", "share": 1, "who": "7", "drugs": [{"x": 2}]})
    one = example(spec, {"id": "1", "text": "t", **stored}, None)
    texts = ['{"day": "2024-02-29", "share": 1, "who": "7", "drugs": [{"x": 2.0}]}', task.answer(spec.outputs(stored))]
    asked = [Completion(text) for text in [*texts, '{"day": "2024-02-31", "share": 1, "who": "7"}']]
    predictions = [predict(spec, completion) for completion in asked]
    assert [prediction.error for prediction in predictions] == ["", "", "invalid-value"]
    write_predictions(tmp_path / "p.parquet", spec, [one] * 3, {"model": (asked, predictions, [{}] * 3)})
    for row in pq.read_table(tmp_path / "p.parquet").to_pylist()[:2]:
        assert [row[f"predicted/{field}"] for field in stored] == [row[f"reference/{field}"] for field in stored]
    assert predict(spec, Completion('{"day": "2024-02-29", "share": 1, "who": null}')).fields == {
        "day": "2024-02-29",
        "share": "1.0",
        "who": "null",
        "drugs": "[]",
    }


def test_what_is_wrong_with_an_answer_is_a_code():
    texts = ["", "Sure!", '{"who": "Ann"}', '{"who": "Ann", "tags": ["a"', '{"who": 1, "tags": []}']
    codes = [predict(SPEC, Completion(text)).error for text in texts]
    assert codes == ["empty", "not-json", "missing-field", "not-json", "wrong-type"]


def test_an_answer_that_ran_out_of_tokens_is_cut_off_unless_it_is_whole():
    assert predict(SPEC, Completion('{"who": "An', finish_reason="length")).error == "cut-off"
    assert predict(SPEC, Completion('{"who": "Ann", "tags": []}', finish_reason="length")).fields is not None


def test_a_question_that_could_not_be_asked_is_a_wrong_answer():
    completion = Completion("", finish_reason="error", error=EngineError("too long"))
    prediction = predict(SPEC, completion)
    assert (prediction.fields, prediction.error) == (None, "not-asked")
    assert error_codes([prediction, prediction, predict(SPEC, Completion("x"))]) == {"not-asked": 2, "not-json": 1}


def test_every_metric_counts_every_example():
    facts = [Fact(field="who", kind="person", value="Ann")]
    examples = [example(SPEC, ROW, facts)] * 2
    predictions = [predict(SPEC, Completion('{"who": "Ann", "tags": ["fees"]}')), predict(SPEC, Completion("x"))]
    rows = score(examples, predictions, [(3.0, 4), None], judge=Facts(), vocabulary=Vocabulary(["Ann"]))
    whole = {"schema_valid", "fact_recall", "fact_precision", "invented_rate", "rouge_l"}
    assert {name for name in rows[0] if "/" not in name} == whole | {"perplexity"}
    assert {name for name in rows[1] if "/" not in name} == whole
    assert rows[0]["fact_recall"] == (1, 1)
    assert rows[1]["fact_recall/who"] == (0, 1)


def test_without_facts_the_judge_is_silent_and_the_rest_is_counted():
    one = example(SPEC, ROW, None)
    (row,) = score([one], [predict(SPEC, Completion("x"))], [None], judge=Facts(), vocabulary=Vocabulary())
    assert set(row) == {"schema_valid", "invented_rate", "rouge_l"}
    assert missing_metrics({}, who="the model", fields=SPEC.output_fields, has_facts=False) == [
        "Not measured for the model, since there was nothing to count: "
        "schema_valid, invented_rate, rouge_l, perplexity."
    ]


def metrics(*names):
    return dict.fromkeys([*ALWAYS, *names], Metric(value=1, low=1, high=1, n=1))


def test_metrics_of_single_fields_that_are_absent_are_named_with_the_reason():
    both = [f"fact_{name}/who" for name in ("recall", "precision", "f1")]
    assert missing_metrics(metrics(*both), who="the model", fields=["who"], has_facts=True) == []
    assert missing_metrics(metrics(*both), who="the base model", fields=["who", "tags"], has_facts=True) == [
        "Not measured, since no fact of the examples belongs to the field: fact_recall/tags, fact_f1/tags.",
        "Not measured for the base model, since no valid answer states anything checkable in the field: "
        "fact_precision/tags.",
    ]


def test_of_a_metric_that_is_absent_as_a_whole_the_fields_are_not_listed():
    found = metrics("fact_recall/who", "fact_f1/who")
    del found["fact_precision"]
    assert missing_metrics(found, who="the model", fields=["who"], has_facts=True) == [
        "Not measured for the model, since there was nothing to count: fact_precision."
    ]


def test_a_larger_sample_contains_the_smaller_one_whatever_the_order():
    ids = [f"row-{i}" for i in range(50)]
    small, large = sample(ids, 10, seed=1), sample(ids, 20, seed=1)
    assert len(small) == 10
    assert set(small) <= set(large)
    assert small == sorted(small)
    turned = sample(ids[::-1], 10, seed=1)
    assert {ids[::-1][i] for i in turned} == {ids[i] for i in small}
    assert sample(ids, None, seed=1) == sample(ids, 99, seed=1) == list(range(50))


def test_an_answer_that_never_came_is_told_from_a_question_that_was_never_asked():
    lost = predict(SPEC, Completion("", finish_reason="error", error=Unanswered("the model gave none")))
    assert (lost.fields, lost.error) == (None, "no-answer")


def test_what_has_its_own_note_is_not_told_twice():
    found = {name: metric for name, metric in metrics().items() if name != "perplexity"}
    assert "perplexity" in missing_metrics(found, who="the model", fields=[], has_facts=True)[0]
    assert missing_metrics(found, who="the model", fields=[], has_facts=True, explained=["perplexity"]) == []
