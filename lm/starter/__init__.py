"""The starter model: a few megabytes of chat model, its recipe, and the generated dialogues that it learned from.

Lives here: the generated worlds and skills, the styles in which answers are dressed, the tokenizer, the training
command, and the finished weights. May import `problems` and `lm`. Must not know who rates it, or how it is served.
"""
