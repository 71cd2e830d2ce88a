"""A vocabulary of word pieces from a corpus, the same in every process.

The trainer of the `tokenizers` library breaks ties in the order of a hash table that differs from run to run.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping

CONTINUES = "##"
FEWEST = 2  # occurrences of a merged pair


def pieces(counts: Mapping[str, int], size: int) -> list[str]:
    """At most `size` pieces of the words, which occur so often: all characters, sorted, then merged pairs in order.

    The adjacent pair that occurs most often is merged, of equals the first one by its text, as byte pair encoding does
    (Sennrich et al. 2016, arXiv:1508.07909) and the `tokenizers` library's trainer of WordPiece. A piece that does not
    begin a word has ## in front. Raises ValueError if there are more characters than `size`.
    """
    words = [[letter if i == 0 else CONTINUES + letter for i, letter in enumerate(word)] for word in counts]
    weights = list(counts.values())
    found = sorted({piece for word in words for piece in word})
    if len(found) > size:
        raise ValueError(f"{len(found)} characters do not fit a vocabulary of {size}")
    known = set(found)
    totals: Counter[tuple[str, str]] = Counter()
    where: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for i, word in enumerate(words):
        for pair in itertools.pairwise(word):
            totals[pair] += weights[i]
            where[pair].add(i)
    queue = [(-count, pair) for pair, count in totals.items()]
    heapq.heapify(queue)
    while queue and len(found) < size:
        count, pair = heapq.heappop(queue)
        if -count != totals[pair]:  # counted anew since
            continue
        if -count < FEWEST:
            break
        piece = pair[0] + pair[1].removeprefix(CONTINUES)
        if piece not in known:
            known.add(piece)
            found.append(piece)
        changed = set()
        for i in where.pop(pair):
            old, new = words[i], merged(words[i], pair, piece)
            for sign, word in ((-1, old), (1, new)):
                for neighbours in itertools.pairwise(word):
                    totals[neighbours] += sign * weights[i]
                    changed.add(neighbours)
                    if sign > 0:
                        where[neighbours].add(i)
            words[i] = new
        totals[pair] = 0
        for other in changed:
            if totals[other] > 0:
                heapq.heappush(queue, (-totals[other], other))
    return found


def merged(word: list[str], pair: tuple[str, str], piece: str) -> list[str]:
    """The word with `piece` for every occurrence of the pair, from the left."""
    result, i = [], 0
    while i < len(word):
        if tuple(word[i : i + 2]) == pair:
            result.append(piece)
            i += 2
        else:
            result.append(word[i])
            i += 1
    return result
