"""A language model as a generator: what it is shown, what it writes, and what is made of that."""
