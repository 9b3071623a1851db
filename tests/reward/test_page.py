"""The reward model's page: whole, self-contained, alike every time, and safe whatever people call themselves."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

from reward.page import ROWS, TITLES, report_page
from reward.report import RewardReport

from .conftest import NAN, rater

VOID = {"meta", "link", "br", "img"}


class Reader(HTMLParser):
    """Reads a page and fails where a tag is not closed or closed twice."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "xlink:href", "action", "data"):
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def test_every_section_is_there_and_says_what_it_means(full: RewardReport) -> None:
    page = Reader(report_page(full))
    assert [each for each in page.ids if each in TITLES] == list(TITLES)
    assert page.tags.count("section") == len(TITLES)
    assert page.tags.count("svg") == 3
    for word in ("70.8%", "64.4% to 76.5%", "72.4%", "74.1%", "3.4%", "2.8%", "9.4%", "+0.08 rewards", "+0.93 rewards"):
        assert word in page.words
    for name in TITLES.values():
        assert page.words.count(name) >= 2  # in the list at the top and over its section
    assert "Krippendorff" in page.words
    assert "Good Accuracy It is right on 72.4%" in page.words


def test_the_page_asks_nothing_of_other_sites(full: RewardReport) -> None:
    text = report_page(full)
    page = Reader(text)
    assert "script" not in page.tags
    assert all(link.startswith("#") or link == "data:," for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert "@import" not in text
    assert re.findall(r"url\((?!#)", text) == []
    assert set(re.findall(r"https?://[^\"' )]*", text)) == {"http://www.w3.org/1999/xlink"}


def test_the_same_report_gives_the_same_page(full: RewardReport) -> None:
    assert report_page(full) == report_page(full)


def test_light_and_dark_and_narrow(full: RewardReport) -> None:
    text = report_page(full)
    assert "prefers-color-scheme: dark" in text
    assert "max-width: 640px" in text
    assert 'name="viewport"' in text
    used = set(re.findall(r"var\((--[a-z]+)\)", text)) - {"--low", "--high", "--at"}
    light, dark = (set(re.findall(r"(--[a-z]+): #", part)) for part in text.split("@media (prefers", 1))
    assert used <= light
    assert light == dark & light


def test_names_and_words_of_people_are_only_text(full: RewardReport) -> None:
    nasty = "<script>alert(1)</script>"
    quote = "\"><img src=x onerror=alert(1)>'&amp;"
    report = replace(
        full,
        raters=[rater(nasty, suspicions=[f"says {nasty}"], group=nasty), rater(quote)],
        rules={nasty: {"mean": 0.1, "share": 0.0}, quote: {"mean": 0.1, "share": 0.9}},
        by_kind={**full.by_kind, nasty: {"n": 90, "accuracy": 0.2, "low": 0.1, "high": 0.3}},
        people={nasty: 0.0, quote: None},
        regime=quote,
        dataset=nasty,
    )
    page = Reader(report_page(report))
    assert {"script", "img"} & set(page.tags) == set()
    assert page.words.count(nasty) >= 4
    assert quote in page.words


def test_what_is_not_known_is_a_dash_with_the_reason(empty: RewardReport) -> None:
    text = report_page(empty)
    page = Reader(text)
    assert "svg" not in page.tags
    assert re.search(r"\b(nan|inf|null)\b", page.words, re.IGNORECASE) is None
    for reason in (
        "– no comparison was set aside",
        "– not measured: too few ratings or people",
        "– nobody judged the same two answers as another",
        "– none was set aside",
        "– too few rated answers",
        "– no pair to judge",
        "– nobody rated what another had rated, or all said the same",
    ):
        assert reason in page.words
    assert "Not known Accuracy" in page.words


def test_figures_that_were_never_measured_are_dashes_too(empty: RewardReport) -> None:
    bare = replace(empty, by_kind={}, crossfit={}, ceiling={}, length={}, people={})
    assert "– not measured: too few ratings or people" in Reader(report_page(bare)).words


def test_single_numbers_may_be_missing(full: RewardReport) -> None:
    some = replace(
        full,
        calibration=[*full.calibration, {"chance": NAN, "accuracy": NAN, "n": 0}],
        length=full.length | {"slope_raw": None, "points": [[5, 1.0, None], [6, NAN, 1.0]]},
        curve=[*full.curve, {"ratings": 2000, "accuracy": NAN, "low": NAN, "high": NAN, "n": 0}],
        raters=[rater("new", share=None, weight=NAN, reliability=None)],
        rules={"quiet": {"mean": NAN, "share": NAN}},
    )
    page = Reader(report_page(some))
    assert page.tags.count("svg") == 2
    assert "nan" not in page.words
    for reason in ("– not known", "– not weighed", "– too few to tell", "– no rated answer"):
        assert reason in page.words


def test_the_suspicious_come_first_and_the_many_are_cut(full: RewardReport) -> None:
    many = [rater(f"p{number:03}", share=0.001 * (number % 7)) for number in range(ROWS + 30)]
    eve = rater("eve", share=0.0, suspicions=["Chose the left answer in 70 of 71."], group=2)
    text = report_page(replace(full, raters=[*many, eve]))
    names = re.findall(r"<bdi>([^<]*)</bdi>", text)
    assert names[0] == "eve"
    assert names[1:3] == ["p006", "p013"]  # then who gave most
    assert len(names) == ROWS
    assert "31 more people are in the file of figures beside this page." in text
    assert "Chose the left answer in 70 of 71." in text
