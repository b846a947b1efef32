"""What is kept on disk and read again: artefacts by content, checked JSON, strict YAML."""
