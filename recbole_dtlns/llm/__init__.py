"""Asking a language model: prompts, engines, and the verdicts that are kept."""
