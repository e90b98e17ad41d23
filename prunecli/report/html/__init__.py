"""The report as one HTML page that needs nothing else: no network, and no script to be read, only to sort and
to search. ``markup`` writes elements and ``charts`` draws; ``figures``, ``layers``, ``groups`` and ``course``
are what is told, ``documents``, ``findings`` and ``comparison`` in which order, and ``page`` puts it
together.
"""

from prunecli.report.html.comparison import difference
from prunecli.report.html.documents import finetuning, result
from prunecli.report.html.findings import evaluation, inspection

__all__ = ["difference", "evaluation", "finetuning", "inspection", "result"]
