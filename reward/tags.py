"""The tags that the page offers beside a thumb, by the side that they speak for."""

from __future__ import annotations

GOOD = ("Correct", "Clear", "Right length", "Good tone", "Well organised")
BAD = ("Wrong", "Too long", "Too short", "Beside the point", "Bad tone", "Wrong language", "Unsafe")
