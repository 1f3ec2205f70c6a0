"""Secrets in text, made unreadable before anything is kept of it.

What is left out is decided line by line, in time linear in its length, and rather too often than too seldom: the value
of anything called a password, tokens by their makers' prefixes, private keys, credentials in URLs and headers, and what
looks random beside a word such as `token` or `api_key`. A secret that looks like none of these, for example a word in a
list, is kept.
"""

from __future__ import annotations

import fnmatch
import functools
import itertools
import math
import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

REDACTED = "[redacted]"
# Longer lines are data or generated code, where a secret would not be found.
_LONGEST_LINE = 4000

_SECRET_FILES = (
    ".env", ".env.*", "*.env", ".envrc", "*.pem", "*.key", "*.p8", "*.p12", "*.pfx", "*.ppk", "*.jks", "*.keystore",
    "*.kdbx", "*.asc", "*.gpg", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".netrc", "_netrc", ".pgpass",
    ".my.cnf", ".npmrc", ".pypirc", ".htpasswd", ".git-credentials", ".dockercfg", ".dockerconfigjson", ".s3cfg",
    ".boto", "*.tfvars", "*.tfstate", "kubeconfig", "credentials", "credentials.*", "*credentials.json",
    "*service_account*.json", "*service-account*.json", "secret", "secrets", "secret.*", "secrets.*", "*.secret",
    "*.secrets", "*.token",
)  # fmt: skip

# The prefixes that makers give their tokens so that they are found (their documentation on secret scanning).
_TOKENS = re.compile(
    r"\b(?:A(?:KIA|SIA)[0-9A-Z]{16}|gh[pousr]_\w{20,255}|github_pat_\w{20,255}|glpat-[\w-]{16,64}|"
    r"(?:sk|rk)[-_][\w-]{16,255}|xox[abeoprs]-[\w-]{10,255}|xapp-[\w-]{10,255}|AIza[\w-]{30,45}|ya29\.[\w.-]{10,500}|"
    r"hf_\w{16,64}|pn[ub]_\w{16,64}|npm_\w{30,64}|pypi-[\w-]{16,500}|SG\.[\w-]{10,64}\.[\w-]{10,64}|"
    r"dckr_pat_[\w-]{16,64}|dapi[0-9a-f]{32}|nvapi-[\w-]{16,255}|gsk_\w{16,255}|r8_\w{16,64}|xai-\w{16,255}|"
    r"glsa_\w{16,64}|shp(?:at|ca|pa|ss)_\w{16,64}|do[por]_v1_\w{16,128}|hv[sbr]\.[\w-]{16,255}|"
    r"eyJ[\w-]{8,4000}\.[\w-]{8,4000}(?:\.[\w-]{0,4000})?)"
)
_IN_URL = re.compile(r"(?<=://)[^/\s@'\"<>]{1,512}@")
_IN_HEADER = re.compile(r"(?i)([\"'](?:bearer|basic|digest|token|apikey)\s{1,20})[^\s\"']{4,4000}")
_PASSWORD = re.compile(
    r"(?i)((?:passw(?:or)?d|passwd|passwort|passphrase|pwd|secret|authorization|(?:private|access|account)[_-]?key)"
    r"[\w-]{0,40}[\"']?\]?\s{0,20}(?:[:=]|,\s{0,20}(?=[\"']))|--pass(?:word|phrase)?(?=\s))(.*)"
)
_OPENED = re.compile(r"[\s=({\[|>\\\"',:&!-]*")
_SECRET_WORD = re.compile(
    r"(?i)(?:token(?!iz)|secret|pass(?:w|phrase)|\bpwd\b|credential|auth|(?:api|access|account|license)[_-]?key|"
    r"(?:sign|encrypt)\w{0,8}[_-]?key|signature|\bsig\b|webhook|cookie|session[_-]?id|\bdsn\b|conn(?:ection)?[_-]?str)"
)
_RUN = re.compile(r"[\w+/=~-]{8,4000}")
_KEY_BEGINS = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_ENDS = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BODY = re.compile(r"[ +-]?\s{0,40}[\"']?[A-Za-z0-9+/]{40,}={0,2}(?:\\n)?[\"']?,?\s*")


def is_secret_file(name: str) -> bool:
    """Whether files of this name are there to hold secrets, such as `.env`, `id_rsa` and `*.pem`."""
    base = name.replace("\\", "/").rpartition("/")[2].lower()
    return _secret_files().fullmatch(base) is not None


@functools.cache
def _secret_files() -> re.Pattern[str]:
    """All patterns as one expression, which takes less time to make than one of each."""
    return re.compile("|".join(map(fnmatch.translate, _SECRET_FILES)))


def redacted(lines: Iterable[str], *, marks: int = 0) -> Iterator[str]:
    """Lines without their secrets; as many as there were.

    Args:
        lines: of one file or piece of code, without their ends.
        marks: how many characters at the start of each are a patch's and no content.
    """
    in_key = pending = False
    for whole in lines:
        mark, line = whole[:marks], whole[marks:]
        begins, ends = _KEY_BEGINS.search(line), _KEY_ENDS.search(line)
        if begins or in_key or ends:
            in_key = not ends if begins or in_key else False
            yield mark + REDACTED
        elif len(line) > _LONGEST_LINE:
            yield f"{mark}[left out: a line of {len(line)} characters]"
        elif (pending and line.strip()) or _KEY_BODY.fullmatch(line):
            pending = False
            yield mark + REDACTED
        else:
            kept, asked = _line(line)
            pending = pending or asked
            yield mark + kept


def redacted_text(text: str) -> str:
    return "\n".join(redacted(text.split("\n")))


def mentions_secrets(text: str) -> bool:
    """Whether a word in it, such as "password" or "token", makes what it is about likely to be a secret."""
    return _SECRET_WORD.search(text) is not None or any(_PASSWORD.search(line) for line in text.split("\n"))


def _line(line: str) -> tuple[str, bool]:
    """A line without its secrets, and whether the value of a password must stand on the next one."""
    line = _TOKENS.sub(REDACTED, line)
    line = _IN_URL.sub(f"{REDACTED}@", line)
    line = _IN_HEADER.sub(rf"\1{REDACTED}", line)
    if (found := _PASSWORD.search(line)) is not None:
        opened = _OPENED.fullmatch(found.group(2)) is not None
        return (line, True) if opened else (f"{line[: found.end(1)]} {REDACTED}", False)
    if _SECRET_WORD.search(line) is not None:
        line = _RUN.sub(lambda run: REDACTED if _looks_random(run.group()) else run.group(), line)
    return line, False


def _looks_random(run: str) -> bool:
    """Letters mixed with digits, or with letters of the other case all over, and few repetitions."""
    kinds = sum(any(test(c) for c in run) for test in (str.isdigit, str.isupper, str.islower))
    letters_and_digits = any(c.isdigit() for c in run) and any(c.isalpha() for c in run)
    scattered = kinds > 1 and sum(a.islower() != b.islower() for a, b in itertools.pairwise(run)) > len(run) / 4
    return (letters_and_digits or scattered) and _entropy(run) >= 2.5  # noqa: PLR2004 - bits a character


def _entropy(text: str) -> float:
    counts = Counter(text).values()
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts)
