"""Pages of text, tables and figures."""
