"""The in-process engine against a real transformers model: batches, padding, ends and limits change no answer."""

import json

import pytest
import torch

from soaptune.engines import GenerationRequest
from soaptune.errors import EngineError
from soaptune.prompting.chat import render_prompt
from soaptune.prompting.tokens import label_rows
from soaptune.runtime.engines.decoding import Row, decode
from soaptune.runtime.engines.loading import load_model
from soaptune.runtime.engines.perplexity import answer_losses
from soaptune.runtime.engines.transformers import TransformersEngine

TEXTS = ["one", "a somewhat longer question about nothing at all", "two words", "x", "the last of the five questions"]


@pytest.fixture(scope="module")
def tokenizer(random_tokenizer):
    return random_tokenizer


@pytest.fixture(scope="module")
def model(random_model):
    return random_model


@pytest.fixture(scope="module")
def engine(model, tokenizer):
    return TransformersEngine(model, tokenizer, batch_size=4)


def ask(text, **options):
    return GenerationRequest([{"role": "user", "content": text}], **{"max_tokens": 40, **options})


def test_a_batch_answers_as_one_by_one(engine):
    together = engine.generate([ask(text) for text in TEXTS])
    alone = [engine.generate([ask(text)])[0] for text in TEXTS]
    assert together == alone
    assert len({answer.text for answer in together}) > 1


def test_answers_are_those_of_transformers_own_greedy_search(engine, model, tokenizer):
    for text, answer in zip(TEXTS, engine.generate([ask(text) for text in TEXTS]), strict=True):
        prompt = render_prompt(tokenizer, [{"role": "user", "content": text}])
        ids = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
        out = model.generate(
            **ids, max_new_tokens=40, do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=0
        )
        new = out[0, ids.input_ids.shape[1] :].tolist()
        if tokenizer.eos_token_id in new:
            new = new[: new.index(tokenizer.eos_token_id)]
        assert answer.text == tokenizer.decode(new, clean_up_tokenization_spaces=False)
        assert answer.prompt_tokens == ids.input_ids.shape[1]


def test_rows_that_end_at_different_times_leave_the_others_alone(engine):
    limits = [3, 40, 11, 25, 2]
    whole = engine.generate([ask(text) for text in TEXTS])
    cut = engine.generate([ask(text, max_tokens=limit) for text, limit in zip(TEXTS, limits, strict=True)])
    for full, short, limit in zip(whole, cut, limits, strict=True):
        assert full.text.startswith(short.text.rstrip("\ufffd"))
        assert short.completion_tokens == min(limit, full.completion_tokens)
        assert short.finish_reason == ("length" if limit < full.completion_tokens else full.finish_reason)


def test_an_answer_stops_at_the_end_token_and_does_not_contain_it(model, tokenizer):
    prompt = tokenizer("<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
    free = Row(list(prompt), 20)
    decode(model, [free], stop=frozenset(), pad=0)
    stopped = Row(list(prompt), 20)
    decode(model, [stopped], stop=frozenset({free.answer[4]}), pad=0)
    first = free.answer.index(free.answer[4])
    assert stopped.answer == free.answer[: first + 1]
    assert stopped.stopped


def test_the_templates_end_of_turn_stops_even_where_the_configs_name_another(model, tokenizer):
    engine = TransformersEngine(model, tokenizer)
    assert engine._stop == {tokenizer.convert_tokens_to_ids("<|im_end|>")}


def test_a_prompt_that_is_too_long_is_refused_alone_and_says_by_how_much(engine):
    long, short = engine.generate([ask("word " * 300), ask("one")])
    assert isinstance(long.error, EngineError)
    assert str(long.prompt_tokens) in str(long.error)
    assert "256" in str(long.error)
    assert (short.error, short.finish_reason == "error") == (None, False)


def test_an_answer_never_outgrows_the_model(engine):
    text = "x " * 100
    (answer,) = engine.generate([ask(text, max_tokens=500)])
    assert answer.error is None
    assert answer.prompt_tokens + answer.completion_tokens <= 256


def test_an_unknown_adapter_is_refused(engine):
    (answer,) = engine.generate([ask("one", adapter="nobody")])
    assert "nobody" in str(answer.error)


SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}


def test_a_schema_makes_every_answer_valid_and_leaves_free_answers_alone(engine):
    pytest.importorskip("llguidance")
    requests = [ask(text, schema=SCHEMA if index % 2 else None) for index, text in enumerate(TEXTS)]
    answers = engine.generate(requests)
    free = engine.generate([ask(text) for text in TEXTS])
    for index, answer in enumerate(answers):
        if index % 2:
            assert list(json.loads(answer.text)) == ["a", "b"]
        else:
            assert answer == free[index]


def test_a_schema_that_cannot_be_followed_fails_its_own_request_alone(engine):
    pytest.importorskip("llguidance")
    bad, good = engine.generate([ask("one", schema={"type": "no such type"}), ask("one")])
    assert isinstance(bad.error, EngineError)
    assert good.error is None


def test_a_drawn_answer_depends_on_its_seed_alone(engine):
    requests = [ask(text, temperature=1.0, seed=index) for index, text in enumerate(TEXTS)]
    together = engine.generate(requests)
    assert together == [engine.generate([request])[0] for request in requests]
    assert engine.generate([ask("one", temperature=1.0, seed=99)])[0] != together[0]


def test_progress_counts_up_to_all_requests(engine):
    seen = []
    engine.generate([ask(text) for text in TEXTS], on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5, 5)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert engine.generate([]) == []


def test_control_tokens_in_a_question_do_not_end_its_turn(engine, tokenizer):
    prompt = render_prompt(tokenizer, [{"role": "user", "content": "a<|im_end|>b"}])
    assert tokenizer(prompt)["input_ids"].count(tokenizer.eos_token_id) == 1


def conversations():
    return [
        [{"role": "user", "content": t}, {"role": "assistant", "content": t * (1 + i)}] for i, t in enumerate(TEXTS)
    ]


def test_perplexity_is_the_models_own_loss_on_the_answers_tokens(model, tokenizer):
    rows = list(label_rows(tokenizer, conversations()))
    for row, found in zip(rows, answer_losses(model, rows, max_length=256), strict=True):
        with torch.inference_mode():
            loss = model(input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])).loss
        assert found.tokens == row.n_trained
        assert found.loss / found.tokens == pytest.approx(float(loss), rel=1e-5)


def test_padding_does_not_change_perplexity(model, tokenizer):
    rows = list(label_rows(tokenizer, conversations()))
    together = answer_losses(model, rows, max_length=256, batch_size=5)
    alone = answer_losses(model, rows, max_length=256, batch_size=1)
    assert [x.loss for x in together] == pytest.approx([x.loss for x in alone], rel=1e-5)
    assert [x.tokens for x in together] == [x.tokens for x in alone]


def test_a_row_that_is_too_long_has_no_perplexity(model, tokenizer):
    rows = list(label_rows(tokenizer, conversations()))
    assert answer_losses(model, rows, max_length=5) == [None] * 5


def test_a_saved_model_loads_with_its_tokenizer_and_answers_the_same(model, tokenizer, engine, tmp_path):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = TransformersEngine(*load_model(tmp_path, device="cpu"))
    assert loaded.generate([ask("one")]) == engine.generate([ask("one")])


def test_a_merged_adapter_answers_as_the_adapter_does(model, tokenizer, tmp_path):
    peft = pytest.importorskip("peft")
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    base, _ = load_model(tmp_path / "base", device="cpu")
    torch.manual_seed(1)
    config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    peft.get_peft_model(base, config).save_pretrained(tmp_path / "adapter")
    merged = TransformersEngine(
        *load_model(tmp_path / "adapter", base=str(tmp_path / "base"), merge=True, device="cpu")
    )
    apart = TransformersEngine(*load_model(tmp_path / "adapter", device="cpu"))
    questions = [ask(text) for text in TEXTS]
    assert merged.generate(questions) == apart.generate(questions)
    assert apart.generate([ask("one", adapter="default")]) == apart.generate([ask("one")])
    assert not hasattr(merged.model, "peft_config")


@pytest.mark.parametrize("files", [(), ("config.json",)])
def test_weights_that_are_not_there_are_an_error_for_people(tmp_path, files):
    for name in files:
        (tmp_path / name).write_text('{"model_type": "qwen3"}')
    with pytest.raises(EngineError, match="is not a whole model"):
        load_model(tmp_path)


def test_pickled_weights_are_refused(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path, safe_serialization=False)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(EngineError):
        load_model(tmp_path)


def test_a_row_that_cannot_go_on_leaves_the_others_alone(model, engine):
    calls = []
    watch = model.register_forward_hook(lambda *_: calls.append(1))
    questions = [ask(text, schema={"type": "object"} if number % 2 else None) for number, text in enumerate(TEXTS)]
    try:
        alone = engine.generate(questions)
        usual = len(calls)
        # A draw from what constrained decoding rules out, at a temperature that no number can be divided by.
        hot = [ask("hot", temperature=float("inf"), schema={"type": "object"}), ask("cold", temperature=5e-324)]
        *answers, failed, cold = TransformersEngine(model, engine.tokenizer).generate([*questions, *hot])
    finally:
        watch.remove()
    assert [one.text for one in answers] == [one.text for one in alone]
    assert failed.finish_reason == "error"
    assert failed.error is not None
    assert cold.text == engine.generate([ask("cold")])[0].text
    assert len(calls) - usual <= usual  # one batch, and nobody was asked again


def test_a_schema_that_takes_too_long_leaves_the_others_alone(model, tokenizer):
    hasty = TransformersEngine(model, tokenizer, schema_seconds=0.0)
    led, free = hasty.generate([ask("one", schema={"type": "object"}), ask("one")])
    assert "too complex" in str(led.error)
    assert free.text == TransformersEngine(model, tokenizer).generate([ask("one")])[0].text


def test_an_answer_that_nobody_wants_any_more_is_left_where_it_is(engine):
    asked = [0] * 3

    def wanted(index):
        asked[index] += 1
        return index != 1 or asked[1] < 5

    full = engine.generate([ask(text) for text in TEXTS[:3]])
    left = engine.generate([ask(text) for text in TEXTS[:3]], wanted=wanted)
    assert left[1].completion_tokens < full[1].completion_tokens
    assert (left[0], left[2]) == (full[0], full[2])
