"""Attention and cache for decoding: what a step of one new token costs when nothing is copied that need not be.

The cache keeps spare columns, so that a step writes one column instead of copying all of them. Attention of one new
token treats the query heads that share a key head as rows, so that keys and values are never repeated in memory. Both
give the same numbers as transformers' own.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers import masking_utils as _masking_module
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations import sdpa_attention as _sdpa_module

__all__ = ["ATTENTION", "growing_cache"]

ATTENTION = "soaptune_grouped"
"""The name under which transformers knows this attention."""

_SPARE = 128

# transformers types these modules in part only.
_sdpa: Any = _sdpa_module
_masking: Any = _masking_module


def growing_cache() -> Any:
    """An empty cache with spare columns, for any number of layers."""
    return Cache(layer_class_to_replicate=_GrowingLayer)


class _GrowingLayer(DynamicLayer):
    """A layer's keys and values with spare columns behind them, so that a step writes one column and copies nothing."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, cache_kwargs: dict[str, Any] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        del cache_kwargs
        if not self.is_initialized:
            self.lazy_initialization(key_states)
            self._buffers = (key_states[:, :, :0], value_states[:, :, :0])
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if end > self._buffers[0].shape[-2]:
            self._buffers = (_grown(self._buffers[0], start, end), _grown(self._buffers[1], start, end))
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:end] = new
        self.keys, self.values = self._buffers[0][:, :, :end], self._buffers[1][:, :, :end]
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        length = self.get_seq_length()
        self._buffers = (self._buffers[0][indices], self._buffers[1][indices])
        self.keys, self.values = self._buffers[0][:, :, :length], self._buffers[1][:, :, :length]


def _grown(buffer: torch.Tensor, used: int, needed: int) -> torch.Tensor:
    shape = (*buffer.shape[:2], needed + _SPARE, buffer.shape[-1])
    larger = buffer.new_empty(shape)
    larger[:, :, :used] = buffer[:, :, :used]
    return larger


def _grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as `sdpa`, without repeating keys when there is one new token; query (batch, heads, tokens, width)."""
    groups = int(getattr(module, "num_key_value_groups", 1))
    if query.shape[2] != 1 or groups == 1:
        return _sdpa.sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    batch, heads, _, width = query.shape
    # All heads attend with the same mask, so the heads of a group can stand where a batch's tokens usually stand.
    rows = query.reshape(batch, heads // groups, groups, width)
    if attention_mask is not None:
        attention_mask = attention_mask[..., : key.shape[-2]].expand(-1, -1, groups, -1)
    out = torch.nn.functional.scaled_dot_product_attention(
        rows, key, value, attn_mask=attention_mask, scale=options.get("scaling")
    )
    return out.reshape(batch, 1, heads, width), None


_attention: Any = AttentionInterface
_mask: Any = AttentionMaskInterface
_attention.register(ATTENTION, _grouped_attention)
_mask.register(ATTENTION, _masking.sdpa_mask)
