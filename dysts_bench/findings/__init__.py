"""The sections of docs/findings.md (findings_page.py), each a file, and the statistics in them."""
