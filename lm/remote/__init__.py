"""Answers from servers elsewhere, behind the interface of `lm.backend`. The rest of `lm` never imports this."""
