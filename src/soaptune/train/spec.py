"""`TrainSpec`: every training choice, as one strict model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import Field, field_validator, model_validator

from soaptune.config import Config, OtherName, TokenVariable, merged
from soaptune.errors import ConfigError, Violation
from soaptune.handles.location import Folder
from soaptune.handles.model_ref import ModelRef
from soaptune.train.names import SPEC_NAMES
from soaptune.train.options import (
    CheckpointOptions,
    DeepSpeedOptions,
    LoraOptions,
    OptimizerOptions,
    SchedulerOptions,
)

if TYPE_CHECKING:
    from soaptune.handles.dataset import Dataset

__all__ = ["TrainSpec"]

Count = Annotated[int, Field(ge=1)]
CountOrOff = Annotated[int, Field(ge=0)]


class TrainSpec(Config):
    """What is trained, and how.

    A spec says nothing of the machine: the same spec goes to a laptop and to Snowflake. What a machine forces to
    change is shown to the user as a list of changes (`soaptune.train.hardware.adapt`).

    Examples:
        >>> spec = TrainSpec.preset("tiny-lora").replace(epochs=3)
        >>> [v for v in spec.check() if v.level == "error"]
        []
    """

    other_names: ClassVar[Mapping[str, OtherName]] = SPEC_NAMES

    model: Annotated[str, Field(min_length=1)]
    """The base model: a name on the Hugging Face hub, a local folder, or ``"soaptune/tiny"``, the embedded one."""

    revision: str | None = None
    """Commit, tag or branch of a model on the hub."""

    cache_dir: str | None = None
    """Folder in which models of the hub are kept; that of Hugging Face when unset."""

    token: TokenVariable | None = None
    """*Name* of the environment variable that holds the token for a gated model, never the token itself."""

    initialization: Literal["pretrained", "random"] = "pretrained"
    """``"random"`` takes shape and tokenizer of `model` and draws new weights from the seed, to pre-train them."""

    method: Literal["full", "lora"] = "lora"
    """Train all weights, or a low-rank adapter."""

    lora: LoraOptions | None = None
    """Options of ``method="lora"``; PEFT-like defaults when unset."""

    trainer: Literal["sft", "causal"] = "sft"
    """``"sft"``: supervised fine-tuning on the rows of a task; ``"causal"``: (continued) pre-training with
    ArcticTraining's causal trainer, on rows that bring a column ``messages`` or ``text``."""

    max_length: Count = 4096
    """Longest example, in tokens."""

    overlong: Literal["drop", "truncate"] = "drop"
    """Whether a longer example is left out or truncated at its end; either way it stands in the row ledger."""

    packing: Literal["none", "next_fit"] = "none"
    """``"next_fit"`` joins examples up to `max_length` tokens; they do not see each other."""

    shuffle: bool = True
    """Draw the order of the examples anew for every epoch; False keeps the dataset's order, for a curriculum."""

    batch_tokens: CountOrOff = 0
    """When not 0, a batch holds examples of like length up to so many tokens, padding included, in place of a fixed
    number of examples."""

    prompt_loss_weight: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Weight of a prompt token's loss against an answer token's. 0 trains exactly the answer and its end token."""

    prompt_loss_sample: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the prompt's tokens whose loss is computed, drawn at random, which saves time; the weight makes up for
    it. Without meaning while `prompt_loss_weight` is 0."""

    train_split: str = "train"
    eval_split: str = "validation"

    epochs: Count = 1
    max_steps: Count | None = None
    """Optimizer steps after which training ends; goes before `epochs`."""

    per_device_batch_size: Count = 1
    """Examples that a device computes at once. How an optimizer step is cut into such batches does not change it."""

    gradient_accumulation_steps: Count = 1
    """Batches of each device in an optimizer step; the last step of an epoch has as many as are left."""

    optimizer: OptimizerOptions = OptimizerOptions()
    scheduler: SchedulerOptions = SchedulerOptions()
    max_grad_norm: Annotated[float, Field(ge=0.0)] = 1.0
    """Gradients are scaled down to this norm; 0 for never."""

    seed: CountOrOff = 42
    dtype: Literal["bf16", "fp32", "fp16"] = "bf16"
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3"] = "sdpa"
    gradient_checkpointing: bool = True
    """Compute activations again in the backward pass instead of keeping them: less memory, about a third slower."""

    deepspeed: DeepSpeedOptions = DeepSpeedOptions()
    checkpoints: CheckpointOptions = CheckpointOptions()
    eval_interval: CountOrOff = 0
    """Steps between evaluations of the loss on `eval_split`; 0 for none."""

    log_interval: Count = 1
    """Steps between logged losses. A logged loss is the mean over the label tokens of all steps since the last one."""

    num_proc: Count = 16
    """Processes that tokenize."""

    dataloader_num_workers: Count = 2
    """Processes that feed each device. ArcticTraining cannot do without at least one."""

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, data: object) -> object:
        # In YAML and JSON, where no method can be called, a preset is named beside what is changed of it.
        if isinstance(data, str):
            raise ValueError("a TrainSpec is expected and not a name; a preset is TrainSpec.preset('tiny-lora')")
        if not isinstance(data, dict) or "preset" not in data:
            return data  # pyright: ignore[reportUnknownVariableType]
        given = cast("dict[str, Any]", data)
        return merged(cls.preset(given["preset"]), {name: given[name] for name in given if name != "preset"})

    @field_validator("overlong", mode="before")
    @classmethod
    def _former_word(cls, value: object) -> object:
        if value == "cut":
            raise ValueError("'cut' is now called 'truncate'")
        return value

    @property
    def lora_options(self) -> LoraOptions | None:
        """The adapter's options with defaults filled in, or None for ``method="full"``."""
        return (self.lora or LoraOptions()) if self.method == "lora" else None

    @property
    def base(self) -> ModelRef:
        """The base model as one value."""
        return ModelRef(name=self.model, revision=self.revision)

    @property
    def fingerprint(self) -> str:
        """``"sha256:..."`` of all choices, defaults included; not of `token` and `cache_dir`, which train nothing."""
        from soaptune.common.fingerprint import fingerprint

        return fingerprint({**self.model_dump(mode="json"), "token": None, "cache_dir": None})

    @classmethod
    def presets(cls) -> tuple[str, ...]:
        """The names that `preset` knows."""
        from soaptune.train.presets import PRESETS

        return tuple(PRESETS)

    @classmethod
    def preset(cls, name: str) -> TrainSpec:
        """A spec that is known to work.

        Args:
            name: One of `presets`.

        Returns:
            The spec; change it with `replace`.

        Raises:
            ConfigError: There is no preset of that name.
        """
        import difflib

        from soaptune.train.presets import PRESETS

        if name not in PRESETS:
            near = difflib.get_close_matches(name, PRESETS, n=1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            raise ConfigError(f"there is no preset {name!r}{meant}; presets are: {', '.join(PRESETS)}")
        return PRESETS[name]

    @classmethod
    def from_yaml(cls, source: str | Path) -> TrainSpec:
        """Reads a spec from YAML.

        Two forms are read: the spec's own fields (``model: ...``, ``optimizer: {learning_rate: 1.0e-4}``), where
        ``preset: tiny-lora`` stands for all values of a preset that the rest does not change; and what `to_yaml`
        wrote, also when it was changed by hand, as long as a spec can hold the change. Where the rows lie and the name
        of the variable with the token are not in that YAML, so `token` stays unset.

        Args:
            source: The text, or a file: a path, or a string that ends in ``.yaml`` or ``.yml``.

        Raises:
            ConfigError: The file cannot be read, is not YAML, or says something that a spec has no field for.
        """
        from soaptune.train.from_yaml import from_yaml

        return from_yaml(source)

    def check(self) -> list[Violation]:
        """All that is wrong with the choices themselves; reads nothing but the spec."""
        from soaptune.train.checks import check_spec

        return check_spec(self)

    def to_yaml(self, data: Dataset | str | None = None) -> str:
        """The spec in ArcticTraining's words.

        Args:
            data: Where the job finds the examples: a dataset in a folder, or a folder (absolute, or relative to the
                job's working directory). The place where a backend puts the job's input when unset, or the dataset lies
                elsewhere.

        Returns:
            YAML text, the same bytes for the same spec. All paths in it are relative to the job's working directory.
        """
        from soaptune.train.arctic_yaml import to_yaml

        if data is None or isinstance(data, str):
            return to_yaml(self, data_path=data)
        location = data.location
        return to_yaml(self, data_path=location.path if isinstance(location, Folder) else None)

    def to_arctic(self, data: str | None = None) -> dict[str, Any]:
        """What `to_yaml` writes, as a mapping."""
        from soaptune.train.arctic_yaml import to_mapping

        return to_mapping(self, data_path=data)
