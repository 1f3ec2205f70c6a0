"""Made-up names for runs that were given none."""

from __future__ import annotations

import secrets

_ADJECTIVES = (
    "able", "amber", "apt", "arctic", "brave", "breezy", "bright", "brisk", "calm", "candid", "capable",
    "cheerful", "clever", "coral", "crisp", "curious", "dapper", "daring", "deft", "eager", "early",
    "earnest", "elegant", "fair", "fleet", "fond", "frank", "fresh", "gentle", "glad", "golden",
    "graceful", "grand", "hardy", "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid",
    "lucky", "mellow", "merry", "mighty", "modest", "neat", "nimble", "noble", "patient", "placid",
    "polite", "proud", "quick", "quiet", "rapid", "serene", "sharp", "silent", "sincere", "sleek",
    "smart", "steady", "stoic", "sunny", "swift", "tidy", "trusty", "upbeat", "valiant", "vivid",
    "warm", "wise", "witty",
)  # fmt: skip
_ANIMALS = (
    "albatross", "alpaca", "badger", "bat", "bear", "beaver", "bison", "bobcat", "camel", "caribou",
    "cat", "cheetah", "condor", "cougar", "crab", "crane", "crow", "deer", "dolphin", "dove", "duck",
    "eagle", "egret", "elk", "falcon", "ferret", "finch", "fox", "gazelle", "gecko", "goose", "gull",
    "hare", "hawk", "hedgehog", "heron", "horse", "ibex", "ibis", "jackdaw", "jay", "kestrel", "kiwi",
    "koala", "lark", "lemur", "leopard", "lion", "llama", "lynx", "magpie", "marmot", "marten", "mole",
    "moose", "newt", "octopus", "orca", "otter", "owl", "panda", "pelican", "penguin", "perch", "pony",
    "puffin", "quail", "rabbit", "raven", "robin", "salmon", "seal", "shrew", "sparrow", "squid",
    "stork", "swan", "tapir", "tern", "tiger", "toad", "trout", "turtle", "vole", "walrus", "weasel",
    "whale", "wombat", "wren", "yak", "zebra",
)  # fmt: skip


def made_up_name() -> str:
    """An adjective, an animal and a number below 1000, as in `brisk-otter-417`."""
    return f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_ANIMALS)}-{secrets.randbelow(1000)}"
