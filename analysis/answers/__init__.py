"""What the tables answer, in sentences: each rests on labels and tests that a table holds."""
