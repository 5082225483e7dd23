"""What a table says of a row in words: why it has no numbers, or with how much less they were made."""

from __future__ import annotations

from benchmark.records.schema import CellRecord


def why_absent(cells: list[CellRecord], seeds: tuple[int, ...]) -> str:
    """The note of a row without numbers."""
    for status, word in (("failed", "failed"), ("unsupported", "n/a")):
        bad = [cell for cell in cells if cell.status == status]
        if bad:
            where = "" if status == "unsupported" else f" (seed {bad[0].identity.seed_index}, {len(bad)} of {len(cells)} cells)"
            return f"{word}{where}: {bad[0].reason}"
    return f"incomplete: {len(cells)} of {len(seeds)} seeds have run"


def went_on(cells: list[CellRecord]) -> str:
    """The note of a row with numbers: nothing, or what its cells noted, each once, and in how many of them."""
    noted = [cell for cell in cells if cell.notes]
    said = dict.fromkeys(note for cell in noted for note in cell.notes)
    return f"{'; '.join(said)} ({len(noted)} of {len(cells)} cells)" if noted else ""
