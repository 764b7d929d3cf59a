"""Work that is shared by the machines of a Ray cluster. The package `ray` itself is an extra, and is imported when it is needed."""

from __future__ import annotations
