"""The stages before training: teacher, candidates, trees, verdicts, relabelling, each kept by what went into it."""
