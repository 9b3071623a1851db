"""From a reward to a better version, without forgetting: PPO, the anchor, the gate and the update that joins them.

May import `problems`, `store`, `lm` and `reward`. Must not know the chat: the two meet in the store.
"""
