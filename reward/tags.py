"""The tags that the page offers under an answer, so that whoever reads ratings knows which of them praise."""

from __future__ import annotations

GOOD = ("Correct", "Clear", "Right length", "Good tone", "Well organised")
BAD = ("Wrong", "Too long", "Too short", "Beside the point", "Bad tone", "Wrong language", "Unsafe")
