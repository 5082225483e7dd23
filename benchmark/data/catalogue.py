"""The catalogue: every data set's members, their pins, where they come from and under which terms.

Members are pinned, not the archive: a re-packed zip with the right members is the right data.
A new data set is one entry here and one loader file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmark.errors import UsageError, unknown


@dataclass(frozen=True)
class Source:
    """One data set as its publisher packs it."""

    name: str
    title: str
    archive: str  # file name of the zip
    url: str
    members: Mapping[str, str]  # path inside the archive -> sha256; only the ones that are read
    loader: str  # "module:function", called with {member: bytes}
    embedded: bool
    megabytes: float  # of the archive, to say what a fetch costs
    terms: str
    citation: str
    extras: Mapping[str, str] = field(default_factory=dict)  # files beside the archive, plain or with .gz -> sha256 of the plain bytes

    @property
    def sha256(self) -> str:
        """One hash for the data set: of its members' names and hashes, sorted."""
        lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted({**self.members, **self.extras}.items()))
        return hashlib.sha256(lines.encode()).hexdigest()


_HARPER = (
    "F. Maxwell Harper and Joseph A. Konstan (2015), The MovieLens Datasets: History and Context, "
    "ACM Transactions on Interactive Intelligent Systems 5(4):19, doi:10.1145/2827872"
)
_RESEARCH_ONLY = "research use with acknowledgement; may not be redistributed"
_ML_1M = {
    "ml-1m/movies.dat": "0140fc2356357c1a851d0f52e893a1e4d3696df632c4141cea8d5bc3d621f0b9",
    "ml-1m/ratings.dat": "506d64ca44484487c11dc2d9a28de5c54948213e6b96285e298afe28d6ea4e0f",
    "ml-1m/users.dat": "1dc3a95300cb19f7c10e027daf29b8cdf1d908dab65b5edfb45950aa389a10a3",
}

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            name="ml-latest-small",
            title="MovieLens latest-small (2018-09)",
            archive="ml-latest-small.zip",
            url="https://files.grouplens.org/datasets/movielens/ml-latest-small.zip",
            members={
                "ml-latest-small/movies.csv": "5a5f32dd9bb3797b8e728a1b98958789d2b13f294a69fdfbc5727f8a9611aa07",
                "ml-latest-small/ratings.csv": "aa289ca83157595d0df6aea1be6a4ded676ddc4385472e8313a8ed9805352646",
                "ml-latest-small/tags.csv": "92a9f8bb7916dceef6151209845788c3643f794dfa79d1feaec7121b5960399d",
            },
            loader="benchmark.data.movielens:latest_small",
            embedded=True,
            megabytes=1.0,
            terms="redistributable under its own terms, non-commercial; a development set",
            citation=_HARPER,
        ),
        Source(
            name="ml-100k",
            title="MovieLens 100K",
            archive="ml-100k.zip",
            url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
            members={
                "ml-100k/u.data": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
                "ml-100k/u.item": "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701",
                "ml-100k/u.user": "f120e114da2e8cf314fd28f99417c94ae9ddf1cb6db8ce0e4b5995d40e90e62c",
            },
            loader="benchmark.data.movielens:ml_100k",
            embedded=False,
            megabytes=4.9,
            terms=_RESEARCH_ONLY,
            citation=_HARPER,
        ),
        Source(
            name="ml-1m",
            title="MovieLens 1M",
            archive="ml-1m.zip",
            url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
            members=_ML_1M,
            loader="benchmark.data.movielens:ml_1m",
            embedded=False,
            megabytes=5.9,
            terms=_RESEARCH_ONLY,
            citation=_HARPER,
        ),
        Source(
            name="ml-1m-melu",
            title="MovieLens 1M with MeLU's published split",
            archive="ml-1m.zip",
            url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
            members=_ML_1M,
            loader="benchmark.data.movielens:ml_1m_melu",
            embedded=False,
            megabytes=6.2,
            terms=_RESEARCH_ONLY + "; the split comes without a licence",
            citation=_HARPER
            + "; Hoyeop Lee et al. (2019), MeLU: Meta-Learned User Preference Estimator for Cold-Start Recommendation, KDD",
            extras={"melu-ml-1m/user_cold_state.json": "ec7414e1da3b1636d34f0f3a5615e2a07bea9b82156123768049cc166ed20df1"},
        ),
    )
}


def source(name: str) -> Source:
    """The catalogue entry called `name`."""
    if name not in SOURCES:
        raise UsageError(unknown("data set", name, list(SOURCES)))
    return SOURCES[name]
