"""What people touch: the page, the HTTP API, and the simulated people who use that API like anyone else.

May import `problems`, `store`, `lm` and `reward`, never `rl`: updates run in a process of their own and meet the chat
in the store. Nobody imports this room.
"""
