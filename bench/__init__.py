"""ticketbench: a benchmark suite for transferable lottery tickets."""
