"""An extension of griffe: what docstrings write in reStructuredText becomes Markdown."""

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):`~?(?:[\w.]+\.)?(\w+)`")
TABLE = re.compile(r"^( *)(=+(?: +=+)+)\n.*^\1=+(?: +=+)+ *$", re.MULTILINE | re.DOTALL)


class Markdown(Extension):
    """Turns roles into names, simple tables into blocks of text, and ``::`` before an indented block into ``:``."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Change the docstring of an object that was loaded."""
        if obj.docstring is not None:
            text = TABLE.sub(r"\1```text\n\g<0>\n\1```", obj.docstring.value)
            obj.docstring.value = re.sub("::$", ":", ROLE.sub(r"`\1`", text), flags=re.MULTILINE)
