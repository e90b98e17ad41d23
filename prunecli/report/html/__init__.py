"""The report as one HTML page that needs nothing else: no network, and no script to be read, only to sort and
to search. ``markup`` writes elements and ``charts`` draws; ``figures``, ``layers``, ``groups`` and ``course``
are what is told, and ``page`` puts it together.
"""

from prunecli.report.html.documents import finetuning, result

__all__ = ["finetuning", "result"]
