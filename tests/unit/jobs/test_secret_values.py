"""What looks like a secret is refused wherever a job would write it down; what only resembles one is not."""

import random
import string
import time
import uuid

import pytest

from soaptune.errors import ConfigError
from soaptune.jobs.secret_values import secret_in, secret_variable
from soaptune.jobs.spec import STORED, JobSpec
from soaptune.snowflake.settings import SnowflakeSettings

# Made up in the forms that their issuers document. They are put together here, so that no scanner takes this file for a
# leak.
R40 = "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA1cD3eF5h"
HEX32 = "0123456789abcdef" * 2
TOKENS = {
    "Hugging Face": "hf_" + R40[:34],
    "OpenAI": "sk-" + R40,
    "OpenAI project": "sk-proj-" + R40 + "_" + R40,
    "Anthropic": "sk-ant-api03-" + R40 + "-" + R40,
    "Groq": "gsk_" + R40,
    "GitHub classic": "ghp_" + R40[:36],
    "GitHub app": "ghs_" + R40[:36],
    "GitHub fine-grained": "github_pat_" + R40[:22] + "_" + R40,
    "GitLab": "glpat-" + R40[:20],
    "JWT": "eyJ" + R40[:33] + ".eyJ" + R40 + "." + R40,
    "AWS key id": "AKIA" + "IOSFODNN7EXAMPLE",
    "AWS session": "ASIA" + "IOSFODNN7EXAMPLE",
    "Google API": "AIza" + R40[:35],
    "Google OAuth": "ya29." + R40,
    "Google secret": "GOCSPX-" + R40[:28],
    "Azure storage": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=" + R40 + R40 + "abcdef==",
    "Azure AD": "abc8Q~" + R40[:34],
    "Azure SAS": "https://a.blob.core.windows.net/c?sv=2022&sig=" + R40 + "%3D",
    "Slack": "xoxb-" + "123456789012-" + R40[:24],
    "Slack hook": "https://hooks.slack.com/services/T" + "00000000/B00000000/" + R40[:24],
    "Stripe": "sk_live_" + R40[:24],
    "PyPI": "pypi-AgE" + R40 + R40,
    "npm": "npm_" + R40[:36],
    "Databricks": "dapi" + HEX32,
    "SendGrid": "SG." + R40[:22] + "." + (R40 + R40)[:43],
    "Vault": "hvs." + R40,
    "PEM": "-----BEGIN " + "PRIVATE KEY-----",
    "RSA": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "OpenSSH": "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
    "PGP": "-----BEGIN PGP " + "PRIVATE KEY BLOCK-----",
    "Postgres": "postgresql://app:" + "hunter2@db.example.com:5432/notes",
    "Redis": "redis://:" + "hunter2@cache:6379/0",
    "proxy": "http://me:" + "hunter2@proxy.example.com:3128",
}
NAMES = [
    *("HF_TOKEN", "WANDB_API_KEY", "OPENAI_KEY", "STRIPE_KEY", "AWS_SECRET_ACCESS_KEY", "SIGNING_KEY", "my_key"),
    *("SNOWFLAKE_PAT", "GITHUB_PAT", "AZURE_DEVOPS_EXT_PAT"),
    *(
        "db_password",
        "PGPASSWORD",
        "MYSQL_PWD",
        "SMTP_PASS",
        "PASSWORD",
        "KEY_PASSPHRASE",
        "DB_PASS_MAIN",
        "PASSWORD_2",
    ),
    *("AWS_CREDENTIALS", "CREDENTIAL", "AZURE_CREDENTIAL", "DB_CREDS"),
    *("CLIENT_SECRET", "SECRET", "SECRET_SALT", "NPM_AUTH", "SESSION_COOKIE", "APIKEY", "MYAPIKEY", "GHTOKEN"),
]
INNOCENT = {
    "PATH": "/usr/local/bin:/usr/bin",
    "PWD": "/home/user",
    "OLDPWD": "/home/user",
    "HF_HOME": "/data/cache/huggingface",
    "HF_TOKEN_PATH": "/home/user/.cache/huggingface/token",
    "GOOGLE_APPLICATION_CREDENTIALS": "/etc/keys/service-account.json",
    "PASSWORD_FILE": "/run/secrets/db",
    "SSL_KEY_FILE": "server.key",
    "TOKENIZERS_PARALLELISM": "false",
    "MAX_TOKENS": "4096",
    "EOS_TOKEN": "<|im_end|>",
    "PAD_TOKEN": "<|endoftext|>",
    "SORT_KEY": "created_at",
    "PRIMARY_KEY": "note_id",
    "PUBLIC_KEY": "ssh-ed25519",
    "PARTITION_KEY": "day",
    "KEYBOARD": "us",
    "COMPASS": "north",
    "NUM_PASSES": "3",
    "BYPASS_CACHE": "1",
    "AUTHOR": "Ann",
    "PATIENT": "anonymous",
    "ALLOW_EMPTY_PASSWORD": "yes",
    "WANDB_MODE": "disabled",
    "MODEL": "Qwen/Qwen3-30B-A3B-Instruct-2507-FP8",
    "BASE": "meta-llama/Llama-3.3-70B-Instruct",
    "OTHER": "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B-Q4_K_M.gguf",
    "CLASS": "Qwen3ForCausalLMWithValueHeadAndScorer",
    "REVISION": "c1899de289a04d12100db370d81485cdf75e47ca",
    "DIGEST": "sha256:" + "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "RUN_ID": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "TIME": "2026-01-15T10:20:30.123456+00:00",
    "INDEX_URL": "https://pypi.org/simple",
    "PROXY": "http://proxy.example.com:3128",
    "USER_URL": "https://user@example.com/repo",
    "TEMPLATE_URL": "postgresql://app:${DB_PASSWORD}@db/notes",
    "HIDDEN_URL": "postgresql://app:***@db/notes",
    "WAREHOUSE_DSN": "warehouse",
    "ODBC_DSN": "Driver=Snowflake;Server=account.snowflakecomputing.com",
    "CONNECTION_STRING": "Server=db;Password=${PW}",
    "CUDA_VISIBLE_DEVICES": "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6",
    "PYTHONPATH": "/home/user/projects/MyProject2024/src:/opt/Tool3/lib/python3.11/site-packages",
    "NCCL_SOCKET_IFNAME": "eth0,enp5s0f1",
    "TORCH_CUDA_ARCH_LIST": "8.0;8.6;9.0+PTX",
    "OMP_NUM_THREADS": "8",
    "IMAGE": "registry.example.com/team/train:v1.2.3-cuda12.4-py311",
    "SENTENCE": "Answer in JSON, with the keys S, O, A and P.",
}


@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_is_known_by_its_form_wherever_it_stands(kind):
    token = TOKENS[kind]
    assert secret_in(token) is not None
    for give in (
        lambda: JobSpec(name="a", entrypoint=("true",), env={"SOME_SETTING": token}),
        lambda: JobSpec(name="a", entrypoint=("true",), files={"a/config.yml": f"seed: 3\nvalue: '{token}'\n"}),
        lambda: JobSpec(name="a", entrypoint=("curl", f"--header=X: {token}")),
    ):
        with pytest.raises(ConfigError, match="secrets=") as caught:
            give()
        assert token not in str(caught.value)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_a_secret_is_refused(name):
    assert secret_variable(name, "hunter2") == "has the name of a secret"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SENTRY_DSN", "https://" + HEX32 + "@o1.ingest.sentry.io/2"),
        ("DB_DSN", "Driver=x;Pwd=hunter2"),
        ("AZURE_CONNECTION_STRING", "Server=x;Password=hunter2;"),
    ],
)
def test_a_connection_with_a_password_is_refused(name, value):
    assert secret_variable(name, value) is not None


@pytest.mark.parametrize("name", INNOCENT)
def test_an_ordinary_variable_is_none(name):
    assert secret_variable(name, INNOCENT[name]) is None
    JobSpec(name="a", entrypoint=("env", INNOCENT[name]), env={name: INNOCENT[name]}, files={"a": INNOCENT[name]})


@pytest.mark.parametrize("length", [32, 40, 64])
def test_most_random_keys_are_found_and_no_hash_is(length):
    source = random.Random(length)
    letters = string.ascii_letters + string.digits
    keys = ["".join(source.choices(letters, k=length)) for _ in range(500)]
    found = sum(secret_variable("SETTING", key) is not None for key in keys)
    assert found >= 0.93 * len(keys)
    others = [f"{source.getrandbits(4 * length):0{length}x}" for _ in range(500)]
    others += [str(uuid.UUID(int=source.getrandbits(128))) for _ in range(500)]
    assert [value for value in others if secret_variable("SETTING", value)] == []


def test_what_was_written_down_earlier_is_still_read():
    data = {"name": "a", "entrypoint": ["echo", TOKENS["GitHub classic"]], "env": {"MY_KEY": "x"}}
    assert JobSpec.model_validate(data, context=STORED).env == {"MY_KEY": "x"}
    with pytest.raises(ConfigError):
        JobSpec.model_validate(data)


def test_variables_of_all_jobs_in_an_account_are_checked_too():
    given = {"compute_pool": "P", "database": "D", "schema": "S", "stage": "T"}
    with pytest.raises(ConfigError, match="SNOWFLAKE_PAT") as caught:
        SnowflakeSettings(**given, env={"SNOWFLAKE_PAT": "hunter2"})
    assert "hunter2" not in str(caught.value)


LARGE = ["a" * 1_000_000, "eyJ" * 300_000, "http://" * 100_000, "-----BEGIN " + "A " * 300_000, "Aa1+" * 250_000]


@pytest.mark.parametrize("text", LARGE, ids=["one letter", "jwt", "urls", "pem", "base64"])
def test_looking_through_a_large_file_is_quick(text):
    begun = time.process_time()
    assert secret_in(text) is None
    assert time.process_time() - begun < 2.0
