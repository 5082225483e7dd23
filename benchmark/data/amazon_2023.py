"""Amazon Reviews 2023, any category: a catalogue entry made from its name.

The collection lies on the Hugging Face hub, as csv and jsonl files at a pinned revision. No hash of them is published
that could be written down here, so the first fetch notes each file's hash beside it, and every later look holds it to that.
"""

from __future__ import annotations

from benchmark.data.pins import Source

HUB = "McAuley-Lab/Amazon-Reviews-2023"
REVISION = "2b6d039ed471f2ba5fd2acb718bf33b0a7e5598e"
CATEGORIES = (
    *("All_Beauty", "Amazon_Fashion", "Appliances", "Arts_Crafts_and_Sewing", "Automotive", "Baby_Products"),
    *("Beauty_and_Personal_Care", "Books", "CDs_and_Vinyl", "Cell_Phones_and_Accessories", "Clothing_Shoes_and_Jewelry"),
    *("Digital_Music", "Electronics", "Gift_Cards", "Grocery_and_Gourmet_Food", "Handmade_Products", "Health_and_Household"),
    *("Health_and_Personal_Care", "Home_and_Kitchen", "Industrial_and_Scientific", "Kindle_Store", "Magazine_Subscriptions"),
    *("Movies_and_TV", "Musical_Instruments", "Office_Products", "Patio_Lawn_and_Garden", "Pet_Supplies", "Software"),
    *("Sports_and_Outdoors", "Subscription_Boxes", "Tools_and_Home_Improvement", "Toys_and_Games", "Video_Games"),
)
PREFIX = "amazon-2023-"
FOLDER = "amazon-2023"  # in a data folder; under it the paths are the hub's
FAMILY = f"{PREFIX}<category> for the {len(CATEGORIES)} categories of {HUB}, as in {PREFIX}all-beauty"


def names() -> dict[str, str]:
    """Name of the data set -> category."""
    return {PREFIX + category.lower().replace("_", "-"): category for category in CATEGORIES}


def entry(name: str) -> Source | None:
    """The catalogue entry of a category, or None where `name` is of no category."""
    category = names().get(name)
    if category is None:
        return None
    ratings, metadata = f"{FOLDER}/benchmark/0core/rating_only/{category}.csv", f"{FOLDER}/raw/meta_categories/meta_{category}.jsonl"
    return Source(
        name=name,
        title=f"Amazon Reviews 2023, {category.replace('_', ' ')}",
        loader="benchmark.data.amazon:ratings_2023",
        files={ratings: "", metadata: ""},
        optional=(metadata,),
        hub=HUB,
        revision=REVISION,
        home=f"https://huggingface.co/datasets/{HUB}",
        terms="research use; no licence granted: not redistributable",
        citation="Yupeng Hou, Jiacheng Li, Zhankui He, An Yan, Xiusi Chen and Julian McAuley (2024), "
        "Bridging Language and Items for Retrieval and Recommendation, arXiv:2403.03952",
    )
