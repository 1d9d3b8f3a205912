"""How an archive of a million files would end on a thousand nodes.

    python scripts/simulate_archive.py

Nodes and files are simulated; who gets what is decided by the program's own Order. A node's streams
share what it can do, `--speed` hours of audio per hour when all of them are at work. Nodes differ
in speed, some are slow, and now and then one is gone for a while, with what it has done since its
states were saved. Poison fails twice. One foreman writes all outputs, one after the other. Every
number is drawn from `--seed`: the same words give the same table.
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from voxtral_edge.archive.order import Hand, Order
from voxtral_edge.archive.sources import Source

HOUR, DAY = 3600.0, 86_400.0
# Kinds of recordings: their share, the median length in seconds, and how far lengths spread (the
# sigma of a lognormal distribution): calls, talks, and recordings of a day.
KINDS = ((0.80, 240.0, 0.9), (0.199, 2700.0, 0.6), (0.001, DAY, 0.0))
SLOW_SHARE, SLOW = 0.01, 0.5  # of nodes, and their speed
SPREAD = 0.08  # of the others' speeds, as a sigma
GONE_S = 600.0  # how long a node is gone
POISON = 0.0005  # of files, which fail when half of them has been heard
TICK_S = 10.0  # between two looks of the foreman's at who has room
END, GO, BACK, DEAL = range(4)  # what happens: a stream ends, a node goes, is back; such a look


@dataclass
class Node:
    """A node; `done`: audio that each of its streams has had since its start, in seconds."""

    speed: float
    at: float = 0.0
    done: float = 0.0
    busy_s: float = 0.0
    heard_s: float = 0.0
    ends: list[tuple[float, float, int]] = field(default_factory=list)  # done then; begin; file
    ends_s: float = 0.0  # the sum of what its streams have done at their ends
    version: int = 0
    is_gone: bool = False


class Given(Order):
    """Other orders, to compare with: whoever has room takes the next one."""

    def __init__(self, sources: Iterable[Source]) -> None:
        super().__init__(())
        self._again.extend(sources)

    def deal(
        self, hands: list[Hand], n_workers: int, rate: float, at_work_s: float
    ) -> Iterator[tuple[int, Source]]:
        while len(self):
            i = max(range(len(hands)), key=lambda i: hands[i].n_free, default=None)
            if i is None or not hands[i].n_free:
                return
            hands[i].n_free -= 1
            yield i, self._again.popleft()


class Cluster:
    """One run."""

    def __init__(self, args: argparse.Namespace, order_name: str, save_s: float) -> None:
        choice = self.choice = random.Random(args.seed)
        self.args, self.save_s = args, save_s
        self.left = lengths(args.files, choice)  # of each file, what is still to be heard
        self.poison = {i for i in range(args.files) if choice.random() < POISON}
        self.sources = [Source(str(i), "", "", None, s) for i, s in enumerate(self.left)]
        by = {"as they come": 0, "short to long": 1, "long to short": -1}.get(order_name)
        if by is None:
            self.order = Order(self.sources)
        else:
            self.order = Given(sorted(self.sources, key=lambda source: by * source.guess_s))
        self.nodes = [Node(args.speed * self.pace()) for _ in range(args.nodes)]
        self.roomy = set(range(args.nodes))
        self.speed = sum(node.speed for node in self.nodes)
        self.to_do_s = sum(self.left)
        self.ideal_h = self.to_do_s / self.speed / HOUR
        self.events: list[tuple[float, int, int, int]] = []  # when, what, node, version
        self.now = self.empty_h = self.redone_h = self.foreman_h = 0.0

    def pace(self) -> float:
        is_slow = self.choice.random() < SLOW_SHARE
        return SLOW if is_slow else self.choice.lognormvariate(0, SPREAD)

    def run(self) -> float:
        """Return the hours until the last line is written."""
        for number in range(len(self.nodes)):
            self.break_down_later(number)
        self.deal()
        n_open, tried, free_s = self.args.files, set[int](), 0.0
        deal_at, is_due = TICK_S, False
        while n_open:
            self.now, what, number, version = heapq.heappop(self.events)
            node = self.nodes[number]
            if what == END and version != node.version:
                continue
            if what != DEAL:
                self.advance(node)
            if what == END:
                end, _, i = heapq.heappop(node.ends)
                node.ends_s = node.ends_s - end if node.ends else 0.0
                if i in self.poison and i not in tried:
                    tried.add(i)
                    self.order.put_back(self.sources[i])
                else:
                    n_open -= 1
                    free_s = max(free_s, self.now) + self.args.foreman_s
                    self.foreman_h += self.args.foreman_s / HOUR
            elif what == GO:
                self.lose(node)
                heapq.heappush(self.events, (self.now + GONE_S, BACK, number, 0))
            elif what == BACK:
                node.is_gone = False
                self.break_down_later(number)
            if what != DEAL:
                self.roomy.add(number)
                self.plan(number)
                if not is_due:
                    heapq.heappush(self.events, (max(deal_at, self.now), DEAL, 0, 0))
                    is_due = True
            else:
                self.deal()
                deal_at, is_due = self.now + TICK_S, False
        return max(self.now, free_s) / HOUR

    def rate(self, node: Node) -> float:
        """Audio per second and stream: few streams carry nearly as much as many."""
        n = len(node.ends)
        alone = self.args.alone
        return node.speed * (alone + (1 - alone) * n / self.args.lanes) / n if n else 0.0

    def advance(self, node: Node) -> None:
        passed, each = self.now - node.at, self.rate(node) * (self.now - node.at)
        node.at, node.done = self.now, node.done + each
        if node.ends:
            node.busy_s += passed
            node.heard_s += each * len(node.ends)
            self.to_do_s -= each * len(node.ends)

    def plan(self, number: int) -> None:
        """Note when a node's next stream ends."""
        node = self.nodes[number]
        node.version += 1
        if node.ends:
            end = self.now + max(node.ends[0][0] - node.done, 0.0) / self.rate(node)
            heapq.heappush(self.events, (end, END, number, node.version))

    def break_down_later(self, number: int) -> None:
        after_s = self.choice.expovariate(1 / (self.args.mtbf_days * DAY))
        heapq.heappush(self.events, (self.now + after_s, GO, number, 0))

    def deal(self) -> None:
        """Give what waits to nodes that have room, as the foreman does."""
        if not len(self.order):
            return
        numbers = sorted(self.roomy)
        hands = []
        for number in numbers:
            node = self.nodes[number]
            to_do_s = node.ends_s - node.done * len(node.ends)
            pace = node.heard_s / node.busy_s if node.busy_s else self.args.speed
            n_free = 0 if node.is_gone else self.args.lanes - len(node.ends)
            hands.append(Hand(max(to_do_s, 0.0), pace, n_free))
        touched = set()
        at_work_s = max(self.to_do_s - self.order.left_s, 0.0)
        for hand, source in self.order.deal(hands, len(self.nodes), self.speed, at_work_s):
            number, i = numbers[hand], int(source.id)
            node = self.nodes[number]
            self.advance(node)
            cost_s = self.left[i] * (0.5 if i in self.poison else 1.0)
            cost_s += self.args.file_s * node.speed / self.args.lanes
            heapq.heappush(node.ends, (node.done + cost_s, self.now, i))
            node.ends_s += node.done + cost_s
            touched.add(number)
            if len(node.ends) == self.args.lanes:
                self.roomy.discard(number)
        for number in touched:
            self.plan(number)
        if not len(self.order):
            self.empty_h = self.now / HOUR

    def lose(self, node: Node) -> None:
        """What a node has heard since its states were saved is heard again."""
        for end, begin, i in node.ends:
            heard_s = lost_s = max(self.left[i] - (end - node.done), 0.0)
            if self.save_s and self.now - begin >= self.save_s:
                since_s = (self.now - begin) % self.save_s
                lost_s = min(heard_s, since_s * self.rate(node))
            self.redone_h += lost_s / HOUR
            self.to_do_s += lost_s
            self.left[i] -= heard_s - lost_s
            self.order.put_back(replace(self.sources[i], guess_s=self.left[i]))
        node.ends, node.ends_s, node.is_gone = [], 0.0, True


def lengths(n: int, choice: random.Random) -> list[float]:
    kinds = choice.choices(KINDS, [share for share, _, _ in KINDS], k=n)
    return [min(median_s * choice.lognormvariate(0, sigma), DAY) for _, median_s, sigma in kinds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--lanes", type=int, default=16, help="streams at once on a node")
    parser.add_argument("--speed", type=float, default=10.4, help="audio per time, all at work")
    parser.add_argument("--alone", type=float, default=0.84, help="share of it, one at work")
    parser.add_argument("--file-s", type=float, default=0.1, help="of a node, for each file")
    parser.add_argument("--foreman-s", type=float, default=0.02, help="for each file")
    parser.add_argument("--mtbf-days", type=float, default=30.0, help="between failures of a node")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    hours = sum(lengths(args.files, random.Random(args.seed))) / HOUR
    print(f"{args.files} files, {hours:.0f} h of audio, {args.nodes} nodes")
    print(
        "| order, states saved | hours | lost | last file given at | heard again | foreman busy |"
    )
    print("|---|---|---|---|---|---|")
    for name, save_s in (
        ("this one", 600.0),
        ("this one", 0.0),
        ("long to short", 600.0),
        ("short to long", 600.0),
        ("as they come", 600.0),
    ):
        run = Cluster(args, name, save_s)
        hours = run.run()
        every = f"every {save_s / 60:.0f} min" if save_s else "never"
        print(
            f"| {name}, {every} | {hours:.2f} | {1 - run.ideal_h / hours:.1%} "
            f"| {run.empty_h:.2f} | {run.redone_h:.0f} h | {run.foreman_h / hours:.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
