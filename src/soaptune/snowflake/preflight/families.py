"""What the machines of Snowflake's compute pools have, and roughly what an hour of one costs.

`FAMILIES` is a copy of documented values, with its date; an account can tell its own with ``SHOW COMPUTE POOL INSTANCE
FAMILIES``, which `from_row` reads. New families come without notice: an unknown one is no error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

__all__ = ["AS_OF", "CREDITS_SOURCE", "FAMILIES", "HARDWARE_SOURCE", "Family", "family", "from_row"]

AS_OF = "2026-04"
"""When the values of `FAMILIES` were read, as year and month."""

HARDWARE_SOURCE = "https://docs.snowflake.com/en/developer-guide/snowpark-container-services/working-with-compute-pool"
"""The page that lists vCPU, memory and GPUs."""

CREDITS_SOURCE = "Snowflake Service Consumption Table, table 1(f)"
"""The document that sets the credits; the values here come from transcriptions of it and are estimates."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """One node of an instance family.

    Attributes:
        name: Its name, as ``INSTANCE_FAMILY`` takes it.
        clouds: Where it is offered.
        cpus: vCPUs that a job can use; None where unknown.
        memory_gib: Main memory that a job can use, in GiB; the least of the clouds where they differ.
        gpus: How many GPUs it has.
        gpu: What kind they are; empty for none.
        gpu_memory_gb: The memory of *each* GPU, in GB.
        credits_per_hour: What an hour of one node costs, an estimate as of `AS_OF`; None where unknown.
    """

    name: str
    clouds: tuple[str, ...] = ()
    cpus: int | None = None
    memory_gib: float | None = None
    gpus: int = 0
    gpu: str = ""
    gpu_memory_gb: float = 0.0
    credits_per_hour: float | None = None

    @property
    def total_gpu_memory_gb(self) -> float:
        """The memory of all its GPUs together, in GB."""
        return self.gpus * self.gpu_memory_gb

    def __str__(self) -> str:
        parts = [] if self.cpus is None else [f"{self.cpus} vCPU"]
        if self.memory_gib is not None:
            parts.append(f"{self.memory_gib:g} GiB")
        parts.append(f"{self.gpus} x {self.gpu} ({self.gpu_memory_gb:g} GB)" if self.gpus else "no GPU")
        return f"{self.name} ({', '.join(parts)})"


_AWS, _AZURE, _GCP = "AWS", "Azure", "GCP"
_ALL = (_AWS, _AZURE, _GCP)


def _cpu(name: str, cpus: int, memory: float, price: float, clouds: tuple[str, ...] = _ALL) -> Family:
    return Family(name=name, clouds=clouds, cpus=cpus, memory_gib=memory, credits_per_hour=price)


def _gpu(cloud: str, name: str, cpus: int, memory: float, gpus: int, gpu: str, each: float, price: float) -> Family:
    return Family(
        name=name,
        clouds=(cloud,),
        cpus=cpus,
        memory_gib=memory,
        gpus=gpus,
        gpu=gpu,
        gpu_memory_gb=each,
        credits_per_hour=price,
    )


_TABLE = (
    _cpu("CPU_X64_XS", 1, 6, 0.06),
    _cpu("CPU_X64_S", 3, 13, 0.11),
    _cpu("CPU_X64_M", 6, 28, 0.22),
    _cpu("CPU_X64_SL", 14, 54, 0.41),
    _cpu("CPU_X64_L", 28, 116, 0.83),
    _cpu("HIGHMEM_X64_S", 6, 58, 0.28),
    _cpu("HIGHMEM_X64_M", 28, 240, 1.11),
    _cpu("HIGHMEM_X64_SL", 92, 654, 2.93, (_AZURE, _GCP)),
    _cpu("HIGHMEM_X64_L", 124, 984, 4.44, (_AWS,)),
    _gpu(_AWS, "GPU_NV_S", 6, 27, 1, "A10G", 24, 0.57),
    _gpu(_AWS, "GPU_NV_M", 44, 178, 4, "A10G", 24, 2.68),
    _gpu(_AWS, "GPU_NV_L", 92, 1112, 8, "A100", 40, 14.12),
    _gpu(_AZURE, "GPU_NV_XS", 3, 26, 1, "T4", 16, 0.25),
    _gpu(_AZURE, "GPU_NV_SM", 32, 424, 1, "A10", 24, 1.70),
    _gpu(_AZURE, "GPU_NV_2M", 68, 858, 2, "A10", 24, 3.50),
    _gpu(_AZURE, "GPU_NV_3M", 44, 424, 2, "A100", 80, 3.55),
    _gpu(_AZURE, "GPU_NV_SL", 92, 858, 4, "A100", 80, 13.50),
    _gpu(_GCP, "GPU_GCP_NV_L4_1_24G", 6, 28, 1, "L4", 24, 0.43),
    _gpu(_GCP, "GPU_GCP_NV_L4_4_24G", 44, 178, 4, "L4", 24, 1.94),
    _gpu(_GCP, "GPU_GCP_NV_A100_8_40G", 92, 654, 8, "A100", 40, 11.68),
)

FAMILIES: Mapping[str, Family] = MappingProxyType({one.name: one for one in _TABLE})
"""All known families, by name."""


def family(name: str) -> Family | None:
    """Looks up an instance family.

    Args:
        name: Its name; case does not matter, as in SQL.

    Returns:
        The family, or None for one that this release does not know.
    """
    return FAMILIES.get(name.strip().upper())


def from_row(row: Mapping[str, Any]) -> Family:
    """Reads a row of ``SHOW COMPUTE POOL INSTANCE FAMILIES``.

    Args:
        row: The row, by column.

    Returns:
        The family; what it costs is known for the families of `FAMILIES` only.
    """
    name = str(row["name"]).upper()
    known = FAMILIES.get(name)
    gpus = int(float(row.get("gpu_count") or 0))
    cpus, memory = row.get("vcpu"), row.get("memory_gib")
    return Family(
        name=name,
        clouds=() if known is None else known.clouds,
        cpus=None if cpus in (None, "") else int(float(cpus)),
        memory_gib=None if memory in (None, "") else float(memory),
        gpus=gpus,
        gpu=str(row.get("gpu") or "") if gpus else "",
        gpu_memory_gb=float(row.get("gpu_memory_gib") or 0) if gpus else 0.0,
        credits_per_hour=None if known is None else known.credits_per_hour,
    )
