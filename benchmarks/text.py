"""Every text method on real text: settings chosen on validation data, three seeds, then two more orders of the tasks.

`docstrings` needs nothing; `five-texts` and `sentiment` read FOLDER/<task>/{train,test}.parquet (columns text, label) and
labels.txt of yelp, amazon, dbpedia, yahoo, agnews, imdb and sst2.

    python -m benchmarks.text docstrings sentiment --data FOLDER --workers 2
"""

from collections.abc import Mapping

from pydantic import JsonValue

SEEDS = (0, 1, 2)
TRAINED = (
    "sequential",
    "ewc",
    "online_ewc",
    "ewc_lora",
    "o_lora",
    "n_lora",
    "lwf",
    "replay",
    "der",
    "generative_replay",
    "routed",
    "merged_average",
    "merged_ties",
    "magmax",
    "joint",
)
SOLVED: tuple[dict[str, JsonValue], ...] = tuple(
    {"method": "frozen", "head": head} for head in ("ncm", "ridge", "ranpac")
)
FIRST_SESSION: tuple[dict[str, JsonValue], ...] = (
    {"method": "first_session"},
    {"method": "first_session", "head": "ridge"},
)
WEIGHTS: Mapping[str, tuple[tuple[str, tuple[float, ...]], ...]] = {
    "ewc": (("ewc", (1e3, 1e5)),),
    "online_ewc": (("ewc", (1e3, 1e5)),),
    "ewc_lora": (("ewc_lora", (1e3, 1e5)),),
}
"""Method → its strategy and the weights that are tried beside the learning rates: no single one suits all data."""
