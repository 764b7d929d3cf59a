"""One run's records as an HTML page and as a terminal table; torch is never imported."""

from potstill.report.page import write_report
from potstill.report.rows import model_rows
from potstill.report.table import print_table

__all__ = ["model_rows", "print_table", "write_report"]
