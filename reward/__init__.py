"""From ratings to a reward: features of the frozen trunk, heads on them, and how far they can be trusted.

May import `problems`, `store` and `lm`. Must not know what the reward is used for.
"""
