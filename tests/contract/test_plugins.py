"""Our ArcticTraining plug-ins against real torch, transformers and ArcticTraining, in one process."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from soaptune import tiny  # noqa: E402
from soaptune.prompting.tokens import IGNORE_INDEX  # noqa: E402


@pytest.fixture(scope="module")
def arctic() -> Any:
    import soaptune.runtime.arctic as plugins

    return plugins


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = transformers.Qwen3Config(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=128, tie_word_embeddings=True,
    )  # fmt: skip
    return transformers.Qwen3ForCausalLM(config).double()


def rows(*lengths: int, answer: int = 3) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(1)
    made: list[dict[str, Any]] = []
    for length in lengths:
        ids = torch.randint(0, 97, (length,), generator=generator).tolist()
        made.append({"input_ids": ids, "labels": [IGNORE_INDEX] * (length - answer) + ids[-answer:]})
    return made


def loss_of(model: Any, examples: list[dict[str, Any]], **prompts: float) -> Any:
    """The mean over the label tokens of one batch, as our trainer computes it."""
    from soaptune.runtime.arctic.batches import Collator
    from soaptune.runtime.arctic.trainers import summed_loss

    batch = Collator(0, **prompts)(examples)
    trainer = SimpleNamespace(model=model, model_unwrapped=model, device="cpu")
    return summed_loss(trainer, batch, batch["weights"]) / batch["weight"]


def reference(model: Any, examples: list[dict[str, Any]]) -> Any:
    """The mean over all trained tokens, one example at a time, with transformers' own loss."""
    total, count = 0.0, 0
    for row in examples:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        n = int((labels[:, 1:] != IGNORE_INDEX).sum())
        total = total + model(input_ids=ids, labels=labels).loss * n
        count += n
    return total / count


def gradients(model: Any, loss: Any) -> list[Any]:
    model.zero_grad()
    loss.backward()
    return [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("packed", [False, True])
def test_loss_and_gradients_are_those_of_one_example_at_a_time(arctic: Any, model: Any, packed: bool) -> None:
    examples = rows(9, 17, 12)
    batch = examples
    if packed:
        keys = ("input_ids", "labels")
        pack: dict[str, Any] = {k: [token for row in examples for token in row[k]] for k in keys}
        batch = [{**pack, "packed_sample_seqlens": [len(row["input_ids"]) for row in examples]}]
    model.train()
    want_loss = reference(model, examples)
    want = gradients(model, want_loss)
    loss = loss_of(model, batch)
    got = gradients(model, loss)
    torch.testing.assert_close(loss, want_loss.float() if loss.dtype == torch.float32 else want_loss, rtol=1e-6, atol=0)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_padding_changes_nothing(arctic: Any, model: Any) -> None:
    short, long = rows(8, 40)
    both = loss_of(model, [short, long])
    torch.testing.assert_close(both, (loss_of(model, [short]) + loss_of(model, [long])) / 2)


def test_rows_without_a_trained_token_are_an_error_and_no_loss_of_zero(arctic: Any) -> None:
    with pytest.raises(ValueError, match="no token is trained in 1 of 2 rows"):
        sampler([4, 4], weights=[3.0, 0.0])


def test_prompt_weight_counts_prompt_tokens_at_that_weight(arctic: Any, model: Any) -> None:
    (row,) = rows(10)
    ids = torch.tensor([row["input_ids"]])
    model.train()
    losses = torch.nn.functional.cross_entropy(
        model(input_ids=ids).logits[0, :-1].float(), ids[0, 1:], reduction="none"
    )
    weights = torch.tensor([0.05] * 6 + [1.0] * 3)
    torch.testing.assert_close(loss_of(model, [row], prompt_weight=0.05), (losses * weights).sum() / weights.sum())


def test_the_prompt_tokens_that_are_drawn_are_a_row_s_and_an_epoch_s_own(arctic: Any) -> None:
    from soaptune.runtime.arctic.batches import Collator

    collator = Collator(0, prompt_weight=0.1, prompt_sample=0.25, seed=1)
    one, other = rows(400, 300)
    alone = collator([other], ["0-7"])
    beside = collator([one, other], ["0-3", "0-7"])
    assert torch.equal(alone["weights"][0], beside["weights"][1, :300])
    assert not torch.equal(alone["weights"], collator([other], ["1-7"])["weights"])
    # What is drawn weighs four times as much, so that the sum is the expected one but for chance.
    assert alone["weight"] == pytest.approx(3 + 0.1 * 296)
    assert float(alone["weights"].sum()) == pytest.approx(alone["weight"], rel=0.3)


def test_deepspeed_builds_no_communication_op(arctic: Any) -> None:
    assert sys.modules["deepspeed.comm.torch"].build_shm_op() is None  # type: ignore[attr-defined]


def test_every_row_has_one_fate(arctic: Any) -> None:
    from soaptune.runtime.arctic.rows import tokenize

    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny.path())
    chats = [[{"role": "user", "content": "word " * n}, {"role": "assistant", "content": "yes"}] for n in (3, 200)]
    batch = {"id": ["short", "long"], "messages": chats}
    dropped = tokenize(batch, tokenizer, 64, "drop")
    assert dropped["fate"] == ["kept", "dropped"]
    assert dropped["reason"][1] == "over-length"
    assert dropped["lost"][1] > 64
    assert dropped["input_ids"][1] == []
    # Truncating takes the whole answer away: nothing is left to train, which is a reason of its own.
    cut = tokenize(batch, tokenizer, 64, "truncate")
    assert (cut["fate"][1], cut["reason"][1]) == ("dropped", "no-trained-token")


def test_plain_text_is_trained_to_its_end(arctic: Any) -> None:
    from soaptune.runtime.arctic.rows import tokenize

    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny.path())
    out = tokenize({"id": ["a"], "text": ["some text"]}, tokenizer, 64, "drop")
    # Nothing predicts the first token.
    assert out["labels"][0] == [IGNORE_INDEX, *out["input_ids"][0][1:]]
    assert out["labels"][0][-1] == tokenizer.eos_token_id


def sampler(lengths: list[int], *, weights: list[float] | None = None, **changes: Any) -> Any:
    from soaptune.runtime.arctic.batches import StepSampler

    options = {"rows": 1, "tokens": 0, "accumulation": 1, "shuffle": False, "seed": 3, "rank": 0, "ranks": 1}
    return StepSampler(lengths, weights or [float(n) for n in lengths], **{**options, **changes})


@pytest.mark.parametrize("tokens", [0, 128])
def test_batches_hold_every_row_once_and_keep_to_their_budget(arctic: Any, tokens: int) -> None:
    lengths = [5 + (7 * i) % 50 for i in range(100)]
    made = sampler(lengths, rows=8, tokens=tokens, shuffle=True)
    expected = len(made)
    batches = [micro.items for micro in made]
    assert sorted(i for batch in batches for i in batch) == list(range(100))
    assert len(batches) == expected
    if tokens:
        assert all(len(batch) * max(lengths[i] for i in batch) <= tokens for batch in batches)
    assert batches == [micro.items for micro in sampler(lengths, rows=8, tokens=tokens, shuffle=True)]
    assert batches != [micro.items for micro in made]  # another epoch, another order


@pytest.mark.parametrize("tokens", [0, 90])
@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("accumulation", [1, 4])
def test_every_row_takes_part_in_one_step_of_each_epoch(
    arctic: Any, tokens: int, ranks: int, accumulation: int
) -> None:
    lengths = [5 + (7 * i) % 50 for i in range(101)]
    options = {"rows": 3, "tokens": tokens, "shuffle": True, "ranks": ranks, "accumulation": accumulation}
    samplers = [sampler(lengths, rank=rank, **options) for rank in range(ranks)]
    for epoch in range(4):
        announced = {len(one) for one in samplers}
        per_rank = [list(one) for one in samplers]
        assert {len(micros) for micros in per_rank} == announced, "ranks would wait for each other"
        trained = [i for micros in per_rank for micro in micros if not micro.filler for i in micro.items]
        assert sorted(trained) == list(range(101))
        steps = steps_of(per_rank)
        assert len(steps) == samplers[0].steps(epoch)
        for step in steps:
            assert 1 <= len(step) <= accumulation * ranks
            weight = sum(lengths[i] for micro in step if not micro.filler for i in micro.items)
            assert {micro.step_weight for micro in step} == {weight}


def steps_of(per_rank: list[list[Any]]) -> list[list[Any]]:
    """The micro-batches of all ranks by optimizer step."""
    steps: list[list[Any]] = [[]]
    for at in zip(*per_rank, strict=True):
        steps[-1] += at
        assert len({micro.last for micro in at}) == 1
        if at[0].last:
            steps.append([])
    assert not steps[-1], "the last micro-batches are part of no step"
    return steps[:-1]


def test_fewer_rows_than_a_step_takes_are_one_step(arctic: Any) -> None:
    made = sampler([4, 5, 6], accumulation=8)
    assert [micro.last for micro in made] == [False, False, True]
    assert made.steps(0) == 1


def test_next_fit_packs_in_order_and_never_over_the_length(arctic: Any) -> None:
    from soaptune.runtime.arctic.rows import next_fit

    packs = next_fit([5, 5, 3, 9, 1], 10)
    assert packs == [[0, 1], [2], [3, 4]]


def test_muon_brings_matrices_near_orthogonal_and_lowers_a_loss(arctic: Any) -> None:
    from soaptune.runtime.arctic.optimizers import Muon, newton_schulz

    torch.manual_seed(0)
    values = torch.linalg.svdvals(newton_schulz(torch.randn(3, 8, 16)))
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.5
    layer = torch.nn.Linear(16, 16)
    optimizer = Muon(
        [layer.weight], [layer.bias], matrix_lr=0.02, lr=1e-2, momentum=0.95, betas=(0.9, 0.95), weight_decay=0.0
    )
    x, y = torch.randn(64, 16), torch.randn(64, 16)
    losses: list[float] = []
    for _ in range(30):
        loss = torch.nn.functional.mse_loss(layer(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_a_tokenizer_that_emits_token_type_ids_makes_clean_rows(arctic: Any) -> None:
    from soaptune.runtime.arctic.rows import tokenize

    own = transformers.AutoTokenizer.from_pretrained(tiny.path())
    # What a tokenizer_config.json without `model_input_names` gives; packing crashes on it in ArcticTraining 0.8.0.
    plain = transformers.PreTrainedTokenizerFast(tokenizer_object=own.backend_tokenizer, eos_token="<|im_end|>")
    plain.chat_template = own.chat_template
    assert "token_type_ids" in plain("a")
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    out = tokenize({"id": ["x"], "messages": [chat]}, plain, 64, "drop")
    assert set(out) == {"id", "input_ids", "labels", "fate", "reason", "lost"}


def test_a_rank_that_would_get_no_row_is_refused_with_what_to_do():
    from soaptune.errors import DataError
    from soaptune.runtime.arctic.factory import require_rows_for_ranks

    require_rows_for_ranks(2, 2, split="train", what="rows")
    with pytest.raises(DataError, match=r"1 packs of rows are left in the split 'train', and 2 ranks need one each"):
        require_rows_for_ranks(1, 2, split="train", what="packs of rows")
