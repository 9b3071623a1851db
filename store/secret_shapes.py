"""Keys, tokens and passwords in text, by the shapes that their issuers publish or by the word that introduces them.

A pattern runs only over a text that holds one of its markers: nearly all texts hold none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]

WORD = r"(?<![A-Za-z0-9_-])"  # a token begins where no word goes on, so that a run is read once
SHAPES = tuple(
    (marker, re.compile(pattern))
    for markers, pattern in (
        # A private key in PEM (RFC 7468), cut off or not.
        (
            ("-----BEGIN",),
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----))*+"
            r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?",
        ),
        # The name and password of a URL (RFC 3986, 3.2.1).
        (("://",), r"(?<=://)[^\s/@:<>]{0,200}:[^\s/@<>]{1,200}(?=@)"),
        (("AKIA", "ASIA", "ABIA", "ACCA"), WORD + r"A(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
        (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), WORD + r"gh[pousr]_[A-Za-z0-9]{36,}+"),
        (("github_pat_",), WORD + r"github_pat_[A-Za-z0-9_]{22,}+"),
        (("glpat-",), WORD + r"glpat-[A-Za-z0-9_.-]{20,}+"),
        (("xox", "xapp-"), WORD + r"(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{10,}+"),
        (("hooks.slack.com/",), r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9_/+-]{20,}+"),
        (("sk-",), WORD + r"sk-(?=[A-Za-z_-]{0,80}[0-9])[A-Za-z0-9_-]{20,}+"),
        (("rk-",), WORD + r"rk-[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"),  # our own: store/keys.py
        (("k_live_", "k_test_", "whsec_"), WORD + r"(?:[rsp]k_(?:live|test)|whsec)_[A-Za-z0-9]{16,}+"),
        (("AIza",), WORD + r"AIza[A-Za-z0-9_-]{35,}+"),
        (("ya29.",), WORD + r"ya29\.[A-Za-z0-9_-]{20,}+"),
        (("hf_",), WORD + r"hf_[A-Za-z0-9]{30,}+"),
        (("npm_",), WORD + r"npm_[A-Za-z0-9]{36,}+"),
        (("pypi-",), WORD + r"pypi-[A-Za-z0-9_-]{50,}+"),
        (("SG.",), WORD + r"SG\.[A-Za-z0-9_-]{16,}+\.[A-Za-z0-9_-]{16,}+"),
        (("-us",), WORD + r"[0-9a-f]{32}-us[0-9]{1,2}(?![0-9])"),
        ((":AA",), WORD + r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33,}+"),
        # A JSON web token (RFC 7519): two parts begin as Base64 of '{"'.
        (("eyJ",), WORD + r"eyJ[A-Za-z0-9_-]{8,}+\.eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+"),
        (("earer ", "EARER "), r"(?i:(?<=\bbearer ))(?=[A-Za-z._~+/-]{0,200}[0-9])[A-Za-z0-9._~+/-]{20,}+=*+"),
    )
    for marker in markers
)
CUES = ("passw", "passphrase", "pwd", "secret", "token", "key", "密码", "口令", "密钥", "令牌")
NAMED = re.compile(
    r"(?:password|passwd|passphrase|pwd|secret|token|(?:api|access|secret|private)[ _-]?key|密码|口令|密钥|令牌)"
    r"[\"'”]?\s{0,3}(?:[:=：＝]|\bis\b|是|为)\s{0,3}[\"'“]?([!#-&(-;=-~]{8,}+)",
    re.IGNORECASE,
)


def secrets_in(text: str) -> Iterator[Span]:
    """(begin, end) of each secret, the first first; those that overlap are one."""
    patterns = {pattern for marker, pattern in SHAPES if marker in text}
    found = [match.span() for pattern in patterns for match in pattern.finditer(text)]
    small = text.lower()
    if [cue for cue in CUES if cue in small]:
        found += _named(text)
    apart: list[Span] = []
    for begin, end in sorted(found):
        if apart and begin < apart[-1][1]:
            begin, end = apart[-1][0], max(apart.pop()[1], end)
        apart.append((begin, end))
    yield from apart


def _named(text: str) -> Iterator[Span]:
    """What follows a word such as `password:`, if it looks made up: eight characters or more, letters and digits."""
    for match in NAMED.finditer(text):
        value = match[1].rstrip(".,;:!?)]}")
        mixed = any(map(str.isalpha, value)) and any(map(str.isdigit, value))
        if len(value) >= 8 and mixed and not value.lower().startswith(("http:", "https:")):
            yield match.start(1), match.start(1) + len(value)
