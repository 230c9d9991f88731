import pytest

from soaptune.deploy import Deployer, ServerOptions, hash_api_key
from soaptune.deploy.keys import key_hashes
from soaptune.errors import ConfigError
from soaptune.runtime.serve.access import Access, Allowance
from soaptune.runtime.serve.surface import ApiError

KEY = "a-key-that-is-long-enough"


def digest(key: str) -> bytes:
    return bytes.fromhex(hash_api_key(key).removeprefix("sha256:"))


@pytest.mark.parametrize(
    "key", ["", "short", "a" * 15, "with spaces in it, long", "ü" * 20, "x" * 20 + "\n", "a,b" * 9]
)
def test_what_is_no_key_is_refused_without_being_quoted(key):
    with pytest.raises(ConfigError, match="at least 16 characters") as caught:
        hash_api_key(key)
    assert not key or key not in str(caught.value)


def test_keys_come_from_a_variable_and_a_file(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# staff\n{hash_api_key('b' * 20)}  # Ann\n\n{hash_api_key(KEY)}\n")
    options = ServerOptions(api_key="KEYS", api_keys_file=str(file))
    assert key_hashes(options, {"KEYS": f"{KEY}, {'c' * 20}"}) == (digest(KEY), digest("c" * 20), digest("b" * 20))
    assert key_hashes(ServerOptions(), {}) == ()


@pytest.mark.parametrize("content", [KEY, "sha256:abc", "", "# nothing", f"{KEY} sha256:{'0' * 64}"])
def test_a_file_of_keys_holds_hashes_only(tmp_path, content):
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        key_hashes(ServerOptions(api_keys_file=str(file)), {})
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("value", [None, "", " , ", "short"])
def test_a_variable_without_a_key_is_refused(value):
    with pytest.raises(ConfigError, match="environment variable KEYS"):
        key_hashes(ServerOptions(api_key="KEYS"), {} if value is None else {"KEYS": value})


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match="FileNotFoundError"):
        key_hashes(ServerOptions(api_keys_file=str(tmp_path / "none")), {})


def test_the_options_hold_names_and_no_key():
    with pytest.raises(ConfigError):
        ServerOptions(api_key="sk-not-a-name")
    half = ServerOptions(tls_certificate="cert.pem").check()
    assert [(one.path, one.code) for one in half] == [("server.tls_key", "tls-half")]
    found = Deployer(name="x", host="0.0.0.0", server=ServerOptions(api_key="KEYS")).check()
    assert [(one.code, one.level) for one in found] == [("public-without-tls", "warning")]


def test_only_a_known_key_has_an_allowance():
    access = Access([digest(KEY), digest("b" * 20)])
    first, again = access.allowance(f"Bearer {KEY}"), access.allowance(f"bearer  {KEY} ")
    assert first is again
    assert access.allowance(f"Bearer {'b' * 20}") is not first
    for wrong in (
        None,
        "",
        KEY,
        "Bearer",
        "Bearer ",
        f"Basic {KEY}",
        f"Bearer {KEY}x",
        f"Bearer {KEY} {KEY}",
        "Bearer Ā",
    ):
        with pytest.raises(ApiError) as caught:
            access.allowance(wrong)
        assert (caught.value.status, caught.value.headers()) == (401, {"www-authenticate": "Bearer"})
    open_to_all = Access()
    assert open_to_all.allowance(None) is open_to_all.allowance("Bearer x")


@pytest.mark.parametrize(
    ("host", "known", "known_beyond"),
    [
        ("localhost", True, True),
        ("127.0.0.1:8000", True, True),
        ("[::1]:8000", True, True),
        ("notes.example", True, True),
        ("NOTES.example.:1", True, True),
        ("10.1.2.3", False, True),
        ("[2001:db8::1]:5", False, True),
        ("0.0.0.0", False, False),
        ("evil.example", False, False),
        ("localhost.evil.example", False, False),
        ("", False, False),
        (None, False, False),
        ("[", False, False),
    ],
)
def test_only_known_names_are_answered(host, known, known_beyond):
    for any_address, expected in ((False, known), (True, known_beyond)):
        access = Access(hosts=["notes.example"], any_address=any_address)
        if expected:
            access.check_host(host)
        else:
            with pytest.raises(ApiError) as caught:
                access.check_host(host)
            assert caught.value.status == 421
            assert "evil" not in str(caught.value)


def test_an_allowance_refills_with_time():
    clock = [0.0]
    allowance = Allowance(6, 100, now=lambda: clock[0])
    for _ in range(6):
        allowance.request()
    with pytest.raises(ApiError) as caught:
        allowance.request()
    assert (caught.value.status, caught.value.headers()) == (429, {"retry-after": "10"})
    clock[0] = 10
    allowance.request()
    allowance.used(200)  # more than there was
    clock[0] = 60
    with pytest.raises(ApiError) as caught:
        allowance.request()
    assert caught.value.retry_after == 11  # until there is one token again
    clock[0] = 72
    allowance.request()


def test_without_limits_nothing_is_counted():
    allowance = Allowance(None, None)
    allowance.used(10**18)
    for _ in range(1_000):
        allowance.request()
