"""What routing by prefix is worth: conversations sent to four replicas by several rules, in simulated time.

    python benchmarks/routing.py --load 0.7

Conversations of one to eight turns begin at random moments with one of four system prompts (half of them with the same)
and go on after a pause. A replica shares its time among its answers: prompt tokens that its cache of 32,768 tokens does
not hold are read at 1,250 a second, new ones are written at 500 a second in all. The rules are those of
genwerk/serving/routing.py; every one sees the same conversations.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from genwerk.inference.blocks import chain_of
from genwerk.inference.runner import BLOCK
from genwerk.serving.routing import Router

REPLICAS, CACHE, READ, WRITE = 4, 32_768 // BLOCK, 1250.0, 500.0
Choose = Callable[[Sequence[bytes], Sequence[int]], int]


@dataclass
class Turn:
    """A prompt by the keys of its blocks, what comes after it, and the pause before it."""

    chain: tuple[bytes, ...]
    whole: tuple[bytes, ...]
    length: int
    answer: int
    pause: float


@dataclass
class Replica:
    """Answers in progress with the work that is left of each, and the keys that the cache holds."""

    left: dict[int, float] = field(default_factory=dict)
    held: OrderedDict[bytes, None] = field(default_factory=OrderedDict)
    now: float = 0.0

    def pass_to(self, time: float) -> None:
        share = (time - self.now) / max(1, len(self.left))
        self.left, self.now = {one: work - share for one, work in self.left.items()}, time

    def next_end(self) -> float:
        return self.now + min(self.left.values()) * len(self.left) if self.left else float("inf")

    def known(self, chain: Sequence[bytes]) -> int:
        return next((place for place, key in enumerate(chain) if key not in self.held), len(chain))

    def keep(self, chain: Sequence[bytes]) -> None:
        for key in reversed(chain):
            self.held[key] = None
            self.held.move_to_end(key)
        while len(self.held) > CACHE:
            self.held.popitem(last=False)


def conversations(number: int, load: float, seed: int) -> list[tuple[float, list[Turn]]]:
    """When each begins, and its turns."""
    chance, made, time = random.Random(seed), [], 0.0
    systems = [[chance.randrange(50_000) for _ in range(chance.randint(200, 800))] for _ in range(4)]
    for _ in range(number):
        tokens, turns = list(chance.choices(systems, (4, 2, 1, 1))[0]), []
        for turn in range(chance.randint(1, 8)):
            tokens += [chance.randrange(50_000) for _ in range(chance.randint(20, 200))]
            prompt, answer = list(tokens), chance.randint(32, 256)
            tokens += [chance.randrange(50_000) for _ in range(answer)]
            pause = chance.expovariate(1 / 20) if turn else 0.0
            turns.append(Turn(chain_of(None, prompt), chain_of(None, tokens), len(prompt), answer, pause))
        made.append(turns)
    # the load is what the replicas would have if every conversation stayed with one of them
    work = sum(turn.answer / WRITE + (turn.length if not place else 150) / READ for turns in made
               for place, turn in enumerate(turns)) / number  # fmt: skip
    starts = []
    for turns in made:
        time += chance.expovariate(load * REPLICAS / work)
        starts.append((time, turns))
    return starts


def simulate(starts: list[tuple[float, list[Turn]]], choose: Choose, ended: Callable[[Turn, int], None]) -> list[float]:
    """Share of prompt tokens that were read, mean and 95th percentile of seconds to an answer."""
    replicas, numbers = [Replica() for _ in range(REPLICAS)], count()
    due = [(time, next(numbers), turns, 0) for time, turns in starts]
    heapq.heapify(due)
    asked: dict[int, tuple[float, list[Turn], int, int]] = {}
    read = prompts = 0
    times: list[float] = []
    while due or asked:
        place = min(range(REPLICAS), key=lambda one: replicas[one].next_end())
        if due and due[0][0] <= replicas[place].next_end():
            time, number, turns, turn = heapq.heappop(due)
            for replica in replicas:
                replica.pass_to(time)
            now = turns[turn]
            place = choose(now.chain, [len(replica.left) for replica in replicas])
            new = max(1, now.length - replicas[place].known(now.chain) * BLOCK)
            read, prompts = read + new, prompts + now.length
            replicas[place].left[number] = new / READ + now.answer / WRITE
            replicas[place].keep(now.chain)
            asked[number] = (time, turns, turn, place)
            continue
        time = replicas[place].next_end()
        replicas[place].pass_to(time)
        number = min(replicas[place].left, key=lambda one: replicas[place].left[one])
        del replicas[place].left[number]
        since, turns, turn, _ = asked.pop(number)
        times.append(time - since)
        replicas[place].keep(turns[turn].whole)
        ended(turns[turn], place)
        if turn + 1 < len(turns):
            heapq.heappush(due, (time + turns[turn + 1].pause, next(numbers), turns, turn + 1))
    return [read / prompts, statistics.mean(times), statistics.quantiles(times, n=20)[-1]]


def rules() -> dict[str, tuple[Choose, Callable[[Turn, int], None]]]:
    """Every rule by its name, with what it learns from an end."""
    turns = count()
    found: dict[str, tuple[Choose, Callable[[Turn, int], None]]] = {
        "in turn": (lambda chain, busy: next(turns) % REPLICAS, lambda turn, place: None),
        "least busy": (lambda chain, busy: min(range(REPLICAS), key=busy.__getitem__), lambda turn, place: None),
    }
    for slack in (0, 2, 4, 8, 1000):
        router = Router(REPLICAS, slack=slack)

        def choose(chain: Sequence[bytes], busy: Sequence[int], router: Router = router) -> int:
            place = router.choose(chain, busy, range(REPLICAS))
            router.learn(chain, place)
            return place

        found[f"prefix, slack {slack}"] = (choose, lambda turn, place, router=router: router.learn(turn.whole, place))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--load", type=float, default=0.7, help="of the replicas, if nothing were read twice")
    parser.add_argument("--conversations", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    print(f"load {given.load}: share of prompt tokens read, mean seconds, 95th percentile; medians of {given.seeds}")
    measured: dict[str, list[list[float]]] = {}
    for seed in range(given.seeds):
        starts = conversations(given.conversations, given.load, seed)
        for name, (choose, ended) in rules().items():
            measured.setdefault(name, []).append(simulate(starts, choose, ended))
    for name, rows in measured.items():
        share, mean, late = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:18} {share:6.1%} {mean:7.2f} {late:7.2f}")


if __name__ == "__main__":
    main()
