"""Constrained decoding with the real llguidance: whatever the model wants, the answer fits the schema."""

from __future__ import annotations

import json
from datetime import datetime

import jsonschema
import pytest
import torch

from soaptune.engines import GenerationRequest
from soaptune.errors import EngineError
from soaptune.runtime.engines.grammar import logits_processor, shortest_answer
from soaptune.runtime.engines.transformers import TransformersEngine

TEXT = {"type": "string"}


def obj(**properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


SCHEMAS = {
    "texts": obj(S=TEXT, O=TEXT, A=TEXT, P=TEXT),
    "numbers": obj(n={"type": "integer", "minimum": 10, "maximum": 99}, x={"type": "number"}, b={"type": "boolean"}),
    "lists": obj(items={"type": "array", "items": obj(a=TEXT, b=obj(c=TEXT)), "minItems": 1}),
    "choices": obj(level={"enum": ["low", "middle", "high"]}, note={"anyOf": [TEXT, {"type": "null"}]}),
    "bounded": obj(word={"type": "string", "minLength": 3, "maxLength": 8}, day={"type": "string", "format": "date"}),
    "itself": {**obj(child={"anyOf": [{"$ref": "#"}, {"type": "null"}]}), "$defs": {}},
    "anything": {"type": "object"},
    "pattern": obj(
        code={"type": "string", "pattern": r"\d+"}, mail={"type": "string", "pattern": r"^[^@]+@[a-z]{2,}$"}
    ),
    "between": obj(share={"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
    "times": obj(at={"type": "string", "format": "date-time"}, long={"type": "string", "format": "duration"}),
    "optional": {**obj(rows={"type": "array", "items": obj(**dict.fromkeys("abcdefgh", TEXT))}), "required": []},
    "keys": obj(prices={"type": "object", "additionalProperties": {"type": "number"}, "minProperties": 3}),
}


def run(tokenizer, schema, *, limit, seed):
    """Lets a model of pure noise answer; gives the text, the number of tokens, and whether it was led to its end."""
    generator = torch.Generator().manual_seed(seed)
    processor = logits_processor(tokenizer, schema, 1, limit=limit)
    prompt = tokenizer("a prompt")["input_ids"]
    answer: list[int] = []
    while len(answer) < limit and tokenizer.eos_token_id not in answer:
        noise = torch.randn(1, len(tokenizer) + 5, generator=generator)
        answer.append(int(processor(torch.tensor([prompt + answer]), noise).argmax()))
    text = tokenizer.decode([token for token in answer if token != tokenizer.eos_token_id])
    return text, len(answer), processor.closed[0]


@pytest.mark.parametrize("name", SCHEMAS)
def test_noise_within_any_limit_becomes_a_valid_answer(random_tokenizer, name):
    schema = SCHEMAS[name]
    least = shortest_answer(random_tokenizer, schema)
    closed = 0
    for seed, limit in enumerate((least, least + 1, least + 5, least + 12, least + 30, least + 80, 400)):
        text, used, led = run(random_tokenizer, schema, limit=limit, seed=seed)
        value = json.loads(text)
        jsonschema.Draft202012Validator(schema).validate(value)
        assert used <= limit
        closed += led
    if name == "times":
        datetime.fromisoformat(value["at"].replace("Z", "+00:00"))
    assert closed or name not in {"texts", "lists"}


@pytest.mark.parametrize("wish", ["7", "a", "[", '"', "\\\\", "é", ", "])
def test_what_would_never_end_is_ended(random_tokenizer, wish):
    wanted = random_tokenizer(wish)["input_ids"]
    for name, schema in SCHEMAS.items():
        if name == "itself":
            continue  # nests without end; the room that closing needs is only kept within the last tokens
        processor = logits_processor(random_tokenizer, schema, limit=90)
        answer: list[int] = []
        while len(answer) < 90 and random_tokenizer.eos_token_id not in answer:
            wishes = torch.randn(1, len(random_tokenizer), generator=torch.Generator().manual_seed(len(answer)))
            wishes[0, wanted] = 9.0 + wishes[0, wanted]
            answer.append(int(processor(torch.tensor([[7, *answer]]), wishes).argmax()))
        text = random_tokenizer.decode([token for token in answer if token != random_tokenizer.eos_token_id])
        jsonschema.validate(json.loads(text), schema)


def test_a_key_is_not_written_twice_and_a_number_is_one_that_can_be_read(random_tokenizer):
    schema = SCHEMAS["keys"]
    wish = '{"prices": {"tea": 1e999, "tea": 2, "tea": 3'
    tokens = random_tokenizer(wish)["input_ids"]
    processor = logits_processor(random_tokenizer, schema, limit=120)
    answer: list[int] = []
    while len(answer) < 120 and random_tokenizer.eos_token_id not in answer:
        wishes = torch.randn(1, len(random_tokenizer), generator=torch.Generator().manual_seed(len(answer)))
        wishes[0, tokens[min(len(answer), len(tokens) - 1)]] += 9.0
        answer.append(int(processor(torch.tensor([[7, *answer]]), wishes).argmax()))
    text = random_tokenizer.decode(answer[:-1])
    pairs = json.loads(text, object_pairs_hook=list)[0][1]
    assert len({key for key, _ in pairs}) == len(pairs) >= 3
    assert text.count('"tea"') == 1
    assert all(abs(value) < 1e100 for _, value in pairs)


def test_the_layout_is_that_of_training(random_tokenizer):
    text, _, _ = run(random_tokenizer, SCHEMAS["texts"], limit=120, seed=3)
    assert text == json.dumps(json.loads(text), ensure_ascii=False)
    assert list(json.loads(text)) == ["S", "O", "A", "P"]


def test_an_answer_that_the_model_would_give_is_left_alone(random_tokenizer):
    answer = json.dumps({"S": 'She says "no"', "O": "é\n", "A": "", "P": "10 mg"}, ensure_ascii=False)
    tokens = random_tokenizer(answer)["input_ids"] + [random_tokenizer.eos_token_id]
    processor = logits_processor(random_tokenizer, SCHEMAS["texts"], limit=len(tokens))
    for place, token in enumerate(tokens):
        wish = torch.zeros(1, len(random_tokenizer))
        wish[0, token] = 9.0
        assert int(processor(torch.tensor([[7, 7, *tokens[:place]]]), wish).argmax()) == token
    assert not processor.closed[0]


def test_the_rows_of_a_batch_are_independent(random_tokenizer):
    schema = SCHEMAS["choices"]
    processor = logits_processor(random_tokenizer, schema, 3, limit=60)
    rows: list[list[int]] = [[1], [1], [1]]
    for seed in range(60):
        noise = torch.randn(3, len(random_tokenizer), generator=torch.Generator().manual_seed(seed))
        chosen = processor(torch.tensor(rows), noise).argmax(-1).tolist()
        rows = [[*row, token] for row, token in zip(rows, chosen, strict=True)]
    end = random_tokenizer.eos_token_id
    texts = {random_tokenizer.decode(row[1 : row.index(end)]) for row in rows}
    assert len(texts) > 1
    for text in texts:
        jsonschema.validate(json.loads(text), schema)


@pytest.mark.parametrize(
    "schema", [{"if": {}}, {"type": 5}, {"$ref": "http://127.0.0.1:9/x"}, {"enum": []}, {"minimum": float("nan")}]
)
def test_a_schema_that_cannot_be_followed_is_refused(random_tokenizer, schema):
    with pytest.raises(EngineError):
        logits_processor(random_tokenizer, schema)


def test_the_engine_keeps_some_rows_to_schemas_and_leaves_others_free(random_model, random_tokenizer):
    engine = TransformersEngine(random_model, random_tokenizer)
    turn = [{"role": "user", "content": "x"}]
    schema = SCHEMAS["texts"]
    asked = [
        GenerationRequest(turn, max_tokens=60, schema=schema),
        GenerationRequest(turn, max_tokens=30),
        GenerationRequest(turn, max_tokens=80, schema=SCHEMAS["numbers"], temperature=1.0, seed=1),
    ]
    first, free, numbers = engine.generate(asked)
    jsonschema.validate(json.loads(first.text), schema)
    jsonschema.validate(json.loads(numbers.text), SCHEMAS["numbers"])
    assert first.finish_reason == "length"
    assert first.completion_tokens <= 60
    assert free == engine.generate([asked[1]])[0]
    assert first == engine.generate([asked[0]])[0]
