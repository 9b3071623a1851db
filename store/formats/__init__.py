"""Feedback files of other programs, one module a format: each knows how to tell its rows and how to read one.

A module of a format has NAME, `matches(row)` and `parse(row)`. May import `problems` and `store.checks`. Must not know
the database: what becomes of a row is not its business.
"""
