"""The catalogue: every data set's members, their pins, where they come from and under which terms.

A new data set is one entry here (Amazon's are in `amazon_catalogue`) and one loader file.
"""

from __future__ import annotations

from benchmark.data import amazon_2023
from benchmark.data.amazon_catalogue import AMAZON
from benchmark.data.pins import Source
from benchmark.errors import UsageError, unknown

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

_MOVIELENS = (
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
        counts=(100_836, 610, 9_742),
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
        megabytes=4.9,
        counts=(100_000, 943, 1_682),
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
        megabytes=5.9,
        counts=(1_000_209, 6_040, 3_883),
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
        megabytes=6.2,
        counts=(1_000_209, 6_040, 3_883),
        home="https://github.com/hoyeoplee/MeLU",
        terms=_RESEARCH_ONLY + "; the split comes without a licence",
        citation=_HARPER + "; Hoyeop Lee et al. (2019), MeLU: Meta-Learned User Preference Estimator for Cold-Start Recommendation, KDD",
        files={"melu-ml-1m/user_cold_state.json": "ec7414e1da3b1636d34f0f3a5615e2a07bea9b82156123768049cc166ed20df1"},
    ),
    Source(
        name="ml-25m",
        title="MovieLens 25M (2019-12)",
        archive="ml-25m.zip",
        url="https://files.grouplens.org/datasets/movielens/ml-25m.zip",
        # The whole archive: sha256 as TensorFlow Datasets records it (261,978,986 bytes), md5 as GroupLens publishes it.
        archive_sha256="8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa",
        archive_md5="6b51fb2759a8657d3bfcbfc42b592ada",
        members=dict.fromkeys(("ml-25m/movies.csv", "ml-25m/ratings.csv", "ml-25m/tags.csv"), ""),
        loader="benchmark.data.movielens:ml_25m",
        megabytes=262.0,
        counts=(25_000_095, 162_541, 62_423),  # as its README says
        terms=_RESEARCH_ONLY,
        citation=_HARPER,
    ),
    Source(
        name="ml-32m",
        title="MovieLens 32M (2024-05)",
        archive="ml-32m.zip",
        url="https://files.grouplens.org/datasets/movielens/ml-32m.zip",
        archive_md5="d472be332d4daa821edc399621853b57",  # of the whole archive (238,950,008 bytes), as GroupLens publishes it
        members=dict.fromkeys(("ml-32m/movies.csv", "ml-32m/ratings.csv", "ml-32m/tags.csv"), ""),
        loader="benchmark.data.movielens:ml_32m",
        megabytes=239.0,
        counts=(32_000_204, 200_948, 87_585),  # as its README says
        terms=_RESEARCH_ONLY,
        citation=_HARPER,
    ),
)

_SYNTHETIC = tuple(
    Source(
        name=name,
        title=title,
        loader=f"benchmark.data.synthetic:{loader}",
        generated=True,
        revision="1",  # another one where the world changes
        counts=counts,
        terms="made by the suite; MIT",
        citation="this suite",
        faults="synthetic: shows that a track works, and nothing about any real one",
    )
    for name, title, loader, counts in (
        ("synthetic-cross-domain", "Synthetic: one taste in two domains", "two_domains", (28_800, 800, 300)),
        ("synthetic-drift", "Synthetic: tastes that turn", "drifting", (16_980, 400, 200)),
    )
)

SOURCES: dict[str, Source] = {source.name: source for source in (*_MOVIELENS, *AMAZON, *_SYNTHETIC)}


def source(name: str) -> Source:
    """The catalogue entry called `name`."""
    if name in SOURCES:
        return SOURCES[name]
    if (made := amazon_2023.entry(name)) is not None:
        return made
    if name.startswith(amazon_2023.PREFIX):
        raise UsageError(unknown("data set", name, amazon_2023.names()))
    raise UsageError(f"{unknown('data set', name, SOURCES)}; and {amazon_2023.FAMILY}")
