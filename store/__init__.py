"""The store: what people said, what they thought of it, and which versions exist.

May import `problems`. Must not know that a language model, a reward model or a page exists: it keeps text, token ids
and figures, and hands them back.
"""
