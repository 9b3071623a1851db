"""Feedback files of other programs, one module a format: each knows how to tell its rows and how to read one.

A module of a format has NAME, `matches(row)` and `parse(row)`; `known` lists them. `files`, with `json_array` and
`tables`, gets rows out of files; `rows` and `trees` are what a row can say. May import `problems` and `store.checks`.
Must not know the database: what becomes of a row is not its business.
"""
