"""What one run says: rows, tables, reports and pictures."""
