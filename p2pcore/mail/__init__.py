"""Section 3 of the paper as code: names, sending, reading, retrieving."""
