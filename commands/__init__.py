"""The commands, by what they are about, each a few lines that call into a room. No room may import them."""
