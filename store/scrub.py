"""Personal data out of text: each find becomes a placeholder that names its kind, such as <EMAIL>.

What carries a check is checked, so that order numbers, prices, dates and hashes stay: telephone numbers by the
numbering plans of libphonenumber (phonenumberslite), IBANs and cards by their check digits (python-stdnum). E-mail
addresses and secrets are told by their shape: `store.secret_shapes`. Names and postal addresses have no shape and are
not found. Time grows with the length of the text: every pattern is bounded, or begins only where a run begins.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from phonenumbers import Leniency, PhoneNumberMatcher
from stdnum import iban, luhn

from store.secret_shapes import secrets_in

KINDS = ("email", "phone", "card", "iban", "secret")
REGIONS = ("CN", "US", "GB")  # whose numbers are known without their country's code; with it, every country's

EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+'-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])"
)
IBAN = re.compile(
    r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?![A-Za-z0-9])", re.IGNORECASE
)
CARD = re.compile(
    r"(?<![A-Za-z0-9])(?:[0-9]{13,19}|[0-9]{4}([ -])[0-9]{4}(?:\1[0-9]{4}){1,2}(?:\1[0-9]{1,4})?"
    r"|3[47][0-9]{2}([ -])[0-9]{6}\2[0-9]{5})(?![A-Za-z0-9])"
)
# First digits and lengths of the card schemes, after ISO/IEC 7812: Visa, Mastercard, American Express, Diners,
# UnionPay, Discover, JCB, Maestro.
SCHEMES = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[689]\d)\d{11}|62\d{14,17}|6(?:011|5\d\d|4[4-9]\d)\d{12,15}|35(?:2[89]|[3-8]\d)\d{12,15}"
    r"|(?:50|5[6-9])\d{11,17}"
)
RUN = re.compile(r"[0-9０-９][0-9０-９ ()（）./\-‐–－\u00a0]{5,}[0-9０-９]")
OPENING = "+＋(（"  # what may stand before a telephone number's first digit
EXTENDED = re.compile(r"(?:x|ext)[. ]{0,2}[0-9]", re.IGNORECASE)
EXTENSION = 12  # characters after a run that may be its extension
CUE = re.compile(
    r"phone|tel\b|tel[.:：]|telephone|mobile|cell|\bcall|\btext|sms|whatsapp|wechat|fax|dial|contact|\bring\b"
    r"|电话|手机|致电|拨打|联系|微信|热线|传真",
    re.IGNORECASE,
)
CUE_REACH = 24  # characters before a number in which a word may call it one


class Scrubber:
    """Replaces personal data. `counts[field][kind]`: how often it has, so far.

    The same text always gives the same result, and scrubbing again changes nothing.
    """

    def __init__(self, regions: Sequence[str] = REGIONS) -> None:
        self.regions = tuple(regions)
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)

    def scrub(self, text: str, field: str = "text") -> str:
        """`text` with placeholders; finds are counted under `field`."""
        while (clean := self._once(text, field)) != text:
            # What was cut out may have hidden what stood beside it.
            text = clean
        return clean

    def scrub_turns(self, turns: Sequence[Mapping[str, Any]], field: str = "prompt") -> list[dict[str, Any]]:
        """The turns with their contents scrubbed; a content that is no text (an image's part, for example) stays."""
        return [
            {
                key: self.scrub(value, field) if key == "content" and isinstance(value, str) else value
                for key, value in turn.items()
            }
            for turn in turns
        ]

    def add(self, other: Scrubber) -> None:
        """Count the finds of another, too."""
        for field, kinds in other.counts.items():
            self.counts[field] += kinds

    def total(self) -> dict[str, dict[str, int]]:
        """The counts as plain numbers, fields and kinds in the order of their names."""
        return {field: dict(sorted(kinds.items())) for field, kinds in sorted(self.counts.items()) if kinds}

    def _once(self, text: str, field: str) -> str:
        finders: tuple[tuple[str, Callable[[str], Iterator[tuple[int, int]]]], ...] = (
            ("secret", secrets_in),
            ("email", _emails),
            ("iban", _ibans),
            ("card", _cards),
            ("phone", self._phones),
        )
        for kind, find in finders:
            pieces, end = [], 0
            for begin, stop in find(text):
                pieces += [text[end:begin], f"<{kind.upper()}>"]
                end = stop
                self.counts[field][kind] += 1
            if pieces:
                text = "".join([*pieces, text[end:]])
        return text

    def _phones(self, text: str) -> Iterator[tuple[int, int]]:
        stop = 0
        for run in RUN.finditer(text):
            begin, end = _trimmed(text, *run.span())
            if sum(map(str.isdigit, text[begin:end])) < 7:
                continue
            # One character before it: a letter or a currency speaks against a number. Some after it: an extension.
            left = max(begin - 1, stop)
            window = text[left : end + EXTENSION]
            for first, last in sorted((left + first, left + last) for first, last in self._matches(window)):
                if stop <= first < end and _called(text, first, text[first:last]):
                    yield first, last
                    stop = last

    def _matches(self, window: str) -> Iterator[tuple[int, int]]:
        for region in self.regions:
            # As many tries as there can be numbers: by default a long list would be searched only in part.
            matcher = PhoneNumberMatcher(window, region, leniency=Leniency.STRICT_GROUPING, max_tries=len(window))
            for match in matcher:
                yield match.start, match.end


def _emails(text: str) -> Iterator[tuple[int, int]]:
    if "@" in text:
        for match in EMAIL.finditer(text):
            yield match.span()


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    for match in IBAN.finditer(text):
        # A word after the number may look like its last group.
        ends = [match.end(), *(match.start() + gap.start() for gap in reversed(list(re.finditer(" ", match[0]))))]
        for end in ends:
            if iban.is_valid(text[match.start() : end]):
                yield match.start(), end
                break


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for match in CARD.finditer(text):
        number = re.sub("[ -]", "", match[0])
        if SCHEMES.fullmatch(number) and luhn.is_valid(number):
            yield match.span()


def _trimmed(text: str, begin: int, end: int) -> tuple[int, int]:
    """A run with what opens it, and without what belongs to a word: part of a hash, a name or an identifier."""
    if _in_word(text[begin - 1 : begin]):
        space = text.find(" ", begin, end)
        begin = end if space < 0 else space + 1
    while begin and text[begin - 1] in OPENING:
        begin -= 1
    if _in_word(text[end : end + 1]) and not EXTENDED.match(text, end):
        end = max(text.rfind(" ", begin, end), begin)
    return begin, end


def _in_word(character: str) -> bool:
    return character.isascii() and (character.isalnum() or character == "_")


def _called(text: str, begin: int, number: str) -> bool:
    """Whether a valid number is meant as one: bare digits may number an order just as well.

    Chinese mobile numbers are taken as they stand; other bare digits only where a word before them says so.
    """
    if not number.isdecimal() or re.fullmatch(r"1[3-9]\d{9}", number):
        return True
    return CUE.search(text, max(begin - CUE_REACH, 0), begin) is not None
