"""The ledger's databases: its tables, its two doors, and what is checked when rows are read."""
