"""The report of an analysis: one HTML file, Markdown, and LaTeX tables."""
