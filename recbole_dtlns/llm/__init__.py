"""Asking a language model: requests go out, replies come back; what is asked, and why, is another room's matter."""
