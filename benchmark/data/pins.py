"""What the catalogue says of one data set: its files, their hashes, where they come from, under which terms."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Source:
    """One data set as its publisher packs it.

    Members of a zip are pinned, not the zip: a re-packed one with the right members is the right data. Where only the
    hash of the whole zip is known, it is pinned as a whole and the members have the hash "".
    """

    name: str
    title: str
    loader: str  # "module:function", called with {name of a member or file: its path}, returns a Dataset
    terms: str
    citation: str
    archive: str = ""  # file name of the zip; "" where there is none
    url: str = ""  # of the zip; "" where no public archive holds the data as it is
    members: Mapping[str, str] = field(default_factory=dict)  # path inside the zip -> sha256; only the ones that are read
    archive_sha256: str = ""
    archive_md5: str = ""
    files: Mapping[str, str] = field(default_factory=dict)  # path in a data folder, plain or with .gz -> sha256 of the plain bytes
    optional: tuple[str, ...] = ()  # of the files: loads without them, and then knows less
    embedded: bool = False
    generated: bool = False  # made by the loader from nothing
    hub: str = ""  # "owner/name" of the Hugging Face hub that holds the files, which then are pinned by the revision
    revision: str = ""  # of the hub, or of the code that generates
    megabytes: float = 0.0  # to say what a fetch costs
    home: str = ""  # where its authors publish what has no url
    counts: tuple[int, int, int] | None = None  # rows, users, items once repeats are gone
    repeats: int = 0  # rows that go
    faults: str = ""  # of the data itself, for who means to report on it

    @property
    def sha256(self) -> str:
        """One hash for the data set: of its members' and files' names and hashes, sorted, and what else pins it."""
        pins = {**self.members, **self.files}
        if whole := self.archive_sha256 or self.archive_md5:
            pins[self.archive] = whole
        if self.revision:
            pins[self.name] = self.revision
        lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(pins.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

    @property
    def pinned(self) -> bool:
        """Whether `sha256` stands for every byte that is read."""
        whole = bool(self.archive_sha256 or self.archive_md5)
        return not self.generated and all(self.files.values()) and (whole or all(self.members.values()))

    @property
    def needs(self) -> tuple[str, ...]:
        """The files that must be found."""
        return (*([self.archive] if self.archive else []), *(name for name in self.files if name not in self.optional))

    @property
    def cost(self) -> str:
        """What having it takes: megabytes to fetch, or a visit to its authors."""
        if self.generated:
            return "nothing to fetch"
        if self.hub:
            return f"a category's csv and jsonl from the Hugging Face hub, {self.hub} at revision {self.revision[:7]}"
        fetched = [f"{self.megabytes:g} MB to fetch"] if self.url else []
        by_hand = [f"{' and '.join(self.files) if self.url else 'by hand'} from {self.home}"] if self.files else []
        return " and ".join([*fetched, *by_hand])
