from __future__ import annotations

import pytest

from soaptune.snowflake.preflight.families import FAMILIES, Family, family, from_row


def test_a_family_is_found_whatever_its_case():
    assert family("gpu_nv_m") is FAMILIES["GPU_NV_M"]


def test_an_unknown_family_is_none_and_no_error():
    assert family("GPU_NV_XXL") is None


@pytest.mark.parametrize(
    ("name", "gpus", "each", "memory", "credits"),
    [
        ("GPU_NV_S", 1, 24, 27, 0.57),
        ("GPU_NV_M", 4, 24, 178, 2.68),
        ("GPU_NV_L", 8, 40, 1112, 14.12),
        ("GPU_NV_XS", 1, 16, 26, 0.25),
        ("GPU_NV_SM", 1, 24, 424, 1.70),
        ("GPU_NV_2M", 2, 24, 858, 3.50),
        ("GPU_NV_3M", 2, 80, 424, 3.55),
        ("GPU_NV_SL", 4, 80, 858, 13.50),
        ("GPU_GCP_NV_L4_1_24G", 1, 24, 28, 0.43),
        ("GPU_GCP_NV_L4_4_24G", 4, 24, 178, 1.94),
        ("GPU_GCP_NV_A100_8_40G", 8, 40, 654, 11.68),
        ("CPU_X64_M", 0, 0, 28, 0.22),
        ("HIGHMEM_X64_L", 0, 0, 984, 4.44),
    ],
)
def test_the_table_has_the_documented_values(name: str, gpus: int, each: float, memory: float, credits: float):
    one = FAMILIES[name]
    assert (one.gpus, one.gpu_memory_gb, one.memory_gib, one.credits_per_hour) == (gpus, each, memory, credits)


def test_cpus_and_memory_are_those_of_the_sdks_own_table():
    constants = pytest.importorskip("snowflake.ml.jobs._utils.constants")
    for by_cloud in (
        constants.COMMON_INSTANCE_FAMILIES,
        constants.AWS_INSTANCE_FAMILIES,
        constants.GCP_INSTANCE_FAMILIES,
    ):
        for name, resources in by_cloud.items():
            ours = FAMILIES[name]
            memory = min(resources.memory, ours.memory_gib)  # of clouds that differ ours has the least
            assert (ours.cpus, ours.memory_gib, ours.gpus) == (resources.cpu, memory, resources.gpu or 0), name


def test_a_family_describes_itself_for_people():
    assert str(FAMILIES["GPU_NV_M"]) == "GPU_NV_M (44 vCPU, 178 GiB, 4 x A10G (24 GB))"
    assert str(FAMILIES["CPU_X64_S"]) == "CPU_X64_S (3 vCPU, 13 GiB, no GPU)"


def test_a_row_of_the_account_is_read_with_its_price_where_it_is_known():
    row = {
        "name": "GPU_NV_S",
        "vcpu": "6",
        "memory_gib": "27",
        "gpu": "NVIDIA A10G",
        "gpu_count": "1",
        "gpu_memory_gib": "24",
    }
    read = from_row(row)
    assert (read.cpus, read.gpus, read.gpu_memory_gb, read.credits_per_hour) == (6, 1, 24.0, 0.57)


def test_a_row_of_a_new_family_has_no_price_and_may_lack_cells():
    read = from_row({"name": "gen_x64_g2_8", "vcpu": 8, "memory_gib": "", "gpu": "", "gpu_count": 0})
    assert read == Family(name="GEN_X64_G2_8", cpus=8)
    assert read.total_gpu_memory_gb == 0
