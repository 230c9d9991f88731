import pytest
from pydantic import ValidationError

from soaptune.runtime.serve.surface import ApiError, ChatRequest, refuse_unsupported

PLAIN = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


def request(**more):
    return ChatRequest.model_validate({**PLAIN, **more})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stream": False, "n": 1, "top_p": 1.0, "stop": None, "tools": [], "logprobs": False, "presence_penalty": 0},
        {"temperature": 1, "seed": 3, "max_tokens": 5, "max_completion_tokens": 5, "user": "u"},
        {"response_format": {"type": "text"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}},
    ],
)
def test_what_asks_for_nothing_special_is_taken(options):
    refuse_unsupported(request(**options))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stream", True),
        ("n", 2),
        ("n", True),
        ("stream", 0),
        ("tools", [{}]),
        ("stop", "x"),
        ("top_p", 0.9),
        ("logprobs", True),
        ("logit_bias", {"1": 1}),
        ("reasoning_effort", "low"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(name, value):
    with pytest.raises(ApiError, match=f"'{name}' is not supported") as caught:
        refuse_unsupported(request(**{name: value}))
    assert caught.value.body()["error"] == {
        "message": f"'{name}' is not supported by this server.",
        "type": "invalid_request_error",
        "param": name,
        "code": "unsupported_parameter",
    }


def test_an_unknown_field_is_not_quoted():
    with pytest.raises(ApiError, match="Did you mean 'max_tokens'") as caught:
        refuse_unsupported(request(max_tokns=3))
    assert caught.value.code == "unknown_parameter"
    with pytest.raises(ApiError) as caught:
        refuse_unsupported(request(**{"Mrs Smith": 1}))
    assert "Smith" not in str(caught.value.body())


@pytest.mark.parametrize(
    "options",
    [
        {"model": 5},
        {"messages": []},
        {"messages": "x"},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        {"messages": [{"role": "user", "content": "x", "name": "y"}]},
        {"messages": [{"role": "user", "content": "\ud800"}]},
        {"max_tokens": 0},
        {"max_tokens": "5"},
        {"temperature": -1},
        {"temperature": float("nan")},
        {"response_format": {"type": "xml"}},
        {"response_format": {"type": "json_schema"}},
    ],
)
def test_wrong_values_are_refused(options):
    with pytest.raises(ValidationError):
        request(**options)


def test_messages_become_plain_turns():
    made = request(
        messages=[
            {"role": "developer", "content": "a"},
            {"role": "assistant", "content": "b", "refusal": None, "tool_calls": None},
            {"role": "user", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]},
        ]
    )
    assert [message.plain() for message in made.messages] == [
        {"role": "system", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "cd"},
    ]
