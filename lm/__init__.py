"""The language model: load a base, keep adapters, generate; and the starter model that ships with the project.

May import `problems`. Must not know who is asking, what was rated or where anything is stored: it works on messages,
token ids and adapters.
"""
