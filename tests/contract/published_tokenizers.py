"""Tokenizers with the chat templates and added tokens of published models, on a vocabulary of bytes.

The templates are those of the models' ``tokenizer_config.json`` on the Hugging Face hub (Meta-Llama-3-8B-Instruct,
Phi-3-mini-4k-instruct, Mistral-7B-Instruct-v0.2, gemma-2-2b-it), as are flags and roles of the tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

LLAMA_3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim "
    "+ '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
PHI_3 = (
    "{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}"
    "{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}"
    "{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
MISTRAL_2 = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
GEMMA_2 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
    "{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)


def build(name: str) -> Any:
    """Makes one: ``llama-3``, ``phi-3``, ``mistral-2`` or ``gemma-2``."""
    return _BUILDERS[name]()


def _llama_3() -> Any:
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    reserved = [f"<|reserved_special_token_{number}|>" for number in range(4)]
    added = [_token(name) for name in (*names, *reserved)]
    return make(added, LLAMA_3, bos_token=names[0], eos_token=names[1])


def _phi_3() -> Any:
    # All but the end of the text swallow the whitespace behind them, and none is named as a special token.
    turns = [_token(f"<|{name}|>", rstrip=True) for name in ("assistant", "system", "end", "user", "placeholder1")]
    added = [_token("<unk>"), _token("<s>"), _token("</s>", rstrip=True, special=False), _token("<|endoftext|>")]
    return make([*added, *turns], PHI_3, bos_token="<s>", eos_token="<|endoftext|>", unk_token="<unk>")


def _mistral_2() -> Any:
    added = [_token(name) for name in ("<unk>", "<s>", "</s>")]
    return make(added, MISTRAL_2, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def _gemma_2() -> Any:
    control = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>")
    words = ("\n\n", "\n\n\n", "▁▁", "<table>", "</table>", "<b>", "</b>", "[multimodal]")
    added = [*(_token(name) for name in control), *(_token(name, special=False) for name in words)]
    return make(added, GEMMA_2, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", pad_token="<pad>")


_BUILDERS = {"llama-3": _llama_3, "phi-3": _phi_3, "mistral-2": _mistral_2, "gemma-2": _gemma_2}


def _token(content: str, *, special: bool = True, rstrip: bool = False) -> Any:
    from tokenizers import AddedToken

    return AddedToken(content, special=special, normalized=False, rstrip=rstrip)


def make(added: Sequence[Any], template: str, *, normalizer: Any = None, **roles: str) -> Any:
    """A tokenizer whose vocabulary is the bytes and some added tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    fast = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    if normalizer is not None:
        fast.normalizer = normalizer
    # Like a tokenizer.json, which holds the flags of each token by itself.
    for token in added:
        (fast.add_special_tokens if token.special else fast.add_tokens)([token])
    made = PreTrainedTokenizerFast(tokenizer_object=fast, **roles)
    made.chat_template = template
    return made
