"""How much memory a training run needs at least.

The bytes are those of DeepSpeed's own estimator (``estimate_zero2_model_states_mem_needs``; its sibling for stage 3 has
2 less) for the model states of Rajbhandari et al. (ZeRO, 2020, arXiv:1910.02054, section 3.1), by parameter:

    mixed precision: 2 bytes of weights, 2 of gradients, 16 of optimizer state (fp32 gradients, weights and two moments)
    fp32:            4 bytes of weights, 4 of gradients, 8 of optimizer state

With LoRA, gradients and state are those of the adapter only.
"""

from __future__ import annotations

from soaptune.jobs.memory_need import MemoryNeed, parameters
from soaptune.train.spec import TrainSpec

__all__ = ["training_memory"]

_LORA_SHARE_PER_RANK = 0.01 / 16
"""An adapter of rank 16 on all linear layers has about 1 % of the parameters of a model of 1 to 2 B, and less of a
larger one's."""


def training_memory(spec: TrainSpec) -> MemoryNeed:
    """The memory that a spec needs, as data that is evaluated once GPUs and nodes are known.

    Args:
        spec: The choices.
    """
    full_precision = spec.dtype == "fp32"
    weights, gradients, state = (4, 4, 8) if full_precision else (2, 2, 16)
    lora = spec.lora_options
    share = 1.0 if lora is None else min(1.0, _LORA_SHARE_PER_RANK * lora.r)
    method = "full" if lora is None else "LoRA"
    return MemoryNeed(
        model=spec.base.name,
        parameters=parameters(spec.base.name),
        weights=weights,
        gradients=share * gradients,
        state=share * state,
        zero_stage=spec.deepspeed.stage,
        offload_state=spec.deepspeed.offload_optimizer,
        offload_weights=spec.deepspeed.offload_param,
        what=f"{method} training in {'fp32' if full_precision else 'half precision'}",
    )
