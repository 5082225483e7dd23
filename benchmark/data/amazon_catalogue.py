"""The catalogue's Amazon entries: reviews of 2018 and 2014, and what others derived from 2014.

None may be passed on, and none lies in a public archive as it is here, so `fetch` says where its authors publish it.
Hashes are of the plain bytes: a file may lie packed with gzip.
"""

from __future__ import annotations

from benchmark.data.pins import Source

_TERMS = "research use; no licence granted: not redistributable"
_DERIVED = _TERMS + "; derived from Amazon 2014 by a repository that states no licence"
_2018 = (
    "Jianmo Ni, Jiacheng Li and Julian McAuley (2019), Justifying Recommendations using Distantly-Labeled Reviews "
    "and Fine-Grained Aspects, EMNLP"
)
_2014 = (
    "Ruining He and Julian McAuley (2016), Ups and Downs: Modeling the Visual Evolution of Fashion Trends with One-Class "
    "Collaborative Filtering, WWW; Julian McAuley et al. (2015), Image-Based Recommendations on Styles and Substitutes, SIGIR"
)
_ABXI = (
    "Qingtian Bian et al. (2025), ABXI: Invariant Interest Adaptation for Task-Guided Cross-Domain Sequential "
    "Recommendation, WWW; of " + _2014
)
_S3REC = (
    "Kun Zhou et al. (2020), S3-Rec: Self-Supervised Learning for Sequential Recommendation with Mutual Information "
    "Maximization, CIKM; of " + _2014
)
_META_MAGAZINES = {"amazon-2018/meta_Magazine_Subscriptions.json": "a75359201beb85e6e7913ee5e05e2204d150aac6cd190dcffd4f98013e04d96a"}
_META_GIFT_CARDS = {"amazon-2018/meta_Gift_Cards.json": "538994d5d15bef85a2d5a81ce79becff140719cdc6394a46e4b934cf63e09acf"}
_VIDEO_GAMES_CSV = "amazon-2014-video-games-20/video_games_20_ratings_5_fact.csv"
_VIDEO_GAMES = {_VIDEO_GAMES_CSV: "b25ca393582b9423947c4fc3b2e543eec8ffbfb957afb6476ffead9bf23bb20d"}
_HALF_HTML = "most titles of the metadata are left-over HTML and do not count as titles"


def _reviews_2018(
    name: str, title: str, files: dict[str, str], counts: tuple[int, int, int], repeats: int, faults: str = "", loader: str = "reviews"
) -> Source:
    return Source(
        name=f"amazon-2018-{name}",
        title=f"Amazon reviews 2018, {title}",
        loader=f"benchmark.data.amazon:{loader}",
        files={(path if "/" in path else f"amazon-2018/{path}"): digest for path, digest in files.items()},
        home="https://nijianmo.github.io/amazon",
        counts=counts,
        repeats=repeats,
        faults=faults,
        terms=_TERMS,
        citation=_2018,
    )


_REVIEWS = (
    _reviews_2018(
        "magazine-subscriptions",
        "Magazine Subscriptions, every rating",
        {"Magazine_Subscriptions.csv": "6e1b48a78f7d4713a3f15abb028d5a1258e3c06d04b258b9d478f55d057a6696", **_META_MAGAZINES},
        (88_318, 72_098, 2_428),
        1_371,
        f"666 users have 5 ratings or more; {_HALF_HTML}",
        loader="ratings_2018",
    ),
    _reviews_2018(
        "magazine-subscriptions-5",
        "Magazine Subscriptions, 5-core",
        {"Magazine_Subscriptions_5.json": "2092c2821ab8c720988443f1a1a2e203e6339595daa0f7bc1ca190e9181d7e7d", **_META_MAGAZINES},
        (2_302, 348, 157),
        73,
        _HALF_HTML,
    ),
    _reviews_2018(
        "gift-cards-5",
        "Gift Cards, 5-core",
        {"Gift_Cards_5.json": "9a712964d5f4d6d6ce905efc63dd41fe1309dd02a6daa4e7e0570725a44261cf", **_META_GIFT_CARDS},
        (2_965, 458, 148),
        7,
    ),
    _reviews_2018(
        "all-beauty-5",
        "All Beauty, 5-core",
        {"All_Beauty_5.json": "2216c07d74d92744fefcff3cfe9eac5831634bcc77bfb2a47352f7d51f96cb86"},
        (4_092, 991, 85),
        1_177,
        "85 items, and a fifth of the rows repeat a pair: too small to rank items on",
    ),
    _reviews_2018(
        "fashion-5",
        "Fashion, 5-core",
        {"AMAZON_FASHION_5.json": "89d01607b46760c41b2b22314973fac06b18a915977374ba02624dbe78d637ee"},
        (3_042, 406, 31),
        134,
        "31 items: too small to rank items on",
    ),
    _reviews_2018(
        "appliances-5",
        "Appliances, 5-core",
        {"Appliances_5.json": "86b193bf5338cf5818f97b7bd90a8df68059d6534555de711ae265e5fc4187c1"},
        (183, 47, 48),
        2_094,
        "91 % of the rows repeat a pair: a test of de-duplication, not a board",
    ),
    Source(
        name="amazon-2014-musical-instruments-5",
        title="Amazon reviews 2014, Musical Instruments, 5-core",
        loader="benchmark.data.amazon:reviews",
        files={"amazon-2014/reviews_Musical_Instruments_5.json": "8e1aaab451ba61484dfe393f53d11886246bc426c7046b180b62352580f68c1d"},
        home="https://jmcauley.ucsd.edu/data/amazon",
        counts=(10_261, 1_429, 900),
        terms=_TERMS,
        citation=_2014,
    ),
    Source(
        name="amazon-2014-video-games",
        title="Amazon reviews 2014, Video Games, users with more than 20 ratings",
        loader="benchmark.data.amazon:video_games",
        files=_VIDEO_GAMES,
        home="https://github.com/dcslin/neural-collaborative-filtering-amazon-dataset",
        counts=(57_429, 1_457, 9_607),
        faults="ids are numbers, Amazon's own are gone: no item text can be joined",
        terms=_DERIVED,
        citation=_2014,
    ),
)


def _sequences(name: str, file: str, digests: tuple[str, str], counts: tuple[int, int, int]) -> Source:
    return Source(
        name=f"amazon-2014-{name}-5",
        title=f"Amazon 2014, {file.replace('_', ' ')}: the 5-core sequences of one category, with item attributes",
        loader="benchmark.data.amazon_sequences:sequences",
        files=dict(zip((f"amazon-2014-sequences/{file}.txt", f"amazon-2014-sequences/{file}_item2attributes.json"), digests, strict=True)),
        home="https://github.com/RUCAIBox/CIKM2020-S3Rec",
        counts=counts,
        faults="order only, no time stamps; no ratings; ids do not match between the three",
        terms=_DERIVED,
        citation=_S3REC,
    )


_SEQUENCES = (
    _sequences(
        "beauty",
        "Beauty",
        (
            "226cce9c3105299ca0db9615d7d3fb32b3175e90da43100ae352599f0f0107b8",
            "129e40f67486f6877eff0f5318cfa8530ee8ac23d8b0d1de04e1bb7a2ba0b2d4",
        ),
        (198_502, 22_363, 12_101),
    ),
    _sequences(
        "sports",
        "Sports_and_Outdoors",
        (
            "2a095e0648872beb9982408958290f5d655db5be2911c3756b5446de9f0b8de2",
            "7fb10733ac4f1811384a52144cdefa7fcc7536fa80a7232c5da9bd789155c34b",
        ),
        (296_337, 35_598, 18_357),
    ),
    _sequences(
        "toys",
        "Toys_and_Games",
        (
            "176c680c688d497598c4a89a03b402c0fe78d795e5db335c2e78dd5f2d778a3f",
            "d371acd25101eedac04afc727626464b7acec770c4eda708705d51eb76eb1ad0",
        ),
        (167_597, 19_412, 11_924),
    ),
)

_PAIRS = {
    "abe": {
        "amazon-2014-cross-domain/abe/abe_50_preprocessed.txt": "e13235003725700fdc709eb78a8865bd7e4ab75dc28ae569f7a4cebcdab1e33b",
        "amazon-2014-cross-domain/abe/map_item_50.txt": "4e144f3fea1a5e8037cd56167a084ce4d73c6ccc123187055470b3da9818de74",
    },
    "afk": {
        "amazon-2014-cross-domain/afk/afk_50_preprocessed.txt": "5f9856f574879920a70c93461add1ebc1c997b1ce6d626ba8d475315f53a4a15",
        "amazon-2014-cross-domain/afk/map_item_50.txt": "64a939f71c0c48ba181d6d24e384af1160812bdf244f20c58ef101f5fc54b3c3",
    },
}


def _cross_domain(pair: str, name: str, title: str, loader: str, counts: tuple[int, int, int]) -> Source:
    return Source(
        name=f"amazon-2014-{name}",
        title=f"Amazon 2014, {title}",
        loader=f"benchmark.data.amazon_sequences:{loader}",
        files=_PAIRS[pair],
        home="https://github.com/DiMarzioBian/ABXI",
        counts=counts,
        faults="no ratings: its authors kept events only, at most the last 50 of a user",
        terms=_DERIVED,
        citation=_ABXI,
    )


_CROSS = (
    _cross_domain("abe", "electronics-to-beauty", "new in Beauty, known from Electronics", "into_first", (114_129, 4_474, 24_567)),
    _cross_domain("abe", "beauty-to-electronics", "new in Electronics, known from Beauty", "into_second", (114_129, 4_474, 24_567)),
    _cross_domain("afk", "kitchen-to-food", "new in Food, known from Kitchen", "into_first", (173_548, 7_144, 28_095)),
    _cross_domain("afk", "food-to-kitchen", "new in Kitchen, known from Food", "into_second", (173_548, 7_144, 28_095)),
    _cross_domain("abe", "beauty", "Beauty of the users whom it shares with Electronics, not 5-core", "first", (50_329, 4_474, 10_379)),
    _cross_domain("abe", "electronics", "Electronics of the users whom it shares with Beauty", "second", (63_800, 4_474, 14_188)),
    _cross_domain("afk", "food", "Food of the users whom it shares with Kitchen", "first", (83_663, 7_144, 11_837)),
    _cross_domain("afk", "kitchen", "Kitchen of the users whom it shares with Food", "second", (89_885, 7_144, 16_258)),
)

AMAZON = (*_REVIEWS, *_SEQUENCES, *_CROSS)
