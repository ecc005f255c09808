"""The measures of molecules on MOSES' own training set, beside the row `Train` of its paper.

    python benchmarks/molecules_reference.py                            30,000 of it against both test sets
    python benchmarks/molecules_reference.py --n 1000 --references 5000 a look in less than a minute

Source: Polykovskiy et al. (2018), Molecular Sets (MOSES), table 2. With fewer references similarity to the nearest
falls, with fewer molecules FCD rises, so only the whole is held against the paper. FCD needs the package `fcd`.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Sequence

import numpy as np

from genwerk.core.assets import fetch
from genwerk.core.progress import say
from genwerk.data.ledger import Ledger
from genwerk.data.molecules import read_molecules
from genwerk.metrics.bootstrap import interval
from genwerk.metrics.molecule_filters import load_filters
from genwerk.metrics.molecules import describe_made, prepare_reference, resemblance, uniqueness

PUBLISHED = {
    "Valid": 1.0, "Unique@1k": 1.0, "Unique@10k": 1.0, "FCD/Test": 0.008, "FCD/TestSF": 0.476, "SNN/Test": 0.642,
    "SNN/TestSF": 0.586, "Frag/Test": 1.0, "Frag/TestSF": 0.999, "Scaf/Test": 0.991, "Scaf/TestSF": 0.0,
    "IntDiv": 0.857, "IntDiv2": 0.851, "Filters": 1.0,
}  # fmt: skip
SETS = {"Test": "moses-test", "TestSF": "moses-test-scaffolds"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=30_000, help="molecules of the training set; default: 30000")
    parser.add_argument("--references", type=int, help="molecules of each test set; all when left out")
    options = parser.parse_args()
    made = describe_made(_molecules("moses-train", options.n), load_filters())
    ours = {"Valid": _mean(made.valid), "IntDiv": _mean(made.diverse), "IntDiv2": _mean(made.diverse2)}
    ours["Filters"] = _mean(made.passes)
    for name, k in (("Unique@1k", 1_000), ("Unique@10k", 10_000)):
        if k <= len(made.smiles):
            ours[name] = f"{uniqueness(made.smiles, k):.3f}"
    for name, known in SETS.items():
        say(f"comparing with {known}")
        reference = _molecules(known, options.references)
        found = resemblance(made, prepare_reference(reference))
        ours |= {f"SNN/{name}": _mean(found.nearest), f"Frag/{name}": f"{found.frag:.3f}"}
        ours |= {f"Scaf/{name}": f"{found.scaf:.3f}", f"FCD/{name}": _fcd(made.smiles, reference)}
        apart = f"logP {found.logp:.3f}, SA {found.sa:.3f}, QED {found.qed:.4f}, weight {found.weight:.2f}"
        ours[f"Wasserstein/{name}"] = apart
    print(f"{'':20s}{'published':>10s}   ours, of {options.n} molecules")
    for name in [*PUBLISHED, *(name for name in ours if name not in PUBLISHED)]:
        published = f"{PUBLISHED[name]:.3f}" if name in PUBLISHED else ""
        print(f"{name:20s}{published:>10s}   {ours.get(name, 'too few molecules')}")


def _molecules(known: str, n: int | None) -> list[str]:
    found = ["".join(one.tokens) for one in read_molecules((fetch(known),), Ledger())]
    return found if n is None or n >= len(found) else random.Random(0).sample(found, n)


def _mean(values: Sequence[float] | np.ndarray) -> str:
    """With its interval where there is one."""
    found = interval(np.asarray(values).tolist(), n=200)
    spread = "" if math.isclose(found.low, found.high) else f"   [{found.low:.3f}, {found.high:.3f}]"
    return f"{found.mean:.3f}{spread}"


def _fcd(made: Sequence[str], reference: Sequence[str]) -> str:
    try:
        import fcd
    except ImportError:
        return "not measured: pip install fcd"
    model = fcd.load_ref_model()
    seen = [fcd.get_predictions(model, list(one), n_jobs=0) for one in (made, reference)]
    moments = [(one.mean(0), np.cov(one.T)) for one in seen]
    (mean, spread), (other_mean, other_spread) = moments
    return f"{fcd.calculate_frechet_distance(mean, spread, other_mean, other_spread):.3f}"


if __name__ == "__main__":
    main()
