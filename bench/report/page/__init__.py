"""report.html: one page that needs no network, from one run or several. Reads results and computes no statistic."""

from bench.report.page.content import Source as Source  # these two are this package's interface
from bench.report.page.write import write_page as write_page
