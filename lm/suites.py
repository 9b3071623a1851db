"""Test suites: questions whose answers a program can score.

A suite is a JSONL file, one item a line: `{"skill": ..., "messages": [...], "references": [...], "metric": ...}`,
and if wanted `"answer": ...`. The suites named "skills" and "conduct" are not files: they are generated from the test
half of the starter's world.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import unicodedata
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from lm.numerals import BEFORE_NO_SIGN, numbers, plain
from lm.starter.styles import bare
from problems import Problem

GENERATED = ("skills", "conduct")
METRICS = ("exact", "contains", "numeric", "bleu", "rouge")
EXAMPLE = '{"skill": "...", "messages": [...], "references": ["..."], "metric": "contains"}'
ROLES = ("system", "user", "assistant")
Part = Literal["all", "test", "validation"]
VALIDATION = 0.25  # share of a suite's items that are its validation split


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        skill: the group under which its result is reported.
        messages: the prompt, each with `role` and `content`; the last turn is the user's.
        references: right answers, any of which will do.
        metric: exact (the answer is a reference), contains (a reference stands in the answer), numeric (a reference is
            the answer's last number), bleu or rouge (a reference stands in the answer; graded by BLEU or ROUGE-L).
        answer: a whole right answer, whose perplexity is measured; empty takes the first reference.
    """

    skill: str
    messages: list[dict[str, str]]
    references: list[str]
    metric: str
    answer: str = ""


def load_suite(name_or_file: str, n: int, seed: int, split: Part = "all") -> list[Item]:
    """The suite of that name or file.

    Args:
        n: items of each skill; a file that has more is sampled, one that has fewer is taken whole.
        split: which of the items. What is chosen by the validation split can be judged on the test split: an item is in
            one of them for ever, by a hash of its messages, and "all" is both. A skill of a file that has fewer than
            four items leaves the validation split none.

    Raises:
        Problem: neither a known name nor a file, or a file with a bad line.
    """
    if name_or_file in GENERATED:
        # Here and not above: the starter's generator makes Items, so it imports this module.
        from lm.starter.skills import CONDUCT, SKILLS, questions

        names = SKILLS if name_or_file == "skills" else CONDUCT
        wanted = None if split == "all" else lambda item: (_place(item) < VALIDATION) == (split == "validation")
        return [item for name in names for item in questions("test", seed, n, name, wanted)]
    by_skill: dict[str, list[Item]] = {}
    for item in read_suite(Path(name_or_file)):
        by_skill.setdefault(item.skill, []).append(item)
    rng = random.Random(seed)
    taken = [_half(items, split) for items in by_skill.values()]
    return [item for items in taken for item in (rng.sample(items, n) if len(items) > n else items)]


def _place(item: Item) -> float:
    """Where an item stands between 0 and 1, for ever."""
    asked = json.dumps(["validation", *item.messages], ensure_ascii=False, sort_keys=True)
    return int.from_bytes(hashlib.sha256(asked.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64


def _half(items: list[Item], split: Part) -> list[Item]:
    """The items of one split of one skill of a file, in their order."""
    if split == "all":
        return items
    first = set(sorted(range(len(items)), key=lambda place: _place(items[place]))[: int(VALIDATION * len(items))])
    return [item for place, item in enumerate(items) if (place in first) == (split == "validation")]


def read_suite(path: Path) -> list[Item]:
    """The items of a JSONL file; blank lines are skipped.

    Raises:
        Problem: the file is missing, not UTF-8 or empty, or a line is not an item; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(
            f"The suite {path} cannot be read: {error}.",
            hint=f"Give a JSONL file, or the name of a suite: {', '.join(GENERATED)}.",
        ) from error
    items = [_item(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not items:
        raise Problem(f"The suite {path} has no items.", hint="Write one JSON object a line.")
    return items


def write_suite(path: Path, items: list[Item]) -> None:
    """Write the items as JSONL, one a line."""
    path.write_text("".join(json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in items), encoding="utf-8")


def _item(line: str, where: str) -> Item:
    def bad(what: str) -> Problem:
        return Problem(f"{where}: {what}.", hint=f"A line looks like {EXAMPLE}")

    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise bad(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise bad("not a JSON object")
    unknown = sorted(set(row) - {"skill", "messages", "references", "metric", "answer"})
    if unknown:
        raise bad(f"unknown key {unknown[0]!r}")
    messages, references = row.get("messages"), row.get("references")
    if not isinstance(messages, list) or not messages:
        raise bad("messages must be a list with at least one turn")
    for message in messages:
        if (
            not isinstance(message, dict)
            or message.get("role") not in ROLES
            or not isinstance(message.get("content"), str)
        ):
            raise bad("each message needs a role (system, user or assistant) and a content that is text")
    if messages[-1]["role"] != "user":
        raise bad("the last message must be the user's")
    texts = isinstance(references, list) and all(isinstance(each, str) and each.strip() for each in references)
    if not texts or not references:
        raise bad("references must be a list with at least one text")
    metric = row.get("metric", "contains")
    if metric not in METRICS:
        raise bad(f"metric {metric!r} is not one of {', '.join(METRICS)}")
    if metric == "numeric" and not all(numbers(reference) for reference in references):
        raise bad("a numeric reference needs a number")
    skill = row.get("skill", "all")
    if not isinstance(skill, str):
        raise bad("skill must be text")
    answer = row.get("answer", "")
    if not isinstance(answer, str):
        raise bad("answer must be text")
    return Item(skill, [{"role": m["role"], "content": m["content"]} for m in messages], references, metric, answer)


def normal(text: str) -> str:
    """Text to compare by: NFKC, lower case, one sign each for minus and apostrophe, digits of every script as 0 to 9,
    single spaces, no white space at the ends and no full stop at the end."""
    alike = unicodedata.normalize("NFKC", plain(text)).replace("\u2019", "'")
    return " ".join(alike.casefold().split()).rstrip(" .。")


def _contained(reference: str, answer: str) -> bool:
    """Whether the reference stands in the answer, not inside a longer word or number."""
    wanted = normal(reference)
    left = r"(?<![a-z0-9])" if wanted[:1].isascii() and wanted[:1].isalnum() else ""
    right = r"(?![a-z0-9])" if wanted[-1:].isascii() and wanted[-1:].isalnum() else ""
    if wanted[:1].isdecimal():
        # Not what stands behind a minus, a decimal point or, three digits of it, behind a comma.
        left += rf"(?<!(?<![{BEFORE_NO_SIGN}])-)(?<![0-9]\.)(?<!(?<![\w.])\.)"
        left += r"(?<![0-9],)" if re.match(r"[0-9]{3}(?![0-9])", wanted) else ""
    elif re.match(r"-\.?[0-9]", wanted):
        left = rf"(?<![{BEFORE_NO_SIGN}])"  # a subtraction or a range has no negative number in it
    if wanted[-1:].isdecimal():
        right += r"(?!\.[0-9])(?!,[0-9]{3}(?![0-9]))"
    return bool(re.search(left + re.escape(wanted) + right, normal(answer)))


def correct(item: Item, answer: str) -> bool:
    """Whether the answer is right by the item's metric. For bleu and rouge: a reference stands in it word for word."""
    if item.metric == "exact":
        return normal(answer) in {normal(reference) for reference in item.references}
    if item.metric == "numeric":
        found = numbers(answer)
        return bool(found) and any(found[-1] == number for r in item.references for number in numbers(r)[-1:])
    return any(_contained(reference, answer) for reference in item.references)


def score(item: Item, answer: str) -> float:
    """Between 0 and 1. BLEU (sentence level) or ROUGE-L F with the best reference for those metrics, else 0 or 1.

    The starter's courtesies and labels ("Of course! In Chinese: ...") are taken off before BLEU and ROUGE, since they
    are style; a reference never has them.
    """
    if item.metric == "bleu":
        return max(_sentence_bleu(bare(answer), reference) for reference in item.references)
    if item.metric == "rouge":
        scorer = RougeScorer(["rougeL"], tokenizer=_Words())
        return max(float(scorer.score(r, bare(answer))["rougeL"].fmeasure) for r in item.references)
    return float(correct(item, answer))


def has_chinese(text: str) -> bool:
    """Whether a Chinese character stands in the text."""
    return bool(re.search("[\u4e00-\u9fff]", text))


def _sentence_bleu(answer: str, reference: str) -> float:
    tokenizer = "zh" if has_chinese(reference) else "13a"
    return float(sacrebleu.sentence_bleu(answer, [reference], tokenize=tokenizer).score) / 100


class _Words:
    """ROUGE's own tokenizer drops everything but a to z; this one keeps words of any script, Chinese by character."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+", text.casefold())
