"""What a sweep says: tables, verdicts, figures and the page."""
