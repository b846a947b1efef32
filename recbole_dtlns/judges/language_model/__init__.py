"""A language model as a judge: what it is told, what is kept of its answers, what that costs."""
